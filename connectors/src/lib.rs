//! Sources and sinks of outside systems, one folder each, all of one shape: `config.rs` reads the options, `source.rs` and `sink.rs` do the work.
//!
//! A new one copies the smallest (`blackhole`) and adds a line to [`register`].

pub mod blackhole;
pub mod datagen;
pub mod filesystem;
pub mod nexmark;
mod numbered;
mod options;
pub mod print;
pub mod values;

use std::sync::Arc;

use aquifer_processor::connector::ConnectorRegistry;

/// The registry with all connectors of this crate.
pub fn register(registry: ConnectorRegistry) -> ConnectorRegistry {
    registry
        .with(Arc::new(blackhole::Blackhole))
        .with(Arc::new(datagen::Datagen))
        .with(Arc::new(filesystem::Filesystem))
        .with(Arc::new(nexmark::Nexmark))
        .with(Arc::new(print::Print))
        .with(Arc::new(values::Values))
}
