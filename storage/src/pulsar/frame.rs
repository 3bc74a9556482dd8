//! Pulsar's frames: a length, a command, and behind some commands an entry's bytes.
//!
//! ```text
//!  total:u32 │ command-length:u32 │ command │ entry bytes, exactly as stored (MESSAGE, SEND)
//!            └──────────────── total ─────────────────────────────────────────┘
//! ```
//!
//! A frame longer than the limit is refused when its length is read, before any of it is buffered. What follows the command is
//! handed on as it came: a slice of what was read, never copied, never parsed here.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use pulsar::message::proto::{BaseCommand, CommandMessage, base_command::Type};

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

/// How a command of type `MESSAGE` begins: field 1, a varint, 9.
const MESSAGE_START: [u8; 2] = [0x08, Type::Message as u8];

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
}

impl FrameDecoder {
    /// A decoder that takes frames of at most `limit` bytes, their length field not counted.
    pub fn new(limit: usize) -> Self {
        Self { limit }
    }

    /// Changes the limit for the frames that follow.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Takes the next whole frame off the front of `buffer`; `None` if more bytes are needed, for which there is then room.
    pub fn decode(&self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some(mut head) = buffer.get(..4) else { return Ok(None) };
        let total = head.get_u32() as usize;
        if total > self.limit {
            return Err(FrameError::TooLong { bytes: total, limit: self.limit });
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
        let command = Command::Other(Box::new(BaseCommand::decode(command)?));
        Ok(Some(Frame { command, payload: frame }))
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
            let decoder = FrameDecoder::new(1000);
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
