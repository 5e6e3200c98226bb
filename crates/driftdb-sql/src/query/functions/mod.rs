//! The functions and operators of the dialect: an allow-list, each checked against PostgreSQL's manual and evaluated by
//! our own code on our own values, so that types, overflow, NULL and errors are PostgreSQL's.
//!
//! A call goes through two stages. While DataFusion plans, it is a [`Call`]: a name whose types are not settled. The
//! resolver (`query::resolve`) picks an overload by PostgreSQL's rules (manual, "Type Conversion"), casts the
//! arguments, and puts a [`ResolvedCall`] in its place, whose types are fixed from then on.

mod arith;
mod cast;
mod catalog;
mod digest;
mod from_char;
mod interval;
mod json;
mod key;
mod locks;
mod logic;
mod math;
mod misc;
mod number_template;
mod overload;
mod pattern;
mod text;
mod time;
mod to_char;
mod txid;

use std::any::Any;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{DataType as ArrowType, Field, FieldRef};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};
use driftdb_engine::{Cancel, Catalog, Engine, SessionLocks, SessionTxid};
use driftdb_env::Clock;
use driftdb_types::{CommitSeq, DataType, Error, Result, SqlState, TimeZone, Value};
use sha2::{Digest, Sha256};

pub(crate) use cast::cast_expr;
pub(crate) use catalog::{CLUSTERED_INDEX_OID, index_definition};
pub(crate) use key::KEY;
pub(crate) use overload::{
    ArgType, Kind, Overload, Resolution, Returns, common_type, implicit_cost, no_match, param_arrow,
};
pub(crate) use time::{add_interval, add_interval_tz, extract_scale};

use super::errors::{from_datafusion, into_datafusion};
use super::rewrite::CAST_PREFIX;
use super::types::{ColumnBuilder, type_code, values_of};
use crate::read::Client;
use crate::settings::Settings;

/// What evaluating a function may ask of the session. Captured when a query is planned.
pub(crate) struct Facts {
    pub(crate) zone: TimeZone,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) client: Arc<Client>,
    pub(crate) statement_time_us: i64,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) engine: Engine,
    /// The last commit that the statement sees. Not its view: plans are kept, and one that held a view would hold up whoever
    /// waits for readers of the past.
    pub(crate) last_commit: CommitSeq,
    pub(crate) cancel: Arc<Cancel>,
    pub(crate) locks: Arc<SessionLocks>,
    pub(crate) txid: Arc<SessionTxid>,
}

/// How a function treats NULL arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nulls {
    /// Any NULL gives NULL.
    Strict,
    /// It looks itself.
    Called,
}

/// One function, with all its overloads.
pub(crate) struct Builtin {
    pub(crate) name: &'static str,
    pub(crate) nulls: Nulls,
    /// Whether each call may give something else.
    pub(crate) volatile: bool,
    pub(crate) overloads: &'static [Overload],
}

/// A function's evaluation on one row.
pub(crate) type Eval = fn(&Facts, &[Value]) -> Result<Value>;

/// PostgreSQL's functions that are not done, so that they are refused as that and not said not to exist.
const NOT_DONE: &str = include_str!("not_done.txt");

/// Whether it is the name of such a function.
pub(crate) fn is_not_done(name: &str) -> bool {
    NOT_DONE.lines().any(|other| other == name)
}

/// All builtins. No name is there twice: the second would never be found.
const GROUPS: [&[Builtin]; 16] = [
    arith::OPERATORS,
    text::FUNCTIONS,
    math::FUNCTIONS,
    time::FUNCTIONS,
    interval::FUNCTIONS,
    to_char::FUNCTIONS,
    from_char::FUNCTIONS,
    pattern::FUNCTIONS,
    logic::FUNCTIONS,
    catalog::FUNCTIONS,
    json::FUNCTIONS,
    misc::FUNCTIONS,
    key::FUNCTIONS,
    txid::FUNCTIONS,
    digest::FUNCTIONS,
    locks::FUNCTIONS,
];

/// The builtin of that name.
pub(crate) fn builtin(name: &str) -> Option<&'static Builtin> {
    GROUPS.into_iter().flatten().find(|builtin| builtin.name == name)
}

/// Whether the function of that name may give something else at each call.
pub(crate) fn is_volatile(name: &str) -> bool {
    // DataFusion's, the only function of its own.
    name == "random" || builtin(name).is_some_and(|builtin| builtin.volatile)
}

/// Whether what the function of that name gives depends on what a kept plan does not know: it looks at the last commit or at settings.
pub(crate) fn is_of_the_moment(name: &str) -> bool {
    waits(name) || matches!(name, "driftdb_digest" | "current_setting")
}

/// Whether the function of that name may wait: it takes locks, or sleeps.
pub(crate) fn waits(name: &str) -> bool {
    name == misc::SLEEP || locks::FUNCTIONS.iter().any(|builtin| builtin.name == name)
}

/// A call before its types are settled.
pub(crate) struct Call {
    pub(crate) what: Callee,
    pub(crate) facts: Arc<Facts>,
    /// By what the planner asked for it. Had it another name, the planner would give each call an alias that has the text of the
    /// arguments in it, and so their aliases: in a chain of casts twice as long with each.
    asked: String,
    signature: Signature,
}

/// Always true, unless the query is cancelled: then an error. Put into the conditions of joins.
pub(crate) const ALIVE: &str = "\u{1}alive";

/// A call of [`ALIVE`].
pub(crate) fn alive(facts: &Arc<Facts>) -> Result<Expr> {
    let builtin = builtin(ALIVE).ok_or_else(|| Error::internal("nothing asks whether a query is cancelled"))?;
    Call::settled(Callee::Builtin(builtin), facts, &[], Vec::new())
}

/// What is called.
#[derive(Clone, Copy)]
pub(crate) enum Callee {
    Builtin(&'static Builtin),
    /// A cast to this type.
    Cast(DataType),
}

impl Callee {
    fn name(&self) -> &'static str {
        match self {
            Callee::Builtin(builtin) => builtin.name,
            Callee::Cast(target) => cast::name(*target),
        }
    }
}

impl Call {
    fn new(what: Callee, facts: &Arc<Facts>) -> Call {
        let volatility = match what {
            Callee::Builtin(builtin) if builtin.volatile => Volatility::Volatile,
            _ => Volatility::Immutable,
        };
        let asked = match what {
            Callee::Builtin(builtin) => builtin.name.to_owned(),
            Callee::Cast(target) => format!("{CAST_PREFIX}{}", type_code(target)),
        };
        Call { what, facts: Arc::clone(facts), asked, signature: any_arguments(volatility) }
    }

    /// For DataFusion's planner, which asks for functions before it has their arguments.
    pub(crate) fn udf(what: Callee, facts: &Arc<Facts>) -> ScalarUDF {
        ScalarUDF::new_from_impl(Call::new(what, facts))
    }

    /// A call of `args`, which are of these types and need no conversion.
    pub(crate) fn settled(what: Callee, facts: &Arc<Facts>, types: &[ArgType], args: Vec<Expr>) -> Result<Expr> {
        let call = Call::new(what, facts);
        Ok(call.resolved(call.resolve(types)?, args))
    }
}

/// Any number of arguments of any types, none included: the resolver looks at them.
fn any_arguments(volatility: Volatility) -> Signature {
    Signature::one_of(vec![TypeSignature::VariadicAny, TypeSignature::Nullary], volatility)
}

macro_rules! identity {
    ($type:ty, $key:expr) => {
        impl PartialEq for $type {
            fn eq(&self, other: &Self) -> bool {
                let key = $key;
                key(self) == key(other)
            }
        }
        impl Eq for $type {}
        impl Hash for $type {
            fn hash<H: Hasher>(&self, state: &mut H) {
                let key = $key;
                key(self).hash(state);
            }
        }
        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

identity!(Call, |call: &Call| match call.what {
    Callee::Builtin(builtin) => (builtin.name, None),
    Callee::Cast(target) => ("", Some(target)),
});

impl ScalarUDFImpl for Call {
    fn name(&self) -> &str {
        &self.asked
    }

    fn schema_name(&self, args: &[Expr]) -> DfResult<String> {
        Ok(schema_name(self.what, args))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[ArrowType]) -> DfResult<ArrowType> {
        Err(into_datafusion(Error::internal("a call without types")))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> DfResult<FieldRef> {
        let types = args
            .arg_fields
            .iter()
            .zip(args.scalar_arguments)
            .map(|(field, scalar)| overload::arg_type(field, *scalar))
            .collect::<Result<Vec<_>>>()
            .map_err(into_datafusion)?;
        // What does not fit yet may when the types are settled: a CASE does not say yet that it gives jsonb. If it does not
        // fit then, it is refused then.
        let unknown = || Arc::new(Field::new(self.name(), ArrowType::Null, true));
        Ok(self.resolve(&types).map_or_else(|_| unknown(), |resolution| resolution.field))
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        Err(into_datafusion(Error::internal(format!("call of {} was not resolved", self.name()))))
    }
}

impl Call {
    pub(crate) fn resolve(&self, types: &[ArgType]) -> Result<Resolution> {
        match self.what {
            Callee::Builtin(builtin) => overload::resolve(builtin, types),
            Callee::Cast(target) => cast::resolve(target, types),
        }
    }

    /// The call of `args`, which are converted, with its types settled.
    pub(crate) fn resolved(&self, resolution: Resolution, args: Vec<Expr>) -> Expr {
        let volatility = self.signature.volatility;
        let udf = ScalarUDF::new_from_impl(ResolvedCall {
            what: self.what,
            schema_name: schema_name(self.what, &args),
            facts: Arc::clone(&self.facts),
            signature: match resolution.params.is_empty() {
                true => Signature::nullary(volatility),
                false => Signature::user_defined(volatility),
            },
            eval: resolution.eval,
            params: resolution.params,
            field: resolution.field,
        });
        Arc::new(udf).call(args)
    }
}

/// Longer names of results are cut, and end in a digest of the whole.
const NAME_BYTES_MAX: usize = 120;

/// The name of a call's result, by which plans tell expressions apart.
fn schema_name(what: Callee, args: &[Expr]) -> String {
    let names: Vec<String> = args.iter().map(|arg| arg.schema_name().to_string()).collect();
    let called = match what {
        Callee::Builtin(builtin) => builtin.name.to_owned(),
        // With its modifiers: casts that differ only in them are different expressions.
        Callee::Cast(target) => type_code(target),
    };
    let mut name = format!("{called}({})", names.join(","));
    if name.len() > NAME_BYTES_MAX {
        let digest: String = Sha256::digest(&name).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        name.truncate(name.floor_char_boundary(NAME_BYTES_MAX / 2));
        name.push_str(&digest);
    }
    name
}

/// A call whose types are settled.
pub(crate) struct ResolvedCall {
    what: Callee,
    /// The result's name, whatever the optimiser makes of the arguments. DataFusion asks for it at every level of an
    /// expression, again and again.
    schema_name: String,
    facts: Arc<Facts>,
    signature: Signature,
    eval: Eval,
    params: Vec<ArrowType>,
    field: FieldRef,
}

identity!(ResolvedCall, |call: &ResolvedCall| (
    match call.what {
        Callee::Builtin(builtin) => (builtin.name, None),
        Callee::Cast(target) => ("", Some(target)),
    },
    call.params.clone(),
    Arc::clone(&call.field),
));

impl ScalarUDFImpl for ResolvedCall {
    fn name(&self) -> &str {
        self.what.name()
    }

    fn schema_name(&self, _args: &[Expr]) -> DfResult<String> {
        Ok(self.schema_name.clone())
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, _arg_types: &[ArrowType]) -> DfResult<Vec<ArrowType>> {
        Ok(self.params.clone())
    }

    fn return_type(&self, _arg_types: &[ArrowType]) -> DfResult<ArrowType> {
        Ok(self.field.data_type().clone())
    }

    fn return_field_from_args(&self, _args: ReturnFieldArgs<'_>) -> DfResult<FieldRef> {
        Ok(Arc::clone(&self.field))
    }

    /// Nothing is known of them; but of another type than the function's, comparisons with them are errors.
    fn evaluate_bounds(&self, _inputs: &[&Interval]) -> DfResult<Interval> {
        Interval::make_unbounded(self.field.data_type())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        self.invoke(&args).map_err(into_datafusion)
    }
}

impl ResolvedCall {
    fn strict(&self) -> bool {
        match self.what {
            Callee::Builtin(builtin) => builtin.nulls == Nulls::Strict,
            Callee::Cast(_) => true,
        }
    }

    fn invoke(&self, args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
        // A join can work for long without asking a scan for more, but not without evaluating its condition.
        self.facts.cancel.check()?;
        if self.name() == ALIVE {
            return Ok(ColumnarValue::Scalar(ScalarValue::Boolean(Some(true))));
        }
        if let Callee::Builtin(builtin) = self.what
            && let Some(result) = arith::vectorised(builtin.name, &args.args, args.number_rows, self.field.data_type())?
        {
            return Ok(result);
        }
        if let Callee::Cast(target) = self.what
            && let Some(result) = cast::vectorised(target, &args.args)?
        {
            return Ok(result);
        }
        let constant = !self.signature.volatility.eq(&Volatility::Volatile)
            && args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let columns = args
            .args
            .iter()
            .zip(&args.arg_fields)
            .map(|(arg, field)| Column::new(arg, field))
            .collect::<Result<Vec<Column>>>()?;
        let array = self.rows(&columns, rows)?;
        if constant {
            let scalar = ScalarValue::try_from_array(&array, 0).map_err(from_datafusion)?;
            return Ok(ColumnarValue::Scalar(scalar));
        }
        Ok(ColumnarValue::Array(array))
    }

    fn evaluate(&self, row: &[Value]) -> Result<Value> {
        match self.what {
            Callee::Builtin(_) => (self.eval)(&self.facts, row),
            Callee::Cast(target) => cast::cast_value(&self.facts, row, target),
        }
    }

    fn rows(&self, columns: &[Column], rows: usize) -> Result<ArrayRef> {
        let mut out = ColumnBuilder::for_arrow(self.field.data_type(), rows);
        let mut row = Vec::with_capacity(columns.len());
        let strict = self.strict();
        for number in 0..rows {
            row.clear();
            row.extend(columns.iter().map(|column| column.value(number)));
            let value = if strict && row.iter().any(Value::is_null) { Value::Null } else { self.evaluate(&row)? };
            out.append(&value)?;
        }
        out.finish()
    }
}

/// An argument's values.
enum Column {
    One(Value),
    Many(Vec<Value>),
}

impl Column {
    fn new(arg: &ColumnarValue, field: &Field) -> Result<Column> {
        Ok(match arg {
            ColumnarValue::Array(array) => Column::Many(values_of(array, field)?),
            ColumnarValue::Scalar(scalar) => {
                let array = scalar.to_array().map_err(from_datafusion)?;
                Column::One(values_of(&array, field)?.pop().unwrap_or(Value::Null))
            }
        })
    }

    fn value(&self, row: usize) -> Value {
        match self {
            Column::One(value) => value.clone(),
            Column::Many(values) => values.get(row).cloned().unwrap_or(Value::Null),
        }
    }
}

/// The call in a DataFusion function, if it is one of ours whose types are not settled.
pub(crate) fn unresolved(udf: &ScalarUDF) -> Option<&Call> {
    let inner: &dyn Any = udf.inner().as_ref();
    inner.downcast_ref::<Call>()
}

/// The type of what a call of ours gives, whose types are settled.
pub(crate) fn settled_field(udf: &ScalarUDF) -> Option<&FieldRef> {
    let inner: &dyn Any = udf.inner().as_ref();
    inner.downcast_ref::<ResolvedCall>().map(|call| &call.field)
}

/// A mistake in our own tables: an evaluation got values of other types than its overload says.
pub(crate) fn mismatch(name: &str, args: &[Value]) -> Error {
    Error::internal(format!("{name} was called with {args:?}"))
}

pub(crate) fn out_of_range(what: &str) -> Error {
    Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("{what} out of range"))
}

pub(crate) fn division_by_zero() -> Error {
    Error::new(SqlState::DIVISION_BY_ZERO, "division by zero")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_builtin_hides_another() {
        let mut names = HashSet::new();
        for builtin in GROUPS.into_iter().flatten() {
            assert!(names.insert(builtin.name), "{}", builtin.name);
        }
    }
}
