//! `'connector' = 'datagen'`: rows made up, bounded or not, the same for the same seed.

mod config;
mod source;

use std::sync::Arc;

use aquifer_model::Result;
use aquifer_processor::connector::{Connector, Source, Table};

/// The connector.
#[derive(Debug)]
pub struct Datagen;

impl Connector for Datagen {
    fn name(&self) -> &'static str {
        "datagen"
    }

    fn source(&self, table: &Table) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(source::DatagenSource::new(config::DatagenConfig::of(table)?)))
    }
}
