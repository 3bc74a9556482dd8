//! The metadata of one message in a batch, read field by field from its protobuf bytes, without allocation.
//!
//! Field numbers are those of `SingleMessageMetadata` in Pulsar's protocol definition.

use aquifer_model::{Error, Result};

use crate::varint::varint_of_eight;

/// One message's metadata, borrowed from its entry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SingleMetadata<'a> {
    pub key: Option<&'a [u8]>,
    pub key_is_base64: bool,
    pub payload_size: usize,
    pub compacted_out: bool,
    pub event_time: u64,
    pub ordering_key: Option<&'a [u8]>,
    pub sequence_id: Option<u64>,
    pub null_value: bool,
    pub properties: Option<WrittenProperties<'a>>,
}

/// The properties of one message, still as they were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WrittenProperties<'a>(&'a [u8]);

impl<'a> SingleMetadata<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let mut this = Self::default();
        let mut size = None;
        // Not as an iterator, whose items carry an error each: every message comes through here.
        let mut fields = Fields(bytes);
        while !fields.0.is_empty() {
            match fields.field().ok_or_else(torn)? {
                (1, Value::Bytes(pair)) => {
                    key_value(pair)?;
                    this.properties = Some(WrittenProperties(bytes));
                }
                (2, Value::Bytes(key)) => this.key = Some(key),
                (3, Value::Number(n)) => size = Some(n),
                (4, Value::Number(n)) => this.compacted_out = n != 0,
                (5, Value::Number(n)) => this.event_time = n,
                (6, Value::Number(n)) => this.key_is_base64 = n != 0,
                (7, Value::Bytes(key)) => this.ordering_key = Some(key),
                (8, Value::Number(n)) => this.sequence_id = Some(n),
                (9, Value::Number(n)) => this.null_value = n != 0,
                (10, Value::Number(n)) if n != 0 => this.key = None,
                _ => {}
            }
        }
        // A negative size is ten bytes of varint, so it is far above any entry.
        this.payload_size = size
            .and_then(|n| usize::try_from(n).ok())
            .ok_or_else(|| Error::corrupt("a message in a batch does not say how long it is"))?;
        Ok(this)
    }
}

impl<'a> WrittenProperties<'a> {
    /// Keys and values, which were checked with the rest of the metadata.
    pub fn pairs(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        Fields(self.0).filter_map(|field| match field {
            Ok((1, Value::Bytes(pair))) => key_value(pair).ok(),
            _ => None,
        })
    }
}

/// Key and value of a property. Both must be there, as Pulsar's protocol requires: else two bytes made a property of eight.
fn key_value(bytes: &[u8]) -> Result<(&str, &str)> {
    let (mut key, mut value) = (None, None);
    let text = |bytes| std::str::from_utf8(bytes).map_err(|e| Error::corrupt("a property is not UTF-8").with_source(e));
    for field in Fields(bytes) {
        match field? {
            (1, Value::Bytes(bytes)) => key = Some(text(bytes)?),
            (2, Value::Bytes(bytes)) => value = Some(text(bytes)?),
            _ => {}
        }
    }
    key.zip(value).ok_or_else(|| Error::corrupt("a property of a message lacks its key or its value"))
}

#[cold]
fn torn() -> Error {
    Error::corrupt("the metadata of a message in a batch is torn")
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a protobuf message, in the order they stand.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    #[inline(always)]
    fn varint(&mut self) -> Option<u64> {
        // Tags and most lengths.
        if let Some((byte, rest)) = self.0.split_first().filter(|(byte, _)| **byte < 0x80) {
            self.0 = rest;
            return Some(u64::from(*byte));
        }
        if let Some((number, length)) = self.0.first_chunk().and_then(|eight| varint_of_eight(*eight)) {
            self.0 = &self.0[length..];
            return Some(number);
        }
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    #[inline(always)]
    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let length = usize::try_from(length).ok().filter(|length| *length <= self.0.len())?;
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(taken)
    }

    #[inline(always)]
    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            1 => Value::Bytes(self.take(8)?),
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Bytes(self.take(4)?),
            _ => return None,
        };
        Some((tag >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>)>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or_else(torn))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;
    use pulsar::message::proto;

    use super::*;

    proptest! {
        #[test]
        fn it_reads_what_prost_writes(
            key in prop::option::of("[a-zé]{0,9}"), size in 0i32..i32::MAX, event_time in prop::option::of(any::<u64>()),
            sequence_id in prop::option::of(any::<u64>()), null_value: bool, compacted_out: bool, base64: bool,
            ordering_key in prop::option::of(prop::collection::vec(any::<u8>(), 0..5)),
            properties in prop::collection::vec(("[a-z]{0,5}", "[a-zü]{0,5}"), 0..3),
        ) {
            let written = proto::SingleMessageMetadata {
                properties: properties.iter().map(|(key, value)| proto::KeyValue { key: key.clone(), value: value.clone() }).collect(),
                partition_key: key.clone(), payload_size: size, compacted_out: Some(compacted_out), event_time,
                partition_key_b64_encoded: Some(base64), sequence_id, null_value: Some(null_value), ordering_key: ordering_key.clone(),
                ..Default::default()
            }.encode_to_vec();
            let read = SingleMetadata::parse(&written).expect("written by prost");
            prop_assert_eq!(read.key, key.as_deref().map(str::as_bytes));
            prop_assert_eq!(read.ordering_key, ordering_key.as_deref());
            prop_assert_eq!(read.payload_size, size as usize);
            prop_assert_eq!((read.event_time, read.sequence_id), (event_time.unwrap_or(0), sequence_id));
            prop_assert_eq!((read.null_value, read.compacted_out, read.key_is_base64), (null_value, compacted_out, base64));
            let pairs = read.properties.iter().flat_map(WrittenProperties::pairs);
            let read: Vec<_> = pairs.map(|(k, v)| (k.to_string(), v.to_string())).collect();
            prop_assert_eq!(read, properties);
        }

        #[test]
        fn hostile_bytes_are_an_error_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(read) = SingleMetadata::parse(&bytes) {
                read.properties.iter().flat_map(WrittenProperties::pairs).count();
            }
        }
    }
}
