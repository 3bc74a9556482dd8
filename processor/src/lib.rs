//! SQL, plans and the streaming dataflow.
//!
//! ```text
//!  text ─► sql (tokens → statements → binder) ─► logical plan ─┬─► batch      DataFusion over the tiered table provider
//!                                                            └─► streaming  plan → operators on timely
//! ```

pub mod batch;
pub mod connector;
pub mod dataflow;
pub mod functions;
pub mod operators;
pub mod plan;
mod runtimes;
pub mod sink;
pub mod sql;
pub mod streaming;
