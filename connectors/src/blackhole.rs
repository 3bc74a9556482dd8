//! `'connector' = 'blackhole'`: takes everything and keeps nothing, to measure what comes before.

mod config;
mod sink;

use std::sync::Arc;

use aquifer_model::Result;
use aquifer_processor::connector::{Connector, Sink, Table};
use arrow::datatypes::SchemaRef;

/// The connector.
#[derive(Debug)]
pub struct Blackhole;

impl Connector for Blackhole {
    fn name(&self) -> &'static str {
        "blackhole"
    }

    fn sink(&self, table: &Table, _rows: &SchemaRef) -> Result<Arc<dyn Sink>> {
        config::BlackholeConfig::of(table)?;
        Ok(Arc::new(sink::BlackholeSink))
    }
}
