//! Which partition a message with a key goes to, as Pulsar's Java client decides.
//!
//! Both of its hashes are of the key's text as it stands on the wire (base64 where the key is no text), made positive by clearing the sign
//! bit. A client that hashes otherwise sends the same key to another partition.

use base64::Engine;

/// How a key is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyHash {
    /// Java's `String.hashCode`, the Java client's default.
    #[default]
    Java,
    /// Murmur3 with 32 bits and seed 0, the default of Flink's connector and of the C++ client family's option.
    Murmur3,
}

impl KeyHash {
    /// The hash of a key, zero or more.
    pub fn hash(self, key: &[u8]) -> u32 {
        let encoded;
        let text = match std::str::from_utf8(key) {
            Ok(text) => text,
            Err(_) => {
                encoded = base64::engine::general_purpose::STANDARD.encode(key);
                &encoded
            }
        };
        let hash = match self {
            Self::Java => {
                text.encode_utf16().fold(0u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit)))
            }
            Self::Murmur3 => murmur3(text.as_bytes()),
        };
        hash & (i32::MAX as u32)
    }

    /// The partition of a key among `partitions`, which are at least one.
    pub fn partition_of(self, key: &[u8], partitions: usize) -> usize {
        self.hash(key) as usize % partitions.max(1)
    }
}

/// Murmur3, 32 bits, seed 0.
fn murmur3(bytes: &[u8]) -> u32 {
    const ONE: u32 = 0xcc9e_2d51;
    const TWO: u32 = 0x1b87_3593;
    let mix = |word: u32| word.wrapping_mul(ONE).rotate_left(15).wrapping_mul(TWO);
    let (words, rest) = bytes.as_chunks::<4>();
    let mut hash = words.iter().fold(0u32, |hash, word| {
        (hash ^ mix(u32::from_le_bytes(*word))).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
    });
    if !rest.is_empty() {
        let word = rest.iter().rev().fold(0u32, |word, byte| word << 8 | u32::from(*byte));
        hash ^= mix(word);
    }
    hash ^= bytes.len() as u32;
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn keys_go_where_the_java_client_sends_them() {
        let vectors: Value = serde_json::from_str(include_str!("routing/vectors.json")).expect("the vectors");
        let rows = vectors["key_routing"].as_array().expect("rows");
        assert!(rows.len() >= 50);
        for row in rows {
            let key = row["key"].as_str().expect("a key").as_bytes();
            for (hash, name) in [(KeyHash::Java, "java"), (KeyHash::Murmur3, "murmur3")] {
                assert_eq!(u64::from(hash.hash(key)), row[name].as_u64().expect("a hash"), "{row}");
                for (count, partition) in row[format!("{name}_partition")].as_object().expect("partitions") {
                    let count: usize = count.parse().expect("a number");
                    assert_eq!(hash.partition_of(key, count) as u64, partition.as_u64().expect("a number"), "{row}");
                }
            }
        }
        for row in vectors["byte_keys"].as_array().expect("rows") {
            let hex = row["key_hex"].as_str().expect("hex").as_bytes();
            let key: Vec<u8> = hex
                .chunks(2)
                .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("hex"), 16).expect("hex"))
                .collect();
            // A key that is text is written as text, whatever Java's client was given it as.
            if std::str::from_utf8(&key).is_err() {
                for count in [3, 5, 16] {
                    let expected = |name: &str| row[format!("{name}_{count}")].as_u64().expect("a number");
                    assert_eq!(KeyHash::Java.partition_of(&key, count) as u64, expected("java"), "{row}");
                    assert_eq!(KeyHash::Murmur3.partition_of(&key, count) as u64, expected("murmur3"), "{row}");
                }
            }
        }
    }
}
