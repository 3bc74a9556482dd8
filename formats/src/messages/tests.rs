use arrow::array::Array;
use arrow::datatypes::{Int32Type, Int64Type, TimestampMillisecondType, UInt64Type};
use proptest::prelude::*;
use prost::Message as _;
use pulsar::message::proto::BrokerEntryMetadata;

use super::*;
use crate::entry::{Compression, EntrySpec, NewMessage, build_entry, frame};

#[derive(Debug, Clone)]
struct Owned {
    key: Option<Vec<u8>>,
    payload: Option<Vec<u8>>,
    event_time: Option<i64>,
    properties: Vec<(String, String)>,
    ordering_key: Option<Vec<u8>>,
}

fn any_message() -> impl Strategy<Value = Owned> {
    (
        prop::option::of(prop::collection::vec(any::<u8>(), 0..6)),
        prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
        prop::option::of(1i64..i64::MAX),
        prop::collection::vec(("[a-z]{1,4}".prop_map(String::from), "[a-zä]{0,4}".prop_map(String::from)), 0..3),
        prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
    )
        .prop_map(|(key, payload, event_time, properties, ordering_key)| Owned {
            key,
            payload,
            event_time,
            properties,
            ordering_key,
        })
}

fn any_compression() -> impl Strategy<Value = Compression> {
    prop::sample::select(vec![
        Compression::None,
        Compression::Lz4,
        Compression::Zlib,
        Compression::Zstd,
        Compression::Snappy,
    ])
}

fn built(messages: &[Owned], compression: Compression, batched: bool) -> Bytes {
    let spec = EntrySpec {
        producer_name: "writer".into(),
        publish_time_ms: 1_700_000_000_000,
        schema_version: Some(vec![0, 0, 0, 0, 0, 0, 0, 3]),
        compression,
        batched,
        ..EntrySpec::default()
    };
    let messages: Vec<NewMessage<'_>> = messages
        .iter()
        .enumerate()
        .map(|(n, m)| NewMessage {
            sequence_id: 100 + n as i64,
            key: m.key.as_deref(),
            payload: m.payload.as_deref(),
            event_time_ms: m.event_time,
            properties: &m.properties,
            ordering_key: m.ordering_key.as_deref(),
        })
        .collect();
    build_entry(&spec, &messages).expect("a valid entry")
}

proptest! {
    /// Batches of which some are kept, some given up at once, from one builder; between its entries it is given broken ones.
    #[test]
    fn what_a_batch_holds_stays_when_the_builder_goes_on(
        entries in prop::collection::vec(
            (prop::collection::vec(any_message(), 1..5), any_compression(), any::<bool>(), any::<bool>(), any::<bool>()), 1..25,
        ),
    ) {
        let mut builder = MessageBatchBuilder::new(EntryLimits::default());
        let mut expected: Vec<Option<Vec<u8>>> = Vec::new();
        let mut kept = Vec::new();
        for (messages, compression, ends, keeps, releases) in entries {
            let entry = built(&messages, compression, true);
            builder.append_entry(Position::new(1, 1), &entry).expect("whole");
            expected.extend(messages.iter().map(|message| message.payload.clone()));
            // Whole, but for the messages that it says it has.
            let limits = EntryLimits::default();
            let ParsedEntry { mut metadata, payload } = ParsedEntry::parse(&entry, &limits).expect("whole");
            metadata.num_messages_in_batch = Some(messages.len() as i32 + 1);
            prop_assert!(builder.append_entry(Position::new(1, 2), &frame(&metadata, &payload)).is_err());
            if ends {
                let batch = builder.finish();
                let given = std::mem::take(&mut expected);
                prop_assert_eq!(batch.payloads().iter().map(|p| p.map(<[u8]>::to_vec)).collect::<Vec<_>>(), &given[..]);
                if keeps {
                    kept.push((batch, given));
                }
                if releases {
                    builder.release();
                }
            }
        }
        for (batch, given) in kept {
            prop_assert_eq!(batch.payloads().iter().map(|p| p.map(<[u8]>::to_vec)).collect::<Vec<_>>(), given);
        }
    }

    #[test]
    fn messages_come_back_as_they_were_written(
        messages in prop::collection::vec(any_message(), 1..6), compression in any_compression(), single: bool,
    ) {
        let messages = if single { messages[..1].to_vec() } else { messages };
        let entry = built(&messages, compression, !single);
        let mut builder = MessageBatchBuilder::new(EntryLimits::default());
        for n in 0..2 {
            let rows = builder.append_entry(Position::new(4, n), &entry).expect("built by us");
            prop_assert_eq!(rows as usize, messages.len());
        }
        let batch = builder.finish();
        prop_assert_eq!(builder.num_rows(), 0);
        let rows = batch.rows();
        prop_assert_eq!(rows.num_rows(), 2 * messages.len());
        let column = |name: &str| rows.column_by_name(name).expect("a message column");
        for row in 0..rows.num_rows() {
            let n = row % messages.len();
            let message = &messages[n];
            let value = |name: &str| column(name).as_binary_view().is_valid(row).then(|| column(name).as_binary_view().value(row).to_vec());
            prop_assert_eq!(value(column::PAYLOAD), message.payload.clone());
            prop_assert_eq!(value(column::KEY), message.key.clone());
            prop_assert_eq!(value(column::ORDERING_KEY), message.ordering_key.clone());
            let size = message.payload.as_ref().map_or(0, Vec::len) as i32;
            prop_assert_eq!(column(column::MESSAGE_SIZE).as_primitive::<Int32Type>().value(row), size);
            prop_assert!(column(column::REPLICATED_FROM).is_null(row));
            prop_assert_eq!(column(column::NULL_VALUE).as_boolean().value(row), message.payload.is_none());
            prop_assert_eq!(column(column::ENTRY).as_primitive::<UInt64Type>().value(row), (row / messages.len()) as u64);
            prop_assert_eq!(column(column::SEQUENCE_ID).as_primitive::<Int64Type>().value(row), 100 + n as i64);
            let event_time = column(column::EVENT_TIME).as_primitive::<TimestampMillisecondType>();
            prop_assert_eq!(event_time.is_valid(row).then(|| event_time.value(row)), message.event_time);
            let pairs = column(column::PROPERTIES).as_map().value(row);
            let (keys, values) = (pairs.column(0).as_string::<i32>(), pairs.column(1).as_string::<i32>());
            let pairs: Vec<_> = (0..pairs.len()).map(|i| (keys.value(i).to_string(), values.value(i).to_string())).collect();
            prop_assert_eq!(&pairs, &message.properties);
        }
    }

    #[test]
    fn a_damaged_entry_adds_nothing_and_harms_no_neighbour(
        messages in prop::collection::vec(any_message(), 1..4), at in any::<prop::sample::Index>(), byte: u8, compression in any_compression(),
    ) {
        let good = built(&messages, compression, true);
        // The checksum is taken off, so that the damage reaches the layers behind it.
        let mut bad = good[6..].to_vec();
        let at = at.index(bad.len());
        bad[at] = byte;
        let mut builder = MessageBatchBuilder::new(EntryLimits { max_inflated_bytes: 1 << 16, ..Default::default() });
        builder.append_entry(Position::new(1, 0), &good).expect("whole");
        let added = builder.append_entry(Position::new(1, 1), &bad.into()).unwrap_or(0) as usize;
        builder.append_entry(Position::new(1, 2), &good).expect("whole");
        prop_assert_eq!(builder.finish().rows().num_rows(), 2 * messages.len() + added);
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut builder = MessageBatchBuilder::new(EntryLimits { max_inflated_bytes: 1 << 16, ..Default::default() });
        let _ = builder.append_entry(Position::new(1, 1), &bytes.into());
        builder.finish();
    }
}

#[test]
fn columns_that_nobody_reads_are_left_out_and_the_others_are_the_same() {
    let properties = [("a".to_string(), "b".to_string())];
    let messages: Vec<NewMessage<'_>> = (0..5)
        .map(|n| NewMessage {
            sequence_id: n,
            key: Some(b"k"),
            payload: Some(b"v"),
            event_time_ms: Some(n + 1),
            properties: &properties,
            ordering_key: Some(b"o"),
        })
        .collect();
    let spec = EntrySpec { producer_name: "a name longer than a view".into(), batched: true, ..EntrySpec::default() };
    let entry = build_entry(&spec, &messages).expect("builds");
    let optional = [
        column::EVENT_TIME,
        column::PROPERTIES,
        column::PRODUCER_NAME,
        column::SEQUENCE_ID,
        column::ORDERING_KEY,
        column::REPLICATED_FROM,
        column::MESSAGE_SIZE,
        column::BROKER_PUBLISH_TIME,
        column::MESSAGE_INDEX,
    ];
    let entry = behind(1_700_000_000_000, 9, &entry);
    let all = {
        let mut builder = MessageBatchBuilder::new(EntryLimits::default());
        builder.append_entry(Position::new(1, 2), &entry).expect("splits");
        builder.finish()
    };
    for wanted in 0..512 {
        let is_wanted = |name: &str| {
            optional.iter().position(|known| *known == name).is_some_and(|place| wanted & (1 << place) != 0)
        };
        let mut builder = MessageBatchBuilder::new(EntryLimits::default()).only(is_wanted);
        // Twice: a builder that is used again leaves the same out.
        for _ in 0..2 {
            builder.append_entry(Position::new(1, 2), &entry).expect("splits");
            let some = builder.finish();
            assert_eq!(some.rows().num_rows(), 5);
            for field in message_schema().fields() {
                let name = field.name().as_str();
                if is_wanted(name) || !optional.contains(&name) {
                    assert_eq!(some.rows().column_by_name(name), all.rows().column_by_name(name), "`{name}`");
                }
            }
        }
    }
}

/// An entry as a broker gives it that tells its time and the index of its last message.
fn behind(broker_time: u64, index: u64, entry: &Bytes) -> Bytes {
    let said = BrokerEntryMetadata { broker_timestamp: Some(broker_time), index: Some(index) }.encode_to_vec();
    [&[0x0e, 0x02][..], &(said.len() as u32).to_be_bytes(), &said, entry].concat().into()
}

#[test]
fn what_the_broker_says_of_an_entry_is_said_of_each_message() {
    let message = |n| NewMessage { sequence_id: n, payload: Some(b"v"), ..NewMessage::default() };
    let spec = |batched| EntrySpec { producer_name: "p".into(), batched, ..EntrySpec::default() };
    let batch = build_entry(&spec(true), &[message(0), message(1), message(2)]).expect("builds");
    let single = build_entry(&spec(false), &[message(3)]).expect("builds");
    let mut builder = MessageBatchBuilder::new(EntryLimits::default());
    let entries = [behind(1000, 2, &batch), single.clone(), behind(2000, 3, &single), behind(3000, 0, &batch), batch];
    for (at, entry) in (0..).zip(&entries) {
        builder.append_entry(Position::new(1, at), entry).expect("splits");
    }
    let given = builder.finish();
    let column = |name: &str| given.rows().column_by_name(name).expect("there").clone();
    let times: Vec<_> = column(column::BROKER_PUBLISH_TIME).as_primitive::<TimestampMillisecondType>().iter().collect();
    let (a, b, c) = (Some(1000), Some(2000), Some(3000));
    assert_eq!(times, [a, a, a, None, b, c, c, c, None, None, None]);
    let indexes: Vec<_> = column(column::MESSAGE_INDEX).as_primitive::<Int64Type>().iter().collect();
    // A transaction's entry is counted once, whatever it holds.
    let counted = [None, None, Some(0), None, None, None];
    assert_eq!(indexes, [&[Some(0), Some(1), Some(2), None, Some(3)][..], &counted].concat());
}

/// The entry of some messages in one batch, with `change` made to its metadata.
fn changed(messages: &[NewMessage<'_>], change: impl Fn(&mut MessageMetadata)) -> Bytes {
    let spec = EntrySpec { producer_name: "p".into(), batched: true, ..EntrySpec::default() };
    let entry = build_entry(&spec, messages).expect("builds");
    let ParsedEntry { mut metadata, payload } = ParsedEntry::parse(&entry, &EntryLimits::default()).expect("whole");
    change(&mut metadata);
    frame(&metadata, &payload)
}

#[test]
fn sequence_ids_that_messages_do_not_name_count_on_past_the_largest_number() {
    // Two messages of a client that writes no sequence id beside each: four bytes of length, `payload_size` 1, the payload.
    let payload = [0, 0, 0, 2, 0x18, 1, b'a', 0, 0, 0, 2, 0x18, 1, b'b'];
    let metadata = MessageMetadata {
        producer_name: "p".into(),
        sequence_id: u64::MAX,
        num_messages_in_batch: Some(2),
        ..MessageMetadata::default()
    };
    let mut builder = MessageBatchBuilder::new(EntryLimits::default());
    builder.append_entry(Position::new(1, 2), &frame(&metadata, &payload)).expect("two messages");
    let batch = builder.finish();
    let ids = batch.rows().column_by_name(column::SEQUENCE_ID).expect("there").as_primitive::<Int64Type>();
    assert_eq!(ids.values(), &[-1, 0]);
    // A message that names its own is asked nothing more.
    let named = NewMessage { sequence_id: 5, ..NewMessage::default() };
    let entry = changed(&[named.clone(), named], |metadata| metadata.sequence_id = u64::MAX);
    builder.append_entry(Position::new(1, 3), &entry).expect("two messages");
    let batch = builder.finish();
    let ids = batch.rows().column_by_name(column::SEQUENCE_ID).expect("there").as_primitive::<Int64Type>();
    assert_eq!(ids.values(), &[5, 5]);
}

#[test]
fn the_cluster_that_an_entry_comes_from_is_that_of_all_its_messages() {
    let message = NewMessage { payload: Some(b"v"), ..NewMessage::default() };
    let cluster = "a-cluster-with-a-long-name";
    let entry = changed(&[message.clone(), message], |metadata| metadata.replicated_from = Some(cluster.into()));
    let mut builder = MessageBatchBuilder::new(EntryLimits::default());
    builder.append_entry(Position::new(1, 2), &entry).expect("two messages");
    let batch = builder.finish();
    let clusters = batch.rows().column_by_name(column::REPLICATED_FROM).expect("there").as_string_view();
    assert_eq!(clusters.iter().collect::<Vec<_>>(), [Some(cluster); 2]);
}
