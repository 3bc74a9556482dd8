//! Replays the corpora of `fuzz/` and seeded mutations of them, and inflates bombs under a cap, their memory measured in a process of its own.
//!
//! `AQUIFER_FUZZ_ROUNDS` says how many mutations each target gets (3,000), `AQUIFER_FUZZ_SEED` which (17); `AQUIFER_WRITE_CORPUS=1` writes what the encoders make
//! into the corpora.

#[path = "../../fuzz/targets.rs"]
mod targets;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use aquifer_formats::chunked::build_chunks;
use aquifer_formats::compression::compress;
use aquifer_formats::entry::{Compression, EntrySpec, NewMessage, build_entry};
use arrow::array::{BinaryArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::ZstdLevel;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use prost::Message;
use pulsar::message::proto::{
    BaseCommand, BrokerEntryMetadata, CommandConnected, CommandError, CommandMessage, CommandPing, CompressionType,
    EncryptionKeys, MessageIdData, MessageMetadata, base_command,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 13] = [
    ("frames", targets::frames),
    ("session", targets::session),
    ("entry", targets::entry),
    ("chunks", targets::chunks),
    ("avro", targets::avro),
    ("json", targets::json),
    ("csv", targets::csv),
    ("raw", targets::raw),
    ("key_value", targets::key_value),
    ("protobuf", targets::protobuf),
    ("schema", targets::schema),
    ("parquet", targets::parquet),
    ("parquet_pages", targets::parquet_pages),
];

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target)
}

fn command(kind: base_command::Type) -> BaseCommand {
    BaseCommand { r#type: kind as i32, ..Default::default() }
}

fn ping() -> BaseCommand {
    BaseCommand { ping: Some(CommandPing {}), ..command(base_command::Type::Ping) }
}

fn greeting() -> BaseCommand {
    let connected = CommandConnected { server_version: "4".into(), protocol_version: Some(19), max_message_size: None };
    BaseCommand { connected: Some(connected), ..command(base_command::Type::Connected) }
}

fn message() -> BaseCommand {
    let message_id = MessageIdData { ledger_id: 3, entry_id: 7, ..Default::default() };
    let message = CommandMessage { consumer_id: 1, message_id, ..Default::default() };
    BaseCommand { message: Some(message), ..command(base_command::Type::Message) }
}

fn refused() -> BaseCommand {
    let error = CommandError { request_id: 5, error: 1, message: "no".into() };
    BaseCommand { error: Some(error), ..command(base_command::Type::Error) }
}

/// A command as a frame of its own.
fn frame(command: &BaseCommand) -> Vec<u8> {
    let command = command.encode_to_vec();
    let length = command.len() as u32;
    [&(length + 4).to_be_bytes()[..], &length.to_be_bytes(), &command].concat()
}

/// What our own encoders make for a target.
fn samples(target: &str) -> Vec<Vec<u8>> {
    let messages: Vec<NewMessage<'_>> = (0..3)
        .map(|n| NewMessage { sequence_id: n, key: Some(b"key"), payload: Some(b"payload"), ..NewMessage::default() })
        .collect();
    let codecs = [Compression::None, Compression::Lz4, Compression::Zlib, Compression::Zstd, Compression::Snappy];
    let spec =
        |compression| EntrySpec { producer_name: "p".into(), batched: true, compression, ..EntrySpec::default() };
    match target {
        "frames" => vec![frame(&ping()), frame(&ping()).repeat(3)],
        "session" => {
            let greeted = frame(&greeting());
            // A message's bytes stand behind its command, within the frame.
            let command = frame(&message());
            let entry = build_entry(&spec(Compression::Lz4), &messages).expect("builds");
            let length = (command.len() - 4 + entry.len()) as u32;
            let given = [&length.to_be_bytes()[..], &command[4..], &entry].concat();
            let answers = [&greeted[..], &frame(&ping()), &given, &frame(&refused())].concat();
            vec![[&[3][..], &greeted].concat(), [&[7][..], &answers].concat(), [&[0][..], &frame(&refused())].concat()]
        }
        "entry" => {
            let entries = codecs.map(|codec| build_entry(&spec(codec), &messages).expect("builds").to_vec());
            let encrypted = changed(&entries[3], encrypt);
            let alone = EntrySpec { batched: false, ..spec(Compression::None) };
            let alone = build_entry(&alone, &messages[..1]).expect("builds");
            let given = [behind_broker_metadata(&entries[0]), behind_broker_metadata(&encrypted)];
            [&entries[..], &given, &[changed(&alone, encrypt), alone.to_vec(), encrypted]].concat()
        }
        "chunks" => {
            let long = NewMessage { payload: Some(&[7; 3000]), ..NewMessage::default() };
            let parts = build_chunks(&spec(Compression::None), &long, 1024).expect("builds");
            // Of little payload, so that what is changed is mostly what tells the chunks apart: two messages of two producers, one between the other.
            let short = NewMessage { sequence_id: 5, payload: Some(&[7; 100]), ..NewMessage::default() };
            let of = |name: &str| EntrySpec { producer_name: name.into(), ..spec(Compression::None) };
            let (one, two) = (build_chunks(&of("a"), &short, 90), build_chunks(&of("b"), &short, 90));
            let between = one.expect("builds").into_iter().zip(two.expect("builds")).flat_map(|(one, two)| [one, two]);
            let given = parts.iter().map(|part| behind_broker_metadata(part));
            vec![framed(&parts), framed(&between.collect::<Vec<_>>()), framed(&given.collect::<Vec<_>>())]
        }
        "avro" => targets::avro_samples().1,
        "json" => targets::json_samples().1,
        "csv" => targets::csv_samples(),
        "raw" => (0..8).map(|kind| [&[kind][..], &[0; 8]].concat()).collect(),
        "key_value" => targets::key_value_samples().1,
        "protobuf" => targets::protobuf_samples().1,
        // What `fuzz/corpus/schema.py` wrote.
        "schema" => vec![],
        "parquet_pages" => vec![targets::parquet_pages_sample()],
        _ => vec![targets::parquet_sample()],
    }
}

fn mutated(bytes: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.random_range(1..5) {
        let at = random.random_range(0..=bytes.len());
        match random.random_range(0..6) {
            0 if at < bytes.len() => bytes[at] = random.random(),
            1 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
            2 => bytes.truncate(at),
            3 => bytes.insert(at, random.random()),
            // Lengths and counts of which little is left.
            4 if at + 4 <= bytes.len() => bytes[at..at + 4].fill(if random.random() { 0xff } else { 0 }),
            _ => {
                let tail = bytes[at..].to_vec();
                bytes.extend_from_slice(&tail[..tail.len().min(64)]);
            }
        }
    }
    bytes
}

/// Corrects an entry's checksum, so that what stands behind it is read.
fn with_checksum(mut entry: Vec<u8>) -> Vec<u8> {
    let at = match entry.first_chunk::<6>() {
        Some([0x0e, 0x02, length @ ..]) => (u32::from_be_bytes(*length) as usize).saturating_add(6),
        _ => 0,
    };
    if let Some([0x0e, 0x01, rest @ ..]) = entry.get_mut(at..)
        && let Some((sum, covered)) = rest.split_first_chunk_mut::<4>()
    {
        *sum = crc32c::crc32c(covered).to_be_bytes();
    }
    entry
}

/// Chunks as the target takes them: each behind two bytes of its length.
fn framed<T: AsRef<[u8]>>(chunks: &[T]) -> Vec<u8> {
    let framed = |chunk: &T| [&(chunk.as_ref().len() as u16).to_be_bytes()[..], chunk.as_ref()].concat();
    chunks.iter().flat_map(framed).collect()
}

/// The same with all their checksums corrected.
fn with_checksums(chunks: &[u8]) -> Vec<u8> {
    let mut corrected = Vec::with_capacity(chunks.len());
    let mut rest = chunks;
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let (chunk, after) = after.split_at(usize::from(u16::from_be_bytes(*length)).min(after.len()));
        corrected.extend_from_slice(length);
        corrected.extend_from_slice(&with_checksum(chunk.to_vec()));
        rest = after;
    }
    corrected.extend_from_slice(rest);
    corrected
}

/// An entry as `metadata` and a payload, its checksum right.
fn entry_of(metadata: &MessageMetadata, payload: &[u8]) -> Vec<u8> {
    let metadata = metadata.encode_to_vec();
    let head = [&[0x0e, 0x01, 0, 0, 0, 0][..], &(metadata.len() as u32).to_be_bytes(), &metadata].concat();
    with_checksum([&head[..], payload].concat())
}

/// An entry with a change made to its metadata.
fn changed(entry: &[u8], change: impl FnOnce(&mut MessageMetadata)) -> Vec<u8> {
    let length = u32::from_be_bytes(entry[6..10].try_into().expect("four bytes")) as usize;
    let mut metadata = MessageMetadata::decode(&entry[10..10 + length]).expect("metadata");
    change(&mut metadata);
    entry_of(&metadata, &entry[10 + length..])
}

fn encrypt(metadata: &mut MessageMetadata) {
    metadata.encryption_keys = vec![EncryptionKeys { key: "rsa".into(), value: vec![1, 2], metadata: vec![] }];
    metadata.encryption_algo = Some("AES".into());
    metadata.encryption_param = Some(vec![3; 12]);
}

/// An entry behind what a broker says of it.
fn behind_broker_metadata(entry: &[u8]) -> Vec<u8> {
    let said = BrokerEntryMetadata { broker_timestamp: Some(1_700_000_000_000), index: Some(9) }.encode_to_vec();
    [&[0x0e, 0x02][..], &(said.len() as u32).to_be_bytes(), &said, entry].concat()
}

/// A number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

#[test]
fn corpora_and_their_mutations_are_read_or_refused() {
    let rounds = setting("AQUIFER_FUZZ_ROUNDS", 3000) as usize;
    let seed_of_run = setting("AQUIFER_FUZZ_SEED", 17);
    // Whatever fails is found again with both.
    println!("AQUIFER_FUZZ_SEED={seed_of_run} AQUIFER_FUZZ_ROUNDS={rounds}");
    for (name, target) in TARGETS {
        let folder = corpus(name);
        if std::env::var_os("AQUIFER_WRITE_CORPUS").is_some() {
            std::fs::create_dir_all(&folder).expect("a folder");
            for (n, sample) in samples(name).iter().enumerate() {
                std::fs::write(folder.join(format!("sample-{n}")), sample).expect("writes");
            }
        }
        let files =
            std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("no corpus {}: {error}", folder.display()));
        let mut seeds: Vec<Vec<u8>> =
            files.map(|file| std::fs::read(file.expect("a file").path()).expect("reads")).collect();
        assert!(!seeds.is_empty(), "the corpus of {name} is empty");
        seeds.extend(samples(name));
        seeds.iter().for_each(|seed| target(seed));
        let mut random = StdRng::seed_from_u64(seed_of_run);
        for round in 0..rounds {
            let seed = mutated(&seeds[round % seeds.len()], &mut random);
            // Half of the entries and chunks pass the checksum.
            let seed = match name {
                "entry" if random.random() => with_checksum(seed),
                "chunks" if random.random() => with_checksums(&seed),
                _ => seed,
            };
            target(&seed);
        }
    }
}

/// An entry that holds 128 MiB of zeros, and says of its length what is asked.
fn bomb(compression: Compression, says: u32) -> Vec<u8> {
    let zeros = vec![0; 128 << 20];
    let message = NewMessage { payload: Some(&zeros), ..NewMessage::default() };
    let spec = EntrySpec { producer_name: "p".into(), compression, ..EntrySpec::default() };
    let entry = build_entry(&spec, &[message]).expect("builds");
    changed(&entry, |metadata| metadata.uncompressed_size = Some(says))
}

/// A batch that inflates to these bytes, and says that they are so many messages.
fn batch_bomb(payload: &[u8], says: i32) -> Vec<u8> {
    let metadata = MessageMetadata {
        producer_name: "p".into(),
        compression: Some(CompressionType::Zstd as i32),
        uncompressed_size: Some(payload.len() as u32),
        num_messages_in_batch: Some(says),
        ..MessageMetadata::default()
    };
    entry_of(&metadata, &compress(Compression::Zstd, payload).expect("compresses"))
}

/// A message of a batch, without a payload, with these fields of its metadata.
fn bare_message(fields: &[u8]) -> Vec<u8> {
    // Field 3 is the payload's length.
    [&(fields.len() as u32 + 2).to_be_bytes()[..], fields, &[0x18, 0]].concat()
}

/// Batches that make much of few bytes, with whether they are refused.
fn batch_bombs() -> Vec<(&'static str, Vec<u8>, bool)> {
    const CAP: usize = targets::INFLATED_BYTES;
    let tiny = bare_message(&[]);
    // A partition key of four bytes, and that it is base64.
    let keyed = bare_message(&[0x12, 4, b'a', b'2', b'V', b'5', 0x30, 1]);
    // Properties of no bytes, and properties that have not even those.
    let properties = bare_message(&[0x0a, 4, 0x0a, 0, 0x12, 0].repeat((CAP - 100) / 6));
    let broken = bare_message(&[0x0a, 0].repeat((CAP - 100) / 2));
    // One long message, where many are told.
    let mut long = [&bare_message(&[])[..4], &[0x18, 0x80, 0x80, 0x80, 7][..]].concat();
    long[3] = 5;
    long.resize(9 + (7 << 21), 0);
    let keys = |bytes: usize| {
        // `encryption_keys` is field 13: each of these is 72 bytes in memory.
        let plain = MessageMetadata { producer_name: "p".into(), ..MessageMetadata::default() }.encode_to_vec();
        let metadata = [&plain[..], &[0x6a, 0].repeat(bytes / 2)].concat();
        with_checksum([&[0x0e, 0x01, 0, 0, 0, 0][..], &(metadata.len() as u32).to_be_bytes(), &metadata].concat())
    };
    vec![
        ("more tiny messages than may be", batch_bomb(&tiny.repeat(CAP / 6), (CAP / 6) as i32), true),
        ("all tiny messages that may be", batch_bomb(&tiny.repeat(250_000), 250_000), false),
        ("tiny messages with keys", batch_bomb(&keyed.repeat(240_000), 240_000), false),
        ("says more messages than bytes", batch_bomb(&tiny.repeat(1000), i32::MAX), true),
        ("says more messages than there are", batch_bomb(&tiny.repeat(1000), 1001), true),
        ("says that one long message is many", batch_bomb(&long, 200_000), true),
        ("properties", batch_bomb(&properties, 1), false),
        ("broken properties", batch_bomb(&broken, 1), true),
        ("keys of an encrypted entry", keys(CAP / 10 - 100), true),
        ("metadata longer than it may be", keys(CAP / 4), true),
    ]
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
}

/// A Parquet file whose one page holds 128 MiB of zeros, and says so.
fn page_bomb() -> Vec<u8> {
    let schema = Arc::new(Schema::new(vec![Field::new("b", DataType::Binary, false)]));
    let zeros = vec![0u8; 128 << 20];
    let column = Arc::new(BinaryArray::from_vec(vec![zeros.as_slice()]));
    let rows = RecordBatch::try_new(Arc::clone(&schema), vec![column]).expect("fits");
    let properties = WriterProperties::builder()
        .set_compression(parquet::basic::Compression::ZSTD(ZstdLevel::default()))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties)).expect("a writer");
    writer.write(&rows).expect("writes");
    writer.into_inner().expect("closes")
}

/// What the other test runs as a process of its own.
#[test]
fn inflate_one_bomb() {
    let Some(path) = std::env::var_os("AQUIFER_BOMB") else { return };
    let entry = bytes::Bytes::from(std::fs::read(path).expect("the bomb"));
    if entry.starts_with(b"PAR1") {
        let before = peak_kib();
        println!("BOMB {} {}", targets::read_parquet(&entry).is_none(), peak_kib() - before);
        return;
    }
    let limits = aquifer_formats::entry::EntryLimits {
        max_inflated_bytes: targets::INFLATED_BYTES,
        ..aquifer_formats::entry::EntryLimits::default()
    };
    let before = peak_kib();
    let mut builder = aquifer_formats::messages::MessageBatchBuilder::new(limits);
    let refused = builder.append_entry(aquifer_model::Position::new(1, 1), &entry);
    drop(builder.finish());
    println!("BOMB {} {}", refused.is_err(), peak_kib() - before);
}

/// What inflating may take beside what is inflated, in KiB.
const BESIDE_KIB: u64 = 16 << 10;
/// Rows may take four times the cap with what is inflated (`EntryLimits::check_messages`); keys, properties and what growing columns leave behind add to that.
const ROWS_KIB: u64 = 6 * (targets::INFLATED_BYTES >> 10) as u64;

#[test]
#[cfg(target_os = "linux")]
fn bombs_stay_within_the_cap_and_sixteen_mebibytes_and_rows_within_six_caps() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bomb");
    // One lies about its length; one tells it.
    let says = [1 << 20, (targets::INFLATED_BYTES - 1) as u32, 128 << 20];
    let codecs = [Compression::Lz4, Compression::Zlib, Compression::Zstd, Compression::Snappy];
    let cap_kib = (targets::INFLATED_BYTES >> 10) as u64;
    let entries = codecs.into_iter().flat_map(|codec| {
        says.map(|says| (format!("{codec:?}, says {says}"), bomb(codec, says), true, cap_kib + BESIDE_KIB))
    });
    let batches = batch_bombs().into_iter().map(|(name, bomb, is_refused)| {
        // The keys are read before the entry is found to be encrypted.
        let makes_rows = !is_refused || name.starts_with("keys");
        (name.to_string(), bomb, is_refused, if makes_rows { ROWS_KIB } else { cap_kib + BESIDE_KIB })
    });
    let page = ("a page".to_string(), page_bomb(), true, cap_kib + BESIDE_KIB);
    for (name, bomb, is_refused, most) in entries.chain(batches).chain([page]) {
        std::fs::write(&path, bomb).expect("writes");
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "inflate_one_bomb", "--nocapture", "--test-threads=1"])
            .env("AQUIFER_BOMB", &path)
            .output()
            .expect("runs");
        let text = String::from_utf8_lossy(&child.stdout).into_owned();
        let line = text.lines().find_map(|line| line.split_once("BOMB ")).unwrap_or_else(|| panic!("{child:?}")).1;
        let (refused, kib) = line.split_once(' ').expect("two words");
        assert_eq!(refused, is_refused.to_string(), "{name}");
        let kib: u64 = kib.trim().parse().expect("a number");
        assert!(kib < most, "{name}: {kib} KiB more than before, of {most}");
    }
}

#[test]
fn what_is_right_is_read() {
    assert_eq!(targets::read_parquet(&targets::parquet_sample()), Some(3));
    assert!(targets::read_parquet(&targets::archive_file_sample()).is_some_and(|rows| rows >= 600));
}
