//! The options of `nexmark`.
//!
//! | option | is | default |
//! |---|---|---|
//! | `events` | where it ends | without an end |
//! | `seed` | of the randomness | 42 |
//! | `rate` | events in a second of event time | 100,000 |
//! | `base-ms` | the first event's time, in milliseconds since 1970 | 1,775,001,550,000 (2026-03-31T23:59:10Z) |
//! | `ooo-group` | so many events at a time come in another order than their times | 1: in order |
//! | `rows-per-second` | how fast they come | as fast as they are taken |

use aquifer_model::{Error, Result};
use aquifer_processor::connector::{Table, check_options, physical_columns};
use arrow::datatypes::SchemaRef;

use crate::options::number;

/// Checked options.
#[derive(Debug, Clone)]
pub(super) struct NexmarkConfig {
    pub schema: SchemaRef,
    pub events: Option<u64>,
    pub seed: u64,
    pub rate: u64,
    pub base_ms: i64,
    pub ooo_group: u64,
    pub rows_per_second: Option<u64>,
}

impl NexmarkConfig {
    pub fn of(table: &Table) -> Result<Self> {
        let known = ["events", "seed", "rate", "base-ms", "ooo-group", "rows-per-second", "scan.parallelism"];
        check_options(table, "nexmark", &known)?;
        let above_zero = |key: &str| match number::<u64>(table, key)? {
            Some(0) => Err(Error::invalid(format!("'{key}' must be above 0"))),
            other => Ok(other),
        };
        let schema = physical_columns(table)?;
        super::source::Columns::new(&schema)?;
        Ok(Self {
            schema,
            events: number(table, "events")?,
            seed: number(table, "seed")?.unwrap_or(42),
            rate: above_zero("rate")?.unwrap_or(100_000),
            base_ms: number(table, "base-ms")?.unwrap_or(1_775_001_550_000),
            ooo_group: above_zero("ooo-group")?.unwrap_or(1),
            rows_per_second: above_zero("rows-per-second")?,
        })
    }
}
