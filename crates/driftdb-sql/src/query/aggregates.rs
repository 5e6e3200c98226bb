//! Aggregate functions: DataFusion's own on the list below, but `sum`, `avg`, `min` and `max` with PostgreSQL's types: the
//! sum of bigint and the average of whole numbers are numeric, so they neither wrap nor lose digits.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType as ArrowType, FieldRef};
use datafusion::common::Result as DfResult;
use datafusion::functions_aggregate as f;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, SetMonotonicity, Signature,
    Volatility,
};
use driftdb_types::{Error, SqlState};

use super::errors::into_datafusion;
use super::float_window::FloatWindow;
use super::numeric::{Calculated, NumericAccumulator};
use super::types::NUMERIC;
use super::widening::{Widening, is_small_integer};

/// The only value of a group; a second one is an error. The rewriting puts it around the result of a scalar subquery.
pub(super) const SINGLE: &str = "\u{1}single";
/// The first value in an order.
pub(super) const FIRST: &str = "\u{1}first";

/// The aggregate of that name.
pub(super) fn aggregate(name: &str) -> Option<Arc<AggregateUDF>> {
    Some(match name {
        "count" => f::count::count_udaf(),
        "sum" => typed("sum", f::sum::sum_udaf(), sum_input),
        "avg" => typed("avg", f::average::avg_udaf(), average_input),
        "min" => typed("min", f::min_max::min_udaf(), |arg| Some(arg.clone())),
        "max" => typed("max", f::min_max::max_udaf(), |arg| Some(arg.clone())),
        "bool_and" | "every" => f::bool_and_or::bool_and_udaf(),
        "bool_or" => f::bool_and_or::bool_or_udaf(),
        "bit_and" => f::bit_and_or_xor::bit_and_udaf(),
        "bit_or" => f::bit_and_or_xor::bit_or_udaf(),
        "bit_xor" => f::bit_and_or_xor::bit_xor_udaf(),
        "string_agg" => f::string_agg::string_agg_udaf(),
        "stddev" | "stddev_samp" => f::stddev::stddev_udaf(),
        "stddev_pop" => f::stddev::stddev_pop_udaf(),
        "variance" | "var_samp" => f::variance::var_samp_udaf(),
        "var_pop" => f::variance::var_pop_udaf(),
        "corr" => f::correlation::corr_udaf(),
        "covar_pop" => f::covariance::covar_pop_udaf(),
        "covar_samp" => f::covariance::covar_samp_udaf(),
        "grouping" => f::grouping::grouping_udaf(),
        SINGLE => Arc::new(AggregateUDF::new_from_impl(super::single::Single::new())),
        FIRST => f::first_last::first_value_udaf(),
        _ => return None,
    })
}

fn typed(
    name: &'static str,
    inner: Arc<AggregateUDF>,
    input: fn(&ArrowType) -> Option<ArrowType>,
) -> Arc<AggregateUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(AggregateUDF::new_from_impl(Typed { name, inner, input, signature }))
}

/// What `sum` adds up in.
fn sum_input(arg: &ArrowType) -> Option<ArrowType> {
    Some(match arg {
        // Coercing twice must be coercing once: `widening.rs` makes bigints of these.
        small if is_small_integer(small) => small.clone(),
        ArrowType::Null => ArrowType::Int32,
        ArrowType::Int64 | ArrowType::UInt32 | ArrowType::UInt64 => ArrowType::Decimal128(28, 0),
        ArrowType::Decimal128(_, scale) => ArrowType::Decimal128(38, *scale),
        ArrowType::Float32 | ArrowType::Float64 => ArrowType::Float64,
        numeric if *numeric == NUMERIC => NUMERIC,
        _ => return None,
    })
}

/// What `avg` adds up in: doubles, or numerics, exactly.
fn average_input(arg: &ArrowType) -> Option<ArrowType> {
    Some(match arg {
        ArrowType::Int8 | ArrowType::Int16 | ArrowType::Int32 | ArrowType::Int64 | ArrowType::UInt64 => {
            ArrowType::Decimal128(38, 0)
        }
        ArrowType::Decimal128(_, scale) => ArrowType::Decimal128(38, *scale),
        ArrowType::Float32 | ArrowType::Float64 | ArrowType::Null => ArrowType::Float64,
        numeric if *numeric == NUMERIC => NUMERIC,
        _ => return None,
    })
}

/// An aggregate of DataFusion's over arguments converted first.
#[derive(Debug)]
struct Typed {
    name: &'static str,
    inner: Arc<AggregateUDF>,
    input: fn(&ArrowType) -> Option<ArrowType>,
    signature: Signature,
}

impl Typed {
    /// What is to be calculated, where DataFusion cannot: with numerics that have a scale of their own each.
    fn numeric(&self, arg: &ArrowType) -> Option<Calculated> {
        let own = *arg == NUMERIC;
        match self.name {
            "sum" if own => Some(Calculated::Sum),
            "avg" if own || matches!(arg, ArrowType::Decimal128(..)) => Some(Calculated::Average),
            "min" if own => Some(Calculated::Least),
            "max" if own => Some(Calculated::Greatest),
            _ => None,
        }
    }

    fn numeric_of(&self, args: &AccumulatorArgs<'_>) -> Option<Calculated> {
        args.expr_fields.first().and_then(|field| self.numeric(field.data_type()))
    }

    fn widens(&self, args: &AccumulatorArgs<'_>) -> bool {
        self.name == "sum" && args.expr_fields.iter().any(|field| is_small_integer(field.data_type()))
    }
}

impl PartialEq for Typed {
    fn eq(&self, other: &Typed) -> bool {
        self.name == other.name
    }
}

impl Eq for Typed {}

impl Hash for Typed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl AggregateUDFImpl for Typed {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[ArrowType]) -> DfResult<Vec<ArrowType>> {
        let wrong = || {
            into_datafusion(
                Error::new(
                    SqlState::UNDEFINED_FUNCTION,
                    format!("function {} does not exist for these arguments", self.name),
                )
                .hint(
                    "No function matches the given name and argument types. You might need to add explicit type casts.",
                ),
            )
        };
        match arg_types {
            [arg] => Ok(vec![(self.input)(arg).ok_or_else(wrong)?]),
            _ => Err(wrong()),
        }
    }

    fn return_type(&self, arg_types: &[ArrowType]) -> DfResult<ArrowType> {
        match arg_types {
            [arg] if self.numeric(arg).is_some() => Ok(NUMERIC),
            [arg] if self.name == "sum" && is_small_integer(arg) => Ok(ArrowType::Int64),
            _ => self.inner.return_type(arg_types),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> DfResult<Box<dyn Accumulator>> {
        if let Some(what) = self.numeric_of(&args) {
            return Ok(Box::new(NumericAccumulator::new(what, args.is_distinct, false)));
        }
        let widens = self.widens(&args);
        let inner = self.inner.accumulator(args)?;
        Ok(if widens { Box::new(Widening(inner)) } else { inner })
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> DfResult<Vec<FieldRef>> {
        if args.input_fields.iter().any(|field| self.numeric(field.data_type()).is_some()) {
            return Ok(NumericAccumulator::state_fields(args.name));
        }
        self.inner.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        // DataFusion's extremes by group begin at the least and the greatest finite number, and know no NaN.
        let float = args.expr_fields.iter().any(|field| field.data_type().is_floating());
        let extreme = matches!(self.name, "min" | "max");
        self.numeric_of(&args).is_none() && !(extreme && float) && self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> DfResult<Box<dyn GroupsAccumulator>> {
        let widens = self.widens(&args);
        let inner = self.inner.create_groups_accumulator(args)?;
        Ok(if widens { Box::new(Widening(inner)) } else { inner })
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> DfResult<Box<dyn Accumulator>> {
        if let Some(what) = self.numeric_of(&args) {
            return Ok(Box::new(NumericAccumulator::new(what, args.is_distinct, true)));
        }
        let float = args.expr_fields.first().is_some_and(|field| field.data_type().is_floating());
        match self.name {
            "sum" if float && !args.is_distinct => return Ok(Box::new(FloatWindow::new(false))),
            "avg" if float && !args.is_distinct => return Ok(Box::new(FloatWindow::new(true))),
            _ => {}
        }
        let widens = self.widens(&args);
        let inner = self.inner.create_sliding_accumulator(args)?;
        Ok(if widens { Box::new(Widening(inner)) } else { inner })
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn set_monotonicity(&self, _data_type: &ArrowType) -> SetMonotonicity {
        SetMonotonicity::NotMonotonic
    }
}
