//! The nouns of Aquifer: what every other crate speaks about. No I/O, no async.

pub mod change;
pub mod epoch;
pub mod error;
pub mod position;
pub mod schema;
pub mod sql_type;
pub mod topic;

pub use change::{ChangeBatch, RowKind};
pub use epoch::{Epoch, Watermark};
pub use error::{Error, ErrorKind, Result};
pub use position::{Cut, Interval, Position};
pub use schema::{PayloadKind, SchemaVersion, TopicSchema};
pub use sql_type::SqlType;
pub use topic::{Partition, TopicIdentity, TopicName};
