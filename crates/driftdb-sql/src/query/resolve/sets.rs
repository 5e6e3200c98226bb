//! UNION and WITH RECURSIVE: terms that must agree on their columns' types.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType as ArrowType;
use datafusion::common::{Column, DFSchema, Result as DfResult};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Cast, Expr, LogicalPlan, LogicalPlanBuilder, RecursiveQuery, Union};
use driftdb_types::{DataType, Error, SqlState};

use super::super::errors::into_datafusion;
use super::super::functions::ArgType;
use super::super::types::{ORIGIN_KEY, TYPE_KEY};
use super::{Resolver, common_arrow, common_of, fail, known_field};

impl Resolver<'_> {
    /// Every input of a UNION gives each column in the type that all agree on.
    pub(super) fn union(&mut self, union: Union) -> DfResult<LogicalPlan> {
        let Union { inputs, schema } = union;
        let width = schema.fields().len();
        let mut columns: Vec<Vec<ArgType>> = Vec::with_capacity(inputs.len());
        for input in &inputs {
            if input.schema().fields().len() != width {
                return fail(Error::new(
                    SqlState::SYNTAX_ERROR,
                    "each UNION query must have the same number of columns",
                ));
            }
            columns.push((0..width).map(|column| self.output(input, column)).collect::<DfResult<Vec<_>>>()?);
        }
        let mut targets = Vec::with_capacity(width);
        for column in 0..width {
            let of_column: Vec<ArgType> = columns.iter().filter_map(|input| input.get(column).cloned()).collect();
            let target = common_of(&of_column, "UNION").map_err(into_datafusion)?;
            let arrow = common_arrow(&of_column, target);
            targets.push((target, arrow));
        }
        let mut converted = Vec::with_capacity(inputs.len());
        for (input, types) in inputs.into_iter().zip(&columns) {
            converted.push(Arc::new(self.convert_output(Arc::unwrap_or_clone(input), types, &targets)?));
        }
        // The names are the first input's, the types those that were agreed on.
        let types = converted.first().map(|first| Arc::clone(first.schema()));
        let fields = schema.iter().zip(types.iter().flat_map(|types| types.fields().iter()));
        let fields = fields.map(|((relation, named), typed)| {
            (relation.cloned(), Arc::new(typed.as_ref().clone().with_name(named.name()).with_nullable(true)))
        });
        let schema = DFSchema::new_with_metadata(fields.collect(), schema.metadata().clone())?;
        Ok(LogicalPlan::Union(Union { inputs: converted, schema: Arc::new(schema) }))
    }

    /// Both terms of a recursive query must give the same types: DataFusion would convert the rows of the second to the
    /// types of the first, and so never end.
    pub(super) fn recursive(&mut self, query: RecursiveQuery) -> DfResult<LogicalPlan> {
        let RecursiveQuery { name, static_term, recursive_term, is_distinct, .. } = query;
        if let LogicalPlan::Projection(projection) = recursive_term.as_ref() {
            let schema = merge_schema(&recursive_term.inputs());
            for (number, (expr, first)) in projection.expr.iter().zip(static_term.schema().fields()).enumerate() {
                // The user's casts are calls of ours: a plain one is DataFusion's.
                let Expr::Cast(Cast { expr: found, .. }) = expr.clone().unalias() else { continue };
                let (Some(first), Some(found)) =
                    (known_field(first)?.data_type(), self.arg(&found, &schema)?.data_type())
                else {
                    continue;
                };
                return fail(
                    Error::new(
                        SqlState::DATATYPE_MISMATCH,
                        format!(
                            "recursive query \"{name}\" column {} has type {first} in non-recursive term but type {found} \
                             overall",
                            number + 1
                        ),
                    )
                    .hint("Cast the output of the non-recursive term to the correct type."),
                );
            }
        }
        // Where a column comes from is no part of what the terms must agree on, but DataFusion takes it for that.
        let plain = |term: Arc<LogicalPlan>| -> DfResult<Arc<LogicalPlan>> {
            let fields: Vec<_> = term.schema().iter().map(|(q, f)| (q.cloned(), Arc::clone(f))).collect();
            let columns = fields.into_iter().map(|(relation, field)| {
                let code = field.metadata().get(TYPE_KEY).cloned().unwrap_or_default();
                let metadata = HashMap::from([(TYPE_KEY.to_owned(), code), (ORIGIN_KEY.to_owned(), String::new())]);
                Expr::Column(Column::new(relation.clone(), field.name())).alias_qualified_with_metadata(
                    relation,
                    field.name(),
                    Some(metadata.into()),
                )
            });
            Ok(Arc::new(LogicalPlanBuilder::from(Arc::unwrap_or_clone(term)).project(columns)?.build()?))
        };
        let (first, next) = (plain(static_term)?, plain(recursive_term)?);
        Ok(LogicalPlan::RecursiveQuery(RecursiveQuery::try_new(name, first, next, is_distinct)?))
    }

    /// The type of an input's column; that of a literal without a type is unknown.
    fn output(&mut self, input: &LogicalPlan, column: usize) -> DfResult<ArgType> {
        if let LogicalPlan::Projection(projection) = input
            && let Some(expr) = projection.expr.get(column)
        {
            let schema = merge_schema(&input.inputs());
            return self.arg(expr, &schema);
        }
        let field = input.schema().field(column);
        match field.data_type() {
            ArrowType::Null => Ok(ArgType::Unknown),
            _ => known_field(field),
        }
    }

    fn convert_output(
        &mut self,
        input: LogicalPlan,
        types: &[ArgType],
        targets: &[(DataType, ArrowType)],
    ) -> DfResult<LogicalPlan> {
        let same = input.schema().fields().iter().zip(targets).all(|(field, (_, arrow))| field.data_type() == arrow);
        if same {
            return Ok(input);
        }
        if let LogicalPlan::Projection(mut projection) = input {
            let mut exprs = Vec::with_capacity(projection.expr.len());
            for ((expr, from), (target, arrow)) in
                std::mem::take(&mut projection.expr).into_iter().zip(types).zip(targets)
            {
                let name = NamePreserver::new_for_projection().save(&expr);
                exprs.push(name.restore(self.convert_to(expr, from, *target, arrow)?));
            }
            return LogicalPlanBuilder::from(Arc::unwrap_or_clone(projection.input)).project(exprs)?.build();
        }
        let columns = input.schema().columns();
        let mut exprs = Vec::with_capacity(columns.len());
        for ((column, from), (target, arrow)) in columns.into_iter().zip(types).zip(targets) {
            let (relation, name) = (column.relation.clone(), column.name.clone());
            let converted = self.convert_to(Expr::Column(column), from, *target, arrow)?;
            exprs.push(converted.alias_qualified(relation, name));
        }
        LogicalPlanBuilder::from(input).project(exprs)?.build()
    }
}
