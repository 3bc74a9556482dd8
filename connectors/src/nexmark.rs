//! `'connector' = 'nexmark'`: the events of the Nexmark suite, people, auctions and bids in one stream, the same for the same seed.
//!
//! ```sql
//! CREATE TABLE events (
//!   event_type INT,          -- 0 person, 1 auction, 2 bid
//!   person ROW<id BIGINT, name STRING, emailAddress STRING, creditCard STRING, city STRING, state STRING, `dateTime` TIMESTAMP(3), extra STRING>,
//!   auction ROW<id BIGINT, itemName STRING, …>, bid ROW<auction BIGINT, bidder BIGINT, price BIGINT, …>,
//!   `dateTime` TIMESTAMP(3), WATERMARK FOR `dateTime` AS `dateTime` - INTERVAL '4' SECOND
//! ) WITH ('connector' = 'nexmark', 'events' = '1000000')
//! ```
//!
//! A table may leave out columns, and fields of the three rows.

mod config;
mod generator;
mod source;

use std::sync::Arc;

use aquifer_model::Result;
use aquifer_processor::connector::{Connector, Source, Table};

/// The connector.
#[derive(Debug)]
pub struct Nexmark;

impl Connector for Nexmark {
    fn name(&self) -> &'static str {
        "nexmark"
    }

    fn source(&self, table: &Table) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(source::NexmarkSource::new(config::NexmarkConfig::of(table)?)))
    }
}
