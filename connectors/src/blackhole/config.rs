//! The options of `blackhole`: none.

use aquifer_model::Result;
use aquifer_processor::connector::{Table, check_options};

/// Checked options.
#[derive(Debug)]
pub(super) struct BlackholeConfig;

impl BlackholeConfig {
    pub fn of(table: &Table) -> Result<Self> {
        check_options(table, "blackhole", &[])?;
        Ok(Self)
    }
}
