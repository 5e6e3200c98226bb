//! `pg_catalog`: tables of things there are none of, so that tools that look for them find none.

use driftdb_types::{DataType as T, Result};

use super::{SystemTable, ready};
use crate::query::scan::ValueRows;
use crate::read::QueryContext;

macro_rules! empty {
    ($($name:literal: [$(($column:literal, $type:expr)),* $(,)?]),* $(,)?) => {
        pub(super) const TABLES: &[SystemTable] = &[
            $(SystemTable { schema: "pg_catalog", name: $name, columns: &[$(($column, $type)),*], rows: none }),*
        ];
    };
}

fn none(_: &QueryContext) -> Result<ValueRows> {
    ready(Vec::new())
}

empty! {
    "pg_partitioned_table": [("partrelid", T::Int8), ("partstrat", T::Text), ("partnatts", T::Int2), ("partdefid", T::Int8)],
    "pg_inherits": [("inhrelid", T::Int8), ("inhparent", T::Int8), ("inhseqno", T::Int4), ("inhdetachpending", T::Bool)],
    "pg_description": [("objoid", T::Int8), ("classoid", T::Int8), ("objsubid", T::Int4), ("description", T::Text)],
    "pg_shdescription": [("objoid", T::Int8), ("classoid", T::Int8), ("description", T::Text)],
    "pg_proc": [
        ("oid", T::Int8), ("proname", T::Text), ("pronamespace", T::Int8), ("proowner", T::Int8), ("prolang", T::Int8),
        ("prokind", T::Text), ("prosrc", T::Text), ("prorettype", T::Int8), ("proargtypes", T::Text), ("pronargs", T::Int2),
        ("proretset", T::Bool),
    ],
    "pg_views": [("schemaname", T::Text), ("viewname", T::Text), ("viewowner", T::Text), ("definition", T::Text)],
    "pg_matviews": [("schemaname", T::Text), ("matviewname", T::Text), ("matviewowner", T::Text), ("definition", T::Text)],
    "pg_sequences": [("schemaname", T::Text), ("sequencename", T::Text), ("sequenceowner", T::Text), ("last_value", T::Int8)],
    "pg_sequence": [("seqrelid", T::Int8), ("seqtypid", T::Int8), ("seqstart", T::Int8), ("seqincrement", T::Int8)],
    "pg_trigger": [
        ("oid", T::Int8), ("tgrelid", T::Int8), ("tgparentid", T::Int8), ("tgname", T::Text), ("tgfoid", T::Int8),
        ("tgtype", T::Int2), ("tgenabled", T::Text), ("tgisinternal", T::Bool), ("tgconstraint", T::Int8),
        ("tgdeferrable", T::Bool), ("tginitdeferred", T::Bool),
    ],
    "pg_rewrite": [
        ("oid", T::Int8), ("rulename", T::Text), ("ev_class", T::Int8), ("ev_type", T::Text), ("ev_enabled", T::Text),
        ("is_instead", T::Bool),
    ],
    "pg_policy": [
        ("oid", T::Int8), ("polname", T::Text), ("polrelid", T::Int8), ("polcmd", T::Text), ("polpermissive", T::Bool),
        ("polroles", T::Text), ("polqual", T::Text), ("polwithcheck", T::Text),
    ],
    "pg_policies": [("schemaname", T::Text), ("tablename", T::Text), ("policyname", T::Text)],
    "pg_statistic_ext": [
        ("oid", T::Int8), ("stxrelid", T::Int8), ("stxname", T::Text), ("stxnamespace", T::Int8), ("stxkind", T::Text),
        ("stxstattarget", T::Int4), ("stxkeys", T::Text), ("stxexprs", T::Text),
    ],
    "pg_publication": [
        ("oid", T::Int8), ("pubname", T::Text), ("pubowner", T::Int8), ("puballtables", T::Bool), ("pubinsert", T::Bool),
        ("pubupdate", T::Bool), ("pubdelete", T::Bool), ("pubtruncate", T::Bool), ("pubviaroot", T::Bool),
    ],
    "pg_publication_rel": [
        ("oid", T::Int8), ("prpubid", T::Int8), ("prrelid", T::Int8), ("prqual", T::Text), ("prattrs", T::Text),
    ],
    "pg_publication_namespace": [("oid", T::Int8), ("pnpubid", T::Int8), ("pnnspid", T::Int8)],
    "pg_subscription": [("oid", T::Int8), ("subname", T::Text), ("subdbid", T::Int8), ("subowner", T::Int8)],
    "pg_foreign_table": [("ftrelid", T::Int8), ("ftserver", T::Int8), ("ftoptions", T::Text)],
    "pg_foreign_server": [("oid", T::Int8), ("srvname", T::Text), ("srvowner", T::Int8), ("srvfdw", T::Int8)],
    "pg_extension": [
        ("oid", T::Int8), ("extname", T::Text), ("extowner", T::Int8), ("extnamespace", T::Int8), ("extversion", T::Text),
    ],
    "pg_event_trigger": [("oid", T::Int8), ("evtname", T::Text), ("evtevent", T::Text), ("evtowner", T::Int8)],
    "pg_enum": [("oid", T::Int8), ("enumtypid", T::Int8), ("enumsortorder", T::Float4), ("enumlabel", T::Text)],
    "pg_range": [("rngtypid", T::Int8), ("rngsubtype", T::Int8), ("rngcollation", T::Int8)],
    "pg_depend": [
        ("classid", T::Int8), ("objid", T::Int8), ("objsubid", T::Int4), ("refclassid", T::Int8), ("refobjid", T::Int8),
        ("refobjsubid", T::Int4), ("deptype", T::Text),
    ],
    "pg_auth_members": [("oid", T::Int8), ("roleid", T::Int8), ("member", T::Int8), ("admin_option", T::Bool)],
    "pg_db_role_setting": [("setdatabase", T::Int8), ("setrole", T::Int8), ("setconfig", T::Text)],
    "pg_prepared_xacts": [("transaction", T::Text), ("gid", T::Text), ("owner", T::Text), ("database", T::Text)],
}
