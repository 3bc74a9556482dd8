//! The log: topics as entries in Pulsar or in embedded files, their archive in Parquet, and the one reader over both.

pub mod archive;
pub mod embedded;
pub mod log;
mod log_over;
pub mod pulsar;
pub mod reader;
pub mod s3;

pub use log::{Appender, Entry, EntryReader, FinishedEntry, LedgerInfo, Log, Pin, Policies, Receipt};
pub use log_over::LogOver;
