//! Avro object container files: a schema, then blocks of datums.
//!
//! ```text
//!  "Obj" 1 │ metadata (schema, codec) │ sync ║ count │ length │ datums, compressed │ sync ║ …
//! ```
//!
//! Datums are decoded by [`crate::payload`]'s Avro decoder, columns found by name; a block that is hostile costs at most its limit.

use std::io::{Read, Write};
use std::sync::Arc;

use aquifer_model::{ChangeBatch, Error, PayloadKind, Result, TopicSchema};
use arrow::array::{Array, BinaryViewArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;

use crate::payload::avro::{AvroDecoder, AvroEncoder, Shape};
use crate::payload::{PayloadDecoder, PayloadEncoder, avro_schema};
use crate::records::RecordDecoder;

const MAGIC: [u8; 4] = *b"Obj\x01";
/// The longest metadata, and the longest block, as it lies in the file and inflated.
const MAX_HEAD: usize = 4 << 20;
const MAX_BLOCK: usize = 64 << 20;
const MAX_INFLATED: usize = 256 << 20;

/// How blocks are compressed: `avro.codec`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AvroCodec {
    /// `null`
    None,
    /// `deflate`
    Deflate,
    /// `snappy`, with a checksum
    #[default]
    Snappy,
    /// `zstandard`
    Zstandard,
}

impl AvroCodec {
    /// The codec with this name.
    pub fn parse(name: &str) -> Result<Self> {
        Ok(match name {
            "null" => Self::None,
            "deflate" => Self::Deflate,
            "snappy" => Self::Snappy,
            "zstandard" => Self::Zstandard,
            other => {
                return Err(Error::unsupported(format!(
                    "the Avro codec `{other}` is not read or written: there are `null`, `deflate`, `snappy` and `zstandard`"
                )));
            }
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::None => "null",
            Self::Deflate => "deflate",
            Self::Snappy => "snappy",
            Self::Zstandard => "zstandard",
        }
    }

    fn inflate(self, bytes: &[u8]) -> Result<Vec<u8>> {
        let torn = || Error::corrupt(format!("a block does not inflate as {}", self.name()));
        let bounded = |reader: &mut dyn Read| {
            let mut out = Vec::new();
            reader.take(MAX_INFLATED as u64 + 1).read_to_end(&mut out).map_err(|error| torn().with_source(error))?;
            match out.len() > MAX_INFLATED {
                true => Err(Error::corrupt(format!("a block inflates to more than {MAX_INFLATED} bytes"))),
                false => Ok(out),
            }
        };
        match self {
            Self::None => Ok(bytes.to_vec()),
            Self::Deflate => bounded(&mut flate2::read::DeflateDecoder::new(bytes)),
            Self::Zstandard => {
                bounded(&mut zstd::stream::read::Decoder::new(bytes).map_err(|error| torn().with_source(error))?)
            }
            Self::Snappy => {
                let (data, sum) = bytes.split_last_chunk::<4>().ok_or_else(torn)?;
                let length = snap::raw::decompress_len(data).map_err(|error| torn().with_source(error))?;
                if length > MAX_INFLATED {
                    return Err(Error::corrupt(format!("a block inflates to more than {MAX_INFLATED} bytes")));
                }
                let out = snap::raw::Decoder::new().decompress_vec(data).map_err(|error| torn().with_source(error))?;
                if crc32(&out) != u32::from_be_bytes(*sum) {
                    return Err(Error::corrupt("a block's checksum is wrong"));
                }
                Ok(out)
            }
        }
    }

    fn compress(self, bytes: &[u8]) -> Result<Vec<u8>> {
        let failed = |error: std::io::Error| Error::internal("compressing a block").with_source(error);
        match self {
            Self::None => Ok(bytes.to_vec()),
            Self::Deflate => {
                let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(bytes).map_err(failed)?;
                encoder.finish().map_err(failed)
            }
            Self::Zstandard => zstd::bulk::compress(bytes, 3).map_err(failed),
            Self::Snappy => {
                let mut out = snap::raw::Encoder::new()
                    .compress_vec(bytes)
                    .map_err(|error| Error::internal("compressing a block").with_source(error))?;
                out.extend_from_slice(&crc32(bytes).to_be_bytes());
                Ok(out)
            }
        }
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// Bytes being taken from the front. `None` where they end too early.
struct Taking<'a>(&'a [u8]);

impl<'a> Taking<'a> {
    fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn long(&mut self) -> Result<Option<i64>> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let Some([byte]) = self.bytes(1) else { return Ok(None) };
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(Some((number >> 1) as i64 ^ -((number & 1) as i64)));
            }
        }
        Err(Error::corrupt("a number in an Avro file is too long"))
    }

    fn length(&mut self, limit: usize) -> Result<Option<usize>> {
        let Some(length) = self.long()? else { return Ok(None) };
        match usize::try_from(length) {
            Ok(length) if length <= limit => Ok(Some(length)),
            _ => Err(Error::corrupt(format!("an Avro file tells a length of {length}, above the limit of {limit}"))),
        }
    }

    fn text(&mut self) -> Result<Option<&'a [u8]>> {
        Ok(self.length(MAX_HEAD)?.and_then(|length| self.bytes(length)))
    }
}

/// A file's head.
struct Head {
    definition: Vec<u8>,
    codec: AvroCodec,
    sync: [u8; 16],
}

/// The head and its length; `None` if more bytes are needed.
fn head(bytes: &[u8]) -> Result<Option<(Head, usize)>> {
    let mut taking = Taking(bytes);
    let Some(magic) = taking.bytes(4) else { return Ok(None) };
    if magic != MAGIC {
        return Err(Error::invalid("the file does not begin as an Avro container file does"));
    }
    if bytes.len() > MAX_HEAD + 64 {
        return Err(Error::corrupt(format!("the head of an Avro file is longer than {MAX_HEAD} bytes")));
    }
    let (mut definition, mut codec) = (None, AvroCodec::None);
    loop {
        let Some(mut count) = taking.long()? else { return Ok(None) };
        if count == 0 {
            break;
        }
        if count < 0 {
            if taking.long()?.is_none() {
                return Ok(None);
            }
            count = count.checked_neg().ok_or_else(|| Error::corrupt("a count in an Avro file is impossible"))?;
        }
        for _ in 0..count {
            let Some(key) = taking.text()? else { return Ok(None) };
            let Some(value) = taking.text()? else { return Ok(None) };
            match key {
                b"avro.schema" => definition = Some(value.to_vec()),
                b"avro.codec" => codec = AvroCodec::parse(&String::from_utf8_lossy(value))?,
                _ => {}
            }
        }
    }
    let Some(sync) = taking.bytes(16).and_then(|sync| sync.first_chunk::<16>()) else { return Ok(None) };
    let definition = definition.ok_or_else(|| Error::corrupt("an Avro file has no schema"))?;
    Ok(Some((Head { definition, codec, sync: *sync }, bytes.len() - taking.0.len())))
}

/// The columns of the file that `bytes` begin; `None` if more bytes are needed.
pub fn columns(bytes: &[u8]) -> Result<Option<SchemaRef>> {
    head(bytes)?.map(|(head, _)| avro_schema::columns(&head.definition)).transpose()
}

/// Reads container files.
pub struct AvroFileDecoder {
    columns: SchemaRef,
    opened: Option<(Head, Shape, AvroDecoder)>,
    batches: Vec<RecordBatch>,
    rows: usize,
}

impl AvroFileDecoder {
    /// A decoder that makes these columns, found by name; those that a file does not have are NULL.
    pub fn new(columns: SchemaRef) -> Self {
        Self { columns, opened: None, batches: Vec::new(), rows: 0 }
    }
}

impl RecordDecoder for AvroFileDecoder {
    fn take_head(&mut self, bytes: &[u8], ended: bool) -> Result<Option<usize>> {
        let Some((head, length)) = head(bytes)? else {
            return if ended { Err(Error::corrupt("an Avro file ends in its head")) } else { Ok(None) };
        };
        let shape = Shape::parse(&head.definition)?;
        let schema = topic_schema(head.definition.clone());
        let decoder = AvroDecoder::new(Arc::clone(&self.columns), Some(&schema))?;
        self.opened = Some((head, shape, decoder));
        Ok(Some(length))
    }

    fn take(&mut self, bytes: &[u8], ended: bool) -> Result<Option<usize>> {
        let (head, shape, decoder) =
            self.opened.as_mut().ok_or_else(|| Error::internal("an Avro file's head was not taken"))?;
        let mut taking = Taking(bytes);
        let mut block = || -> Result<Option<(usize, &[u8], &[u8])>> {
            let Some(count) = taking.length(MAX_BLOCK)? else { return Ok(None) };
            let Some(length) = taking.length(MAX_BLOCK)? else { return Ok(None) };
            let Some(data) = taking.bytes(length) else { return Ok(None) };
            Ok(taking.bytes(16).map(|sync| (count, data, sync)))
        };
        let Some((count, data, sync)) = block()? else {
            return if ended && !bytes.is_empty() {
                Err(Error::corrupt("an Avro file ends in a block"))
            } else {
                Ok(None)
            };
        };
        if sync != head.sync {
            return Err(Error::corrupt("a block of an Avro file does not end with the file's mark"));
        }
        let inflated = head.codec.inflate(data)?;
        let datums = shape.split(&inflated, count).map_err(Error::corrupt)?;
        if !datums.is_empty() {
            let payloads = BinaryViewArray::from_iter_values(datums);
            let versions: BinaryViewArray = std::iter::repeat_n(None::<&[u8]>, payloads.len()).collect();
            let decoded = decoder.decode(&payloads, &versions)?;
            if let Some(error) = decoded.errors.first() {
                return Err(Error::corrupt(error.reason.clone()));
            }
            for (field, column) in self.columns.fields().iter().zip(decoded.rows.columns()) {
                if !field.is_nullable() && column.null_count() > 0 {
                    return Err(Error::invalid(format!(
                        "column `{}` is NOT NULL, and the file has NULL",
                        field.name()
                    )));
                }
            }
            self.rows += decoded.rows.num_rows();
            self.batches.push(decoded.rows.with_schema(Arc::clone(&self.columns))?);
        }
        Ok(Some(bytes.len() - taking.0.len()))
    }

    fn rows(&self) -> usize {
        self.rows
    }

    fn finish(&mut self) -> Result<ChangeBatch> {
        self.rows = 0;
        let rows = match std::mem::take(&mut self.batches).as_slice() {
            [one] => one.clone(),
            several => concat_batches(&self.columns, several)?,
        };
        Ok(ChangeBatch::inserts(rows))
    }
}

fn topic_schema(definition: Vec<u8>) -> TopicSchema {
    TopicSchema { name: "file".into(), kind: PayloadKind::Avro, definition, properties: Default::default() }
}

/// Writes container files.
pub struct AvroFileEncoder {
    encoder: AvroEncoder,
    codec: AvroCodec,
    sync: [u8; 16],
    head: Vec<u8>,
}

impl AvroFileEncoder {
    /// An encoder of these columns; `sync` is any mark that a file's data does not hold by chance. Fails on types and names that Avro does not have.
    pub fn new(codec: AvroCodec, columns: SchemaRef, sync: [u8; 16]) -> Result<Self> {
        let definition = avro_schema::definition("record", &columns)?;
        let mut head = MAGIC.to_vec();
        long(2, &mut head);
        for (key, value) in [("avro.schema", definition.as_slice()), ("avro.codec", codec.name().as_bytes())] {
            for text in [key.as_bytes(), value] {
                long(text.len() as i64, &mut head);
                head.extend_from_slice(text);
            }
        }
        long(0, &mut head);
        head.extend_from_slice(&sync);
        Ok(Self { encoder: AvroEncoder::new(columns, Some(&topic_schema(definition)))?, codec, sync, head })
    }

    /// What a file begins with.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Adds the rows as a block.
    pub fn write(&mut self, rows: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let datums = self.encoder.encode(rows)?;
        let compressed = self.codec.compress(datums.value_data())?;
        long(rows.num_rows() as i64, out);
        long(compressed.len() as i64, out);
        out.extend_from_slice(&compressed);
        out.extend_from_slice(&self.sync);
        Ok(())
    }
}

fn long(value: i64, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests;
