//! The rooms where asynchronous work runs: one for batch queries, one for what streaming jobs read. Neither is the caller's.
//!
//! ```text
//!  caller's runtime ── statements, clients        batch ── DataFusion's streams
//!                                                 sources ── connections, files and decoding of jobs ─► feeder ─► workers
//! ```
//!
//! Both are made when they are needed first, have a thread a core, and last as long as the process. What runs there ends with whoever asked for it.

use std::sync::OnceLock;

use aquifer_model::{Error, Result};
use tokio::runtime::{Builder, Runtime};

/// Plans are deep trees, and debug builds use large frames.
const STACK_BYTES: usize = 32 << 20;

/// For batch queries.
pub(crate) fn batch() -> Result<&'static Runtime> {
    static BATCH: OnceLock<Runtime> = OnceLock::new();
    get(&BATCH, "aquifer-batch")
}

/// For the sources of streaming jobs.
pub(crate) fn sources() -> Result<&'static Runtime> {
    static SOURCES: OnceLock<Runtime> = OnceLock::new();
    get(&SOURCES, "aquifer-sources")
}

fn get(room: &'static OnceLock<Runtime>, name: &str) -> Result<&'static Runtime> {
    if let Some(runtime) = room.get() {
        return Ok(runtime);
    }
    let built = Builder::new_multi_thread().enable_all().thread_name(name).thread_stack_size(STACK_BYTES).build();
    let fresh =
        built.map_err(|error| Error::unavailable(format!("starting the threads `{name}`")).with_source(error))?;
    // Who comes second has made one in vain; it has run nothing yet.
    if let Err(second) = room.set(fresh) {
        second.shutdown_background();
    }
    room.get().ok_or_else(|| Error::internal(format!("the threads `{name}` are gone")))
}
