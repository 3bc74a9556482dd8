//! `'connector' = 'values'`: rows that stand in the table's own definition.

mod config;
mod source;

use std::sync::Arc;

use aquifer_model::Result;
use aquifer_processor::connector::{Connector, Source, Table};

/// The connector.
#[derive(Debug)]
pub struct Values;

impl Connector for Values {
    fn name(&self) -> &'static str {
        "values"
    }

    fn source(&self, table: &Table) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(source::ValuesSource::new(config::ValuesConfig::of(table)?)))
    }
}
