//! The client `magnetar-driver` as a peer of storage/tests/pulsar_drills/pairs.rs: `magnetar-peer write|read SERVICE TOPIC [COUNT FILE]`.
//!
//! write: the six messages that the test knows in a batch and one by one; under each codec those of them that have a value; then a message in
//! chunks between two that are not.
//! read: COUNT messages from the start into FILE, a line each: key and value as hex, `-` where there is none.
//!
//! The client has no way to send or show a key of bytes or the absence of a value: both are read and set in the message's metadata.

use std::error::Error;
use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use magnetar::PulsarClient;
use magnetar::proto::pb::MessageMetadata;
use magnetar::proto::pb::command_subscribe::InitialPosition;
use magnetar::proto::producer::OutgoingMessage;
use magnetar::proto::types::CompressionKind;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const CODECS: [CompressionKind; 5] = [
    CompressionKind::None,
    CompressionKind::Lz4,
    CompressionKind::Zlib,
    CompressionKind::Zstd,
    CompressionKind::Snappy,
];

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["write", service, topic] => write(&client(service).await?, topic).await,
        ["read", service, topic, count, file] => read(&client(service).await?, topic, count.parse()?, file).await,
        _ => Err("magnetar-peer write|read SERVICE TOPIC [COUNT FILE]".into()),
    }
}

async fn client(service: &str) -> Result<PulsarClient> {
    Ok(PulsarClient::builder().service_url(service).build().await?)
}

/// Bytes that no codec makes shorter; the test makes the same.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// `//4=` are the bytes ff fe, as the Java client's `keyBytes` sends them.
fn sample() -> Vec<OutgoingMessage> {
    vec![
        message(Some("key one"), b"first".to_vec()),
        message(None, noise(5000)),
        with(message(Some("//4="), b"binary key".to_vec()), |metadata| metadata.partition_key_b64_encoded = Some(true)),
        with(message(Some("schl\u{fc}ssel"), Vec::new()), |metadata| metadata.null_value = Some(true)),
        message(None, Vec::new()),
        message(Some("last"), vec![b'z'; 20_000]),
    ]
}

fn message(key: Option<&str>, value: Vec<u8>) -> OutgoingMessage {
    let message = magnetar::OutgoingMessage::with_payload(value);
    match key {
        Some(key) => message.key(key).into(),
        None => message.into(),
    }
}

fn with(mut message: OutgoingMessage, set: impl FnOnce(&mut MessageMetadata)) -> OutgoingMessage {
    set(&mut message.metadata);
    message
}

async fn write(client: &PulsarClient, topic: &str) -> Result<()> {
    // Compressed batches and compressed empty values it writes so that no client can read them, its own neither: those are left out.
    let batched = client.producer(topic).batching(1000, 1 << 20).batching_max_publish_delay(Duration::from_secs(1));
    let mut ways = vec![(CompressionKind::None, batched)];
    ways.extend(CODECS.map(|codec| (codec, client.producer(topic).compression(codec))));
    for (codec, way) in ways {
        let producer = way.create().await?;
        let messages =
            sample().into_iter().filter(|message| codec == CompressionKind::None || !message.payload.is_empty());
        let sent: Vec<_> = messages.map(|message| producer.send(message)).collect();
        producer.flush().await?;
        for receipt in sent {
            receipt.await?;
        }
        producer.close().await?;
    }
    let producer = client.producer(topic).chunking(true).create().await?;
    producer.send(message(None, b"before".to_vec())).await?;
    producer.send(message(Some("large"), noise(12_000_000))).await?;
    producer.send(message(None, b"after".to_vec())).await?;
    producer.close().await?;
    Ok(())
}

async fn read(client: &PulsarClient, topic: &str, count: usize, file: &str) -> Result<()> {
    let consumer =
        client.consumer(topic).subscription("pair").initial_position(InitialPosition::Earliest).subscribe().await?;
    let mut lines = String::new();
    for number in 0..count {
        let message = tokio::time::timeout(Duration::from_secs(60), consumer.receive())
            .await
            .map_err(|_| format!("message {number} did not come"))??;
        // What the messages of a batch have to themselves stands in the single metadata.
        let (key, encoded, absent) = match &message.single_metadata {
            Some(single) => (&single.partition_key, single.partition_key_b64_encoded, single.null_value),
            None => {
                let metadata = &message.metadata;
                (&metadata.partition_key, metadata.partition_key_b64_encoded, metadata.null_value)
            }
        };
        let key = key.as_ref().map(|key| match encoded {
            Some(true) => STANDARD.decode(key).unwrap_or_default(),
            _ => key.clone().into_bytes(),
        });
        let value = (absent != Some(true)).then(|| message.payload.to_vec());
        writeln!(lines, "{} {}", hex(key.as_deref()), hex(value.as_deref()))?;
        consumer.ack(message.message_id).await?;
    }
    std::fs::write(file, lines)?;
    Ok(())
}

fn hex(bytes: Option<&[u8]>) -> String {
    bytes.map_or_else(|| "-".into(), |bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
