//! One connection's protocol as a state machine without input or output.
//!
//! ```text
//!  bytes in ──► frames ──► events out (answers, entries, receipts, closings)
//!                    └───► bytes out (greeting, pongs, pings)
//!  a clock's reading ──► pings, or the verdict that the other side is gone
//! ```
//!
//! Nothing is told before the greeting is answered. A broken frame ends the session. An entry is given with the bytes that stand
//! behind its command, untouched; of one that is too long what stands for it ([`aquifer_formats::entry::cut_off`]), which fails to decode.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use pulsar::message::proto::{self, BaseCommand, base_command::Type};

use aquifer_formats::entry::cut_off;
use aquifer_model::{Position, SchemaVersion};

use super::auth::Credentials;
use super::commands;
use super::config::ServiceUrl;
use super::failure::Refusal;
use super::frame::{Command, FrameDecoder, FrameError};
use super::newer::{NewerCommand, TOPIC_MIGRATED};
use crate::log::{DEFAULT_MESSAGE_BYTES, Entry};

/// Handshake frames are small; a larger limit is granted when the broker has said who it is.
const GREETING_LIMIT: usize = 64 * 1024;
/// What a frame may hold beside a message: the broker's slack for headers, the command, broker entry metadata.
const FRAME_SLACK: usize = 10 * 1024 + 64 * 1024;
/// What a broker announces is believed up to here.
const MAX_FRAME_BYTES: usize = 32 * 1024 * 1024;
/// A longer address of another cluster is none.
const MAX_URL_BYTES: usize = 1024;
/// After this long without a byte we ask, where nothing else is set; after as long again the other side is gone.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Longer is not waited, whatever is set.
const LONGEST_KEEP_ALIVE: Duration = Duration::from_secs(60 * 60);

/// A broker's answer to a request.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    Done,
    Producer {
        last_sequence_id: i64,
        topic_epoch: Option<u64>,
    },
    /// Where a topic is served. `redirect`: ask there again.
    Lookup {
        url: Option<String>,
        tls_url: Option<String>,
        redirect: bool,
        authoritative: bool,
        proxied: bool,
    },
    Partitions(u32),
    LastId(Option<Position>),
    Schema {
        version: SchemaVersion,
        schema: proto::Schema,
    },
    SchemaVersion(SchemaVersion),
    /// Names of topics, partitions each by itself.
    Topics(Vec<String>),
    /// The topic of what was to be opened is in another cluster now: at these addresses, in words, if they are given.
    Moved(Option<String>),
}

/// What a connection bears of which the broker may say something unasked, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resource {
    Consumer(u64),
    Producer(u64),
}

/// What the other side did.
#[derive(Debug, PartialEq)]
pub(super) enum Event {
    Connected {
        max_message_bytes: usize,
        /// Whether a question for a topic's partitions can forbid that it makes the topic.
        asks_without_making: bool,
    },
    /// Who we are is asked again: answer with [`Session::authenticate`].
    Challenged,
    Answered {
        request: u64,
        answer: Result<Answer, Refusal>,
    },
    Entry {
        consumer: u64,
        entry: Entry,
    },
    /// `None`: a duplicate, dropped.
    Receipt {
        producer: u64,
        sequence_id: u64,
        position: Option<Position>,
    },
    SendRefused {
        producer: u64,
        sequence_id: u64,
        refusal: Refusal,
    },
    ConsumerClosed {
        consumer: u64,
    },
    ProducerClosed {
        producer: u64,
    },
    /// It is of no more use: its topic is in another cluster now, at these addresses, in words, if they are given.
    Moved {
        resource: Resource,
        to: Option<String>,
    },
}

/// Why a session is over.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the broker refused the connection: {}", .0.message)]
    Refused(Refusal),
    #[error("what answers there does not speak Pulsar's protocol ({0})")]
    NotPulsar(String),
    #[error("nothing was heard for {} ms", .after.as_millis())]
    Silent { after: Duration },
}

/// The state of one connection.
#[derive(Debug)]
pub(super) struct Session {
    decoder: FrameDecoder,
    frame_limit: Option<usize>,
    connected: bool,
    output: VecDeque<Bytes>,
    keep_alive: Duration,
    last_heard: Instant,
    asked: bool,
}

impl Session {
    /// A session that greets with what is `shown`, never buffers a frame above `frame_limit` bytes (without: what the broker announces, within
    /// bounds), asks after `keep_alive` without a byte and gives up after as long again, and stands at the time `now`.
    pub fn new(
        shown: Option<&Credentials>,
        proxy_to: Option<&str>,
        frame_limit: Option<usize>,
        keep_alive: Duration,
        now: Instant,
    ) -> Self {
        Self {
            decoder: FrameDecoder::new(GREETING_LIMIT.min(frame_limit.unwrap_or(GREETING_LIMIT))),
            frame_limit,
            connected: false,
            output: VecDeque::from([commands::connect(shown, proxy_to)]),
            keep_alive: keep_alive.min(LONGEST_KEEP_ALIVE),
            last_heard: now,
            asked: false,
        }
    }

    /// Sends a frame, or a part of one if more follows at once.
    pub fn send(&mut self, bytes: Bytes) {
        self.output.push_back(bytes);
    }

    /// What is to be written, in order; written bytes are taken off.
    pub fn output(&mut self) -> &mut VecDeque<Bytes> {
        &mut self.output
    }

    /// Answers a challenge.
    pub fn authenticate(&mut self, shown: &Credentials) {
        self.send(commands::auth_response(shown));
    }

    /// When [`Session::on_deadline`] must be called.
    pub fn deadline(&self) -> Instant {
        self.last_heard + if self.asked { self.given_up_after() } else { self.keep_alive }
    }

    fn given_up_after(&self) -> Duration {
        self.keep_alive * 2
    }

    /// Asks the other side whether it is there, or gives it up.
    pub fn on_deadline(&mut self, now: Instant) -> Result<(), SessionError> {
        if now < self.deadline() {
            return Ok(());
        }
        if self.asked {
            return Err(SessionError::Silent { after: self.given_up_after() });
        }
        self.asked = true;
        self.send(commands::ping());
        Ok(())
    }

    /// Takes all whole frames off `buffer`. Events of frames before a broken one are given.
    pub fn on_bytes(
        &mut self,
        now: Instant,
        buffer: &mut BytesMut,
        events: &mut Vec<Event>,
    ) -> Result<(), SessionError> {
        self.last_heard = now;
        self.asked = false;
        loop {
            let frame = match self.decoder.decode(buffer) {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok(()),
                Err(error) if !self.connected => return Err(SessionError::NotPulsar(error.to_string())),
                Err(error) => return Err(error.into()),
            };
            match (frame.command, self.connected) {
                (Command::Message(message), true) => {
                    let id = message.message_id;
                    let entry = Entry { position: Position::new(id.ledger_id, id.entry_id), bytes: frame.payload };
                    events.push(Event::Entry { consumer: message.consumer_id, entry });
                }
                (Command::LongMessage { message, bytes, limit }, true) => {
                    let id = message.message_id;
                    let entry = Entry {
                        position: Position::new(id.ledger_id, id.entry_id),
                        bytes: cut_off(bytes, limit, &frame.payload),
                    };
                    events.push(Event::Entry { consumer: message.consumer_id, entry });
                }
                (Command::Other(command), true) => self.on_command(*command, events),
                (Command::Message(_) | Command::LongMessage { .. }, false) => {
                    return Err(no_greeting(Type::Message as i32));
                }
                (Command::Newer(command), true) => events.extend(read_moved(*command)),
                (Command::Newer(command), false) => self.on_connected(*command, events)?,
                (Command::Other(command), false) => self.on_greeting(*command, events)?,
            }
        }
    }

    fn on_connected(&mut self, command: NewerCommand, events: &mut Vec<Event>) -> Result<(), SessionError> {
        let kind = command.kind;
        let greeting = command.connected.filter(|_| kind == Type::Connected as i32);
        let connected = greeting.ok_or_else(|| no_greeting(kind))?;
        let announced = connected.max_message_size.and_then(|bytes| usize::try_from(bytes).ok());
        let max_message_bytes = announced.filter(|bytes| *bytes > 0).unwrap_or(DEFAULT_MESSAGE_BYTES);
        let announced = max_message_bytes.saturating_add(FRAME_SLACK).min(MAX_FRAME_BYTES);
        self.decoder.greeted(self.frame_limit.unwrap_or(announced));
        self.connected = true;
        let asks_without_making = connected.feature_flags.and_then(|flags| flags.asks_without_making).unwrap_or(false);
        events.push(Event::Connected { max_message_bytes, asks_without_making });
        Ok(())
    }

    fn on_greeting(&mut self, command: BaseCommand, events: &mut Vec<Event>) -> Result<(), SessionError> {
        match (Type::try_from(command.r#type), command.error) {
            (Ok(Type::AuthChallenge), _) => {
                events.push(Event::Challenged);
                Ok(())
            }
            (Ok(Type::Error), Some(error)) => Err(SessionError::Refused(Refusal::new(error.error, error.message))),
            _ => Err(no_greeting(command.r#type)),
        }
    }

    fn on_command(&mut self, command: BaseCommand, events: &mut Vec<Event>) {
        match Type::try_from(command.r#type) {
            Ok(Type::Ping) => self.send(commands::pong()),
            Ok(Type::AuthChallenge) => events.push(Event::Challenged),
            Ok(kind) => events.extend(read_event(kind, command)),
            // A command younger than we are: nothing we asked for is answered by it.
            Err(_) => {}
        }
    }
}

fn no_greeting(kind: i32) -> SessionError {
    SessionError::NotPulsar(format!("command {kind} came before the greeting"))
}

/// The event that a command other than a message stands for.
fn read_event(kind: Type, command: BaseCommand) -> Option<Event> {
    let answered = |request, answer| Some(Event::Answered { request, answer });
    match kind {
        Type::Success => answered(command.success?.request_id, Ok(Answer::Done)),
        Type::Error => {
            let error = command.error?;
            answered(error.request_id, Err(Refusal::new(error.error, error.message)))
        }
        Type::ProducerSuccess => {
            let success = command.producer_success?;
            // Not ready: waiting in a queue, the real answer follows.
            success.producer_ready.unwrap_or(true).then_some(())?;
            let last_sequence_id = success.last_sequence_id.unwrap_or(-1);
            let topic_epoch = success.topic_epoch;
            answered(success.request_id, Ok(Answer::Producer { last_sequence_id, topic_epoch }))
        }
        Type::LookupResponse => {
            let response = command.lookup_topic_response?;
            let request = response.request_id;
            answered(request, read_lookup(response))
        }
        Type::PartitionedMetadataResponse => {
            let response = command.partition_metadata_response?;
            let failed = response.error.filter(|_| {
                response.response == Some(proto::command_partitioned_topic_metadata_response::LookupType::Failed as i32)
            });
            let answer = or_refusal(failed, response.message, Answer::Partitions(response.partitions.unwrap_or(0)));
            answered(response.request_id, answer)
        }
        Type::GetLastMessageIdResponse => {
            let response = command.get_last_message_id_response?;
            answered(response.request_id, Ok(Answer::LastId(read_position(&response.last_message_id))))
        }
        Type::AckResponse => {
            let response = command.ack_response?;
            answered(response.request_id?, or_refusal(response.error, response.message, Answer::Done))
        }
        Type::GetSchemaResponse => {
            let response = command.get_schema_response?;
            let answer = match (response.error_code, response.schema) {
                (None, Some(schema)) => {
                    Ok(Answer::Schema { version: SchemaVersion(response.schema_version.unwrap_or_default()), schema })
                }
                (code, _) => Err(Refusal::new(
                    code.unwrap_or(proto::ServerError::TopicNotFound as i32),
                    response.error_message.unwrap_or_default(),
                )),
            };
            answered(response.request_id, answer)
        }
        Type::GetOrCreateSchemaResponse => {
            let response = command.get_or_create_schema_response?;
            let version = Answer::SchemaVersion(SchemaVersion(response.schema_version.unwrap_or_default()));
            answered(response.request_id, or_refusal(response.error_code, response.error_message, version))
        }
        Type::GetTopicsOfNamespaceResponse => {
            let response = command.get_topics_of_namespace_response?;
            answered(response.request_id, Ok(Answer::Topics(response.topics)))
        }
        Type::SendReceipt => {
            let receipt = command.send_receipt?;
            Some(Event::Receipt {
                producer: receipt.producer_id,
                sequence_id: receipt.sequence_id,
                position: receipt.message_id.as_ref().and_then(read_position),
            })
        }
        Type::SendError => {
            let error = command.send_error?;
            Some(Event::SendRefused {
                producer: error.producer_id,
                sequence_id: error.sequence_id,
                refusal: Refusal::new(error.error, error.message),
            })
        }
        Type::CloseConsumer => Some(Event::ConsumerClosed { consumer: command.close_consumer?.consumer_id }),
        Type::CloseProducer => Some(Event::ProducerClosed { producer: command.close_producer?.producer_id }),
        _ => None,
    }
}

fn read_moved(command: NewerCommand) -> Option<Event> {
    let kind = command.kind;
    let migrated = command.topic_migrated.filter(|_| kind == TOPIC_MIGRATED)?;
    let resource = match migrated.resource_type {
        0 => Resource::Producer(migrated.resource_id),
        _ => Resource::Consumer(migrated.resource_id),
    };
    let given = [migrated.broker_service_url, migrated.broker_service_url_tls].into_iter().flatten();
    // What a broker sends stands in an error: only as far as it is an address.
    let read = given.filter(|url| url.len() <= MAX_URL_BYTES).filter_map(|url| url.parse::<ServiceUrl>().ok());
    let named: Vec<String> = read.map(|url| format!("`{url}`")).collect();
    Some(Event::Moved { resource, to: (!named.is_empty()).then(|| named.join(" or ")) })
}

fn or_refusal(code: Option<i32>, message: Option<String>, answer: Answer) -> Result<Answer, Refusal> {
    match code {
        Some(code) => Err(Refusal::new(code, message.unwrap_or_default())),
        None => Ok(answer),
    }
}

fn read_lookup(response: proto::CommandLookupTopicResponse) -> Result<Answer, Refusal> {
    use proto::command_lookup_topic_response::LookupType;
    let kind = response.response.and_then(|kind| LookupType::try_from(kind).ok());
    match kind {
        Some(kind @ (LookupType::Connect | LookupType::Redirect)) => Ok(Answer::Lookup {
            url: response.broker_service_url.filter(|url| !url.is_empty()),
            tls_url: response.broker_service_url_tls.filter(|url| !url.is_empty()),
            redirect: kind == LookupType::Redirect,
            authoritative: response.authoritative.unwrap_or(false),
            proxied: response.proxy_through_service_url.unwrap_or(false),
        }),
        _ => Err(Refusal::new(
            response.error.unwrap_or(proto::ServerError::ServiceNotReady as i32),
            response.message.unwrap_or_default(),
        )),
    }
}

/// `None` where either number is -1: nothing there, or a duplicate.
fn read_position(id: &proto::MessageIdData) -> Option<Position> {
    (id.ledger_id != u64::MAX && id.entry_id != u64::MAX).then(|| Position::new(id.ledger_id, id.entry_id))
}

#[cfg(test)]
mod tests;
