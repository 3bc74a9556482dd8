//! Aggregate functions by Flink's names. Those that mean the same in DataFusion are DataFusion's; the rest are ours.
//!
//! | name | whose |
//! |---|---|
//! | SUM, AVG | [`exact`]: integer types kept, overflow an error, DISTINCT too |
//! | LISTAGG, COLLECT, ARRAY_AGG, PERCENTILE | [`collected`]: values kept in order of arrival |
//! | JSON_ARRAYAGG, JSON_OBJECTAGG | [`joined`] |
//! | COUNT, MIN, MAX, FIRST_VALUE, LAST_VALUE, GROUPING, APPROX_COUNT_DISTINCT | DataFusion |
//! | STDDEV_…, VAR_… | [`spread`]: of integers in integers; else DataFusion |
//!
//! Over frames that move, floating-point numbers are [`moving`]'s.

mod collected;
mod exact;
mod joined;
mod moving;
mod spread;

use std::sync::Arc;

use datafusion::functions_aggregate::{
    approx_distinct::approx_distinct_udaf,
    count::count_udaf,
    first_last::{first_value_udaf, last_value_udaf},
    grouping::grouping_udaf,
    min_max::{max_udaf, min_udaf},
    stddev::{stddev_pop_udaf, stddev_udaf},
    variance::{var_pop_udaf, var_samp_udaf},
};
use datafusion::logical_expr::AggregateUDF;

use collected::What;

/// The value of the only row, which a scalar subquery gives; more than one are an error.
pub(crate) const SINGLE_VALUE: &str = "SINGLE_VALUE";

/// The names that [`aggregate`] knows.
pub const NAMES: [&str; 23] = [
    "SUM",
    "AVG",
    "COUNT",
    "MIN",
    "MAX",
    "FIRST_VALUE",
    "LAST_VALUE",
    "LISTAGG",
    "COLLECT",
    "ARRAY_AGG",
    "PERCENTILE",
    "JSON_ARRAYAGG",
    "JSON_OBJECTAGG",
    "STDDEV",
    "STDDEV_SAMP",
    "STDDEV_POP",
    "VARIANCE",
    "VAR_SAMP",
    "VAR_POP",
    "GROUPING",
    "GROUPING_ID",
    "APPROX_COUNT_DISTINCT",
    SINGLE_VALUE,
];

/// An aggregate function by its name in any case; `None` if Flink has none of that name, or it is not built.
pub fn aggregate(name: &str) -> Option<Arc<AggregateUDF>> {
    Some(match name.to_ascii_uppercase().as_str() {
        "SUM" => exact::sum(),
        "AVG" => exact::avg(),
        "COUNT" => count_udaf(),
        "MIN" => min_udaf(),
        "MAX" => max_udaf(),
        "FIRST_VALUE" => first_value_udaf(),
        "LAST_VALUE" => last_value_udaf(),
        "LISTAGG" => collected::function(What::ListAgg),
        "COLLECT" => collected::function(What::Collect),
        "ARRAY_AGG" => collected::function(What::ArrayAgg),
        "PERCENTILE" => collected::function(What::Percentile),
        "JSON_ARRAYAGG" => joined::function(joined::What::JsonArray),
        "JSON_OBJECTAGG" => joined::function(joined::What::JsonObject),
        SINGLE_VALUE => joined::function(joined::What::Single),
        "STDDEV" | "STDDEV_SAMP" => spread::of(true, true, stddev_udaf()),
        "STDDEV_POP" => spread::of(true, false, stddev_pop_udaf()),
        "VARIANCE" | "VAR_SAMP" => spread::of(false, true, var_samp_udaf()),
        "VAR_POP" => spread::of(false, false, var_pop_udaf()),
        "GROUPING" | "GROUPING_ID" => grouping_udaf(),
        "APPROX_COUNT_DISTINCT" => approx_distinct_udaf(),
        _ => return None,
    })
}
