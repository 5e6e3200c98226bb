//! Which columns an expression can name.

use datafusion::sql::sqlparser::ast::Ident;
use driftdb_types::{DataType, TableSchema};

use crate::parse::name_of;

/// A column that can be named, at its position in the row.
#[derive(Clone, Debug)]
pub(crate) struct ScopeColumn {
    /// The table's name or alias.
    pub(crate) qualifier: Option<String>,
    pub(crate) name: String,
    pub(crate) data_type: DataType,
    /// Its table and number, for a result's description.
    pub(crate) origin: Option<(u32, i16)>,
    /// Whether `*` shows it.
    pub(crate) in_star: bool,
}

/// The columns of a row, by position. A dropped column keeps its position without a name that could be written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    pub(crate) columns: Vec<Option<ScopeColumn>>,
}

impl Scope {
    /// The columns of a table, under its name or alias.
    pub(crate) fn table(table: &TableSchema, qualifier: &str) -> Scope {
        let mut scope = Scope::default();
        scope.add_table(table, qualifier, true);
        scope
    }

    pub(crate) fn add_table(&mut self, table: &TableSchema, qualifier: &str, in_star: bool) {
        for column in &table.columns {
            let number = i16::try_from(u32::from(column.id.0) + 1).unwrap_or(0);
            self.columns.push((!column.dropped).then(|| ScopeColumn {
                qualifier: Some(qualifier.to_owned()),
                name: column.name.clone(),
                data_type: column.data_type,
                origin: Some((table.id.0, number)),
                in_star,
            }));
        }
    }

    /// The position of the one column that is meant; `None` when none or more than one is.
    pub(crate) fn find(&self, idents: &[Ident]) -> Option<usize> {
        let (qualifier, name) = match idents {
            [name] => (None, name_of(name)),
            [qualifier, name] => (Some(name_of(qualifier)), name_of(name)),
            _ => return None,
        };
        let fits = |column: &ScopeColumn| {
            column.name == name
                && qualifier.as_ref().is_none_or(|qualifier| column.qualifier.as_ref() == Some(qualifier))
        };
        let mut found = self
            .columns
            .iter()
            .enumerate()
            .filter(|(_, column)| column.as_ref().is_some_and(fits))
            .map(|(position, _)| position);
        match (found.next(), found.next()) {
            (Some(position), None) => Some(position),
            _ => None,
        }
    }

    pub(crate) fn get(&self, position: usize) -> Option<&ScopeColumn> {
        self.columns.get(position).and_then(Option::as_ref)
    }

    /// What `*`, or `qualifier.*`, shows.
    pub(crate) fn star(&self, qualifier: Option<&str>) -> Vec<(usize, &ScopeColumn)> {
        self.columns
            .iter()
            .enumerate()
            .filter_map(|(position, column)| column.as_ref().map(|column| (position, column)))
            .filter(|(_, column)| column.in_star && (qualifier.is_none() || column.qualifier.as_deref() == qualifier))
            .collect()
    }
}
