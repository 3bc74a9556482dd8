//! Bytes to and from Arrow columns. Pure: no I/O, no async. Every decoder takes hostile bytes.
//!
//! ```text
//!  entry bytes ─► entry (frame, checksum, metadata) ─► messages (inflate, split) ─► MessageBatch ─► payload ─► typed columns
//!  typed columns ─► text (casts, the shell's tables), json_lines (`--output json`)
//! ```

pub mod avro_file;
pub mod changelog;
pub mod chunked;
pub mod compression;
pub mod csv;
pub mod encrypted;
pub mod entry;
pub mod json_lines;
mod json_write;
mod memory;
pub mod messages;
pub mod payload;
pub mod records;
pub mod routing;
pub mod scalar_parse;
mod scalar_text;
mod single;
pub mod text;
mod values;
pub mod varint;
