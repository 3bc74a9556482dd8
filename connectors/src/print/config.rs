//! The options of `print`, with Flink's names.

use aquifer_model::{Error, Result};
use aquifer_processor::connector::{Table, check_options};

/// Checked options.
#[derive(Debug, Clone)]
pub(super) struct PrintConfig {
    /// `print-identifier`: stands before each row, with `> ` after it.
    pub identifier: Option<String>,
    /// `standard-error`: whether rows go there.
    pub to_standard_error: bool,
}

impl PrintConfig {
    pub fn of(table: &Table) -> Result<Self> {
        // One writer prints, so a parallelism means nothing.
        check_options(table, "print", &["print-identifier", "standard-error", "sink.parallelism"])?;
        let options = &table.definition.options;
        let to_standard_error = match options.get("standard-error").map(String::as_str) {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => return Err(Error::invalid(format!("'standard-error' = '{other}': write true or false"))),
        };
        Ok(Self { identifier: options.get("print-identifier").cloned(), to_standard_error })
    }
}
