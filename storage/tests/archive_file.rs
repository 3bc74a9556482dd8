//! A data file's layout, with row groups of the size that they have in earnest.

use std::sync::Arc;

use aquifer_formats::entry::{EntryLimits, EntrySpec, NewMessage, build_entry};
use aquifer_formats::messages::{MessageBatchBuilder, column};
use aquifer_model::{Cut, Interval, Position, SqlType};
use aquifer_storage::archive::file::{FileWriter, ROW_GROUP_ROWS};
use aquifer_storage::archive::hostile::check_end;
use aquifer_storage::archive::manifest::DataFile;
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::Schema;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Encoding;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};

const ROWS: usize = 200_000;

fn value_columns() -> Schema {
    Schema::new(vec![
        SqlType::BigInt.nullable().to_field("n"),
        SqlType::STRING.nullable().to_field("city"),
        SqlType::STRING.nullable().to_field("text"),
        SqlType::Double.nullable().to_field("__twice"),
    ])
}

/// A file of `ROWS` messages, 100 in an entry, 50 different keys.
fn file() -> (bytes::Bytes, DataFile) {
    let columns = value_columns();
    let mut writer = FileWriter::new(&columns);
    let spec = EntrySpec {
        producer_name: "a-producer-with-a-name-of-its-own".into(),
        schema_version: Some(vec![0, 0, 0, 0, 0, 0, 0, 3]),
        batched: true,
        publish_time_ms: 1_700_000_000_000,
        ..Default::default()
    };
    let mut builder = MessageBatchBuilder::new(EntryLimits::default());
    for entry in 0..ROWS / 100 {
        let keys: Vec<String> = (0..100).map(|i| format!("key-{}", (entry + i) % 50)).collect();
        let messages: Vec<NewMessage<'_>> = (0..100)
            .map(|i| NewMessage {
                sequence_id: (entry * 100 + i) as i64,
                key: Some(keys[i].as_bytes()),
                payload: Some(b"payload"),
                event_time_ms: Some(1_700_000_000_000 + (entry * 100 + i) as i64),
                ..Default::default()
            })
            .collect();
        let bytes = build_entry(&spec, &messages).expect("a hundred messages");
        builder.append_entry(Position::new(4, entry as u64), &bytes).expect("whole");
        if builder.num_rows() == 10_000 {
            let messages = builder.finish();
            let first = (entry + 1) * 100 - 10_000;
            let numbers = || first..first + 10_000;
            let values: Vec<ArrayRef> = vec![
                Arc::new(Int64Array::from_iter_values(numbers().map(|n| n as i64))),
                Arc::new(StringViewArray::from_iter_values(numbers().map(|n| format!("city number {}", n % 20)))),
                Arc::new(StringViewArray::from_iter_values(numbers().map(|n| format!("a text of its own {n}")))),
                Arc::new(Float64Array::from_iter_values(numbers().map(|n| n as f64 * 2.0))),
            ];
            let values = RecordBatch::try_new(Arc::new(columns.clone()), values).expect("four columns");
            let kept = if first == 0 { vec![3] } else { Vec::new() };
            writer.write(&messages, &values, &kept).expect("in order");
        }
    }
    let to = Cut::After(Position::new(4, (ROWS / 100 - 1) as u64));
    writer.finish("d/x".into(), Interval::new(Cut::Start, to)).expect("whole")
}

fn metadata(bytes: &bytes::Bytes) -> ParquetMetaData {
    let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Required);
    reader.parse_and_finish(bytes).expect("Parquet with a page index")
}

#[test]
fn a_files_layout_is_what_readers_count_on() {
    let (bytes, file) = file();
    assert_eq!((file.rows, file.entries), (ROWS as u64, ROWS as u64 / 100));
    assert_eq!(file.positions, Some((Position::new(4, 0), Position::new(4, ROWS as u64 / 100 - 1))));
    assert_eq!(file.event_time_ms, Some((1_700_000_000_000, 1_700_000_000_000 + ROWS as i64 - 1)));
    assert_eq!(file.schema_versions, ["0000000000000003"]);
    check_end(&bytes, bytes.len() as u64, "x").expect("ours");

    let metadata = metadata(&bytes);
    assert_eq!(metadata.num_row_groups(), 2);
    assert_eq!(metadata.row_group(0).num_rows(), ROW_GROUP_ROWS as i64);
    let group = metadata.row_group(0);
    let chunk = |name: &str| {
        let found = group.columns().iter().filter(|c| c.column_descr().path().parts()[0] == name);
        let found: Vec<_> = found.collect();
        assert!(!found.is_empty(), "{name}");
        found
    };
    for name in [column::LEDGER, column::ENTRY, column::BATCH_INDEX, column::SEQUENCE_ID, column::EVENT_TIME] {
        let encodings: Vec<Encoding> = chunk(name)[0].encodings().collect();
        assert!(encodings.contains(&Encoding::DELTA_BINARY_PACKED), "{name}: {encodings:?}");
        assert!(!encodings.contains(&Encoding::RLE_DICTIONARY), "{name}: {encodings:?}");
    }
    for (name, dictionary) in [("city", true), ("text", false), ("n", false), ("__value.__twice", false)] {
        let encodings: Vec<Encoding> = chunk(name)[0].encodings().collect();
        assert_eq!(encodings.contains(&Encoding::RLE_DICTIONARY), dictionary, "{name}: {encodings:?}");
    }
    // What is the same for a whole producer costs next to nothing.
    let shared = [column::PRODUCER_NAME, column::PROPERTIES, column::SCHEMA_VERSION];
    let cost: i64 = shared.iter().flat_map(|name| chunk(name)).map(|c| c.compressed_size()).sum();
    assert!(cost < 4 * group.num_rows(), "{cost} bytes for {} rows", group.num_rows());
    // Sized by the fifty keys, not by the rows.
    let bloom = chunk(column::KEY)[0].bloom_filter_length().expect("a bloom filter");
    assert!(bloom < 1024, "{bloom} bytes");
}

#[test]
fn what_is_written_is_read_back_and_only_kept_payloads_have_bytes() {
    let (bytes, _) = file();
    let mut row = 0;
    for batch in ParquetRecordBatchReaderBuilder::try_new(bytes).expect("Parquet").build().expect("Parquet") {
        let batch = batch.expect("Parquet");
        let payloads = batch.column_by_name(column::PAYLOAD).expect("a column").as_binary_view();
        let numbers = batch.column_by_name("n").expect("a column");
        let numbers = numbers.as_primitive::<arrow::datatypes::Int64Type>();
        for i in 0..batch.num_rows() {
            assert_eq!(numbers.value(i), row);
            assert_eq!(payloads.is_valid(i), row == 3);
            row += 1;
        }
    }
    assert_eq!(row as usize, ROWS);
}

#[test]
fn rows_out_of_order_are_refused() {
    let mut builder = MessageBatchBuilder::new(EntryLimits::default());
    let message = NewMessage { payload: Some(b"x"), ..Default::default() };
    let bytes = build_entry(&EntrySpec::default(), &[message]).expect("one message");
    let empty = Schema::empty();
    let mut writer = FileWriter::new(&empty);
    for (entry, fine) in [(5, true), (4, false)] {
        builder.append_entry(Position::new(1, entry), &bytes).expect("whole");
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(1));
        let none =
            RecordBatch::try_new_with_options(Arc::new(empty.clone()), Vec::new(), &options).expect("no columns");
        assert_eq!(writer.write(&builder.finish(), &none, &[0]).is_ok(), fine);
    }
}

#[test]
fn a_footer_that_asks_for_more_than_it_has_is_refused_before_it_is_parsed() {
    // Metadata of eleven bytes whose list of row groups says that it has 2^31 - 1 elements.
    let metadata = [0x15, 0x02, 0x39, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07, 0x00, 0x00];
    let mut bytes = b"PAR1".to_vec();
    bytes.extend(metadata);
    bytes.extend((metadata.len() as u32).to_le_bytes());
    bytes.extend(b"PAR1");
    let error = check_end(&bytes, bytes.len() as u64, "hostile").expect_err("refused");
    assert!(error.to_string().contains("`hostile`") && error.to_string().contains("2147483647"), "{error}");
    for torn in 0..bytes.len() {
        check_end(&bytes[..torn], torn as u64, "torn").expect_err("refused");
    }
}
