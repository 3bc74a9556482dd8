//! Encrypted entries, for those who decrypt themselves: the cipher text as one message, with all that decrypting needs as its properties.
//!
//! | property | is |
//! |---|---|
//! | `encryption.algorithm` | as the producer names it |
//! | `encryption.parameter` | base64: the initialisation vector |
//! | `encryption.key.NAME` | base64: the data key, encrypted by the key called NAME |
//! | `encryption.compression`, `encryption.uncompressed-size` | how the plain text is compressed, where it is |
//! | `encryption.messages` | how many messages stand in the plain text, where they are batched |

use aquifer_model::{Error, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use pulsar::message::proto::{CompressionType, KeyValue};

use crate::entry::{EntryLimits, ParsedEntry, frame, with_broker_metadata_of};

/// So many keys a data key may be encrypted by: one for each reader.
const MAX_KEYS: usize = 10_000;

/// The entry with its cipher text as one plain message. What is not encrypted, and a chunk, is given as it came. Fails with `Corrupt` on a broken
/// entry.
pub fn cipher_text_message(entry: &Bytes) -> Result<Bytes> {
    let ParsedEntry { mut metadata, payload } = ParsedEntry::parse(entry, &EntryLimits::default())?;
    if metadata.encryption_keys.is_empty() || metadata.num_chunks_from_msg.is_some_and(|count| count > 1) {
        return Ok(entry.clone());
    }
    let keys = metadata.encryption_keys.len();
    if keys > MAX_KEYS {
        return Err(Error::corrupt(format!("an entry is encrypted by {keys} keys, above the limit of {MAX_KEYS}")));
    }
    let mut tell = |key: String, value: String| metadata.properties.push(KeyValue { key, value });
    if let Some(algorithm) = metadata.encryption_algo.take() {
        tell("encryption.algorithm".into(), algorithm);
    }
    if let Some(parameter) = metadata.encryption_param.take() {
        tell("encryption.parameter".into(), STANDARD.encode(parameter));
    }
    for key in std::mem::take(&mut metadata.encryption_keys) {
        tell(format!("encryption.key.{}", key.key), STANDARD.encode(key.value));
    }
    if let Some(kind) = metadata.compression.take().filter(|kind| *kind != 0) {
        let name = CompressionType::try_from(kind).map_or("unknown", |kind| kind.as_str_name());
        tell("encryption.compression".into(), name.to_string());
        tell("encryption.uncompressed-size".into(), metadata.uncompressed_size.unwrap_or(0).to_string());
    }
    metadata.uncompressed_size = None;
    if let Some(messages) = metadata.num_messages_in_batch.take() {
        tell("encryption.messages".into(), messages.to_string());
    }
    Ok(with_broker_metadata_of(entry, frame(&metadata, &payload)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{EntrySpec, NewMessage, build_entry};
    use pulsar::message::proto::EncryptionKeys;

    #[test]
    fn the_cipher_text_is_one_message_with_all_that_decrypting_needs() {
        let spec = EntrySpec { batched: true, ..Default::default() };
        let plain = build_entry(&spec, &[NewMessage::default(), NewMessage::default()]).expect("an entry");
        assert_eq!(cipher_text_message(&plain).expect("plain"), plain);
        let mut parsed = ParsedEntry::parse(&plain, &EntryLimits::default()).expect("an entry");
        parsed.metadata.encryption_keys =
            vec![EncryptionKeys { key: "rsa".into(), value: vec![1, 2], metadata: vec![] }];
        parsed.metadata.encryption_algo = Some("A".into());
        parsed.metadata.encryption_param = Some(vec![3]);
        parsed.metadata.compression = Some(CompressionType::Zstd as i32);
        parsed.metadata.uncompressed_size = Some(77);
        let entry = cipher_text_message(&frame(&parsed.metadata, b"cipher")).expect("one message");
        let read = ParsedEntry::parse(&entry, &EntryLimits::default()).expect("an entry");
        assert_eq!((read.messages().expect("one"), read.is_batch(), &read.payload[..]), (1, false, &b"cipher"[..]));
        assert_eq!(read.compressed(&EntryLimits::default()).expect("as it is"), None);
        let told: Vec<_> = read.metadata.properties.iter().map(|p| (p.key.as_str(), p.value.as_str())).collect();
        assert_eq!(
            told,
            [
                ("encryption.algorithm", "A"),
                ("encryption.parameter", "Aw=="),
                ("encryption.key.rsa", "AQI="),
                ("encryption.compression", "ZSTD"),
                ("encryption.uncompressed-size", "77"),
                ("encryption.messages", "2"),
            ]
        );
    }
}
