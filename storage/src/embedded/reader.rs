//! Reads a partition of the embedded log: chunk by chunk from segment files, waiting at the durable end.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use aquifer_model::{Cut, Error, Position, Result};
use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};

use super::partition::{PartitionLog, Readable};
use super::segment::{self, HEADER, RECORD_HEADER, RecordHead, io};
use crate::log::{Entry, EntryReader};

/// A reader's place in a segment file.
#[derive(Debug)]
struct Place {
    file: File,
    ledger: u64,
    /// The next entry's number and where it begins.
    entry: u64,
    offset: u64,
}

/// Reads one partition.
#[derive(Debug)]
pub(super) struct SegmentReader {
    log: Arc<PartitionLog>,
    after: Cut,
    place: Option<Place>,
    max_entry: usize,
}

impl SegmentReader {
    pub fn new(log: Arc<PartitionLog>, after: Cut, max_entry: usize) -> Self {
        Self { log, after, place: None, max_entry }
    }
}

#[async_trait]
impl EntryReader for SegmentReader {
    async fn next(&mut self, max_bytes: usize) -> Result<Vec<Entry>> {
        let mut changes = self.log.changes();
        loop {
            changes.borrow_and_update();
            self.log.check_there()?;
            if let Some(readable) = self.log.readable_after(self.after) {
                let (after, max_entry) = (self.after, self.max_entry);
                let place = self.place.take().filter(|place| place.ledger == readable.ledger);
                // If this future is dropped here, the place is lost and found again from `after`.
                let read =
                    tokio::task::spawn_blocking(move || read_chunk(place, &readable, after, max_bytes, max_entry));
                let read = read.await.map_err(|e| Error::internal("reading a segment").with_source(e))?;
                match read {
                    Ok((place, entries)) => {
                        self.place = Some(place);
                        if let Some(last) = entries.last() {
                            self.after = Cut::After(last.position);
                            return Ok(entries);
                        }
                    }
                    // Trimmed (or the topic deleted) between looking and opening: look again.
                    Err(error) if error.kind() == aquifer_model::ErrorKind::Gone => continue,
                    Err(error) => return Err(error),
                }
            }
            if changes.changed().await.is_err() {
                return Err(Error::gone("the topic has been deleted"));
            }
        }
    }
}

fn read_chunk(
    place: Option<Place>,
    readable: &Readable,
    after: Cut,
    max_bytes: usize,
    max_entry: usize,
) -> Result<(Place, Vec<Entry>)> {
    let path = &readable.path;
    let failed = io(path, "reading");
    let mut place = match place {
        Some(place) => place,
        None => {
            let file = File::open(path).map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => Error::gone("the segment has been trimmed"),
                _ => failed(error),
            })?;
            let entry = match after {
                Cut::After(p) if p.ledger == readable.ledger => p.entry + 1,
                _ => 0,
            };
            let offset = if entry == 0 { HEADER } else { segment::offset_of(path, entry)? };
            Place { file, ledger: readable.ledger, entry, offset }
        }
    };
    let available = readable.end.saturating_sub(place.offset) as usize;
    let mut chunk =
        read_at(&mut place.file, place.offset, available.min(max_bytes.max(RECORD_HEADER))).map_err(&failed)?;
    let mut entries = Vec::new();
    while place.entry < readable.entries && chunk.len() >= RECORD_HEADER {
        let mut head = [0; RECORD_HEADER];
        head.copy_from_slice(&chunk[..RECORD_HEADER]);
        let head = RecordHead::read(head);
        let size = head.size;
        let left = readable.end.saturating_sub(place.offset) as usize;
        if size == 0 || size > max_entry || RECORD_HEADER + size > left {
            return Err(segment::corrupt(path, place.offset, &format!("an entry cannot have {size} bytes")));
        }
        if RECORD_HEADER + size > chunk.len() {
            if !entries.is_empty() {
                break;
            }
            chunk = read_at(&mut place.file, place.offset, RECORD_HEADER + size).map_err(&failed)?;
        }
        chunk.advance(RECORD_HEADER);
        let bytes = chunk.split_to(size);
        if !head.fits(&bytes) {
            return Err(segment::corrupt(path, place.offset, "an entry's checksum is wrong"));
        }
        entries.push(Entry { position: Position::new(place.ledger, place.entry), bytes });
        place.entry += 1;
        place.offset += (RECORD_HEADER + size) as u64;
    }
    Ok((place, entries))
}

fn read_at(file: &mut File, offset: u64, length: usize) -> std::io::Result<Bytes> {
    let mut bytes = BytesMut::zeroed(length);
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes.freeze())
}
