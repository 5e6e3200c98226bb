//! Aggregate functions: DataFusion's own on the list below, and `sum` and `avg` with PostgreSQL's types: the sum of
//! bigint and the average of whole numbers are numeric, so they neither wrap nor lose digits.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType as ArrowType, Field, FieldRef};
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
use super::types::{QUOTIENT_CODE, TYPE_KEY};
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
        "min" => f::min_max::min_udaf(),
        "max" => f::min_max::max_udaf(),
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
        _ => return None,
    })
}

/// Twelve digits after the point go in, four more come out.
fn average_input(arg: &ArrowType) -> Option<ArrowType> {
    const SCALE: i8 = 12;
    Some(match arg {
        ArrowType::Int8 | ArrowType::Int16 | ArrowType::Int32 | ArrowType::Int64 | ArrowType::UInt64 => {
            ArrowType::Decimal128(34, SCALE)
        }
        ArrowType::Decimal128(_, scale) => ArrowType::Decimal128(34, (*scale).max(SCALE)),
        ArrowType::Float32 | ArrowType::Float64 | ArrowType::Null => ArrowType::Float64,
        _ => return None,
    })
}

fn takes_small_integers(args: &AccumulatorArgs<'_>) -> bool {
    args.expr_fields.iter().any(|field| is_small_integer(field.data_type()))
}

/// An aggregate of DataFusion's over arguments converted first.
#[derive(Debug)]
struct Typed {
    name: &'static str,
    inner: Arc<AggregateUDF>,
    input: fn(&ArrowType) -> Option<ArrowType>,
    signature: Signature,
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
            [arg] if is_small_integer(arg) => Ok(ArrowType::Int64),
            _ => self.inner.return_type(arg_types),
        }
    }

    /// An average of numbers is shown as a quotient is.
    fn return_field(&self, arg_fields: &[FieldRef]) -> DfResult<FieldRef> {
        let types: Vec<ArrowType> = arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let field = Field::new(self.name, self.return_type(&types)?, true);
        if self.name == "avg" && matches!(field.data_type(), ArrowType::Decimal128(..)) {
            let metadata = HashMap::from([(TYPE_KEY.to_owned(), QUOTIENT_CODE.to_owned())]);
            return Ok(Arc::new(field.with_metadata(metadata)));
        }
        Ok(Arc::new(field))
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> DfResult<Box<dyn Accumulator>> {
        let widens = takes_small_integers(&args);
        let inner = self.inner.accumulator(args)?;
        Ok(if widens { Box::new(Widening(inner)) } else { inner })
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> DfResult<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> DfResult<Box<dyn GroupsAccumulator>> {
        let widens = takes_small_integers(&args);
        let inner = self.inner.create_groups_accumulator(args)?;
        Ok(if widens { Box::new(Widening(inner)) } else { inner })
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> DfResult<Box<dyn Accumulator>> {
        let widens = takes_small_integers(&args);
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
