use aquifer_model::SqlType;
use arrow::array::{ArrayRef, Int64Array, StringViewArray};
use arrow::datatypes::Schema;
use proptest::prelude::*;

use super::*;

fn schema(types: &[(&str, &str)]) -> SchemaRef {
    let field = |(name, text): &(&str, &str)| SqlType::parse(text).expect("a type").to_field(name);
    Arc::new(Schema::new(types.iter().map(field).collect::<Vec<_>>()))
}

const TYPES: [(&str, &str); 2] = [("id", "BIGINT"), ("s", "STRING")];

fn batch(rows: &[(Option<i64>, Option<String>)]) -> RecordBatch {
    let ids: ArrayRef = Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>());
    let texts: ArrayRef = Arc::new(rows.iter().map(|row| row.1.clone()).collect::<StringViewArray>());
    RecordBatch::try_new(schema(&TYPES), vec![ids, texts]).expect("fits")
}

fn written(codec: AvroCodec, batches: &[RecordBatch]) -> Vec<u8> {
    let mut encoder = AvroFileEncoder::new(codec, schema(&TYPES), [7; 16]).expect("types");
    let mut file = encoder.head().to_vec();
    batches.iter().for_each(|batch| encoder.write(batch, &mut file).expect("written"));
    file
}

fn read(columns: SchemaRef, file: &[u8]) -> Result<RecordBatch> {
    let mut decoder = AvroFileDecoder::new(columns);
    let mut at = decoder.take_head(file, true)?.expect("all bytes are there");
    while at < file.len() {
        at += decoder.take(&file[at..], true)?.expect("all bytes are there");
    }
    Ok(decoder.finish()?.rows().clone())
}

#[test]
fn columns_are_found_by_name_and_the_files_own_are_told() {
    let file = written(AvroCodec::Snappy, &[batch(&[(Some(1), None), (None, Some("a".into()))])]);
    assert_eq!(columns(&file).expect("a head").expect("whole"), schema(&TYPES));
    assert!(columns(&file[..20]).expect("so far").is_none());
    let got = read(schema(&[("s", "STRING"), ("more", "INT"), ("id", "DOUBLE")]), &file).expect("read");
    assert_eq!(got.num_rows(), 2);
    assert_eq!(got.column(1).null_count(), 2);
    assert_eq!(got.column(2).data_type(), &arrow::datatypes::DataType::Float64);
}

#[test]
fn apache_avro_reads_what_is_written_and_is_read() {
    let rows = [(Some(1), Some("a".to_string())), (None, None)];
    for codec in [AvroCodec::None, AvroCodec::Deflate] {
        let file = written(codec, &[batch(&rows)]);
        let values: Vec<_> = apache_avro::Reader::new(&file[..]).expect("a head").collect();
        assert_eq!(values.len(), 2);
        assert!(values.iter().all(std::result::Result::is_ok), "{values:?}");
    }
    let definition =
        r#"{"type":"record","name":"r","fields":[{"name":"id","type":"long"},{"name":"s","type":"string"}]}"#;
    let definition = apache_avro::Schema::parse_str(definition).expect("a schema");
    let mut writer = apache_avro::Writer::new(&definition, Vec::new()).expect("a writer");
    let mut record = apache_avro::types::Record::new(&definition).expect("a record");
    record.put("id", 5i64);
    record.put("s", "x");
    writer.append_value(record).expect("appended");
    let file = writer.into_inner().expect("a file");
    assert_eq!(read(schema(&TYPES), &file).expect("read"), batch(&[(Some(5), Some("x".into()))]));
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        rows in prop::collection::vec((any::<Option<i64>>(), prop::option::of("[a-zé]{0,12}")), 0..50),
        codec in prop::sample::select(vec![AvroCodec::None, AvroCodec::Deflate, AvroCodec::Snappy, AvroCodec::Zstandard]),
        cut in any::<prop::sample::Index>(),
    ) {
        let cut = cut.index(rows.len() + 1);
        let file = written(codec, &[batch(&rows[..cut]), batch(&rows[cut..])]);
        prop_assert_eq!(read(schema(&TYPES), &file).expect("read"), batch(&rows));
    }

    #[test]
    fn damage_is_an_error_or_rows(
        at in any::<prop::sample::Index>(), with in prop::collection::vec(any::<u8>(), 0..12),
        codec in prop::sample::select(vec![AvroCodec::None, AvroCodec::Deflate, AvroCodec::Snappy, AvroCodec::Zstandard]),
    ) {
        let mut file = written(codec, &[batch(&[(Some(1), Some("abc".into())), (None, None)])]);
        let at = at.index(file.len());
        let end = (at + with.len()).min(file.len());
        file.splice(at..end, with);
        let _ = read(schema(&TYPES), &file);
    }
}
