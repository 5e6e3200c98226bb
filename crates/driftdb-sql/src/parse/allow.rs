//! The allow-list of queries and expressions.
//!
//! DataFusion accepts some clauses and ignores them, so a query reaches it only after this walk has looked at every
//! part of it. Structs are taken apart field by field, so that a field added by a new sqlparser breaks the build here
//! instead of slipping through.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::*;
use driftdb_types::{DataType as Type, Error, Result, SqlState};

use super::names::is_reserved;
use super::source::{Place, Source};
use super::temporal;

/// What the walk found on its way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    /// The highest `$n`.
    pub(crate) placeholders: usize,
    /// The types that casts give to parameters where planning does not see them, by number from 0.
    pub(crate) types: Vec<Option<Type>>,
}

impl Found {
    fn note(&mut self, position: usize, data_type: Type) {
        if position >= self.types.len() {
            self.types.resize(position + 1, None);
        }
        if let Some(slot) = self.types.get_mut(position) {
            slot.get_or_insert(data_type);
        }
    }
}

/// The number of a bare `$n`, from 0.
fn placeholder(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Nested(inner) => placeholder(inner),
        Expr::Value(ValueWithSpan { value: Value::Placeholder(name), .. }) => {
            name.strip_prefix('$')?.parse::<usize>().ok()?.checked_sub(1).filter(|position| *position < 65_535)
        }
        _ => None,
    }
}

fn argument(arg: &FunctionArg) -> Option<&Expr> {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    }
}

/// The type of a number or a cast, as it is written.
fn written_type(expr: &Expr) -> Option<Type> {
    match expr {
        Expr::Nested(inner) | Expr::UnaryOp { expr: inner, .. } => written_type(inner),
        Expr::Cast { data_type, .. } => super::types::data_type(data_type).ok(),
        Expr::TypedString(TypedString { data_type, .. }) => super::types::data_type(data_type).ok(),
        Expr::Value(ValueWithSpan { value: Value::Number(digits, _), .. }) => {
            let (small, large) = (digits.parse::<i32>().is_ok(), digits.parse::<i64>().is_ok());
            Some(if small {
                Type::Int4
            } else if large {
                Type::Int8
            } else {
                Type::Numeric(None)
            })
        }
        _ => None,
    }
}

/// Walks a part of a statement; every refusal carries its place in the text.
pub(crate) struct Walk<'a> {
    pub(crate) source: &'a Source,
    pub(crate) found: Found,
}

type Checked = Result<()>;

impl<'a> Walk<'a> {
    pub(crate) fn new(source: &'a Source) -> Walk<'a> {
        Walk { source, found: Found::default() }
    }

    fn refuse(&self, what: &str, at: &impl Place) -> Checked {
        Err(self.source.locate(Error::unsupported(what), at))
    }

    fn refuse_if(&self, present: bool, what: &str, at: &impl Place) -> Checked {
        if present { self.refuse(what, at) } else { Ok(()) }
    }

    /// A reserved word names nothing.
    fn named(&self, ident: &Ident) -> Checked {
        match is_reserved(ident) {
            true => Err(self.source.locate(
                Error::new(SqlState::SYNTAX_ERROR, format!("syntax error at or near \"{}\"", ident.value)),
                ident,
            )),
            false => Ok(()),
        }
    }

    /// A whole query. Its row locks (`FOR UPDATE`) are looked at by the caller, who may take them off first.
    pub(crate) fn query(&mut self, query: &Query) -> Checked {
        let Query {
            with,
            body,
            order_by,
            limit_clause,
            fetch,
            locks,
            for_clause,
            settings,
            format_clause,
            pipe_operators,
        } = query;
        if let Some(with) = with {
            self.with(with)?;
        }
        self.set_expr(body)?;
        if let Some(OrderBy { kind, interpolate }) = order_by {
            match kind {
                OrderByKind::All(_) => self.refuse("ORDER BY ALL", query)?,
                OrderByKind::Expressions(exprs) => self.order_by(exprs)?,
            }
            self.refuse_if(interpolate.is_some(), "INTERPOLATE", query)?;
        }
        match limit_clause {
            None => {}
            Some(LimitClause::LimitOffset { limit, offset, limit_by }) => {
                self.opt(limit.as_ref())?;
                self.opt(offset.as_ref().map(|offset| &offset.value))?;
                self.refuse_if(!limit_by.is_empty(), "LIMIT BY", query)?;
            }
            Some(LimitClause::OffsetCommaLimit { .. }) => self.refuse("LIMIT offset, count", query)?,
        }
        if let Some(Fetch { with_ties, percent, quantity }) = fetch {
            self.refuse_if(*with_ties, "FETCH … WITH TIES", query)?;
            self.refuse_if(*percent, "FETCH … PERCENT", query)?;
            self.opt(quantity.as_ref())?;
        }
        self.refuse_if(!locks.is_empty(), "FOR UPDATE or FOR SHARE here", query)?;
        self.refuse_if(for_clause.is_some(), "FOR XML, JSON or BROWSE", query)?;
        self.refuse_if(settings.is_some(), "SETTINGS", query)?;
        self.refuse_if(format_clause.is_some(), "FORMAT", query)?;
        self.refuse_if(!pipe_operators.is_empty(), "the pipe operator", query)
    }

    pub(crate) fn with(&mut self, with: &With) -> Checked {
        let With { with_token: _, recursive: _, cte_tables } = with;
        for cte in cte_tables {
            let Cte { alias, query, from, materialized: _, closing_paren_token: _ } = cte;
            self.alias(alias)?;
            self.refuse_if(from.is_some(), "FROM after a CTE", cte)?;
            self.query(query)?;
        }
        Ok(())
    }

    fn set_expr(&mut self, body: &SetExpr) -> Checked {
        match body {
            SetExpr::Select(select) => self.select(select),
            SetExpr::Query(query) => self.query(query),
            SetExpr::SetOperation { left, op, set_quantifier, right } => {
                self.refuse_if(matches!(op, SetOperator::Minus), "MINUS", body)?;
                // DataFusion keeps all or none of equal rows, not as many as are left.
                let all = matches!(set_quantifier, SetQuantifier::All);
                self.refuse_if(all && matches!(op, SetOperator::Intersect), "INTERSECT ALL", body)?;
                self.refuse_if(all && matches!(op, SetOperator::Except), "EXCEPT ALL", body)?;
                match set_quantifier {
                    SetQuantifier::All | SetQuantifier::Distinct | SetQuantifier::None => {}
                    SetQuantifier::ByName | SetQuantifier::AllByName | SetQuantifier::DistinctByName => {
                        self.refuse("BY NAME", body)?;
                    }
                }
                self.set_expr(left)?;
                self.set_expr(right)
            }
            SetExpr::Values(Values { explicit_row, value_keyword, rows }) => {
                self.refuse_if(*explicit_row || *value_keyword, "VALUES ROW(…)", body)?;
                rows.iter().try_for_each(|row| self.exprs(&row.content))
            }
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                self.refuse("a data-modifying statement inside a query", body)
            }
            SetExpr::Table(_) => self.refuse("TABLE as a query", body),
        }
    }

    fn select(&mut self, select: &Select) -> Checked {
        let Select {
            select_token: _,
            optimizer_hints: _,
            distinct,
            select_modifiers,
            top,
            top_before_distinct: _,
            projection,
            exclude,
            into,
            from,
            lateral_views,
            prewhere,
            selection,
            connect_by,
            group_by,
            cluster_by,
            distribute_by,
            sort_by,
            having,
            named_window,
            qualify,
            window_before_qualify: _,
            value_table_mode,
            flavor,
        } = select;
        if let Some(Distinct::On(exprs)) = distinct {
            self.exprs(exprs)?;
        }
        self.refuse_if(select_modifiers.is_some(), "a MySQL modifier of SELECT", select)?;
        self.refuse_if(top.is_some(), "TOP", select)?;
        self.refuse_if(exclude.is_some(), "EXCLUDE", select)?;
        self.refuse_if(into.is_some(), "SELECT INTO", select)?;
        self.refuse_if(!lateral_views.is_empty(), "LATERAL VIEW", select)?;
        self.refuse_if(prewhere.is_some(), "PREWHERE", select)?;
        self.refuse_if(!connect_by.is_empty(), "CONNECT BY", select)?;
        self.refuse_if(!cluster_by.is_empty(), "CLUSTER BY", select)?;
        self.refuse_if(!distribute_by.is_empty(), "DISTRIBUTE BY", select)?;
        self.refuse_if(!sort_by.is_empty(), "SORT BY", select)?;
        self.refuse_if(qualify.is_some(), "QUALIFY", select)?;
        self.refuse_if(value_table_mode.is_some(), "SELECT AS VALUE or STRUCT", select)?;
        self.refuse_if(!matches!(flavor, SelectFlavor::Standard), "FROM before SELECT", select)?;
        self.items(projection)?;
        from.iter().try_for_each(|table| self.table(table))?;
        self.opt(selection.as_ref())?;
        match group_by {
            GroupByExpr::All(_) => self.refuse("GROUP BY ALL", select)?,
            GroupByExpr::Expressions(exprs, modifiers) => {
                self.exprs(exprs)?;
                self.refuse_if(!modifiers.is_empty(), "GROUP BY … WITH", select)?;
            }
        }
        self.opt(having.as_ref())?;
        for NamedWindowDefinition(name, window) in named_window {
            match window {
                NamedWindowExpr::NamedWindow(_) => self.refuse("a window that names another", name)?,
                NamedWindowExpr::WindowSpec(spec) => self.window(spec, name)?,
            }
        }
        Ok(())
    }

    /// A list of results, of SELECT or RETURNING.
    pub(crate) fn items(&mut self, items: &[SelectItem]) -> Checked {
        for item in items {
            match item {
                SelectItem::UnnamedExpr(expr) => self.expr(expr)?,
                SelectItem::ExprWithAlias { expr, alias: _ } => self.expr(expr)?,
                SelectItem::ExprWithAliases { .. } => self.refuse("several aliases of one result", item)?,
                SelectItem::Wildcard(options) => self.wildcard(options, item)?,
                SelectItem::QualifiedWildcard(kind, options) => {
                    match kind {
                        SelectItemQualifiedWildcardKind::ObjectName(_) => {}
                        SelectItemQualifiedWildcardKind::Expr(_) => self.refuse("(expression).*", item)?,
                    }
                    self.wildcard(options, item)?;
                }
            }
        }
        Ok(())
    }

    fn wildcard(&self, options: &WildcardAdditionalOptions, at: &impl Place) -> Checked {
        let WildcardAdditionalOptions {
            wildcard_token: _,
            opt_ilike,
            opt_exclude,
            opt_except,
            opt_replace,
            opt_rename,
            opt_alias,
        } = options;
        self.refuse_if(opt_ilike.is_some(), "* ILIKE", at)?;
        self.refuse_if(opt_exclude.is_some(), "* EXCLUDE", at)?;
        self.refuse_if(opt_except.is_some(), "* EXCEPT", at)?;
        self.refuse_if(opt_replace.is_some(), "* REPLACE", at)?;
        self.refuse_if(opt_rename.is_some(), "* RENAME", at)?;
        self.refuse_if(opt_alias.is_some(), "an alias of *", at)
    }

    fn alias(&self, alias: &TableAlias) -> Checked {
        let TableAlias { explicit: _, name, columns, at } = alias;
        for column in columns {
            self.refuse_if(column.data_type.is_some(), "a column definition list", name)?;
        }
        self.refuse_if(at.is_some(), "AT in an alias", name)
    }

    /// A table of FROM with what is joined to it.
    pub(crate) fn table(&mut self, table: &TableWithJoins) -> Checked {
        let TableWithJoins { relation, joins } = table;
        self.factor(relation)?;
        for Join { relation, global, join_operator } in joins {
            self.refuse_if(*global, "GLOBAL JOIN", relation)?;
            self.factor(relation)?;
            match join_operator {
                JoinOperator::Join(on)
                | JoinOperator::Inner(on)
                | JoinOperator::Left(on)
                | JoinOperator::LeftOuter(on)
                | JoinOperator::Right(on)
                | JoinOperator::RightOuter(on)
                | JoinOperator::FullOuter(on)
                | JoinOperator::CrossJoin(on) => match on {
                    JoinConstraint::On(expr) => self.expr(expr)?,
                    JoinConstraint::Using(_) | JoinConstraint::Natural | JoinConstraint::None => {}
                },
                _ => self.refuse("this kind of join", relation)?,
            }
        }
        Ok(())
    }

    fn factor(&mut self, factor: &TableFactor) -> Checked {
        match factor {
            TableFactor::Table {
                name,
                alias,
                args,
                with_hints,
                version,
                with_ordinality,
                partitions,
                json_path,
                sample,
                index_hints,
            } => {
                for ident in super::names::idents(self.source, name)? {
                    self.named(&ident)?;
                }
                if let Some(alias) = alias {
                    self.alias(alias)?;
                }
                if let Some(TableFunctionArgs { args, settings }) = args {
                    self.arguments(args, factor)?;
                    self.argument_types(name, args);
                    self.refuse_if(settings.is_some(), "SETTINGS", factor)?;
                    self.refuse_if(version.is_some(), "FOR SYSTEM_TIME of a function", factor)?;
                }
                if let Some(version) = version {
                    let clause = temporal::system_time_of(version).map_err(|e| self.source.locate(e, factor))?;
                    for point in temporal::points(&clause) {
                        self.expr(point.parts().0)?;
                        self.cast_types(point.parts().0);
                    }
                }
                self.refuse_if(!with_hints.is_empty(), "WITH (…) after a table", factor)?;
                self.refuse_if(*with_ordinality, "WITH ORDINALITY", factor)?;
                self.refuse_if(!partitions.is_empty(), "PARTITION after a table", factor)?;
                self.refuse_if(json_path.is_some(), "a JSON path after a table", factor)?;
                self.refuse_if(sample.is_some(), "TABLESAMPLE", factor)?;
                self.refuse_if(!index_hints.is_empty(), "index hints", factor)
            }
            TableFactor::Derived { lateral: _, subquery, alias, sample } => {
                if let Some(alias) = alias {
                    self.alias(alias)?;
                }
                self.refuse_if(sample.is_some(), "TABLESAMPLE", factor)?;
                self.query(subquery)
            }
            TableFactor::Function { lateral: _, name: _, args, with_ordinality, alias } => {
                if let Some(alias) = alias {
                    self.alias(alias)?;
                }
                self.refuse_if(*with_ordinality, "WITH ORDINALITY", factor)?;
                self.arguments(args, factor)
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                self.refuse_if(alias.is_some(), "an alias of a join in parentheses", factor)?;
                self.table(table_with_joins)
            }
            TableFactor::UNNEST { .. } => self.refuse("UNNEST", factor),
            TableFactor::TableFunction { .. } => self.refuse("TABLE(…)", factor),
            TableFactor::JsonTable { .. } | TableFactor::OpenJsonTable { .. } => self.refuse("JSON_TABLE", factor),
            TableFactor::Pivot { .. } | TableFactor::Unpivot { .. } => self.refuse("PIVOT", factor),
            TableFactor::MatchRecognize { .. } => self.refuse("MATCH_RECOGNIZE", factor),
            TableFactor::XmlTable { .. } => self.refuse("XMLTABLE", factor),
            TableFactor::SemanticView { .. } => self.refuse("SEMANTIC_VIEW", factor),
        }
    }

    /// Notes the types that casts in `node` give to parameters; the first one counts.
    fn cast_types(&mut self, node: &impl Visit) {
        struct Casts<'f>(&'f mut Found);
        impl Visitor for Casts<'_> {
            type Break = ();
            fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
                if let Expr::Cast { expr: inner, data_type, .. } = expr
                    && let (Some(position), Ok(data_type)) = (placeholder(inner), super::types::data_type(data_type))
                {
                    self.0.note(position, data_type);
                }
                ControlFlow::Continue(())
            }
        }
        let _ = node.visit(&mut Casts(&mut self.found));
    }

    /// The same for the arguments of a function in FROM. A bare parameter of generate_series is of the type of those
    /// that have one.
    fn argument_types(&mut self, function: &ObjectName, args: &[FunctionArg]) {
        args.iter().for_each(|arg| self.cast_types(arg));
        let is_series = matches!(function.0.last(), Some(ObjectNamePart::Identifier(ident))
            if super::names::name_of(ident) == "generate_series");
        let Some(data_type) = args.iter().filter_map(argument).find_map(written_type).filter(|_| is_series) else {
            return;
        };
        let moment = matches!(data_type, Type::Timestamp | Type::TimestampTz | Type::Date);
        for (position, arg) in args.iter().enumerate() {
            if let Some(parameter) = argument(arg).and_then(placeholder) {
                self.found.note(parameter, if moment && position == 2 { Type::Interval } else { data_type });
            }
        }
    }

    pub(crate) fn exprs(&mut self, exprs: &[Expr]) -> Checked {
        exprs.iter().try_for_each(|expr| self.expr(expr))
    }

    pub(crate) fn opt(&mut self, expr: Option<&Expr>) -> Checked {
        expr.map_or(Ok(()), |expr| self.expr(expr))
    }

    fn order_by(&mut self, exprs: &[OrderByExpr]) -> Checked {
        for OrderByExpr { expr, options: OrderByOptions { asc: _, nulls_first: _ }, with_fill } in exprs {
            self.refuse_if(with_fill.is_some(), "WITH FILL", expr)?;
            self.expr(expr)?;
        }
        Ok(())
    }

    /// An expression. Goes down the left side of operators in a loop, because that side can be deep.
    pub(crate) fn expr(&mut self, expr: &Expr) -> Checked {
        let mut expr = expr;
        loop {
            match expr {
                Expr::BinaryOp { left, op, right } => {
                    self.operator(op, expr)?;
                    self.expr(right)?;
                    expr = left;
                }
                Expr::Nested(inner)
                | Expr::IsNull(inner)
                | Expr::IsNotNull(inner)
                | Expr::IsTrue(inner)
                | Expr::IsNotTrue(inner)
                | Expr::IsFalse(inner)
                | Expr::IsNotFalse(inner)
                | Expr::IsUnknown(inner)
                | Expr::IsNotUnknown(inner) => expr = inner,
                Expr::Cast { kind, expr: inner, data_type: _, array, format } => {
                    match kind {
                        CastKind::Cast | CastKind::DoubleColon => {}
                        CastKind::TryCast | CastKind::SafeCast => self.refuse("TRY_CAST", expr)?,
                    }
                    self.refuse_if(*array || format.is_some(), "CAST … FORMAT", expr)?;
                    expr = inner;
                }
                other => return self.leaf(other),
            }
        }
    }

    fn operator(&self, op: &BinaryOperator, at: &Expr) -> Checked {
        use BinaryOperator as Op;
        match op {
            Op::Plus | Op::Minus | Op::Multiply | Op::Divide | Op::Modulo | Op::StringConcat | Op::Gt | Op::Lt => {
                Ok(())
            }
            Op::GtEq | Op::LtEq | Op::Eq | Op::NotEq | Op::And | Op::Or | Op::BitwiseOr | Op::BitwiseAnd => Ok(()),
            Op::PGBitwiseXor | Op::PGBitwiseShiftLeft | Op::PGBitwiseShiftRight | Op::PGExp => Ok(()),
            Op::PGRegexMatch | Op::PGRegexIMatch | Op::PGRegexNotMatch | Op::PGRegexNotIMatch => Ok(()),
            Op::PGLikeMatch | Op::PGILikeMatch | Op::PGNotLikeMatch | Op::PGNotILikeMatch => Ok(()),
            Op::Arrow | Op::LongArrow | Op::HashArrow | Op::HashLongArrow => Ok(()),
            Op::AtArrow | Op::ArrowAt | Op::Question => Ok(()),
            // psql writes its \d queries with OPERATOR(pg_catalog.~); the query planner knows that form.
            Op::PGCustomBinaryOperator(parts)
                if parts.first().is_some_and(|schema| schema.eq_ignore_ascii_case("pg_catalog")) =>
            {
                Ok(())
            }
            other => self.refuse(&format!("the operator {other}"), at),
        }
    }

    fn leaf(&mut self, expr: &Expr) -> Checked {
        match expr {
            Expr::Identifier(ident) if temporal::is_reserved(ident) => Ok(()),
            Expr::Identifier(ident) => self.named(ident),
            Expr::CompoundIdentifier(_) | Expr::TypedString(_) => Ok(()),
            Expr::Value(value) => self.value(value, expr),
            Expr::UnaryOp { op, expr: inner } => {
                match op {
                    UnaryOperator::Plus | UnaryOperator::Minus | UnaryOperator::Not | UnaryOperator::BitwiseNot => {}
                    other => self.refuse(&format!("the operator {other}"), expr)?,
                }
                self.expr(inner)
            }
            Expr::IsDistinctFrom(left, right) | Expr::IsNotDistinctFrom(left, right) => {
                self.expr(left)?;
                self.expr(right)
            }
            Expr::InList { expr: inner, list, negated: _ } => {
                self.expr(inner)?;
                self.exprs(list)
            }
            Expr::InSubquery { expr: inner, subquery, negated: _ } => {
                self.expr(inner)?;
                self.query(subquery)
            }
            Expr::Between { expr: inner, negated: _, low, high } => {
                self.expr(inner)?;
                self.expr(low)?;
                self.expr(high)
            }
            Expr::Like { negated: _, any, expr: inner, pattern, escape_char: _ }
            | Expr::ILike { negated: _, any, expr: inner, pattern, escape_char: _ } => {
                self.refuse_if(*any, "LIKE ANY", expr)?;
                self.expr(inner)?;
                self.expr(pattern)
            }
            Expr::SimilarTo { negated: _, expr: inner, pattern, escape_char: _ } => {
                self.expr(inner)?;
                self.expr(pattern)
            }
            Expr::AnyOp { left, compare_op: _, right, is_some: _ } | Expr::AllOp { left, compare_op: _, right } => {
                self.expr(left)?;
                self.expr(right)
            }
            Expr::AtTimeZone { timestamp, time_zone } => {
                self.expr(timestamp)?;
                self.expr(time_zone)
            }
            Expr::Extract { field: _, syntax: _, expr: inner } => self.expr(inner),
            Expr::Ceil { expr: inner, field } | Expr::Floor { expr: inner, field } => {
                let plain = matches!(field, CeilFloorKind::DateTimeField(DateTimeField::NoDateTime));
                self.refuse_if(!plain, "CEIL or FLOOR with a field", expr)?;
                self.expr(inner)
            }
            Expr::Position { expr: inner, r#in } => {
                self.expr(inner)?;
                self.expr(r#in)
            }
            Expr::Substring { expr: inner, substring_from, substring_for, special: _, shorthand: _ } => {
                self.expr(inner)?;
                self.opt(substring_from.as_deref())?;
                self.opt(substring_for.as_deref())
            }
            Expr::Trim { trim_where: _, trim_what, expr: inner, trim_characters } => {
                self.opt(trim_what.as_deref())?;
                self.expr(inner)?;
                self.exprs(trim_characters.as_deref().unwrap_or_default())
            }
            Expr::Overlay { expr: inner, overlay_what, overlay_from, overlay_for } => {
                self.expr(inner)?;
                self.expr(overlay_what)?;
                self.expr(overlay_from)?;
                self.opt(overlay_for.as_deref())
            }
            // The query planner knows which collations mean what is done anyway.
            Expr::Collate { expr: inner, collation: _ } => self.expr(inner),
            Expr::Function(function) => self.function(function, expr),
            Expr::Case { case_token: _, end_token: _, operand, conditions, else_result } => {
                self.opt(operand.as_deref())?;
                for CaseWhen { condition, result } in conditions {
                    self.expr(condition)?;
                    self.expr(result)?;
                }
                self.opt(else_result.as_deref())
            }
            Expr::Exists { subquery, negated: _ } | Expr::Subquery(subquery) => self.query(subquery),
            Expr::GroupingSets(sets) | Expr::Cube(sets) | Expr::Rollup(sets) => {
                sets.iter().try_for_each(|set| self.exprs(set))
            }
            Expr::Tuple(exprs) => self.exprs(exprs),
            Expr::Interval(Interval { value, .. }) => self.expr(value),
            Expr::Array(Array { elem, named: _ }) => self.exprs(elem),
            // psql's \d has a subscript, which the query planner knows; it refuses all others.
            Expr::CompoundFieldAccess { root, access_chain } => {
                self.expr(root)?;
                for access in access_chain {
                    match access {
                        AccessExpr::Subscript(Subscript::Index { index }) => self.expr(index)?,
                        AccessExpr::Subscript(Subscript::Slice { .. }) => self.refuse("a slice", expr)?,
                        AccessExpr::Dot(_) => self.refuse("a field of a row", expr)?,
                    }
                }
                Ok(())
            }
            Expr::JsonAccess { .. } => self.refuse("a subscript or field", expr),
            Expr::IsNormalized { .. } => self.refuse("IS NORMALIZED", expr),
            Expr::Prefixed { .. } => self.refuse("a prefixed literal", expr),
            other => self.refuse(&format!("the expression {other}"), expr),
        }
    }

    fn value(&mut self, value: &ValueWithSpan, at: &Expr) -> Checked {
        match &value.value {
            Value::Number(_, long) => self.refuse_if(*long, "a number that ends in L", at),
            Value::SingleQuotedString(_)
            | Value::DollarQuotedString(_)
            | Value::EscapedStringLiteral(_)
            | Value::UnicodeStringLiteral(_)
            | Value::Boolean(_)
            | Value::Null => Ok(()),
            Value::Placeholder(name) => {
                let number = name.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok());
                match number {
                    Some(number @ 1..=65535) => {
                        self.found.placeholders = self.found.placeholders.max(number);
                        Ok(())
                    }
                    _ => Err(self.source.locate(
                        Error::new(SqlState::UNDEFINED_PARAMETER, format!("there is no parameter {name}")),
                        at,
                    )),
                }
            }
            other => self.refuse(&format!("the literal {other}"), at),
        }
    }

    fn function(&mut self, function: &Function, at: &Expr) -> Checked {
        let Function { name, uses_odbc_syntax, parameters, args, filter, null_treatment: _, over, within_group } =
            function;
        if name.0.iter().any(|part| part.as_ident().is_some_and(temporal::is_reserved)) {
            let message = "@SEQ:n is a point of system time, and no part of an expression";
            return Err(self.source.locate(Error::new(SqlState::SYNTAX_ERROR, message), at));
        }
        self.refuse_if(*uses_odbc_syntax, "{fn …}", at)?;
        self.refuse_if(!matches!(parameters, FunctionArguments::None), "parameters before a function's arguments", at)?;
        match args {
            FunctionArguments::None => {}
            FunctionArguments::Subquery(query) => self.query(query)?,
            FunctionArguments::List(FunctionArgumentList { duplicate_treatment: _, args, clauses }) => {
                self.arguments(args, at)?;
                for clause in clauses {
                    match clause {
                        FunctionArgumentClause::OrderBy(exprs) => self.order_by(exprs)?,
                        FunctionArgumentClause::IgnoreOrRespectNulls(_) => {}
                        other => self.refuse(&format!("{other} in a function's arguments"), at)?,
                    }
                }
            }
        }
        self.opt(filter.as_deref())?;
        match over {
            None | Some(WindowType::NamedWindow(_)) => {}
            Some(WindowType::WindowSpec(spec)) => self.window(spec, at)?,
        }
        self.order_by(within_group)
    }

    fn arguments(&mut self, args: &[FunctionArg], at: &impl Place) -> Checked {
        for arg in args {
            match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => self.expr(expr)?,
                FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => {}
                FunctionArg::Unnamed(_) => self.refuse("a qualified * as an argument", at)?,
                FunctionArg::Named { .. } | FunctionArg::ExprNamed { .. } => self.refuse("named arguments", at)?,
            }
        }
        Ok(())
    }

    fn window(&mut self, spec: &WindowSpec, at: &impl Place) -> Checked {
        let WindowSpec { window_name, partition_by, order_by, window_frame } = spec;
        self.refuse_if(window_name.is_some(), "a window that extends another", at)?;
        self.exprs(partition_by)?;
        self.order_by(order_by)?;
        if let Some(WindowFrame { units, start_bound, end_bound }) = window_frame {
            for bound in [Some(start_bound), end_bound.as_ref()].into_iter().flatten() {
                match bound {
                    WindowFrameBound::CurrentRow => {}
                    WindowFrameBound::Preceding(offset) | WindowFrameBound::Following(offset) => {
                        let number = matches!(
                            offset.as_deref(),
                            None | Some(Expr::Value(ValueWithSpan { value: Value::Number(..), .. }))
                        );
                        let by_value = matches!(units, WindowFrameUnits::Range);
                        self.refuse_if(by_value && !number, "RANGE with an offset that is not a number", at)?;
                        self.opt(offset.as_deref())?;
                    }
                }
            }
        }
        Ok(())
    }
}
