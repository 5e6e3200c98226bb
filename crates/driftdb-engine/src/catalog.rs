//! The catalog: which tables there are, as of a stamp.
//!
//! Definitions are entries of the tree [`TreeId::CATALOG`] (key: object id, payload: the [`TableSchema`] as JSON), so
//! they have a history like any row. A [`Catalog`] is one immutable state of them. [`Catalogs`] keeps the newest for
//! the sessions, reads older ones from a view, and tells the store what each tree holds.
//!
//! *Views and catalogs move together.* The pipeline sets the new catalog a moment before it publishes the view with
//! the same commits. A session takes the view first and then looks here: what it finds is of that view, or newer; if
//! newer, the state before the last group of commits, which is kept beside, is the one ([`Catalogs::of`]).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use driftdb_store::{Period, ReadPoint, SchemaSource, StoreView, TreeSchema};
use driftdb_types::{CommitSeq, Error, IndexSchema, KeyRange, Result, SqlState, TableSchema, TreeId};
use imbl::OrdMap;
use parking_lot::{Mutex, RwLock};

/// How many catalogs of the past are kept ready.
const CACHED_MAX: usize = 64;

/// Something that has a name of its own: tables and indexes share one space of names.
#[derive(Clone, Debug)]
pub enum NamedObject<'a> {
    /// A table.
    Table(&'a Arc<TableSchema>),
    /// An index and the table it belongs to.
    Index(&'a Arc<TableSchema>, &'a IndexSchema),
    /// The primary key that orders a table's rows: its name is taken as an index's would be.
    PrimaryKey(&'a Arc<TableSchema>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    Table(TreeId),
    Index { table: TreeId, index: TreeId },
    PrimaryKey(TreeId),
}

/// All definitions at one stamp. Immutable.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    changed_at: CommitSeq,
    tables: OrdMap<TreeId, Arc<TableSchema>>,
    names: OrdMap<String, Named>,
}

/// One definition's change: the new one, or `None` where the table is dropped.
pub(crate) type CatalogChange = (TreeId, Option<Arc<TableSchema>>);

impl Catalog {
    /// The commit that made it what it is.
    pub fn changed_at(&self) -> CommitSeq {
        self.changed_at
    }

    /// The table of that name.
    pub fn table(&self, name: &str) -> Option<&Arc<TableSchema>> {
        match self.names.get(name)? {
            Named::Table(id) => self.tables.get(id),
            Named::Index { .. } | Named::PrimaryKey(_) => None,
        }
    }

    /// The table with that id.
    pub fn table_by_id(&self, id: TreeId) -> Option<&Arc<TableSchema>> {
        self.tables.get(&id)
    }

    /// All tables, in the order of their ids.
    pub fn tables(&self) -> impl Iterator<Item = &Arc<TableSchema>> {
        self.tables.values()
    }

    /// The table or index of that name.
    pub fn object_named(&self, name: &str) -> Option<NamedObject<'_>> {
        match self.names.get(name)? {
            Named::Table(id) => self.tables.get(id).map(NamedObject::Table),
            Named::Index { table, index } => {
                let table = self.tables.get(table)?;
                let index = table.indexes.iter().find(|candidate| candidate.id == *index)?;
                Some(NamedObject::Index(table, index))
            }
            Named::PrimaryKey(table) => self.tables.get(table).map(NamedObject::PrimaryKey),
        }
    }

    /// What a tree is, for messages.
    pub(crate) fn describe(&self, tree: TreeId) -> String {
        if tree == TreeId::CATALOG {
            return "the catalog".to_owned();
        }
        if tree == TreeId::COMMITS {
            return "the list of commits".to_owned();
        }
        if let Some(table) = self.table_by_id(tree) {
            return format!("relation \"{}\"", table.name);
        }
        let mut indexes = self.tables().flat_map(|table| &table.indexes);
        match indexes.find(|index| index.id == tree) {
            Some(index) => format!("index \"{}\"", index.name),
            None => format!("object {tree}"),
        }
    }

    /// Whether the name is taken.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// Changes some definitions, all at once: names that one of them gives up, another may take, whatever their ids.
    pub(crate) fn apply<'a>(&mut self, changes: impl Iterator<Item = (TreeId, Option<&'a Arc<TableSchema>>)> + Clone) {
        for (id, _) in changes.clone() {
            let Some(old) = self.tables.remove(&id) else { continue };
            for name in names_of(&old) {
                self.names.remove(name);
            }
        }
        for (id, schema) in changes {
            if let Some(schema) = schema {
                self.add(id, schema);
            }
        }
    }

    /// Adds a definition of an id that has none.
    fn add(&mut self, id: TreeId, schema: &Arc<TableSchema>) {
        self.names.insert(schema.name.clone(), Named::Table(id));
        for index in &schema.indexes {
            self.names.insert(index.name.clone(), Named::Index { table: id, index: index.id });
        }
        if let Some(key) = schema.primary_key.as_ref().filter(|key| key.index.is_none()) {
            self.names.insert(key.name.clone(), Named::PrimaryKey(id));
        }
        self.tables.insert(id, Arc::clone(schema));
    }

    /// The state after a commit.
    pub(crate) fn after(&self, seq: CommitSeq, changes: &[CatalogChange]) -> Catalog {
        let mut catalog = self.clone();
        catalog.apply(changes.iter().map(|(id, schema)| (*id, schema.as_ref())));
        catalog.changed_at = seq;
        catalog
    }
}

/// Every name a table takes up: its own, those of its indexes, and that of its primary key.
pub(crate) fn names_of(schema: &TableSchema) -> impl Iterator<Item = &str> {
    let clustered = schema.primary_key.as_ref().filter(|key| key.index.is_none());
    std::iter::once(schema.name.as_str())
        .chain(schema.indexes.iter().map(|index| index.name.as_str()))
        .chain(clustered.map(|key| key.name.as_str()))
}

/// The key of a definition in the tree of the catalog.
pub(crate) fn catalog_key(id: TreeId) -> Bytes {
    Bytes::copy_from_slice(&id.0.to_be_bytes())
}

/// The payload of a definition.
pub(crate) fn encode_schema(schema: &TableSchema) -> Result<Bytes> {
    serde_json::to_vec(schema)
        .map(Bytes::from)
        .map_err(|error| Error::internal(format!("table {:?} cannot be encoded: {error}", schema.name)))
}

fn decode_schema(payload: &[u8]) -> Result<Arc<TableSchema>> {
    serde_json::from_slice(payload)
        .map(Arc::new)
        .map_err(|error| damaged(&format!("a definition cannot be read: {error}")))
}

/// What a write to the tree of the catalog changes.
pub(crate) fn decode_change(key: &[u8], payload: Option<&[u8]>) -> Result<CatalogChange> {
    let id = <[u8; 4]>::try_from(key).map_err(|_| damaged("a key is not an object id"))?;
    Ok((TreeId(u32::from_be_bytes(id)), payload.map(decode_schema).transpose()?))
}

fn damaged(what: &str) -> Error {
    Error::new(SqlState::DATA_CORRUPTED, format!("the catalog is damaged: {what}"))
}

/// What the store is told about trees: the latest definition each ever had.
#[derive(Debug, Default)]
pub(crate) struct KnownTrees {
    tables: RwLock<HashMap<TreeId, Arc<TableSchema>>>,
    /// The table of each index that ever was.
    owners: RwLock<BTreeMap<TreeId, TreeId>>,
    /// The first commit as of which each table can be read, once that is durable.
    horizons: RwLock<HashMap<TreeId, CommitSeq>>,
}

impl KnownTrees {
    /// A definition that is about to be applied to the store, or was at some time. A flush may ask at any moment, so
    /// an older definition never takes the place of a newer one: rows would lose the columns that it lacks.
    pub(crate) fn learn(&self, schema: &Arc<TableSchema>) {
        self.owners.write().extend(schema.indexes.iter().map(|index| (index.id, schema.id)));
        let mut tables = self.tables.write();
        if tables.get(&schema.id).is_none_or(|known| known.version < schema.version) {
            tables.insert(schema.id, Arc::clone(schema));
        }
    }

    /// The table that a tree belongs to, or belonged to once.
    pub(crate) fn owner(&self, tree: TreeId) -> Option<TreeId> {
        self.owners.read().get(&tree).copied()
    }

    /// The trees of a table, those of indexes dropped since included, in their order.
    pub(crate) fn trees_of(&self, table: TreeId) -> Vec<TreeId> {
        let owners = self.owners.read();
        let mut trees: Vec<TreeId> = owners.iter().filter(|(_, of)| **of == table).map(|(tree, _)| *tree).collect();
        trees.push(table);
        trees.sort_unstable();
        trees
    }

    /// Versions of the table that ended at or before this commit may go from now on.
    pub(crate) fn set_horizon(&self, table: TreeId, horizon: CommitSeq) {
        self.horizons.write().insert(table, horizon);
    }

    /// Every tree in which commits write, the tree of commits apart, with the table that it belongs to.
    pub(crate) fn all_trees(&self) -> BTreeMap<TreeId, TreeId> {
        let mut trees = self.owners.read().clone();
        let own = self
            .tables
            .read()
            .keys()
            .copied()
            .chain([TreeId::CATALOG, TreeId::PINS, TreeId::HORIZONS, TreeId::ERASURES])
            .map(|table| (table, table))
            .collect::<Vec<_>>();
        trees.extend(own);
        trees
    }

    /// What a table was called last, for messages.
    pub(crate) fn describe(&self, table: TreeId) -> String {
        match self.tables.read().get(&table) {
            Some(schema) => format!("table \"{}\"", schema.name),
            None => format!("object {table}"),
        }
    }
}

impl SchemaSource for KnownTrees {
    fn tree_schema(&self, tree: TreeId) -> Option<TreeSchema> {
        match self.tables.read().get(&tree) {
            Some(schema) => Some(TreeSchema::Rows(Arc::clone(schema))),
            None => Some(TreeSchema::Opaque),
        }
    }

    fn horizon(&self, tree: TreeId) -> CommitSeq {
        let table = self.owner(tree).unwrap_or(tree);
        self.horizons.read().get(&table).copied().unwrap_or_default()
    }
}

/// The newest catalog, and the one before the last group of commits that changed it.
#[derive(Debug)]
struct Head {
    newest: Arc<Catalog>,
    before: Arc<Catalog>,
}

/// All catalogs: now and then.
#[derive(Debug)]
pub(crate) struct Catalogs {
    head: ArcSwap<Head>,
    known: Arc<KnownTrees>,
    past: Mutex<Past>,
}

#[derive(Debug, Default)]
struct Past {
    /// Every commit that changed the catalog, in order.
    changes: Vec<CommitSeq>,
    /// Catalogs that were asked for, the one used last at the back.
    cached: VecDeque<Arc<Catalog>>,
}

impl Catalogs {
    /// The catalogs of a store as it is, in which nothing is yet to come.
    pub(crate) fn load(known: Arc<KnownTrees>, view: &Arc<StoreView>) -> Result<Catalogs> {
        let mut changes = Vec::new();
        for version in view.versions(TreeId::CATALOG, &KeyRange::all(), Period::All)? {
            let version = version?;
            changes.push(version.from.seq);
            changes.extend(version.to.map(|to| to.seq));
            if let (_, Some(schema)) = decode_change(&version.key, Some(&version.payload))? {
                known.learn(&schema);
            }
        }
        changes.sort_unstable();
        changes.dedup();
        let newest = read_catalog(view, ReadPoint::Latest, changes.last().copied().unwrap_or_default())?;
        let newest = Arc::new(newest);
        let head = Head { before: Arc::clone(&newest), newest };
        Ok(Catalogs {
            head: ArcSwap::from_pointee(head),
            known,
            past: Mutex::new(Past { changes, cached: VecDeque::new() }),
        })
    }

    /// The newest committed catalog, which may be ahead of the published view for a moment.
    pub(crate) fn newest(&self) -> Arc<Catalog> {
        Arc::clone(&self.head.load().newest)
    }

    /// The catalog that belongs to a view just taken. `None` when two groups of commits came between: take a new view.
    pub(crate) fn of(&self, view: &StoreView) -> Option<Arc<Catalog>> {
        let head = self.head.load();
        let seq = view.stamp().seq;
        [&head.newest, &head.before].into_iter().find(|catalog| catalog.changed_at <= seq).map(Arc::clone)
    }

    /// Sets what a group of commits made of the catalog. The pipeline calls this just before it publishes the group.
    pub(crate) fn publish(&self, newest: Arc<Catalog>, changes: &[CommitSeq]) {
        self.past.lock().changes.extend(changes);
        let before = self.newest();
        self.head.store(Arc::new(Head { newest, before }));
    }

    /// What the store is to know before it is given a change.
    pub(crate) fn learn(&self, changes: &[CatalogChange]) {
        for schema in changes.iter().filter_map(|(_, schema)| schema.as_ref()) {
            self.known.learn(schema);
        }
    }

    /// The catalog as of `seq`, read from a view that has it.
    pub(crate) fn at(&self, view: &Arc<StoreView>, seq: CommitSeq) -> Result<Arc<Catalog>> {
        let changed_at = {
            let mut past = self.past.lock();
            let upto = past.changes.partition_point(|change| *change <= seq);
            let Some(changed_at) = upto.checked_sub(1).and_then(|last| past.changes.get(last).copied()) else {
                return Ok(Arc::new(Catalog::default()));
            };
            if let Some(position) = past.cached.iter().position(|catalog| catalog.changed_at == changed_at)
                && let Some(catalog) = past.cached.remove(position)
            {
                past.cached.push_back(Arc::clone(&catalog));
                return Ok(catalog);
            }
            changed_at
        };
        let head = self.newest();
        if head.changed_at == changed_at {
            return Ok(head);
        }
        let catalog = Arc::new(read_catalog(view, ReadPoint::AsOf(seq), changed_at)?);
        let mut past = self.past.lock();
        if past.cached.len() >= CACHED_MAX {
            past.cached.pop_front();
        }
        past.cached.push_back(Arc::clone(&catalog));
        Ok(catalog)
    }

    /// What was ever defined.
    pub(crate) fn known(&self) -> &KnownTrees {
        &self.known
    }

    /// The latest definition a table ever had, dropped or not.
    pub(crate) fn ever(&self, id: TreeId) -> Option<Arc<TableSchema>> {
        self.known.tables.read().get(&id).map(Arc::clone)
    }
}

fn read_catalog(view: &Arc<StoreView>, at: ReadPoint, changed_at: CommitSeq) -> Result<Catalog> {
    let mut catalog = Catalog { changed_at, ..Catalog::default() };
    for version in view.scan(TreeId::CATALOG, &KeyRange::all(), at, false)? {
        let version = version?;
        if let (id, Some(schema)) = decode_change(&version.key, Some(&version.payload))? {
            catalog.add(id, &schema);
        }
    }
    Ok(catalog)
}

#[cfg(test)]
mod tests {
    use driftdb_types::{ColumnId, PrimaryKey};

    use super::*;

    fn table(id: u32, name: &str) -> Arc<TableSchema> {
        Arc::new(TableSchema {
            id: TreeId(id),
            name: name.to_owned(),
            version: 1,
            columns: Vec::new(),
            primary_key: Some(PrimaryKey { name: format!("{name}_pkey"), columns: vec![ColumnId(0)], index: None }),
            indexes: vec![IndexSchema {
                id: TreeId(id + 1),
                name: format!("{name}_idx"),
                columns: vec![ColumnId(0)],
                unique: false,
                constraint: false,
            }],
            options: Vec::new(),
            retention: None,
        })
    }

    #[test]
    fn names_follow_the_definitions() {
        let start = Catalog::default();
        let first = start.after(CommitSeq(1), &[(TreeId(100), Some(table(100, "a")))]);
        assert!(start.table("a").is_none());
        assert_eq!(first.table("a").unwrap().id, TreeId(100));
        assert!(matches!(first.object_named("a_idx"), Some(NamedObject::Index(_, index)) if index.id == TreeId(101)));
        assert!(first.is_named("a_pkey") && first.table("a_idx").is_none());
        let renamed = first.after(CommitSeq(2), &[(TreeId(100), Some(table(100, "b")))]);
        assert!(renamed.table("a").is_none() && !renamed.is_named("a_idx") && renamed.is_named("b_idx"));
        let dropped = renamed.after(CommitSeq(3), &[(TreeId(100), None)]);
        assert_eq!(dropped.tables().count(), 0);
        assert!(!dropped.is_named("b_pkey"));
        assert_eq!(first.tables().count(), 1);
    }

    #[test]
    fn a_name_moves_to_a_table_with_a_smaller_id() {
        let changes = [(TreeId(100), Some(table(100, "a"))), (TreeId(200), Some(table(200, "b")))];
        let start = Catalog::default().after(CommitSeq(1), &changes);
        let changes = [(TreeId(100), Some(table(100, "b"))), (TreeId(200), Some(table(200, "b_old")))];
        let renamed = start.after(CommitSeq(2), &changes);
        assert_eq!(renamed.table("b").map(|table| table.id), Some(TreeId(100)));
        assert_eq!(renamed.table("b_old").map(|table| table.id), Some(TreeId(200)));
        assert!(renamed.is_named("b_idx") && renamed.is_named("b_pkey") && !renamed.is_named("a"));
        let changes = [(TreeId(100), Some(table(100, "b"))), (TreeId(200), None)];
        let dropped = start.after(CommitSeq(2), &changes);
        assert_eq!(dropped.table("b").map(|table| table.id), Some(TreeId(100)));
        assert!(dropped.is_named("b_idx") && dropped.is_named("b_pkey") && !dropped.is_named("a"));
    }

    /// Between the two steps of the pipeline a catalog is ahead of the view: a session gets the one before.
    #[test]
    fn a_view_gets_its_own_catalog_and_no_newer_one() {
        let env = driftdb_env::Env::sim(1).env;
        let known = Arc::new(KnownTrees::default());
        let dir = std::path::Path::new("/db");
        env.disk.create_dir_all(dir).unwrap();
        let options = driftdb_store::StoreOptions::default();
        let store = driftdb_store::Store::open(env, dir, options, Arc::<KnownTrees>::clone(&known)).unwrap();
        let view = store.view();
        let catalogs = Catalogs::load(known, &view).unwrap();
        let first = Arc::new(catalogs.newest().after(CommitSeq(1), &[(TreeId(100), Some(table(100, "a")))]));
        catalogs.publish(Arc::clone(&first), &[CommitSeq(1)]);
        assert_eq!(catalogs.of(&view).unwrap().tables().count(), 0);
        assert_eq!(catalogs.newest().tables().count(), 1);
        // Two groups on, there is nothing for so old a view: a new one is to be taken.
        catalogs.publish(Arc::new(first.after(CommitSeq(2), &[(TreeId(100), None)])), &[CommitSeq(2)]);
        assert!(catalogs.of(&view).is_none());
    }

    #[test]
    fn what_is_known_of_a_tree_never_goes_back() {
        let known = KnownTrees::default();
        let newer = Arc::new(TableSchema { version: 2, ..TableSchema::clone(&table(100, "new")) });
        known.learn(&newer);
        known.learn(&table(100, "old"));
        let Some(TreeSchema::Rows(schema)) = known.tree_schema(TreeId(100)) else { panic!("not known") };
        assert_eq!(schema, newer);
    }

    #[test]
    fn damaged_entries_are_errors() {
        assert!(decode_change(b"abc", None).is_err());
        assert!(decode_change(&[0, 0, 0, 1], Some(b"{")).is_err());
        let schema = table(100, "a");
        let change = decode_change(&catalog_key(TreeId(100)), Some(&encode_schema(&schema).unwrap())).unwrap();
        assert_eq!(change, (TreeId(100), Some(schema)));
    }
}
