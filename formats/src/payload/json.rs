//! JSON payloads: one object a message, as Flink's `json` format reads and writes it.
//!
//! Each payload is checked to be one whole object before the columnar decoder sees it. If a batch does not decode (a text where a number should be),
//! its payloads are decoded one by one, so that only the bad ones are lost.

use std::sync::Arc;

use aquifer_model::{Error, Result, SchemaVersion, TopicSchema};
use arrow::array::{Array, BinaryArray, BinaryViewArray, RecordBatch};
use arrow::buffer::OffsetBuffer;
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow_json::ReaderBuilder;
use arrow_json::writer::{LineDelimited, WriterBuilder};
use serde::de::IgnoredAny;

use super::{DecodedPayloads, PayloadDecoder, PayloadEncoder, PayloadError, scatter};

/// Reads objects.
pub(super) struct JsonDecoder {
    columns: SchemaRef,
}

impl JsonDecoder {
    pub fn new(columns: SchemaRef) -> Result<Self> {
        let fields: Vec<Field> = columns.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
        Ok(Self { columns: Arc::new(Schema::new(fields)) })
    }

    fn decode_all(&self, payloads: &[&[u8]]) -> std::result::Result<RecordBatch, String> {
        let failed = |error: arrow::error::ArrowError| error.to_string();
        let builder = ReaderBuilder::new(Arc::clone(&self.columns)).with_coerce_primitive(true);
        let mut decoder = builder.with_batch_size(payloads.len().max(1)).build_decoder().map_err(failed)?;
        for payload in payloads {
            decoder.decode(payload).map_err(failed)?;
        }
        let rows = decoder.flush().map_err(failed)?;
        Ok(rows.unwrap_or_else(|| RecordBatch::new_empty(Arc::clone(&self.columns))))
    }
}

/// Whether the payload is one JSON object and nothing else. serde_json ends at a depth of 128.
fn check(payload: &[u8]) -> std::result::Result<(), String> {
    let text = std::str::from_utf8(payload).map_err(|_| "the payload is not UTF-8".to_string())?;
    if !text.trim_start().starts_with('{') {
        return Err("the payload is no JSON object".to_string());
    }
    serde_json::from_str::<IgnoredAny>(text).map(drop).map_err(|error| format!("the payload is no JSON: {error}"))
}

impl PayloadDecoder for JsonDecoder {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.columns)
    }

    fn missing_versions(&self, _versions: &BinaryViewArray) -> Vec<SchemaVersion> {
        Vec::new()
    }

    fn add_schema(&mut self, _version: SchemaVersion, _schema: Option<&TopicSchema>) -> Result<()> {
        Ok(())
    }

    fn decode(&mut self, payloads: &BinaryViewArray, _versions: &BinaryViewArray) -> Result<DecodedPayloads> {
        let mut errors = Vec::new();
        let mut good = Vec::with_capacity(payloads.len());
        for row in (0..payloads.len()).filter(|row| payloads.is_valid(*row)) {
            match check(payloads.value(row)) {
                Ok(()) => good.push(row),
                Err(reason) => errors.push(PayloadError { row, reason }),
            }
        }
        let bytes: Vec<&[u8]> = good.iter().map(|row| payloads.value(*row)).collect();
        let decoded = match self.decode_all(&bytes) {
            Ok(rows) => rows,
            Err(_) => {
                let mut single = Vec::new();
                let mut kept = Vec::new();
                for (row, payload) in good.iter().zip(&bytes) {
                    match self.decode_all(&[payload]) {
                        Ok(rows) => {
                            single.push(rows);
                            kept.push(*row);
                        }
                        Err(reason) => errors.push(PayloadError { row: *row, reason }),
                    }
                }
                good = kept;
                concat_batches(&self.columns, &single)?
            }
        };
        if decoded.num_rows() != good.len() {
            return Err(Error::internal(format!("{} JSON payloads became {} rows", good.len(), decoded.num_rows())));
        }
        errors.sort_by_key(|error| error.row);
        let mut from = vec![None; payloads.len()];
        good.iter().enumerate().for_each(|(n, row)| from[*row] = Some(n as u32));
        let rows = if good.len() == payloads.len() { decoded } else { scatter(&decoded, &from)? };
        Ok(DecodedPayloads { rows, errors })
    }
}

/// Writes objects.
pub(super) struct JsonEncoder {
    columns: SchemaRef,
}

impl JsonEncoder {
    pub fn new(columns: SchemaRef) -> Self {
        Self { columns }
    }
}

impl PayloadEncoder for JsonEncoder {
    fn encode(&mut self, rows: &RecordBatch) -> Result<BinaryArray> {
        let failed =
            |error: arrow::error::ArrowError| Error::invalid("a row cannot be written as JSON").with_source(error);
        let rows = RecordBatch::try_new(Arc::clone(&self.columns), rows.columns().to_vec()).map_err(failed)?;
        let mut writer = WriterBuilder::new()
            .with_explicit_nulls(true)
            .with_timestamp_format("%Y-%m-%d %H:%M:%S%.f".to_string())
            .with_timestamp_tz_format("%Y-%m-%d %H:%M:%S%.fZ".to_string())
            .build::<_, LineDelimited>(Vec::new());
        writer.write(&rows).map_err(failed)?;
        writer.finish().map_err(failed)?;
        let lines = writer.into_inner();
        // Line ends inside texts are escaped, so each one ends an object; it is left out.
        let mut values = Vec::with_capacity(lines.len());
        let mut offsets = vec![0i32];
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            values.extend_from_slice(line);
            offsets.push(i32::try_from(values.len()).map_err(|_| Error::invalid("a batch is too large to encode"))?);
        }
        Ok(BinaryArray::new(OffsetBuffer::new(offsets.into()), values.into(), None))
    }
}
