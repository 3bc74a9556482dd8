//! The streaming operators. Each is synchronous and deterministic and knows no thread, clock or file.

pub mod aggregates;
pub mod group_aggregate;
pub mod keys;
pub mod last_by_key;
mod row_store;
mod state;
pub mod stateless;
#[cfg(test)]
pub(crate) mod testing;
pub mod window_aggregate;
pub(crate) mod window_assign;
