//! Protobuf payloads: the wire format by the descriptor that the schema version carries, straight into columns.
//!
//! ```text
//!  message ─► check: whole, of the known types, not too deep ─► occurrences by field ─► a builder a column ─► fitted to the table's types
//! ```
//!
//! The check comes first, so that no builder sees a bad message. Fields that the schema does not know, or that come as another wire type than theirs, are
//! passed over, and the check tells that there were some; of a field that comes again the last counts, and messages are merged, as every Protobuf parser does it.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use aquifer_model::{Error, Result, SchemaVersion, TopicSchema};
use arrow::array::{
    Array, ArrayRef, BinaryViewArray, BinaryViewBuilder, BooleanArray, BooleanBufferBuilder, Decimal128Array,
    Float32Array, Float64Array, Int32Array, Int64Array, ListArray, MapArray, RecordBatch, RecordBatchOptions,
    StringViewBuilder, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field as Column, Schema, SchemaRef};

use super::avro_fit::{absent, fit};
use super::protobuf_shape::{EnumNames, Field, Kind, Message, Occurs};
use super::versions::{Versions, by_version, one_by_one, why_unknown};
use super::{DecodedPayloads, PayloadDecoder, PayloadError};

pub(super) use super::protobuf_write::ProtobufEncoder;

/// How deep messages may lie in a message.
const MAX_DEPTH: usize = 64;
const NONE: u32 = u32::MAX;

/// Reads messages of several schema versions.
pub(super) struct ProtobufDecoder {
    columns: SchemaRef,
    versions: Versions<Version>,
}

/// One version's schema, made ready.
struct Version {
    message: Arc<Message>,
    /// For each column of the table its field, if the message has it.
    sources: Vec<Option<usize>>,
}

impl Version {
    fn new(schema: &TopicSchema, columns: &SchemaRef) -> Result<Self> {
        let message = Arc::new(Message::of(schema)?);
        let find = |name: &str| message.fields.iter().position(|field| field.name == name);
        let sources = columns.fields().iter().map(|column| find(column.name())).collect();
        Ok(Self { message, sources })
    }

    /// Decodes payloads; bad ones are rows of NULLs. `lossy` takes the rows that the columns do not hold whole.
    fn decode(
        &self,
        payloads: &BinaryViewArray,
        rows: Range<usize>,
        columns: &SchemaRef,
        errors: &mut Vec<PayloadError>,
        lossy: &mut Vec<usize>,
    ) -> Result<RecordBatch> {
        let mut builder = RowBuilder::new(&self.message, |field| self.sources.contains(&Some(field)));
        for row in rows.clone() {
            let payload = if payloads.is_null(row) { None } else { Some(payloads.value(row)) };
            match payload.map(|payload| check(payload, &self.message, 0).map(|is_lossy| (payload, is_lossy))) {
                Some(Ok((payload, is_lossy))) => {
                    lossy.extend(is_lossy.then_some(row));
                    builder.append(payload);
                }
                Some(Err(reason)) => {
                    errors.push(PayloadError { row, reason });
                    builder.append_null();
                }
                None => builder.append_null(),
            }
        }
        let mut decoded = builder.finish()?;
        let arrays = columns.fields().iter().zip(&self.sources).map(|(column, source)| match source {
            Some(source) => {
                let array = decoded[*source].take();
                fit(&array.ok_or_else(|| Error::internal("a Protobuf field was not decoded"))?, None, None, column)
            }
            None => absent(column, rows.len()),
        });
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(columns), arrays.collect::<Result<_>>()?, &options)?)
    }
}

impl ProtobufDecoder {
    pub fn new(columns: SchemaRef, topic_schema: Option<&TopicSchema>) -> Result<Self> {
        let fields: Vec<Column> = columns.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
        let columns = Arc::new(Schema::new(fields));
        let default = topic_schema.map(|schema| Version::new(schema, &columns)).transpose()?;
        Ok(Self { columns, versions: Versions::new(default) })
    }

    fn decode_run(
        &mut self,
        payloads: &BinaryViewArray,
        version: &[u8],
        rows: Range<usize>,
        errors: &mut Vec<PayloadError>,
        lossy: &mut Vec<usize>,
    ) -> Result<RecordBatch> {
        let Some(known) = self.versions.get(version) else {
            let of_run = payloads.slice(rows.start, rows.len());
            let bad = super::all_bad(&self.columns, &of_run, why_unknown(version))?;
            errors.extend(bad.errors.into_iter().map(|error| PayloadError { row: error.row + rows.start, ..error }));
            return Ok(bad.rows);
        };
        let before = (errors.len(), lossy.len());
        if let Ok(decoded) = known.decode(payloads, rows.clone(), &self.columns, errors, lossy) {
            return Ok(decoded);
        }
        // Some value does not fit the table's type: which one shows when they come one by one.
        errors.truncate(before.0);
        lossy.truncate(before.1);
        one_by_one(&self.columns, rows, errors, |row, errors| {
            known.decode(payloads, row..row + 1, &self.columns, errors, lossy).map(Some)
        })
    }
}

impl PayloadDecoder for ProtobufDecoder {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.columns)
    }

    fn missing_versions(&self, versions: &BinaryViewArray) -> Vec<SchemaVersion> {
        self.versions.missing(versions)
    }

    fn add_schema(&mut self, version: SchemaVersion, schema: Option<&TopicSchema>) -> Result<()> {
        let known = schema.map(|schema| Version::new(schema, &self.columns)).transpose()?;
        self.versions.add(version, known);
        Ok(())
    }

    fn decode(&mut self, payloads: &BinaryViewArray, versions: &BinaryViewArray) -> Result<DecodedPayloads> {
        let (columns, mut lossy) = (Arc::clone(&self.columns), Vec::new());
        let decoded = by_version(&columns, payloads, versions, |version, run, errors| {
            self.decode_run(payloads, version, run, errors, &mut lossy)
        })?;
        Ok(DecodedPayloads { lossy, ..decoded })
    }
}

/// A value on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wire {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    /// Where its bytes stand in the message.
    Bytes(usize, usize),
}

/// The fields of a message, in the order they stand.
struct Fields<'a> {
    message: &'a [u8],
    at: usize,
    /// Whether groups were passed over.
    has_groups: bool,
}

type Step<T> = std::result::Result<T, String>;

impl<'a> Fields<'a> {
    fn of(message: &'a [u8]) -> Self {
        Self { message, at: 0, has_groups: false }
    }

    fn varint(&mut self) -> Step<u64> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = *self.message.get(self.at).ok_or("a number is cut off")?;
            self.at += 1;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("a number has more than 64 bits".into())
    }

    fn fixed<const N: usize>(&mut self) -> Step<[u8; N]> {
        let bytes =
            self.message.get(self.at..).and_then(|rest| rest.first_chunk::<N>()).ok_or("a number is cut off")?;
        self.at += N;
        Ok(*bytes)
    }

    /// The next field's number and value.
    fn next(&mut self) -> Step<Option<(u32, Wire)>> {
        loop {
            if self.at == self.message.len() {
                return Ok(None);
            }
            let (number, wire_type) = self.tag()?;
            if wire_type == 3 {
                self.skip_group(number, 0)?;
                self.has_groups = true;
                continue;
            }
            return Ok(Some((number, self.value(wire_type)?)));
        }
    }

    fn tag(&mut self) -> Step<(u32, u32)> {
        let tag = u32::try_from(self.varint()?).map_err(|_| "a field's number is too large")?;
        if tag >> 3 == 0 {
            return Err("a field has the number 0".into());
        }
        Ok((tag >> 3, tag & 7))
    }

    fn value(&mut self, wire_type: u32) -> Step<Wire> {
        Ok(match wire_type {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(u64::from_le_bytes(self.fixed()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| "a length is too large")?;
                let end = self.at.checked_add(length).filter(|end| *end <= self.message.len());
                let end = end.ok_or("a field is cut off")?;
                Wire::Bytes(std::mem::replace(&mut self.at, end), end)
            }
            5 => Wire::Fixed32(u32::from_le_bytes(self.fixed()?)),
            4 => return Err("a group ends that did not begin".into()),
            other => return Err(format!("there is no wire type {other}")),
        })
    }

    fn skip_group(&mut self, number: u32, depth: usize) -> Step<()> {
        if depth >= MAX_DEPTH {
            return Err(format!("groups lie more than {MAX_DEPTH} deep in each other"));
        }
        loop {
            match self.tag()? {
                (end, 4) if end == number => return Ok(()),
                (inner, 3) => self.skip_group(inner, depth + 1)?,
                (_, wire_type) => drop(self.value(wire_type)?),
            }
        }
    }
}

/// Whether a value on the wire is one of this kind, or several packed.
fn fits(kind: &Kind, occurs: Occurs, wire: Wire) -> bool {
    let is_packed = matches!(occurs, Occurs::Repeated { .. }) && kind.is_packable() && matches!(wire, Wire::Bytes(..));
    is_packed
        || match kind {
            Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => matches!(wire, Wire::Fixed64(_)),
            Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => matches!(wire, Wire::Fixed32(_)),
            Kind::Text | Kind::Bytes | Kind::Message(_) | Kind::Opaque => matches!(wire, Wire::Bytes(..)),
            _ => matches!(wire, Wire::Varint(_)),
        }
}

/// The next of several packed values.
fn packed(kind: &Kind, fields: &mut Fields<'_>) -> Step<Wire> {
    fields.value(match kind {
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => 1,
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => 5,
        _ => 0,
    })
}

/// Whether a column of this kind tells less than a number on the wire: bits that it cuts off.
fn is_cut(kind: &Kind, wire: Wire) -> bool {
    let Wire::Varint(value) = wire else { return false };
    match kind {
        Kind::Int32 | Kind::Enum(_) => i32::try_from(value as i64).is_err(),
        Kind::Uint32 | Kind::Sint32 => u32::try_from(value).is_err(),
        Kind::Bool => value > 1,
        _ => false,
    }
}

/// Whether a message is whole, and all that is known of it as it should be. Gives whether it has something that no column tells.
fn check(message: &[u8], shape: &Message, depth: usize) -> Step<bool> {
    if depth >= MAX_DEPTH {
        return Err(format!("messages lie more than {MAX_DEPTH} deep in each other"));
    }
    if u32::try_from(message.len()).is_err() {
        return Err("the message is longer than 4 GiB".into());
    }
    let (mut fields, mut is_lossy) = (Fields::of(message), false);
    while let Some((number, wire)) = fields.next()? {
        let field = shape.find(number).map(|index| &shape.fields[index]);
        let Some(field) = field.filter(|field| fits(&field.kind, field.occurs, wire)) else {
            is_lossy = true;
            continue;
        };
        let Wire::Bytes(from, to) = wire else {
            is_lossy |= is_cut(&field.kind, wire);
            continue;
        };
        let bytes = &message[from..to];
        let of_field = |reason: String| format!("{}: {reason}", field.name);
        match &field.kind {
            Kind::Text => drop(std::str::from_utf8(bytes).map_err(|_| of_field("it is not UTF-8".into()))?),
            Kind::Bytes | Kind::Opaque => {}
            Kind::Message(inner) => is_lossy |= check(bytes, inner, depth + 1).map_err(of_field)?,
            kind => {
                let mut values = Fields::of(bytes);
                while values.at < bytes.len() {
                    is_lossy |= is_cut(kind, packed(kind, &mut values).map_err(of_field)?);
                }
            }
        }
    }
    Ok(is_lossy || fields.has_groups)
}

/// A value of a field and the place of the field's next one.
#[derive(Debug, Clone, Copy)]
struct Occurrence {
    wire: Wire,
    next: u32,
}

/// The columns of a message's fields.
struct RowBuilder {
    message: Arc<Message>,
    /// By field; `None`: not wanted.
    columns: Vec<Option<Builder>>,
    /// The values of the message that is being taken in, and each field's first and last among them.
    occurrences: Vec<Occurrence>,
    ends: Vec<(u32, u32)>,
}

/// One column.
struct Builder {
    kind: Kind,
    occurs: Occurs,
    valid: BooleanBufferBuilder,
    cells: Cells,
}

enum Cells {
    Double(Vec<f64>),
    Float(Vec<f32>),
    Int(Vec<i32>),
    BigInt(Vec<i64>),
    Decimal(Vec<i128>),
    Bool(BooleanBufferBuilder),
    Text(StringViewBuilder),
    Bytes(BinaryViewBuilder),
    Row(RowBuilder),
    /// Ends, and the elements.
    List(Vec<i32>, Box<Builder>),
    /// Ends, and the entries.
    Map(Vec<i32>, RowBuilder),
}

impl RowBuilder {
    fn new(message: &Arc<Message>, wanted: impl Fn(usize) -> bool) -> Self {
        let columns = message.fields.iter().enumerate();
        let columns = columns.map(|(index, field)| wanted(index).then(|| Builder::new(&field.kind, field.occurs)));
        let ends = vec![(NONE, NONE); message.fields.len()];
        Self { message: Arc::clone(message), columns: columns.collect(), occurrences: Vec::new(), ends }
    }

    /// Takes in a message that [`check`] found good.
    fn append(&mut self, message: &[u8]) {
        self.occurrences.clear();
        self.ends.fill((NONE, NONE));
        let mut fields = Fields::of(message);
        while let Ok(Some((number, wire))) = fields.next() {
            let Some(index) = self.message.find(number) else { continue };
            let field: &Field = &self.message.fields[index];
            if self.columns[index].is_none() || !fits(&field.kind, field.occurs, wire) {
                continue;
            }
            let place = self.occurrences.len() as u32;
            self.occurrences.push(Occurrence { wire, next: NONE });
            match &mut self.ends[index] {
                (first, last) if *first == NONE => (*first, *last) = (place, place),
                (_, last) => {
                    self.occurrences[*last as usize].next = place;
                    *last = place;
                }
            }
        }
        let Self { columns, occurrences, ends, .. } = self;
        for (column, (first, last)) in columns.iter_mut().zip(ends.iter()) {
            let Some(column) = column else { continue };
            column.append(message, occurrences, *first, *last);
        }
    }

    fn append_null(&mut self) {
        self.columns.iter_mut().flatten().for_each(Builder::append_null);
    }

    fn finish(self) -> Result<Vec<Option<ArrayRef>>> {
        self.columns.into_iter().map(|column| column.map(Builder::finish).transpose()).collect()
    }
}

/// Reads a value that [`fits`].
fn number(wire: Wire) -> u64 {
    match wire {
        Wire::Varint(value) | Wire::Fixed64(value) => value,
        Wire::Fixed32(value) => u64::from(value),
        Wire::Bytes(..) => 0,
    }
}

fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

impl Builder {
    fn new(kind: &Kind, occurs: Occurs) -> Self {
        let cells = match (occurs, kind) {
            (Occurs::Repeated { .. }, kind) => Cells::List(vec![0], Box::new(Self::new(kind, Occurs::Implicit))),
            (Occurs::Map, Kind::Message(entry)) => Cells::Map(vec![0], RowBuilder::new(entry, |_| true)),
            (_, Kind::Double) => Cells::Double(vec![]),
            (_, Kind::Float) => Cells::Float(vec![]),
            (_, Kind::Int32 | Kind::Sint32 | Kind::Sfixed32) => Cells::Int(vec![]),
            (_, Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 | Kind::Uint32 | Kind::Fixed32) => Cells::BigInt(vec![]),
            (_, Kind::Uint64 | Kind::Fixed64) => Cells::Decimal(vec![]),
            (_, Kind::Bool) => Cells::Bool(BooleanBufferBuilder::new(0)),
            (_, Kind::Text | Kind::Enum(_)) => Cells::Text(StringViewBuilder::new()),
            (_, Kind::Bytes | Kind::Opaque) => Cells::Bytes(BinaryViewBuilder::new()),
            (_, Kind::Message(message)) => Cells::Row(RowBuilder::new(message, |_| true)),
        };
        Self { kind: kind.clone(), occurs, valid: BooleanBufferBuilder::new(0), cells }
    }

    /// Takes in the values of a field: those from `first` on, the last of them at `last`.
    fn append(&mut self, message: &[u8], occurrences: &[Occurrence], first: u32, last: u32) {
        let each = || {
            std::iter::successors(occurrences.get(first as usize), |one| occurrences.get(one.next as usize))
                .map(|one| one.wire)
        };
        match &mut self.cells {
            Cells::List(ends, items) => {
                let mut count = ends.last().copied().unwrap_or_default();
                for wire in each() {
                    match wire {
                        Wire::Bytes(from, to) if self.kind.is_packable() => {
                            let mut values = Fields::of(&message[from..to]);
                            while let Some(value) =
                                (values.at < to - from).then(|| packed(&self.kind, &mut values).ok()).flatten()
                            {
                                items.append_one(message, value);
                                count += 1;
                            }
                        }
                        wire => {
                            items.append_one(message, wire);
                            count += 1;
                        }
                    }
                }
                ends.push(count);
                self.valid.append(true);
            }
            Cells::Map(ends, entries) => {
                let mut count = ends.last().copied().unwrap_or_default();
                let parts: Vec<&[u8]> = each()
                    .filter_map(|wire| if let Wire::Bytes(from, to) = wire { Some(&message[from..to]) } else { None })
                    .collect();
                // Of two entries with one key the last counts.
                let mut seen = HashSet::with_capacity(parts.len());
                let mut newest: Vec<&[u8]> =
                    parts.into_iter().rev().filter(|entry| seen.insert(key_of(entry))).collect();
                newest.reverse();
                newest.iter().for_each(|entry| entries.append(entry));
                count += newest.len() as i32;
                ends.push(count);
                self.valid.append(true);
            }
            Cells::Row(row) if first != last => {
                // A message that comes in parts is their concatenation.
                let parts = each().filter_map(|wire| match wire {
                    Wire::Bytes(from, to) => Some(&message[from..to]),
                    _ => None,
                });
                row.append(&parts.collect::<Vec<_>>().concat());
                self.valid.append(true);
            }
            _ => match (occurrences.get(last as usize), self.occurs) {
                (Some(one), _) => self.append_one(message, one.wire),
                (None, Occurs::Explicit) => self.append_null(),
                (None, _) => self.append_default(),
            },
        }
    }

    fn append_one(&mut self, message: &[u8], wire: Wire) {
        let bytes = match wire {
            Wire::Bytes(from, to) => &message[from..to],
            _ => &[],
        };
        let value = number(wire);
        match &mut self.cells {
            Cells::Double(values) => values.push(f64::from_bits(value)),
            Cells::Float(values) => values.push(f32::from_bits(value as u32)),
            Cells::Int(values) => values.push(match self.kind {
                Kind::Sint32 => zigzag(value) as i32,
                _ => value as i32,
            }),
            Cells::BigInt(values) => values.push(match self.kind {
                Kind::Sint64 => zigzag(value),
                Kind::Uint32 | Kind::Fixed32 => i64::from(value as u32),
                _ => value as i64,
            }),
            Cells::Decimal(values) => values.push(i128::from(value)),
            Cells::Bool(values) => values.append(value != 0),
            Cells::Text(texts) => match &self.kind {
                Kind::Enum(names) => append_name(names, value as i32, texts),
                // The check has seen that it is UTF-8.
                _ => texts.append_value(std::str::from_utf8(bytes).unwrap_or_default()),
            },
            Cells::Bytes(values) => values.append_value(bytes),
            Cells::Row(row) => row.append(bytes),
            Cells::List(..) | Cells::Map(..) => return self.append_null(),
        }
        self.valid.append(true);
    }

    fn append_default(&mut self) {
        self.append_one(&[], Wire::Bytes(0, 0));
    }

    fn append_null(&mut self) {
        match &mut self.cells {
            Cells::Double(values) => values.push(0.0),
            Cells::Float(values) => values.push(0.0),
            Cells::Int(values) => values.push(0),
            Cells::BigInt(values) => values.push(0),
            Cells::Decimal(values) => values.push(0),
            Cells::Bool(values) => values.append(false),
            Cells::Text(texts) => texts.append_null(),
            Cells::Bytes(values) => values.append_null(),
            Cells::Row(row) => row.append_null(),
            Cells::List(ends, _) | Cells::Map(ends, _) => ends.push(ends.last().copied().unwrap_or_default()),
        }
        self.valid.append(false);
    }

    fn finish(mut self) -> Result<ArrayRef> {
        let rows = self.valid.len();
        let nulls = NullBuffer::new(self.valid.finish());
        let nulls = (nulls.null_count() > 0).then_some(nulls);
        let data_type = self.occurs.sql_type(&self.kind).to_arrow();
        Ok(match (self.cells, &data_type) {
            (Cells::Double(values), _) => Arc::new(Float64Array::try_new(values.into(), nulls)?),
            (Cells::Float(values), _) => Arc::new(Float32Array::try_new(values.into(), nulls)?),
            (Cells::Int(values), _) => Arc::new(Int32Array::try_new(values.into(), nulls)?),
            (Cells::BigInt(values), _) => Arc::new(Int64Array::try_new(values.into(), nulls)?),
            (Cells::Decimal(values), DataType::Decimal128(precision, scale)) => {
                Arc::new(Decimal128Array::try_new(values.into(), nulls)?.with_precision_and_scale(*precision, *scale)?)
            }
            (Cells::Bool(mut values), _) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            (Cells::Text(mut texts), _) => Arc::new(texts.finish()),
            (Cells::Bytes(mut values), _) => Arc::new(values.finish()),
            (Cells::Row(row), DataType::Struct(fields)) => {
                let columns: Vec<ArrayRef> = row.finish()?.into_iter().flatten().collect();
                Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls, rows)?)
            }
            (Cells::List(ends, items), DataType::List(item)) => {
                let offsets = OffsetBuffer::new(ends.into());
                Arc::new(ListArray::try_new(Arc::clone(item), offsets, items.finish()?, nulls)?)
            }
            (Cells::Map(ends, entries), DataType::Map(entry, sorted)) => {
                let DataType::Struct(pair) = entry.data_type() else {
                    return Err(Error::internal("a map's entries are no rows"));
                };
                let columns: Vec<ArrayRef> = entries.finish()?.into_iter().flatten().collect();
                let pairs = StructArray::try_new(pair.clone(), columns, None)?;
                let offsets = OffsetBuffer::new(ends.into());
                Arc::new(MapArray::try_new(Arc::clone(entry), offsets, pairs, nulls, *sorted)?)
            }
            (_, other) => return Err(Error::internal(format!("a Protobuf column became {other}"))),
        })
    }
}

/// A number's name, or the number itself where it has none.
fn append_name(names: &EnumNames, number: i32, texts: &mut StringViewBuilder) {
    match names.name(number) {
        Some(name) => texts.append_value(name),
        None => texts.append_value(number.to_string()),
    }
}

/// The key of a map's entry, as it is written; absent is the default.
fn key_of(entry: &[u8]) -> (u64, &[u8]) {
    let mut key = (0, &[][..]);
    let mut fields = Fields::of(entry);
    while let Ok(Some((number_of, wire))) = fields.next() {
        if number_of == 1 {
            key = match wire {
                Wire::Bytes(from, to) => (0, &entry[from..to]),
                other => (number(other), &[][..]),
            };
        }
    }
    key
}

#[cfg(test)]
mod tests;
