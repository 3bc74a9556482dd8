//! `'connector' = 'print'`: each row as a line on standard output, `+I[kitchen, 21.5]`, or on standard error.

mod config;
mod sink;

use std::sync::Arc;

use aquifer_model::Result;
use aquifer_processor::connector::{Connector, Sink, Table};
use arrow::datatypes::SchemaRef;

/// The connector.
#[derive(Debug)]
pub struct Print;

impl Connector for Print {
    fn name(&self) -> &'static str {
        "print"
    }

    fn sink(&self, table: &Table, _rows: &SchemaRef) -> Result<Arc<dyn Sink>> {
        Ok(Arc::new(sink::PrintSink::new(config::PrintConfig::of(table)?)?))
    }
}
