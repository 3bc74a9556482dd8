use std::collections::HashMap;

use aquifer_model::{PayloadKind, SqlType};
use arrow::array::ArrayRef;
use arrow::array::{
    BooleanArray, Date32Array, Float32Array, Int32Array, Int64Array, StringViewArray, TimestampMillisecondArray,
};
use arrow::datatypes::DataType;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;
use crate::payload::{Format, encoder};

const TYPES: [(&str, &str); 9] = [
    ("a", "BIGINT NOT NULL"),
    ("b", "STRING"),
    ("c", "TIMESTAMP(3) NOT NULL"),
    ("d", "INT"),
    ("e", "BOOLEAN"),
    ("f", "STRING NOT NULL"),
    ("g", "FLOAT"),
    ("h", "DATE"),
    ("i", "TIMESTAMP_LTZ(3)"),
];

fn columns(names: &[&str]) -> SchemaRef {
    let wanted = TYPES.iter().filter(|(name, _)| names.contains(name));
    Arc::new(Schema::new(
        wanted.map(|(name, text)| SqlType::parse(text).expect("a type").to_field(name)).collect::<Vec<_>>(),
    ))
}

fn rows(random: &mut StdRng, count: usize) -> RecordBatch {
    let mut maybe = |n: i64| random.random_bool(0.8).then(|| random.random_range(-n..n));
    let longs: Int64Array = (0..count).map(|_| Some(maybe(1 << 40).unwrap_or(i64::MIN))).collect();
    let texts: StringViewArray =
        (0..count).map(|_| maybe(30).map(|n| "é long text ".repeat(n.unsigned_abs() as usize / 4))).collect();
    let times: TimestampMillisecondArray = (0..count).map(|_| Some(maybe(1 << 40).unwrap_or(0))).collect();
    let ints: Int32Array = (0..count).map(|_| maybe(1 << 31).map(|n| n as i32)).collect();
    let bits: BooleanArray = (0..count).map(|_| maybe(9).map(|n| n > 0)).collect();
    let names: StringViewArray = (0..count).map(|_| Some(format!("name {}", maybe(99999).unwrap_or(0)))).collect();
    let floats: Float32Array = (0..count).map(|_| maybe(99).map(|n| n as f32 / 7.0)).collect();
    let dates: Date32Array = (0..count).map(|_| maybe(20_000).map(|n| n as i32)).collect();
    let instants: TimestampMillisecondArray = (0..count).map(|_| maybe(1 << 40)).collect();
    let all = columns(&TYPES.map(|(name, _)| name));
    let instants = instants.with_timezone_opt(match all.field(8).data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    });
    let arrays: Vec<ArrayRef> = vec![
        Arc::new(longs),
        Arc::new(texts),
        Arc::new(times),
        Arc::new(ints),
        Arc::new(bits),
        Arc::new(names),
        Arc::new(floats),
        Arc::new(dates),
        Arc::new(instants),
    ];
    RecordBatch::try_new(all, arrays).expect("fits")
}

/// A decoder, and the same without the way for plain fields.
fn decoders(wanted: &SchemaRef, schema: &TopicSchema) -> [AvroDecoder; 2] {
    let make = || AvroDecoder::new(Arc::clone(wanted), Some(schema)).expect("a schema of ours");
    let (flat, mut general) = (make(), make());
    let is_flat = |decoder: &AvroDecoder| decoder.writers.known.values().flatten().all(|writer| writer.flat.is_some());
    assert!(is_flat(&flat), "all fields are plain");
    general.writers.known.values_mut().flatten().for_each(|writer| writer.flat = None);
    [flat, general]
}

#[test]
fn plain_fields_decode_as_the_general_way_does_good_bytes_and_bad() {
    let all = columns(&TYPES.map(|(name, _)| name));
    let definition = avro_schema::definition("t", &all).expect("all have types");
    let schema = TopicSchema { name: "t".into(), kind: PayloadKind::Avro, definition, properties: Default::default() };
    let mut random = StdRng::seed_from_u64(3);
    let (mut clean, mut bad) = (0, 0);
    let (mut pairs, mut held) = (HashMap::new(), Vec::<(RecordBatch, RecordBatch)>::new());
    for turn in 0..300 {
        let count = random.random_range(1..60);
        let rows = rows(&mut random, count);
        let encoded =
            encoder(Format::Avro, Arc::clone(&all), Some(&schema)).expect("an encoder").encode(&rows).expect("encodes");
        let damage = turn % 3 == 0;
        let payloads: BinaryViewArray = (0..count)
            .map(|row| {
                let mut bytes = encoded.value(row).to_vec();
                if damage && random.random_bool(0.1) {
                    match random.random_range(0..3) {
                        0 => bytes.truncate(random.random_range(0..bytes.len())),
                        1 => bytes.push(0),
                        _ => {
                            let at = random.random_range(0..bytes.len());
                            bytes[at] ^= 1 << random.random_range(0..8);
                        }
                    }
                }
                random.random_bool(0.95).then_some(bytes)
            })
            .collect();
        let versions: BinaryViewArray = std::iter::repeat_n(None::<&[u8]>, count).collect();
        let names: Vec<&str> = TYPES.iter().map(|(name, _)| *name).filter(|_| random.random_bool(0.7)).collect();
        let wanted = columns(if names.is_empty() { &["d"] } else { &names });
        // The same decoders for several batches, of which some are still held when the next is decoded.
        let kept = pairs.entry(names.clone()).or_insert_with(|| decoders(&wanted, &schema));
        let [flat, general] = kept;
        let from = random.random_range(0..count);
        let (payloads, versions) = (payloads.slice(from, count - from), versions.slice(from, count - from));
        let (flat, general) = (
            flat.decode(&payloads, &versions).expect("decodes"),
            general.decode(&payloads, &versions).expect("decodes"),
        );
        assert_eq!(flat.errors, general.errors);
        assert_eq!(flat.rows, general.rows);
        held.retain(|_| random.random_bool(0.5));
        held.push((flat.rows.clone(), general.rows));
        assert!(held.iter().all(|(flat, general)| flat == general), "what is held stays as it was");
        if flat.errors.is_empty() { clean += 1 } else { bad += 1 }
    }
    assert!(clean > 150 && bad > 20, "{clean} clean, {bad} bad");
}

#[test]
fn fields_that_are_not_plain_go_the_general_way() {
    let decimal = Arc::new(Schema::new(vec![SqlType::parse("DECIMAL(10, 2)").expect("a type").to_field("n")]));
    let definition = avro_schema::definition("t", &decimal).expect("has a type");
    assert!(Writer::new(&definition, None, &decimal).expect("ours").flat.is_none());
    let absent = columns(&["a"]);
    assert!(
        Writer::new(&definition, None, &absent).expect("ours").flat.is_some(),
        "a column that the writer lacks is NULL"
    );
}
