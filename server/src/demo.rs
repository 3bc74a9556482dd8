//! `aquifer demo`: the main job, without a broker and without configuration.

use std::io::Write;

use aquifer_model::Error;

use crate::cli::DemoArguments;
use crate::shell::{Ended, Failure};

/// Runs the demo.
pub async fn run(_arguments: &DemoArguments, _out: &mut (dyn Write + Send)) -> Result<Ended, Failure> {
    Err(Error::unsupported("the demo is being built").into())
}
