//! Bytes to and from Arrow columns. Pure: no I/O, no async. Every decoder takes hostile bytes.
//!
//! ```text
//!  entry bytes ─► entry (frame, checksum, metadata) ─► messages (inflate, split) ─► MessageBatch ─► payload ─► typed columns
//! ```

pub mod compression;
pub mod entry;
pub mod messages;
pub mod payload;
mod single;
