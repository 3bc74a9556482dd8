//! What is fuzzed: plain functions over bytes from outside. Each may refuse them and must not panic, hang, or take more memory than its limits say; a decoder
//! must read a good neighbour whatever stands beside it.
//!
//! `cargo fuzz` calls them with bytes of its own making; `make test` (`integration-tests/tests/fuzz_corpus.rs`) with the corpora in `corpus/` and with mutations
//! of those.

use std::sync::{Arc, OnceLock};

use aquifer_formats::chunked::{ChunkBounds, ChunkJoiner, Joined, without_messages};
use aquifer_formats::encrypted::cipher_text_message;
use aquifer_formats::entry::{EntryLimits, EntrySpec, NewMessage, broker_metadata, build_entry, summarize};
use aquifer_formats::messages::MessageBatchBuilder;
use aquifer_formats::payload::{Format, columns_of, decoder, encoder, topic_schema_of};
use aquifer_model::{Cut, Interval, PayloadKind, Position, SchemaVersion, TopicSchema};
use aquifer_storage::archive::file::FileWriter;
use aquifer_storage::archive::hostile::{PageLimit, check_end, check_pages, footer_bytes, guarded, next_rows};
use arrow::array::{ArrayRef, AsArray, BinaryViewBuilder};
use arrow::array::{BinaryViewArray, Int32Array, Int64Array, ListArray, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef};
use bytes::{Bytes, BytesMut};

/// What an entry may inflate to here.
pub const INFLATED_BYTES: usize = 16 << 20;

fn limits() -> EntryLimits {
    EntryLimits { max_inflated_bytes: INFLATED_BYTES, ..EntryLimits::default() }
}

/// Frames of a connection.
pub fn frames(bytes: &[u8]) {
    let mut buffer = BytesMut::from(bytes);
    let _ = aquifer_storage::pulsar::count_frames(&mut buffer, 1 << 20);
}

/// A connection that hears these bytes, in pieces of as many as the first byte says or all at once: it is told the same.
pub fn session(bytes: &[u8]) {
    let Some((piece, heard)) = bytes.split_first() else { return };
    let whole = aquifer_storage::pulsar::session_events(heard, heard.len(), 1 << 20);
    let pieces = aquifer_storage::pulsar::session_events(heard, usize::from(*piece), 1 << 20);
    assert_eq!(whole, pieces, "what a connection is told depends on where its bytes are cut");
}

/// An entry: its head, what the broker put before it, its messages; an encrypted one as its cipher text too.
pub fn entry(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    let _ = summarize(&bytes, &limits());
    let _ = broker_metadata(&bytes);
    let _ = without_messages(&bytes);
    split(&bytes);
    if let Ok(plain) = cipher_text_message(&bytes)
        && plain != bytes
    {
        split(&plain);
    }
}

fn split(bytes: &Bytes) {
    let mut builder = MessageBatchBuilder::new(limits());
    let before = builder.num_rows();
    match builder.append_entry(Position::new(1, 2), bytes) {
        Ok(rows) => assert_eq!(builder.finish().rows().num_rows(), before + rows as usize),
        Err(_) => assert_eq!(builder.num_rows(), before, "a refused entry adds nothing"),
    }
}

/// Entries of chunked messages: each is two bytes of length and so many bytes.
pub fn chunks(bytes: &[u8]) {
    let bounds = ChunkBounds { max_open: 4, max_bytes: 1 << 20 };
    let mut joiner = ChunkJoiner::new(bounds);
    let mut rest = bytes;
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let (one, after) = after.split_at(usize::from(u16::from_be_bytes(*length)).min(after.len()));
        rest = after;
        if let Joined::Given(whole) = joiner.take(&Bytes::copy_from_slice(one)) {
            entry(&whole);
        }
    }
}

/// A table of the types that payloads have.
fn columns() -> SchemaRef {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    Arc::new(Schema::new(vec![
        field("id", DataType::Int64),
        field("name", DataType::Utf8View),
        field("raw", DataType::BinaryView),
        field("numbers", DataType::List(Arc::new(field("item", DataType::Int32)))),
    ]))
}

/// Rows of it.
fn rows() -> RecordBatch {
    let mut raw = BinaryViewBuilder::new();
    raw.append_value([0, 255]);
    raw.append_null();
    let numbers = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None, Some(-3)]), None]);
    let columns_of_rows: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![Some(7), None])),
        Arc::new(StringViewArray::from(vec![Some("a näme longer than a view"), None])),
        Arc::new(raw.finish()),
        Arc::new(numbers),
    ];
    RecordBatch::try_new(columns(), columns_of_rows).expect("they fit")
}

/// Payloads that a format's own encoder writes.
pub fn good_payloads(format: Format, schema: &TopicSchema, rows: &RecordBatch) -> Vec<Vec<u8>> {
    let mut encoder = encoder(format, rows.schema(), Some(schema)).expect("an encoder");
    encoder.encode(rows).expect("encodes").iter().flatten().map(<[u8]>::to_vec).collect()
}

/// Decodes the payload beside a good one, which must be read.
fn decode(schema: &TopicSchema, payload: &[u8], good: &[u8]) {
    let (format, columns) = columns_of(schema).expect("a schema that is known");
    let mut decoder = decoder(format, columns, Some(schema)).expect("a decoder");
    let payloads = BinaryViewArray::from_iter_values([good, payload, good]);
    let decoded = decoder.decode(&payloads, &BinaryViewArray::new_null(3)).expect("a bad payload is no error");
    assert_eq!(decoded.rows.num_rows(), 3);
    assert!(decoded.errors.iter().all(|error| error.row == 1), "a bad payload harmed its neighbour");
}

/// The schema and the good payloads of the Avro target.
pub fn avro_samples() -> (TopicSchema, Vec<Vec<u8>>) {
    let schema = topic_schema_of(Format::Avro, "sample", &columns()).expect("a schema");
    let payloads = good_payloads(Format::Avro, &schema, &rows());
    (schema, payloads)
}

/// A datum.
pub fn avro(bytes: &[u8]) {
    let (schema, good) = avro_samples();
    decode(&schema, bytes, &good[0]);
}

/// The schema and the good payloads of the JSON target.
pub fn json_samples() -> (TopicSchema, Vec<Vec<u8>>) {
    let schema = topic_schema_of(Format::Json, "sample", &columns()).expect("a schema");
    let payloads = good_payloads(Format::Json, &schema, &rows());
    (schema, payloads)
}

/// An object.
pub fn json(bytes: &[u8]) {
    let (schema, good) = json_samples();
    decode(&schema, bytes, &good[0]);
}

/// The table of the CSV target under one of its sets of options.
fn csv_table(which: u8) -> SchemaRef {
    const OPTIONS: [&[(&str, &str)]; 4] = [
        &[],
        &[("csv.escape-character", "\\"), ("csv.null-literal", ""), ("csv.allow-comments", "true")],
        &[("csv.field-delimiter", "\\t"), ("csv.disable-quote-character", "true")],
        &[("csv.ignore-parse-errors", "true"), ("csv.array-element-delimiter", "--")],
    ];
    let options = OPTIONS[usize::from(which) % OPTIONS.len()].iter();
    let metadata = options.map(|(key, value)| (key.to_string(), value.to_string())).collect();
    Arc::new(columns().as_ref().clone().with_metadata(metadata))
}

/// Records of the CSV target, behind the byte that says which options they are read by.
pub fn csv_samples() -> Vec<Vec<u8>> {
    let of = |which: u8| {
        let rows = RecordBatch::try_new(csv_table(which), rows().columns().to_vec()).expect("the same columns");
        let mut encoder = encoder(Format::Csv, rows.schema(), None).expect("an encoder");
        let records = encoder.encode(&rows).expect("encodes");
        records.iter().flatten().map(|record| [&[which], record].concat()).collect::<Vec<_>>()
    };
    (0..4).flat_map(of).collect()
}

/// A record; the first byte says by which options.
pub fn csv(bytes: &[u8]) {
    let Some((which, payload)) = bytes.split_first() else { return };
    let table = csv_table(*which);
    let good: &[u8] = if *which % 4 == 2 { b"7\tname\tAP8=\t1" } else { b"7,name,AP8=,1" };
    let mut decoder = decoder(Format::Csv, Arc::clone(&table), None).expect("a decoder");
    let payloads = BinaryViewArray::from_iter_values([good, payload, good]);
    let decoded = decoder.decode(&payloads, &BinaryViewArray::new_null(3)).expect("a bad payload is no error");
    assert!(decoded.errors.iter().all(|error| error.row == 1), "a bad payload harmed its neighbour");
    let ids = decoded.rows.column(0).as_primitive::<Int64Type>();
    assert_eq!((ids.len(), ids.value(0), ids.value(2)), (3, 7, 7));
}

/// A value of each kind that is one value; the first byte says which.
pub fn raw(bytes: &[u8]) {
    const KINDS: [PayloadKind; 8] = [
        PayloadKind::String,
        PayloadKind::Boolean,
        PayloadKind::Int16,
        PayloadKind::Int64,
        PayloadKind::Double,
        PayloadKind::Instant,
        PayloadKind::LocalTime,
        PayloadKind::Date,
    ];
    let Some((which, payload)) = bytes.split_first() else { return };
    let kind = KINDS[usize::from(*which) % KINDS.len()];
    let good: &[u8] = match kind {
        PayloadKind::String => b"text",
        PayloadKind::Boolean => &[1],
        PayloadKind::Int16 => &[0, 1],
        PayloadKind::Instant => &[0; 12],
        _ => &[0; 8],
    };
    let schema = TopicSchema { name: "raw".into(), kind, definition: vec![], properties: Default::default() };
    decode(&schema, payload, good);
}

/// The schema and a good payload of the key-value target: a text and a number, each behind its length.
pub fn key_value_samples() -> (TopicSchema, Vec<Vec<u8>>) {
    let properties = [("key.schema.type", "STRING"), ("value.schema.type", "INT32"), ("kv.encoding.type", "INLINE")];
    let schema = TopicSchema {
        name: "pair".into(),
        kind: PayloadKind::KeyValue,
        definition: vec![0; 8],
        properties: properties.map(|(name, value)| (name.to_string(), value.to_string())).into(),
    };
    (schema, vec![[&[0, 0, 0, 1][..], b"k", &[0, 0, 0, 4], &[0, 0, 0, 9]].concat()])
}

/// A pair; and the parts of a separated one, of which the key stands beside the payload.
pub fn key_value(bytes: &[u8]) {
    let (mut schema, good) = key_value_samples();
    decode(&schema, bytes, &good[0]);
    schema.properties.insert("kv.encoding.type".into(), "SEPARATED".into());
    let (format, columns) = columns_of(&schema).expect("a schema that is known");
    let mut decoder = decoder(format, columns, Some(&schema)).expect("a decoder");
    let (key, value): (&[u8], &[u8]) = (b"k", &[0, 0, 0, 9]);
    for (bad_key, bad_value) in [(bytes, value), (key, bytes), (bytes, bytes)] {
        let keys = BinaryViewArray::from_iter_values([key, bad_key, key]);
        let values = BinaryViewArray::from_iter_values([value, bad_value, value]);
        let none = BinaryViewArray::new_null(3);
        let decoded = decoder.decode_keyed(&values, &keys, &none).expect("a bad payload is no error");
        assert_eq!(decoded.rows.num_rows(), 3);
        assert!(decoded.errors.iter().all(|error| error.row == 1), "a bad payload harmed its neighbour");
    }
}

/// Which schema the bytes of the schema target are.
const SCHEMA_KINDS: [PayloadKind; 5] =
    [PayloadKind::Avro, PayloadKind::Json, PayloadKind::ProtobufNative, PayloadKind::Protobuf, PayloadKind::KeyValue];

/// A schema of the registry, and a payload by it: a byte that says which kind, the definition behind two bytes of its length, properties (`name=value`, a line each)
/// behind two of theirs, and what is left is the payload. `corpus/schema.py` writes some.
pub fn schema(bytes: &[u8]) {
    let Some((which, rest)) = bytes.split_first() else { return };
    let Some((definition, rest)) = part(rest) else { return };
    let Some((properties, payload)) = part(rest) else { return };
    let properties = String::from_utf8_lossy(properties);
    let properties = properties.lines().filter_map(|line| line.split_once('='));
    let schema = TopicSchema {
        name: "fuzzed".into(),
        kind: SCHEMA_KINDS[usize::from(*which) % SCHEMA_KINDS.len()],
        definition: definition.to_vec(),
        properties: properties.map(|(name, value)| (name.to_string(), value.to_string())).collect(),
    };
    let rows = columns_of(&schema).ok().and_then(|(format, columns)| read_by(format, columns, &schema, payload));
    // What was read is written again, where it can be.
    if let Some((format, rows)) = rows
        && let Ok(mut encoder) = encoder(format, rows.schema(), Some(&schema))
    {
        let _ = encoder.encode(&rows).and_then(|_| encoder.encode_keys(&rows));
    }
    // Of a table that was declared otherwise.
    for format in [Format::Avro, Format::Json, Format::Protobuf, Format::KeyValue] {
        if format.fits(schema.kind) {
            read_by(format, columns(), &schema, payload);
        }
    }
    as_another_version(&schema, payload);
}

/// What stands behind two bytes of its length, and what is left. A length that is too long means all.
fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    Some(rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len())))
}

/// Reads a payload and NULL by a schema that may be anything; `None`: it was refused.
fn read_by(format: Format, columns: SchemaRef, schema: &TopicSchema, payload: &[u8]) -> Option<(Format, RecordBatch)> {
    let mut decoder = decoder(format, columns, Some(schema)).ok()?;
    let payloads: BinaryViewArray = [Some(payload), None, Some(payload)].into_iter().collect();
    let decoded = decoder.decode_keyed(&payloads, &payloads, &BinaryViewArray::new_null(3)).ok()?;
    assert_eq!(decoded.rows.num_rows(), 3);
    assert!(decoded.errors.iter().all(|error| error.row < 3), "an error of a row that is not there");
    decoder.schema().fields().iter().for_each(|column| drop(decoder.lacking(column, 2)));
    Some((format, decoded.rows))
}

/// Reads a payload whose message names the schema, where the topic's own is another.
fn as_another_version(schema: &TopicSchema, payload: &[u8]) {
    let (own, good) = match schema.kind {
        PayloadKind::Avro => avro_samples(),
        PayloadKind::Json => json_samples(),
        PayloadKind::KeyValue => key_value_samples(),
        _ => protobuf_samples(),
    };
    let (format, columns) = columns_of(&own).expect("a schema that is known");
    let mut decoder = decoder(format, columns, Some(&own)).expect("a decoder");
    if decoder.add_schema(SchemaVersion(b"fuzzed".to_vec()), Some(schema)).is_err() {
        return;
    }
    let good: &[u8] = &good[0];
    let payloads = BinaryViewArray::from_iter_values([good, payload, good]);
    let versions: BinaryViewArray = [None, Some(&b"fuzzed"[..]), None].into_iter().collect();
    if let Ok(decoded) = decoder.decode(&payloads, &versions) {
        assert_eq!(decoded.rows.num_rows(), 3);
        assert!(decoded.errors.iter().all(|error| error.row == 1), "a bad payload harmed its neighbour");
    }
}

/// The schema of the Protobuf target (a message with numbers, texts, a list, a map, a message) and a good message.
pub fn protobuf_samples() -> (TopicSchema, Vec<Vec<u8>>) {
    const DEFINITION: &str = include_str!("order.json");
    let schema = TopicSchema {
        name: "order".into(),
        kind: PayloadKind::ProtobufNative,
        definition: DEFINITION.as_bytes().to_vec(),
        properties: Default::default(),
    };
    let line = [0x0a, 3, b't', b'e', b'a', 0x10, 2];
    let good = [&[0x08, 7, 0x12, 3, b'a', b'n', b'n', 0x18, 1, 0x22, line.len() as u8][..], &line].concat();
    (schema, vec![good])
}

/// A message.
pub fn protobuf(bytes: &[u8]) {
    let (schema, good) = protobuf_samples();
    decode(&schema, bytes, &good[0]);
}

/// A small archive file.
pub fn parquet_sample() -> Vec<u8> {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int32, true)]));
    let rows = RecordBatch::try_new(schema.clone(), vec![Arc::new(Int32Array::from(vec![Some(1), None, Some(3)]))]);
    let mut bytes = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, schema, None).expect("a writer");
    writer.write(&rows.expect("fits")).expect("writes");
    writer.close().expect("closes");
    bytes
}

/// A file as the archiver writes it, taken apart: its pages, and its end with the magic before which the pages stand.
fn archive_file() -> &'static (Vec<u8>, Vec<u8>) {
    static FILE: OnceLock<(Vec<u8>, Vec<u8>)> = OnceLock::new();
    FILE.get_or_init(|| {
        let rows = rows();
        let keys = [Some(&b"key"[..]), None];
        let messages = keys.map(|key| NewMessage { key, payload: Some(b"payload"), ..NewMessage::default() });
        let entry = build_entry(&EntrySpec { batched: true, ..EntrySpec::default() }, &messages).expect("builds");
        let mut writer = FileWriter::new(&rows.schema());
        let mut builder = MessageBatchBuilder::new(limits());
        // As many rows as make dictionaries and columns without any.
        for n in 0..300 {
            builder.append_entry(Position::new(1, n), &entry).expect("splits");
            writer.write(&builder.finish(), &rows, &[1]).expect("writes");
        }
        let covers = Interval::new(Cut::Start, Cut::After(Position::new(1, 299)));
        let (bytes, _) = writer.finish("fuzzed".into(), covers).expect("ends");
        // Everything but the metadata is pages, bloom filters and indexes.
        let end = bytes.len() - footer_bytes(&bytes[bytes.len() - 8..]) as usize;
        (bytes[..end].to_vec(), bytes[end..].to_vec())
    })
}

/// The pages of an archive file.
pub fn parquet_pages_sample() -> Vec<u8> {
    archive_file().0.clone()
}

/// The whole of that file.
pub fn archive_file_sample() -> Vec<u8> {
    [archive_file().0.as_slice(), &archive_file().1].concat()
}

/// Pages (with their headers, dictionaries, bloom filters and indexes) behind which stands the end of a file that was right.
pub fn parquet_pages(bytes: &[u8]) {
    let (pages, end) = archive_file();
    let mut file = bytes.to_vec();
    file.resize(pages.len(), 0);
    file.extend_from_slice(end);
    parquet(&file);
}

/// A file of an archive: its end and its pages are checked before the library sees them, then it is read.
pub fn parquet(bytes: &[u8]) {
    // The library's own errors are errors; what it makes of lies in what passed must not be a panic or a flood of memory.
    read_parquet(bytes);
}

/// How many rows of a file were read, up to a thousand; `None`: it was refused, perhaps half way.
pub fn read_parquet(bytes: &[u8]) -> Option<usize> {
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    check_end(bytes, bytes.len() as u64, "fuzzed").ok()?;
    let file = Bytes::copy_from_slice(bytes);
    let reader = guarded(|| ParquetRecordBatchReaderBuilder::try_new(file.clone())).ok()?;
    for chunk in reader.metadata().row_groups().iter().flat_map(|group| group.columns()) {
        let place = |offset: i64| usize::try_from(offset).ok();
        let from = place(chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset()))?;
        let to = from.checked_add(place(chunk.compressed_size())?)?;
        let limit = PageLimit { bytes: INFLATED_BYTES as u64, option: "fuzzed" };
        check_pages(file.get(from..to)?, &limit, "fuzzed").ok()?;
    }
    let mut rows = 0;
    let mut reader = reader.with_batch_size(64).build().ok()?;
    for _ in 0..16 {
        let Some(batch) = next_rows(&mut reader).ok()? else { break };
        rows += batch.num_rows();
    }
    Some(rows)
}
