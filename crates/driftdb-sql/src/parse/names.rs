//! Names: folding to lower case, and which names reach a table.

use datafusion::sql::sqlparser::ast::{Ident, ObjectName, ObjectNamePart};
use driftdb_types::{Error, Result, SqlState};

use super::source::Source;

/// A name as the catalog knows it: lower case unless quoted.
pub(crate) fn name_of(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// Words that PostgreSQL reserves, so that they name nothing unless quoted (manual, appendix C), as far as sqlparser
/// would let them.
const RESERVED: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "both",
    "case",
    "cast",
    "check",
    "collate",
    "column",
    "constraint",
    "create",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "fetch",
    "for",
    "foreign",
    "from",
    "grant",
    "group",
    "having",
    "in",
    "initially",
    "intersect",
    "into",
    "lateral",
    "leading",
    "limit",
    "not",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "placing",
    "primary",
    "references",
    "returning",
    "select",
    "some",
    "symmetric",
    "table",
    "then",
    "to",
    "trailing",
    "union",
    "unique",
    "using",
    "variadic",
    "when",
    "where",
    "window",
    "with",
];

/// Whether a name is a reserved word that is not quoted.
pub(crate) fn is_reserved(ident: &Ident) -> bool {
    ident.quote_style.is_none() && RESERVED.contains(&ident.value.to_lowercase().as_str())
}

/// The name of a table that a statement writes or defines.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TableName {
    pub(crate) name: String,
    /// The parsed name, for queries built over the same table and for its place in the text.
    pub(crate) object: ObjectName,
}

impl TableName {
    /// Reads `[public.]name`.
    pub(crate) fn new(source: &Source, object: &ObjectName) -> Result<TableName> {
        let idents = idents(source, object)?;
        let name = match idents.as_slice() {
            [name] => name,
            [schema, name] => {
                let schema = name_of(schema);
                if schema != "public" {
                    let error = match schema.as_str() {
                        "pg_catalog" | "information_schema" | "driftdb" => Error::new(
                            SqlState::INSUFFICIENT_PRIVILEGE,
                            format!("permission denied: \"{object}\" is a system catalog"),
                        ),
                        _ => Error::new(SqlState::INVALID_SCHEMA_NAME, format!("schema \"{schema}\" does not exist")),
                    };
                    return Err(source.locate(error, object));
                }
                name
            }
            _ => return Err(source.locate(Error::unsupported("a table of another database"), object)),
        };
        Ok(TableName { name: name_of(name), object: object.clone() })
    }

    /// 42P01 for this name.
    pub(crate) fn undefined(&self, source: &Source) -> Error {
        source.locate(
            Error::new(SqlState::UNDEFINED_TABLE, format!("relation \"{}\" does not exist", self.name)),
            &self.object,
        )
    }
}

/// The parts of a dotted name.
pub(crate) fn idents(source: &Source, object: &ObjectName) -> Result<Vec<Ident>> {
    object
        .0
        .iter()
        .map(|part| match part {
            ObjectNamePart::Identifier(ident) => Ok(ident.clone()),
            ObjectNamePart::Function(_) => Err(source.locate(Error::unsupported("IDENTIFIER(…)"), object)),
        })
        .collect()
}

/// The single part of a name that takes no qualification.
pub(crate) fn single(source: &Source, object: &ObjectName, what: &str) -> Result<Ident> {
    match idents(source, object)?.as_slice() {
        [ident] => Ok(ident.clone()),
        _ => Err(source
            .locate(Error::new(SqlState::SYNTAX_ERROR, format!("{what} \"{object}\" takes no qualification")), object)),
    }
}

/// The name of a table written `name` or `public.name`.
pub(crate) fn plain_table_name(object: &ObjectName) -> Option<String> {
    match object.0.as_slice() {
        [ObjectNamePart::Identifier(name)] => Some(name_of(name)),
        [ObjectNamePart::Identifier(schema), ObjectNamePart::Identifier(name)] if name_of(schema) == "public" => {
            Some(name_of(name))
        }
        _ => None,
    }
}
