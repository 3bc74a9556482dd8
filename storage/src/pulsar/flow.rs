//! How much a reader asks the broker for: permits are counted in messages, memory in bytes.
//!
//! ```text
//!  grant ──► broker's permits ──► entries arrive (each costs its number of messages) ──► queue ──► taken
//! ```
//!
//! The window in messages follows the size of the messages seen, so that about `read_ahead` bytes are on their way. The broker
//! may overshoot by one of its own reads; what arrives beyond the queue's hard limit is the queue's affair.

use bytes::Buf;

/// A first guess that keeps the first answers small whatever the messages' size.
const FIRST_GUESS_BYTES: usize = 256 * 1024;
const MAX_WINDOW: i64 = 10_000;

/// The permits of one consumer.
#[derive(Debug)]
pub(super) struct Flow {
    /// Granted and not yet used up; below zero when the broker overshot.
    outstanding: i64,
    /// Rises at once with larger messages, falls slowly.
    message_bytes: usize,
}

impl Flow {
    /// Of a consumer that was granted none.
    pub fn new() -> Self {
        Self { outstanding: 0, message_bytes: FIRST_GUESS_BYTES }
    }

    /// An entry of `bytes` with `messages` messages has arrived.
    pub fn arrived(&mut self, bytes: usize, messages: u32) {
        self.outstanding -= i64::from(messages);
        let each = bytes / messages.max(1) as usize;
        self.message_bytes = each.max(self.message_bytes - self.message_bytes / 8).max(1);
    }

    /// The permits to grant so that about `read_ahead` bytes are on their way or wait, of which `queued` do; `None` if there are enough.
    pub fn grant(&mut self, queued: usize, read_ahead: usize) -> Option<u32> {
        if queued >= read_ahead {
            return None;
        }
        let window = ((read_ahead / self.message_bytes) as i64).clamp(1, MAX_WINDOW);
        if self.outstanding * 2 > window {
            return None;
        }
        let permits = u32::try_from(window - self.outstanding).ok().filter(|permits| *permits > 0)?;
        self.outstanding += i64::from(permits);
        Some(permits)
    }
}

/// How many permits the broker counts for an entry: `num_messages_in_batch` of its metadata, 1 if that cannot be read.
pub(super) fn messages_in(entry: &[u8]) -> u32 {
    scan(entry).messages
}

/// What the head of an entry says, as far as readers need it before anyone decodes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub messages: u32,
    /// A part of a message of several chunks.
    pub chunk: bool,
    pub encrypted: bool,
}

/// Reads an entry's shape. Of what cannot be read: one plain message.
pub(super) fn scan(entry: &[u8]) -> Shape {
    let mut shape = Shape { messages: 1, chunk: false, encrypted: false };
    if scan_metadata(entry, &mut shape).is_none() {
        shape.chunk = false;
        shape.encrypted = false;
    }
    shape
}

fn scan_metadata(mut rest: &[u8], shape: &mut Shape) -> Option<()> {
    if let Some((_, head)) = aquifer_formats::entry::cut_off_head(rest) {
        rest = head;
    }
    if rest.starts_with(&[0x0e, 0x02]) {
        let length = u32::from_be_bytes(rest.get(2..6)?.try_into().ok()?) as usize;
        rest = rest.get(6usize.checked_add(length)?..)?;
    }
    if rest.starts_with(&[0x0e, 0x01]) {
        rest = rest.get(6..)?;
    }
    let length = u32::from_be_bytes(rest.get(..4)?.try_into().ok()?) as usize;
    let mut metadata = rest.get(4..)?.get(..length)?;
    while metadata.has_remaining() {
        let tag = take_varint(&mut metadata)?;
        match (tag >> 3, tag & 7) {
            (11, 0) => shape.messages = u32::try_from(take_varint(&mut metadata)?).unwrap_or(1).max(1),
            (27, 0) => shape.chunk = take_varint(&mut metadata)? > 1,
            (_, 0) => {
                take_varint(&mut metadata)?;
            }
            (_, 1) => metadata = metadata.get(8..)?,
            (field, 2) => {
                let length = usize::try_from(take_varint(&mut metadata)?).ok()?;
                metadata = metadata.get(length..)?;
                shape.encrypted |= field == 13;
            }
            (_, 5) => metadata = metadata.get(4..)?,
            _ => return None,
        }
    }
    Some(())
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BufMut;
    use prost::Message;
    use pulsar::message::proto::MessageMetadata;

    fn entry(messages: Option<i32>, broker_metadata: bool) -> Vec<u8> {
        let metadata = MessageMetadata {
            producer_name: "p".into(),
            sequence_id: u64::MAX,
            publish_time: 1,
            num_messages_in_batch: messages,
            event_time: Some(9),
            ..Default::default()
        }
        .encode_to_vec();
        let mut bytes = Vec::new();
        if broker_metadata {
            bytes.extend_from_slice(&[0x0e, 0x02, 0, 0, 0, 2, 0x08, 0x01]);
        }
        bytes.extend_from_slice(&[0x0e, 0x01, 1, 2, 3, 4]);
        bytes.put_u32(metadata.len() as u32);
        bytes.extend_from_slice(&metadata);
        bytes.extend_from_slice(b"payload");
        bytes
    }

    #[test]
    fn an_entry_costs_as_many_permits_as_it_has_messages() {
        assert_eq!(messages_in(&entry(None, true)), 1);
        assert_eq!(messages_in(&entry(Some(1000), true)), 1000);
        assert_eq!(messages_in(&entry(Some(7), false)), 7);
        assert_eq!(messages_in(&entry(Some(-3), false)), 1);
    }

    #[test]
    fn a_damaged_entry_costs_one_permit_and_never_panics() {
        let whole = entry(Some(1000), true);
        for end in 0..whole.len() {
            assert!(messages_in(&whole[..end]) >= 1);
        }
        assert_eq!(messages_in(&[0x0e, 0x02, 0xff, 0xff, 0xff, 0xff]), 1);
        assert_eq!(messages_in(&[0xff; 64]), 1);
    }

    #[test]
    fn chunks_and_cipher_text_are_known_by_the_head() {
        let plain = Shape { messages: 1, chunk: false, encrypted: false };
        assert_eq!(scan(&entry(None, true)), plain);
        let with = |change: fn(&mut MessageMetadata)| {
            let mut metadata = MessageMetadata { producer_name: "p".into(), ..Default::default() };
            change(&mut metadata);
            let metadata = metadata.encode_to_vec();
            let mut bytes = vec![0x0e, 0x01, 1, 2, 3, 4];
            bytes.put_u32(metadata.len() as u32);
            bytes.extend_from_slice(&metadata);
            scan(&bytes)
        };
        let chunk = with(|metadata| {
            metadata.uuid = Some("u".into());
            (metadata.chunk_id, metadata.num_chunks_from_msg) = (Some(0), Some(2));
        });
        assert_eq!(chunk, Shape { chunk: true, ..plain });
        assert_eq!(with(|metadata| metadata.num_chunks_from_msg = Some(1)), plain);
        assert_eq!(
            with(|metadata| metadata.encryption_keys = vec![Default::default()]),
            Shape { encrypted: true, ..plain }
        );
    }

    #[test]
    fn the_window_follows_the_size_of_messages() {
        let mut flow = Flow::new();
        let window = 16 << 20;
        assert_eq!(flow.grant(0, window), Some(64));
        assert_eq!(flow.grant(0, window), None, "there are enough");
        flow.arrived(100 * 1000, 1000);
        assert!(flow.grant(0, window).expect("the broker overshot") > 936);
        for _ in 0..100 {
            flow.arrived(100_000, 1000);
            flow.grant(0, window);
        }
        assert!(flow.outstanding * 2 > MAX_WINDOW, "small messages: a wide window, {}", flow.outstanding);
        flow.arrived(5 << 20, 1);
        while flow.outstanding > 0 {
            flow.arrived(5 << 20, 1);
        }
        assert_eq!(flow.grant(0, window), Some(3), "large messages: a narrow one");
        assert_eq!(Flow::new().grant(1000, 1000), None, "the queue is full");
        assert_eq!(Flow::new().grant(0, 1), Some(1), "never none at all");
    }
}
