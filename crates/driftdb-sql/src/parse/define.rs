//! From sqlparser's CREATE and ALTER to ours.

use datafusion::sql::sqlparser::ast::helpers::stmt_create_table::CreateTableBuilder;
use datafusion::sql::sqlparser::ast::{
    self, AlterColumnOperation, AlterTableOperation, ColumnDef, ColumnOption, ColumnOptionDef,
    ConstraintCharacteristics, CreateTableOptions, Expr, Ident, IndexColumn, IndexType, NullsDistinctOption,
    OrderByExpr, OrderByOptions, PrimaryKeyConstraint, RenameTableNameKind, SqlOption, TableConstraint,
    UniqueConstraint,
};
use driftdb_types::{Error, Result, SqlState};

use super::allow::Walk;
use super::names::{TableName, single};
use super::source::Source;
use super::statement::*;
use super::types::data_type;

pub(crate) fn create_table(source: &Source, create: ast::CreateTable, walk: &mut Walk<'_>) -> Result<Kind> {
    refuse_options(&create)?;
    let table = TableName::new(source, &create.name)?;
    let options = storage_options(&create.table_options)?;
    if let Some(query) = create.query {
        if !create.constraints.is_empty() {
            return Err(Error::unsupported("constraints in CREATE TABLE AS"));
        }
        if !create.columns.is_empty() {
            return Err(Error::unsupported("column types in CREATE TABLE AS"));
        }
        walk.query(&query)?;
        let columns = Vec::new();
        let if_not_exists = create.if_not_exists;
        return Ok(Kind::CreateTableAs(Box::new(CreateTableAs { table, if_not_exists, columns, options, query })));
    }
    let mut keys = Vec::new();
    let mut columns = Vec::new();
    for column in create.columns {
        columns.push(new_column(source, column, &mut keys, walk)?);
    }
    for constraint in create.constraints {
        keys.push(key_constraint(constraint)?);
    }
    let if_not_exists = create.if_not_exists;
    Ok(Kind::CreateTable(Box::new(CreateTable { table, if_not_exists, columns, keys, options })))
}

/// Compares with the same statement built from only the parts that are done: any other part makes a difference, one
/// of a later sqlparser too.
fn refuse_options(create: &ast::CreateTable) -> Result<()> {
    let named = [
        (create.temporary, "TEMPORARY tables"),
        (create.or_replace, "OR REPLACE"),
        (create.external, "EXTERNAL tables"),
        (create.global.is_some(), "GLOBAL or LOCAL tables"),
        (create.like.is_some(), "LIKE in CREATE TABLE"),
        (create.on_commit.is_some(), "ON COMMIT"),
        (create.inherits.is_some(), "INHERITS"),
        (create.partition_by.is_some(), "PARTITION BY"),
        (create.partition_of.is_some(), "PARTITION OF"),
    ];
    if let Some((_, what)) = named.into_iter().find(|(present, _)| *present) {
        return Err(Error::unsupported(what));
    }
    let plain = CreateTableBuilder::new(create.name.clone())
        .if_not_exists(create.if_not_exists)
        .columns(create.columns.clone())
        .constraints(create.constraints.clone())
        .table_options(create.table_options.clone())
        .query(create.query.clone())
        .hive_distribution(create.hive_distribution.clone())
        .hive_formats(create.hive_formats.clone())
        .build();
    let hive = !matches!(create.hive_distribution, ast::HiveDistributionStyle::NONE)
        || create.hive_formats.as_ref().is_some_and(|formats| *formats != ast::HiveFormat::default());
    if plain != *create || hive {
        return Err(Error::unsupported("an option of CREATE TABLE that PostgreSQL does not have"));
    }
    Ok(())
}

fn storage_options(options: &CreateTableOptions) -> Result<Vec<(String, String)>> {
    match options {
        CreateTableOptions::None => Ok(Vec::new()),
        CreateTableOptions::With(options) => options.iter().map(storage_option).collect(),
        _ => Err(Error::unsupported("table options without WITH")),
    }
}

/// Only options that cannot change a result are kept.
fn storage_option(option: &SqlOption) -> Result<(String, String)> {
    let SqlOption::KeyValue { key, value } = option else {
        return Err(Error::unsupported(format!("the storage parameter {option}")));
    };
    let name = super::names::name_of(key);
    match name.as_str() {
        "fillfactor" => {
            let text = value.to_string();
            match text.trim_matches('\'').parse::<u8>() {
                Ok(percent @ 10..=100) => Ok((name, percent.to_string())),
                _ => Err(Error::new(
                    SqlState::INVALID_PARAMETER_VALUE,
                    format!("value {text} out of bounds for option \"fillfactor\""),
                )
                .detail("Valid values are between \"10\" and \"100\".")),
            }
        }
        _ => Err(Error::unsupported(format!("the storage parameter \"{name}\""))),
    }
}

fn new_column(
    source: &Source,
    column: ColumnDef,
    keys: &mut Vec<KeyConstraint>,
    walk: &mut Walk<'_>,
) -> Result<NewColumn> {
    let ColumnDef { name, data_type: ast_type, options } = column;
    let data_type = data_type(&ast_type).map_err(|error| source.locate(error, &name))?;
    let mut new = NewColumn { name: name.clone(), data_type, not_null: false, default: None };
    let mut nullable = false;
    for ColumnOptionDef { name: constraint, option } in options {
        let refuse = |what: &str| Err(source.locate(Error::unsupported(what), &name));
        match option {
            ColumnOption::Null => nullable = true,
            ColumnOption::NotNull => new.not_null = true,
            ColumnOption::Default(expr) => new.default = Some(default_of(source, expr, walk)?),
            ColumnOption::PrimaryKey(key) => {
                let plain = PrimaryKeyConstraint {
                    name: key.name.clone(),
                    index_name: None,
                    index_type: None,
                    columns: key.columns.clone(),
                    index_options: Vec::new(),
                    characteristics: None,
                };
                if plain != key {
                    return refuse("an option of PRIMARY KEY");
                }
                keys.push(KeyConstraint { name: constraint.or(key.name), columns: vec![name.clone()], primary: true });
            }
            ColumnOption::Unique(key) => {
                unique_options(&key)?;
                keys.push(KeyConstraint { name: constraint.or(key.name), columns: vec![name.clone()], primary: false });
            }
            ColumnOption::ForeignKey(_) => return refuse("FOREIGN KEY"),
            ColumnOption::Check(_) => return refuse("CHECK"),
            ColumnOption::Generated { .. } | ColumnOption::Identity(_) => return refuse("GENERATED"),
            ColumnOption::Collation(collation) => return refuse(&format!("COLLATE {collation}")),
            other => return refuse(&format!("the column option {other}")),
        }
    }
    if nullable && new.not_null {
        let message = format!("conflicting NULL/NOT NULL declarations for column \"{}\"", super::names::name_of(&name));
        return Err(source.locate(Error::new(SqlState::SYNTAX_ERROR, message), &name));
    }
    Ok(new)
}

/// A default's text.
fn default_of(source: &Source, expr: Expr, walk: &mut Walk<'_>) -> Result<String> {
    walk.expr(&expr)?;
    let mut plain = true;
    let _: std::ops::ControlFlow<()> = ast::visit_expressions(&expr, |part| {
        plain &= !matches!(
            part,
            Expr::Identifier(_)
                | Expr::CompoundIdentifier(_)
                | Expr::Subquery(_)
                | Expr::Exists { .. }
                | Expr::InSubquery { .. }
        );
        std::ops::ControlFlow::Continue(())
    });
    if !plain {
        let error = Error::unsupported("a column or a subquery in DEFAULT");
        return Err(source.locate(error, &expr));
    }
    // Built from the tree, so that comments and the text's own spacing do not matter; it parses back to the same.
    let text = expr.to_string();
    Ok(text)
}

fn unique_options(key: &UniqueConstraint) -> Result<()> {
    if matches!(key.nulls_distinct, NullsDistinctOption::NotDistinct) {
        return Err(Error::unsupported("NULLS NOT DISTINCT"));
    }
    let UniqueConstraint {
        name: _,
        index_name,
        index_type_display,
        index_type,
        columns: _,
        index_options,
        characteristics,
        nulls_distinct: _,
    } = key;
    let extra = index_name.is_some()
        || *index_type_display != ast::KeyOrIndexDisplay::None
        || index_type.is_some()
        || !index_options.is_empty();
    if extra {
        return Err(Error::unsupported("an option of UNIQUE"));
    }
    refuse_deferrable(characteristics.as_ref())
}

fn refuse_deferrable(characteristics: Option<&ConstraintCharacteristics>) -> Result<()> {
    let Some(ConstraintCharacteristics { deferrable, initially, enforced }) = characteristics else { return Ok(()) };
    let harmless = *deferrable != Some(true)
        && !matches!(initially, Some(ast::DeferrableInitial::Deferred))
        && *enforced != Some(false);
    if harmless { Ok(()) } else { Err(Error::unsupported("DEFERRABLE or NOT ENFORCED constraints")) }
}

fn key_constraint(constraint: TableConstraint) -> Result<KeyConstraint> {
    match constraint {
        TableConstraint::PrimaryKey(PrimaryKeyConstraint {
            name,
            index_name,
            index_type,
            columns,
            index_options,
            characteristics,
        }) => {
            if index_name.is_some() || index_type.is_some() || !index_options.is_empty() {
                return Err(Error::unsupported("an option of PRIMARY KEY"));
            }
            refuse_deferrable(characteristics.as_ref())?;
            Ok(KeyConstraint { name, columns: plain_columns(columns)?, primary: true })
        }
        TableConstraint::Unique(key) => {
            unique_options(&key)?;
            Ok(KeyConstraint { name: key.name, columns: plain_columns(key.columns)?, primary: false })
        }
        TableConstraint::ForeignKey(_) => Err(Error::unsupported("FOREIGN KEY")),
        TableConstraint::Check(_) => Err(Error::unsupported("CHECK")),
        TableConstraint::PrimaryKeyUsingIndex(_) | TableConstraint::UniqueUsingIndex(_) => {
            Err(Error::unsupported("USING INDEX"))
        }
        TableConstraint::Index(_) | TableConstraint::FulltextOrSpatial(_) => {
            Err(Error::unsupported("an index in CREATE TABLE"))
        }
    }
}

/// Names of indexed columns, each in ascending order with NULLs last: the one order indexes are kept in.
fn plain_columns(columns: Vec<IndexColumn>) -> Result<Vec<Ident>> {
    columns
        .into_iter()
        .map(|IndexColumn { column: OrderByExpr { expr, options, with_fill }, operator_class }| {
            let OrderByOptions { asc, nulls_first } = options;
            if operator_class.is_some() || with_fill.is_some() {
                return Err(Error::unsupported("an operator class of an index"));
            }
            if asc == Some(false) || nulls_first == Some(true) {
                return Err(Error::unsupported("DESC or NULLS FIRST in an index"));
            }
            match expr {
                Expr::Identifier(ident) => Ok(ident),
                other => Err(Error::unsupported(format!("the expression {other} in an index"))),
            }
        })
        .collect()
}

pub(crate) fn create_index(source: &Source, create: ast::CreateIndex) -> Result<Kind> {
    let ast::CreateIndex {
        name,
        table_name,
        using,
        columns,
        unique,
        concurrently,
        if_not_exists,
        include,
        nulls_distinct,
        with,
        predicate,
        index_options,
        alter_options,
    } = create;
    let refused = [
        (!matches!(using, None | Some(IndexType::BTree)), "an index method other than btree"),
        (concurrently, "CREATE INDEX CONCURRENTLY"),
        (!include.is_empty(), "INCLUDE"),
        (nulls_distinct == Some(false), "NULLS NOT DISTINCT"),
        (!with.is_empty(), "WITH in CREATE INDEX"),
        (predicate.is_some(), "WHERE in CREATE INDEX"),
        (!index_options.is_empty(), "an option of CREATE INDEX"),
        (!alter_options.is_empty(), "an option of CREATE INDEX"),
    ];
    if let Some((_, what)) = refused.into_iter().find(|(present, _)| *present) {
        return Err(Error::unsupported(what));
    }
    let name = name.map(|name| single(source, &name, "an index")).transpose()?;
    let table = TableName::new(source, &table_name)?;
    let columns = plain_columns(columns)?;
    Ok(Kind::CreateIndex(Box::new(CreateIndex { name, table, columns, unique, if_not_exists })))
}

pub(crate) fn alter_table(source: &Source, alter: ast::AlterTable, walk: &mut Walk<'_>) -> Result<Kind> {
    let ast::AlterTable { name, if_exists, only: _, operations, location, on_cluster, table_type, end_token: _ } =
        alter;
    if location.is_some() || on_cluster.is_some() || table_type.is_some() {
        return Err(Error::unsupported("an option of ALTER TABLE that PostgreSQL does not have"));
    }
    let table = TableName::new(source, &name)?;
    let mut done = Vec::new();
    for operation in operations {
        done.push(alter_operation(source, operation, walk)?);
    }
    Ok(Kind::AlterTable(Box::new(AlterTable { table, if_exists, operations: done })))
}

fn alter_operation(source: &Source, operation: AlterTableOperation, walk: &mut Walk<'_>) -> Result<AlterOperation> {
    use AlterTableOperation as Op;
    Ok(match operation {
        Op::AddConstraint { constraint, not_valid } => {
            if not_valid {
                return Err(Error::unsupported("NOT VALID"));
            }
            AlterOperation::AddKey(key_constraint(constraint)?)
        }
        Op::AddColumn { column_keyword: _, if_not_exists, column_def, column_position } => {
            if column_position.is_some() {
                return Err(Error::unsupported("FIRST or AFTER in ADD COLUMN"));
            }
            // PROBES: `ADD SYSTEM VERSIONING` parses as a column called "system".
            if column_def.name.value.eq_ignore_ascii_case("system")
                && column_def.data_type.to_string().eq_ignore_ascii_case("versioning")
            {
                return Err(Error::unsupported("ADD SYSTEM VERSIONING").hint("Every table keeps its history already."));
            }
            let mut keys = Vec::new();
            let column = new_column(source, column_def, &mut keys, walk)?;
            AlterOperation::AddColumn { column, if_not_exists, keys }
        }
        Op::DropColumn { has_column_keyword: _, column_names, if_exists, drop_behavior: _ } => {
            match column_names.as_slice() {
                [name] => AlterOperation::DropColumn { name: name.clone(), if_exists },
                _ => return Err(Error::unsupported("DROP COLUMN of several columns at once")),
            }
        }
        Op::DropConstraint { if_exists, name, drop_behavior: _ } => AlterOperation::DropConstraint { name, if_exists },
        Op::RenameColumn { old_column_name, new_column_name } => {
            AlterOperation::RenameColumn { from: old_column_name, to: new_column_name }
        }
        Op::RenameTable { table_name: RenameTableNameKind::To(name) } => {
            AlterOperation::RenameTable { to: single(source, &name, "the new name")? }
        }
        Op::AlterColumn { column_name, op } => match op {
            AlterColumnOperation::SetNotNull => AlterOperation::SetNotNull(column_name),
            AlterColumnOperation::DropNotNull => AlterOperation::DropNotNull(column_name),
            AlterColumnOperation::SetDefault { value } => {
                AlterOperation::SetDefault(column_name, default_of(source, value, walk)?)
            }
            AlterColumnOperation::DropDefault => AlterOperation::DropDefault(column_name),
            AlterColumnOperation::SetDataType { .. } => return Err(Error::unsupported("ALTER COLUMN TYPE")),
            AlterColumnOperation::AddGenerated { .. } => return Err(Error::unsupported("ADD GENERATED")),
        },
        other => {
            return Err(Error::unsupported(format!(
                "ALTER TABLE … {}",
                super::convert::first_words(&other.to_string())
            )));
        }
    })
}
