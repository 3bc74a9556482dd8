//! Drills on real brokers of the tests' own: connections cut at random bytes, brokers killed, producers killed; then exact reading.
//!
//! ```text
//!  our producer ──► [cutter] ──► broker ──► [cutter] ──► our reader          read == acknowledged: all of it, in order, once
//!  Python client ──────────────►   ▲ kill -9, start again
//! ```
//!
//! `AQUIFER_TEST_SERVICES` names the folder of `pulsar.sh`, `AQUIFER_TEST_PYTHON` a Python with the official client. How often:
//! `AQUIFER_CUTS` (20), `AQUIFER_KILLS` (10), `AQUIFER_RESENDS` (5). `AQUIFER_SEED` makes another run of it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::large_futures)] // this is test code

mod changes;
mod cuts;
mod cutter;
mod given;
mod kills;
mod own;
mod pairs;
mod peers;
#[path = "../shared/plain.rs"]
mod plain;
mod resends;

/// One broker at a time: each is half a gigabyte.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A number from the environment.
fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Where randomness begins; said, so that a failure can be run again.
fn seed() -> u64 {
    let seed = number("AQUIFER_SEED", 4);
    eprintln!("AQUIFER_SEED={seed}");
    seed
}
