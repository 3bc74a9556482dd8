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
pub(super) const RECORD_HEADER: usize = 8;

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

/// A record around an entry.
pub(super) fn record(entry: &[u8]) -> Bytes {
    let mut record = BytesMut::with_capacity(RECORD_HEADER + entry.len());
    let length = (entry.len() as u32).to_be_bytes();
    record.put_slice(&length);
    record.put_u32(crc32c::crc32c_append(crc32c::crc32c(&length), entry));
    record.put_slice(entry);
    record.freeze()
}

/// The length and checksum in a record's header.
pub(super) fn record_header(bytes: [u8; RECORD_HEADER]) -> (usize, u32) {
    let [a, b, c, d, e, f, g, h] = bytes;
    (u32::from_be_bytes([a, b, c, d]) as usize, u32::from_be_bytes([e, f, g, h]))
}

/// Whether an entry is what its record's header says.
pub(super) fn is_whole(entry: &[u8], checksum: u32) -> bool {
    crc32c::crc32c_append(crc32c::crc32c(&(entry.len() as u32).to_be_bytes()), entry) == checksum
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

/// Reads a segment from its beginning and gives each entry to `visit`. In the last segment of a partition an incomplete record at the very
/// end is told as torn; anything else that is wrong is `Corrupt`.
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
    let torn = |entries, end| Ok(Scanned { entries, end, torn: length - end });
    while at < length {
        let mut head = [0; RECORD_HEADER];
        if length - at < RECORD_HEADER as u64 {
            return if is_last { torn(entries, at) } else { Err(corrupt(path, at, "an entry is torn")) };
        }
        reader.read_exact(&mut head).map_err(&failed)?;
        let (size, checksum) = record_header(head);
        let end = at + (RECORD_HEADER + size) as u64;
        if size == 0 && is_last && rest_is_zero(&mut reader).map_err(&failed)? {
            return torn(entries, at);
        }
        if end > length && is_last {
            return torn(entries, at);
        }
        if size == 0 || size > max_entry || end > length {
            return Err(corrupt(path, at, &format!("an entry cannot have {size} bytes")));
        }
        let mut entry = vec![0; size];
        reader.read_exact(&mut entry).map_err(&failed)?;
        if !is_whole(&entry, checksum) {
            return if is_last && end == length {
                torn(entries, at)
            } else {
                Err(corrupt(path, at, "an entry's checksum is wrong"))
            };
        }
        visit(&Bytes::from(entry))?;
        entries += 1;
        at = end;
    }
    Ok(Scanned { entries, end: at, torn: 0 })
}

fn rest_is_zero(reader: &mut BufReader<File>) -> std::io::Result<bool> {
    let mut chunk = [0; 4096];
    loop {
        match reader.read(&mut chunk)? {
            0 => return Ok(true),
            n if chunk[..n].iter().any(|byte| *byte != 0) => return Ok(false),
            _ => {}
        }
    }
}

/// Where entry `entry` begins, found by stepping over the records before it.
pub(super) fn offset_of(path: &Path, entry: u64) -> Result<u64> {
    let failed = io(path, "reading");
    let mut reader = BufReader::with_capacity(1 << 16, File::open(path).map_err(&failed)?);
    let mut at = reader.seek(SeekFrom::Start(HEADER)).map_err(&failed)?;
    for _ in 0..entry {
        let mut head = [0; RECORD_HEADER];
        reader.read_exact(&mut head).map_err(&failed)?;
        let (size, _) = record_header(head);
        reader.seek_relative(size as i64).map_err(&failed)?;
        at += (RECORD_HEADER + size) as u64;
    }
    Ok(at)
}
