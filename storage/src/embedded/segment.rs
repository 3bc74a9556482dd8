//! One segment file: a ledger's entries, each with its length and checksum. See `docs/formats/embedded-log.md`.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use aquifer_model::{Error, Result};
use bytes::{BufMut, Bytes, BytesMut};

/// What a segment begins with: its magic and version, then the ledger's id.
const MAGIC: [u8; 8] = *b"AQSEG\0\0\x01";
/// Bytes before the first record.
pub(super) const HEADER: u64 = 16;
/// Bytes of a record before its entry.
pub(super) const RECORD_HEADER: usize = 16;

/// The header of ledger `id`'s segment.
pub(super) fn header(id: u64) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.put_u64(id);
    header
}

/// The file of ledger `id`.
pub(super) fn path(folder: &Path, id: u64) -> PathBuf {
    folder.join(format!("{id:020}.segment"))
}

/// The ledger that a file name stands for, if it is a segment's.
pub(super) fn ledger_of(name: &str) -> Option<u64> {
    name.strip_suffix(".segment").filter(|digits| digits.len() == 20)?.parse().ok()
}

/// What stands before an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordHead {
    /// The entry's length in bytes.
    pub size: usize,
    checksum: u32,
    /// Up to where the segment was synced when this was written: what is broken before it is damage, not a torn append.
    synced: u64,
}

/// A record around an entry, in a segment that is synced up to `synced`.
pub(super) fn record(entry: &[u8], synced: u64) -> Bytes {
    let mut record = BytesMut::with_capacity(RECORD_HEADER + entry.len());
    record.put_u32(entry.len() as u32);
    record.put_u32(checksum(synced, entry));
    record.put_u64(synced);
    record.put_slice(entry);
    record.freeze()
}

fn checksum(synced: u64, entry: &[u8]) -> u32 {
    let head = crc32c::crc32c_append(crc32c::crc32c(&(entry.len() as u32).to_be_bytes()), &synced.to_be_bytes());
    crc32c::crc32c_append(head, entry)
}

impl RecordHead {
    /// Reads the bytes before an entry.
    pub fn read(bytes: [u8; RECORD_HEADER]) -> Self {
        let [a, b, c, d, e, f, g, h, synced @ ..] = bytes;
        Self {
            size: u32::from_be_bytes([a, b, c, d]) as usize,
            checksum: u32::from_be_bytes([e, f, g, h]),
            synced: u64::from_be_bytes(synced),
        }
    }

    /// Whether `entry` is what was written.
    pub fn fits(&self, entry: &[u8]) -> bool {
        entry.len() == self.size && checksum(self.synced, entry) == self.checksum
    }
}

/// An error that names file and offset.
pub(super) fn corrupt(path: &Path, offset: u64, what: &str) -> Error {
    Error::corrupt(format!("{} at offset {offset}: {what}", path.display()))
}

/// An error of reading or writing a file.
pub(super) fn io(path: &Path, doing: &str) -> impl Fn(std::io::Error) -> Error + use<> {
    let text = format!("{doing} {}", path.display());
    move |error| Error::unavailable(text.clone()).with_source(error)
}

/// What a scan found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scanned {
    /// Whole entries.
    pub entries: u64,
    /// Where the last whole one ends.
    pub end: u64,
    /// Bytes after that: an append that was cut off.
    pub torn: u64,
}

/// Reads a segment from its beginning and gives each entry to `visit`. In the last segment of a partition what is broken is told as torn, unless a
/// whole record after it was written when the broken place was synced already; that, and all else that is wrong, is `Corrupt`.
pub(super) fn scan(
    path: &Path,
    id: u64,
    max_entry: usize,
    is_last: bool,
    mut visit: impl FnMut(&Bytes) -> Result<()>,
) -> Result<Scanned> {
    let failed = io(path, "reading");
    let file = File::open(path).map_err(&failed)?;
    let length = file.metadata().map_err(&failed)?.len();
    let mut reader = BufReader::with_capacity(1 << 18, file);
    let mut start = [0; HEADER as usize];
    if length < HEADER {
        return if is_last {
            Ok(Scanned { entries: 0, end: 0, torn: length })
        } else {
            Err(corrupt(path, 0, "the header is torn"))
        };
    }
    reader.read_exact(&mut start).map_err(&failed)?;
    if start[..] != header(id)[..] {
        return Err(corrupt(path, 0, "this is no segment of the ledger that its name says"));
    }
    let mut at = HEADER;
    let mut entries = 0;
    while at < length {
        let wrong = match read_record(&mut reader, length - at, max_entry).map_err(&failed)? {
            Ok(entry) => {
                at += (RECORD_HEADER + entry.len()) as u64;
                visit(&Bytes::from(entry))?;
                entries += 1;
                continue;
            }
            Err(wrong) => wrong,
        };
        if !is_last || was_synced(reader.into_inner(), at, max_entry).map_err(&failed)? {
            return Err(corrupt(path, at, &wrong));
        }
        return Ok(Scanned { entries, end: at, torn: length - at });
    }
    Ok(Scanned { entries, end: at, torn: 0 })
}

/// The next entry of a file that goes on for `left` bytes, or what is wrong with it.
fn read_record(reader: &mut impl Read, left: u64, max_entry: usize) -> std::io::Result<Result<Vec<u8>, String>> {
    if left < RECORD_HEADER as u64 {
        return Ok(Err("an entry is torn".to_string()));
    }
    let mut head = [0; RECORD_HEADER];
    reader.read_exact(&mut head)?;
    let head = RecordHead::read(head);
    if head.size == 0 || head.size > max_entry || (RECORD_HEADER + head.size) as u64 > left {
        return Ok(Err(format!("an entry cannot have {} bytes", head.size)));
    }
    let mut entry = vec![0; head.size];
    reader.read_exact(&mut entry)?;
    Ok(if head.fits(&entry) { Ok(entry) } else { Err("an entry's checksum is wrong".to_string()) })
}

/// Whether a whole record after the broken one at `broken` says that this place was synced before it. Reads the rest of the segment into memory; that
/// is about a segment's size at most.
fn was_synced(mut file: File, broken: u64, max_entry: usize) -> std::io::Result<bool> {
    let mut rest = Vec::new();
    file.seek(SeekFrom::Start(broken))?;
    file.read_to_end(&mut rest)?;
    Ok(rest.windows(RECORD_HEADER).enumerate().skip(1).any(|(offset, head)| {
        let Ok(head) = head.try_into().map(RecordHead::read) else { return false };
        let end = offset + RECORD_HEADER;
        let possible = head.synced > broken && head.synced <= broken + offset as u64 && head.size <= max_entry;
        possible && rest.get(end..end + head.size).is_some_and(|entry| head.fits(entry))
    }))
}

/// Where entry `entry` begins, found by stepping over the records before it.
pub(super) fn offset_of(path: &Path, entry: u64) -> Result<u64> {
    let failed = io(path, "reading");
    let mut reader = BufReader::with_capacity(1 << 16, File::open(path).map_err(&failed)?);
    let mut at = reader.seek(SeekFrom::Start(HEADER)).map_err(&failed)?;
    for _ in 0..entry {
        let mut head = [0; RECORD_HEADER];
        reader.read_exact(&mut head).map_err(&failed)?;
        let size = RecordHead::read(head).size;
        reader.seek_relative(size as i64).map_err(&failed)?;
        at += (RECORD_HEADER + size) as u64;
    }
    Ok(at)
}
