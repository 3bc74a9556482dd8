//! The schema versions that a decoder has met, and a batch taken apart by them.
//!
//! ```text
//!  payloads   a a a b b a          each run of one version is decoded at once; where that fails, row by row
//!  runs       └───┘ └─┘ ┘
//! ```

use std::collections::HashMap;
use std::ops::Range;

use aquifer_model::{Result, SchemaVersion};
use arrow::array::{Array, BinaryViewArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;

use super::{DecodedPayloads, PayloadError, runs_of, scatter, versions_not_in};

/// What was made of each version's schema.
pub(super) struct Versions<T> {
    /// By the version's bytes; no bytes: messages that name none. `None`: the registry does not have it.
    pub(super) known: HashMap<Vec<u8>, Option<T>>,
}

impl<T> Versions<T> {
    /// `default` is for messages that name no version.
    pub fn new(default: Option<T>) -> Self {
        Self { known: HashMap::from([(Vec::new(), default)]) }
    }

    /// The versions in this column that are not known yet, each once.
    pub fn missing(&self, versions: &BinaryViewArray) -> Vec<SchemaVersion> {
        versions_not_in(versions, |version| self.known.contains_key(version))
    }

    /// Takes what was made of a version; `None`: the registry does not have it.
    pub fn add(&mut self, version: SchemaVersion, made: Option<T>) {
        self.known.insert(version.0, made);
    }

    /// What a version was made into, if the registry has it.
    pub fn get(&mut self, version: &[u8]) -> Option<&mut T> {
        self.known.get_mut(version).and_then(Option::as_mut)
    }
}

/// Why a message of a version that nobody has cannot be read.
pub(super) fn why_unknown(version: &[u8]) -> &'static str {
    match version.is_empty() {
        true => "the message names no schema version, and the topic has no schema",
        false => "the registry does not have the schema version that the message names",
    }
}

/// Decodes each run of rows that name one version, by the version's bytes.
pub(super) fn by_version(
    columns: &SchemaRef,
    payloads: &BinaryViewArray,
    versions: &BinaryViewArray,
    mut decode: impl FnMut(&[u8], Range<usize>, &mut Vec<PayloadError>) -> Result<RecordBatch>,
) -> Result<DecodedPayloads> {
    let (mut errors, mut runs) = (Vec::new(), Vec::new());
    for run in runs_of(versions, payloads.len()) {
        let version = if versions.is_null(run.start) { &[][..] } else { versions.value(run.start) };
        runs.push(decode(version, run, &mut errors)?);
    }
    let rows = match runs.as_slice() {
        [one] => one.clone(),
        several => concat_batches(columns, several)?,
    };
    errors.sort_by_key(|error| error.row);
    Ok(DecodedPayloads { rows, errors, lossy: Vec::new() })
}

/// Decodes rows one by one, so that it shows which of them fails; `None` is a row of NULLs.
pub(super) fn one_by_one(
    columns: &SchemaRef,
    rows: Range<usize>,
    errors: &mut Vec<PayloadError>,
    mut decode: impl FnMut(usize, &mut Vec<PayloadError>) -> Result<Option<RecordBatch>>,
) -> Result<RecordBatch> {
    let (mut decoded, mut from) = (Vec::new(), Vec::with_capacity(rows.len()));
    for row in rows {
        from.push(match decode(row, errors) {
            Ok(Some(one)) => {
                decoded.push(one);
                Some(decoded.len() as u32 - 1)
            }
            Ok(None) => None,
            Err(error) => {
                errors.push(PayloadError { row, reason: error.to_string() });
                None
            }
        });
    }
    scatter(&concat_batches(columns, &decoded)?, &from)
}
