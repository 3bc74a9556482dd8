//! Pulsar's frames: a length, a command, and behind some commands an entry's bytes.
//!
//! ```text
//!  total:u32 │ command-length:u32 │ command │ entry bytes, exactly as stored (MESSAGE, SEND)
//!            └──────────────── total ─────────────────────────────────────────┘
//! ```
//!
//! A frame longer than the limit is refused when its length is read, before any of it is buffered; once [`FrameDecoder::greeted`] one that bears a
//! message gives the head of its entry, and the rest is passed over as it comes. What follows the command is handed on as it came: a slice of what was
//! read, never copied, never parsed here.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use pulsar::message::proto::{BaseCommand, CommandMessage, base_command::Type};

use super::newer::{NewerCommand, TOPIC_MIGRATED};

/// One frame.
#[derive(Debug)]
pub(super) struct Frame {
    pub command: Command,
    /// What stands behind the command; empty for most.
    pub payload: Bytes,
}

#[derive(Debug)]
pub(super) enum Command {
    /// An entry for a consumer, the command that most frames bear.
    Message(CommandMessage),
    /// The same in a frame of so many `bytes`, over the `limit`: only the head of the entry is given.
    LongMessage {
        message: CommandMessage,
        bytes: usize,
        limit: usize,
    },
    /// One of which the crate's definition lacks fields that we need.
    Newer(Box<NewerCommand>),
    Other(Box<BaseCommand>),
}

/// A `BaseCommand` of type `MESSAGE` without the sixty other fields, each of which costs time to make and to drop.
#[derive(Clone, PartialEq, Message)]
struct MessageCommand {
    #[prost(int32, required, tag = "1")]
    kind: i32,
    #[prost(message, optional, tag = "9")]
    message: Option<CommandMessage>,
}

const CONNECTED: i32 = Type::Connected as i32;
/// How a command of type `MESSAGE` begins: field 1, a varint, 9.
const MESSAGE_START: [u8; 2] = [0x08, Type::Message as u8];
/// So much of a frame over the limit is buffered at most: its command, and of its entry the head, which tells how many messages it holds.
const MAX_LONG_COMMAND: usize = 16 * 1024;
const MAX_LONG_HEAD: usize = 64 * 1024;

/// Why bytes are no frame. The connection they came on is of no more use.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    #[error("a frame of {bytes} bytes is over the limit of {limit}")]
    TooLong { bytes: usize, limit: usize },
    #[error("a frame of {bytes} bytes names a command of {command} bytes")]
    Torn { bytes: usize, command: usize },
    #[error("a command cannot be read: {0}")]
    Command(#[from] prost::DecodeError),
}

/// Cuts frames out of a stream of bytes.
#[derive(Debug)]
pub(super) struct FrameDecoder {
    limit: usize,
    /// Whether messages over the limit are passed over.
    passes: bool,
    /// So many bytes of a frame over the limit are still to come.
    passing: usize,
}

impl FrameDecoder {
    /// A decoder that takes frames of at most `limit` bytes, their length field not counted.
    pub fn new(limit: usize) -> Self {
        Self { limit, passes: false, passing: 0 }
    }

    /// Changes the limit for the frames that follow; longer messages are passed over.
    pub fn greeted(&mut self, limit: usize) {
        self.limit = limit;
        self.passes = true;
    }

    /// Takes the next whole frame off the front of `buffer`; `None` if more bytes are needed, for which there is then room.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        if self.passing > 0 {
            let passed = self.passing.min(buffer.len());
            buffer.advance(passed);
            self.passing -= passed;
        }
        let Some(mut head) = buffer.get(..4) else { return Ok(None) };
        let total = head.get_u32() as usize;
        if total > self.limit {
            return self.decode_long(total, buffer);
        }
        if total < 4 {
            return Err(FrameError::Torn { bytes: total, command: 0 });
        }
        if buffer.len() < 4 + total {
            buffer.reserve(4 + total - buffer.len());
            return Ok(None);
        }
        buffer.advance(4);
        let mut frame = buffer.split_to(total).freeze();
        let command = frame.get_u32() as usize;
        if command > frame.len() {
            return Err(FrameError::Torn { bytes: total, command });
        }
        let command = frame.split_to(command);
        if command.starts_with(&MESSAGE_START)
            && let Some(message) = MessageCommand::decode(command.clone())?.message
        {
            return Ok(Some(Frame { command: Command::Message(message), payload: frame }));
        }
        let known = Box::new(BaseCommand::decode(command.clone())?);
        let command = match known.r#type {
            TOPIC_MIGRATED | CONNECTED => Command::Newer(Box::new(NewerCommand::decode(command)?)),
            _ => Command::Other(known),
        };
        Ok(Some(Frame { command, payload: frame }))
    }

    /// [`FrameDecoder::decode`] of a frame over the limit: what is no message is refused as soon as that is seen.
    fn decode_long(&mut self, total: usize, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let limit = self.limit;
        let refused = || FrameError::TooLong { bytes: total, limit };
        if !self.passes {
            return Err(refused());
        }
        let Some(mut length) = buffer.get(4..8) else { return Ok(None) };
        let command = length.get_u32() as usize;
        let entry = total.checked_sub(4 + command).filter(|_| command <= MAX_LONG_COMMAND).ok_or_else(refused)?;
        let kept = entry.min(MAX_LONG_HEAD);
        let Some(start) = buffer.get(8..10) else { return Ok(None) };
        if start != MESSAGE_START {
            return Err(refused());
        }
        let needed = 8 + command + kept;
        if buffer.len() < needed {
            buffer.reserve(needed - buffer.len());
            return Ok(None);
        }
        buffer.advance(8);
        let command = buffer.split_to(command).freeze();
        let message = MessageCommand::decode(command)?.message.ok_or_else(refused)?;
        // Copied: what shares the buffer would keep all of it.
        let payload = Bytes::copy_from_slice(&buffer[..kept]);
        buffer.advance(kept);
        self.passing = entry - kept;
        Ok(Some(Frame { command: Command::LongMessage { message, bytes: total, limit }, payload }))
    }
}

/// A frame's head: everything but the `payload_length` bytes that follow the command. Any message that reads as a `BaseCommand`
/// may be given.
pub(super) fn encode(command: &impl Message, payload_length: usize) -> Bytes {
    let length = command.encoded_len();
    let mut head = BytesMut::with_capacity(8 + length);
    // Entries are refused above 5 MiB and commands are small: neither length reaches 2^32.
    head.put_u32((4 + length + payload_length) as u32);
    head.put_u32(length as u32);
    head.put_slice(&command.encode_to_vec());
    head.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pulsar::newer::{Connected, FeatureFlags, TopicMigrated};
    use pulsar::message::proto::CommandPing;

    fn ping() -> BaseCommand {
        BaseCommand { r#type: Type::Ping as i32, ping: Some(CommandPing {}), ..Default::default() }
    }

    #[test]
    fn a_frame_is_read_however_it_is_torn() {
        let entry = Bytes::from_static(b"\x0e\x01 an entry's bytes");
        let mut wire = BytesMut::new();
        for _ in 0..2 {
            wire.extend_from_slice(&encode(&ping(), entry.len()));
            wire.extend_from_slice(&entry);
        }
        for step in 1..wire.len() {
            let mut decoder = FrameDecoder::new(1000);
            let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
            for piece in wire.chunks(step) {
                buffer.extend_from_slice(piece);
                while let Some(frame) = decoder.decode(&mut buffer).expect("a frame") {
                    frames.push(frame);
                }
            }
            assert_eq!(frames.len(), 2, "in steps of {step}");
            assert!(buffer.is_empty());
            for frame in frames {
                let Command::Other(command) = frame.command else { unreachable!("{frame:?}") };
                assert_eq!((*command, frame.payload), (ping(), entry.clone()));
            }
        }
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_before_any_of_it_is_buffered() {
        let mut buffer = BytesMut::from(&0xffff_fff0u32.to_be_bytes()[..]);
        let error = FrameDecoder::new(5000).decode(&mut buffer).expect_err("too long");
        assert_eq!(error.to_string(), "a frame of 4294967280 bytes is over the limit of 5000");
        assert!(buffer.capacity() < 5000, "{}", buffer.capacity());
    }

    #[test]
    fn a_command_that_the_crate_knows_in_part_or_not_at_all_keeps_its_fields() {
        let moved = TopicMigrated { resource_id: 5, resource_type: 1, ..Default::default() };
        let flags = FeatureFlags { asks_without_making: Some(true), ..Default::default() };
        let connected = Connected { server_version: "4".into(), feature_flags: Some(flags), ..Default::default() };
        for given in [
            NewerCommand { kind: TOPIC_MIGRATED, connected: None, topic_migrated: Some(moved) },
            NewerCommand { kind: CONNECTED, connected: Some(connected), topic_migrated: None },
        ] {
            let mut buffer = BytesMut::from(&encode(&given, 0)[..]);
            let frame = FrameDecoder::new(1000).decode(&mut buffer).expect("a frame").expect("a whole one");
            let Command::Newer(command) = frame.command else { unreachable!("{frame:?}") };
            assert_eq!(*command, given);
        }
    }

    fn message(entry: u64) -> BaseCommand {
        let message_id = pulsar::message::proto::MessageIdData { ledger_id: 1, entry_id: entry, ..Default::default() };
        let message = CommandMessage { consumer_id: 1, message_id, ..Default::default() };
        BaseCommand { r#type: Type::Message as i32, message: Some(message), ..Default::default() }
    }

    #[test]
    fn a_message_over_the_limit_gives_its_head_and_what_follows_it_is_read() {
        const LIMIT: usize = 100_000;
        let entry: Vec<u8> = (0..LIMIT * 3).map(|n| n as u8).collect();
        let mut wire = BytesMut::new();
        for number in 0..2 {
            wire.extend_from_slice(&encode(&message(number), entry.len()));
            wire.extend_from_slice(&entry);
            wire.extend_from_slice(&encode(&ping(), 0));
        }
        for step in [1, 7, 4096, wire.len()] {
            let mut decoder = FrameDecoder::new(50);
            decoder.greeted(LIMIT);
            let (mut buffer, mut seen) = (BytesMut::new(), Vec::new());
            for piece in wire.chunks(step) {
                buffer.extend_from_slice(piece);
                while let Some(Frame { command, payload }) = decoder.decode(&mut buffer).expect("a frame") {
                    match command {
                        Command::LongMessage { message, bytes, limit } => {
                            assert_eq!((&payload[..], limit), (&entry[..MAX_LONG_HEAD], LIMIT));
                            assert!(bytes > entry.len());
                            seen.push(Some(message.message_id.entry_id));
                        }
                        Command::Other(command) => {
                            assert_eq!(*command, ping());
                            seen.push(None);
                        }
                        other => unreachable!("{other:?}"),
                    }
                }
                assert!(buffer.len() <= LIMIT, "{} bytes wait", buffer.len());
                assert!(step == wire.len() || buffer.capacity() < 2 * LIMIT, "{} bytes of room", buffer.capacity());
            }
            assert_eq!(seen, [Some(0), None, Some(1), None], "in steps of {step}");
        }
    }

    #[test]
    fn another_command_over_the_limit_is_refused_and_so_is_a_message_that_cannot_be_one() {
        for (total, command, start) in
            [(5001u32, 4u32, [0x08, 18]), (5001, 4998, [0x08, 9]), (0xffff_fff0, 1 << 20, [0x08, 9])]
        {
            let mut decoder = FrameDecoder::new(50);
            decoder.greeted(5000);
            let mut buffer = BytesMut::new();
            buffer.put_u32(total);
            buffer.put_u32(command);
            buffer.put_slice(&start);
            let error = decoder.decode(&mut buffer).expect_err("refused");
            assert!(matches!(error, FrameError::TooLong { limit: 5000, .. }), "{error}");
        }
    }

    #[test]
    fn a_command_longer_than_its_frame_is_refused() {
        for (total, command) in [(4u32, 1u32), (8, 5), (8, u32::MAX), (3, 0), (0, 0)] {
            let mut buffer = BytesMut::new();
            buffer.put_u32(total);
            buffer.put_u32(command);
            buffer.put_bytes(0, 16);
            assert!(
                matches!(FrameDecoder::new(100).decode(&mut buffer), Err(FrameError::Torn { .. })),
                "{total} {command}"
            );
        }
    }
}
