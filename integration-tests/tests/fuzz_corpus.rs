//! Replays the corpora of `fuzz/` and seeded mutations of them, and inflates bombs under a cap, their memory measured in a process of its own.
//!
//! `AQUIFER_FUZZ_ROUNDS` says how many mutations each target gets (3,000); `AQUIFER_WRITE_CORPUS=1` writes what the encoders make into the corpora.

#[path = "../../fuzz/targets.rs"]
mod targets;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use aquifer_formats::chunked::build_chunks;
use aquifer_formats::entry::{Compression, EntrySpec, NewMessage, build_entry};
use arrow::array::{BinaryArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::ZstdLevel;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use prost::Message;
use pulsar::message::proto::{
    BaseCommand, CommandConnected, CommandError, CommandMessage, CommandPing, MessageIdData, MessageMetadata,
    base_command,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 12] = [
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
        "entry" => codecs.map(|codec| build_entry(&spec(codec), &messages).expect("builds").to_vec()).to_vec(),
        "chunks" => {
            let long = NewMessage { payload: Some(&[7; 3000]), ..NewMessage::default() };
            let parts = build_chunks(&spec(Compression::None), &long, 1024).expect("builds");
            let framed = parts.iter().flat_map(|part| [&(part.len() as u16).to_be_bytes()[..], part].concat());
            vec![framed.collect()]
        }
        "avro" => targets::avro_samples().1,
        "json" => targets::json_samples().1,
        "csv" => targets::csv_samples(),
        "raw" => (0..8).map(|kind| [&[kind][..], &[0; 8]].concat()).collect(),
        "key_value" => targets::key_value_samples().1,
        "protobuf" => targets::protobuf_samples().1,
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
    if entry.len() > 6 && entry[..2] == [0x0e, 0x01] {
        let sum = crc32c::crc32c(&entry[6..]).to_be_bytes();
        entry[2..6].copy_from_slice(&sum);
    }
    entry
}

#[test]
fn corpora_and_their_mutations_are_read_or_refused() {
    let rounds: usize = std::env::var("AQUIFER_FUZZ_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(3000);
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
        let mut random = StdRng::seed_from_u64(17);
        for round in 0..rounds {
            let seed = mutated(&seeds[round % seeds.len()], &mut random);
            // Half of the entries pass the checksum.
            let seed = if name == "entry" && round % 2 == 0 { with_checksum(seed) } else { seed };
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
    let length = u32::from_be_bytes(entry[6..10].try_into().expect("four bytes")) as usize;
    let mut metadata = MessageMetadata::decode(&entry[10..10 + length]).expect("metadata");
    metadata.uncompressed_size = Some(says);
    let metadata = metadata.encode_to_vec();
    let head = [&[0x0e, 0x01, 0, 0, 0, 0][..], &(metadata.len() as u32).to_be_bytes(), &metadata].concat();
    with_checksum([&head[..], &entry[10 + length..]].concat())
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
    println!("BOMB {} {}", refused.is_err(), peak_kib() - before);
}

#[test]
#[cfg(target_os = "linux")]
fn bombs_are_refused_within_the_cap_and_sixteen_mebibytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bomb");
    // One lies about its length; one tells it.
    let says = [1 << 20, (targets::INFLATED_BYTES - 1) as u32, 128 << 20];
    let codecs = [Compression::Lz4, Compression::Zlib, Compression::Zstd, Compression::Snappy];
    let entries =
        codecs.into_iter().flat_map(|codec| says.map(|says| (format!("{codec:?}, says {says}"), bomb(codec, says))));
    for (name, bomb) in entries.chain([("a page".to_string(), page_bomb())]) {
        std::fs::write(&path, bomb).expect("writes");
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "inflate_one_bomb", "--nocapture", "--test-threads=1"])
            .env("AQUIFER_BOMB", &path)
            .output()
            .expect("runs");
        let text = String::from_utf8_lossy(&child.stdout).into_owned();
        let line = text.lines().find_map(|line| line.split_once("BOMB ")).unwrap_or_else(|| panic!("{child:?}")).1;
        let (refused, kib) = line.split_once(' ').expect("two words");
        assert_eq!(refused, "true", "{name}");
        let kib: u64 = kib.trim().parse().expect("a number");
        let most = (targets::INFLATED_BYTES >> 10) as u64 + (16 << 10);
        assert!(kib < most, "{name}: {kib} KiB more than before, of {most}");
    }
}

#[test]
fn what_is_right_is_read() {
    assert_eq!(targets::read_parquet(&targets::parquet_sample()), Some(3));
    assert!(targets::read_parquet(&targets::archive_file_sample()).is_some_and(|rows| rows >= 600));
}
