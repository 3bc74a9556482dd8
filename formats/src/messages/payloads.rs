//! The payload column being filled.
//!
//! ```text
//!  compressed entry ─inflate─► block 0: │ entry │ entry │ entry …│         views into it
//!  entry as it is   ────────────────────────────────► block 1, 2 …         views into it, never copied
//! ```
//!
//! The memory of block 0 serves one batch after the other ([`crate::memory`]).

use std::ops::Range;

use aquifer_model::{Error, Result};
use arrow::array::{BinaryViewArray, NullBufferBuilder, make_view};
use arrow::buffer::Buffer;
use bytes::Bytes;

use crate::compression::inflate_into;
use crate::entry::{EntryLimits, ParsedEntry};
use crate::memory::{Memory, Reused};

#[derive(Debug)]
pub(super) struct Payloads {
    views: Reused<u128>,
    valid: NullBufferBuilder,
    /// Block 0 up to `used`; what lies behind is old.
    inflated: Vec<u8>,
    used: usize,
    others: Vec<Buffer>,
    /// Of block 0.
    memory: Memory,
    bytes: usize,
}

/// Where an entry's payload lies that is not taken in yet.
pub(super) enum Place {
    /// In block 0.
    Inflated(Range<usize>),
    /// In the entry itself.
    Entry(Bytes),
}

impl Place {
    fn bytes<'a>(&'a self, inflated: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Inflated(range) => &inflated[range.clone()],
            Self::Entry(bytes) => bytes,
        }
    }
}

impl Payloads {
    pub fn new() -> Self {
        Self {
            views: Reused::default(),
            valid: NullBufferBuilder::new(0),
            inflated: Vec::new(),
            used: 0,
            others: Vec::new(),
            memory: Memory::default(),
            bytes: 0,
        }
    }

    pub fn reserve(&mut self, rows: usize) {
        self.views.reserve(rows);
    }

    /// Payload bytes of the entries taken in, inflated.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Inflates an entry's payload, if it is compressed, behind those taken in.
    pub fn place(&mut self, entry: &ParsedEntry, limits: &EntryLimits) -> Result<Place> {
        let Some((compression, claimed)) = entry.compressed(limits)? else {
            return Ok(Place::Entry(entry.payload.clone()));
        };
        if self.inflated.is_empty() {
            self.inflated = self.memory.take();
        }
        let end = self.used + claimed;
        if end > u32::MAX as usize {
            return Err(Error::corrupt(format!("an entry claims to inflate to {claimed} bytes")));
        }
        if self.inflated.len() < end {
            self.inflated.resize(end, 0);
        }
        inflate_into(compression, &entry.payload, &mut self.inflated[self.used..end])?;
        Ok(Place::Inflated(self.used..end))
    }

    /// The bytes of a payload.
    pub fn at<'a>(&'a self, place: &'a Place) -> &'a [u8] {
        place.bytes(&self.inflated)
    }

    /// Takes an entry's payload in, of which each message is a part; `None`: it has no value.
    pub fn take_in(&mut self, place: Place, messages: Vec<Option<Range<usize>>>) {
        let (block, base) = match &place {
            Place::Inflated(range) => (0, range.start),
            Place::Entry(_) => (self.others.len() + 1, 0),
        };
        let payload = place.bytes(&self.inflated);
        for message in messages {
            match message {
                Some(range) => {
                    let at = base + range.start;
                    self.views.values.push(make_view(&payload[range], block as u32, at as u32));
                    self.valid.append_non_null();
                }
                None => {
                    self.views.values.push(0);
                    self.valid.append_null();
                }
            }
        }
        self.bytes += payload.len();
        match place {
            Place::Inflated(range) => self.used = range.end,
            Place::Entry(bytes) => self.others.push(Buffer::from(bytes)),
        }
    }

    /// The column; the builder is empty again.
    pub fn finish(&mut self) -> BinaryViewArray {
        let mut inflated = std::mem::take(&mut self.inflated);
        inflated.truncate(std::mem::take(&mut self.used));
        let first = self.memory.lend(inflated);
        let blocks: Vec<Buffer> = std::iter::once(first).chain(self.others.drain(..)).collect();
        self.bytes = 0;
        BinaryViewArray::try_new(self.views.finish(), blocks, self.valid.finish())
            .expect("each view was made of what lies there")
    }

    /// Lets go of the memory that is kept for the next batch.
    pub fn release(&mut self) {
        self.memory.release();
        self.views.release();
    }
}
