//! One connection to one broker: a task that owns the socket and the session, and a handle that many share.
//!
//! ```text
//!  handle ──operations──► driver task ⇄ socket
//!    ▲ answers, receipts     │ entries
//!    └───────────────────────┴────────► queues of the consumers
//! ```
//!
//! The task ends when its last handle is dropped, when the socket breaks, or when it is told to; whoever waits then hears why. It
//! never waits for a reader. Operations are unbounded in number but each asker waits for its answer before it asks again, and a producer
//! bounds what it has on its way. Receipts of one producer come in the order of its entries: one out of order ends the connection.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use aquifer_model::{Error, Position, Result};

use super::auth::{Authenticator, Credentials};
use super::commands;
use super::failure::{Failure, Refusal, Tried};
use super::queue::EntryQueue;
use super::session::{Answer, Event, Session, SessionError};
use super::slabs::{SLAB_BYTES, Slabs};
use super::tls::{self, TlsSettings};
use super::transport::{Moved, Transport};

/// Where to connect.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Target {
    /// `HOST:PORT` to dial.
    pub dial: String,
    pub tls: bool,
    /// Behind a proxy: the `HOST:PORT` of the broker that is meant.
    pub behind: Option<String>,
}

/// What a connection needs beside its target.
#[derive(Debug, Clone)]
pub(super) struct ConnectOptions {
    pub authenticator: Arc<Authenticator>,
    pub tls: TlsSettings,
    pub connect_timeout: Duration,
    pub operation_timeout: Duration,
    pub max_frame_bytes: Option<usize>,
}

/// What became of a publication.
#[derive(Debug)]
pub(super) enum Published {
    Stored(Position),
    Duplicate,
    Refused(Refusal),
    /// The producer or the connection was closed before an answer.
    Closed(String),
}

enum Operation {
    Request { id: u64, frame: Bytes, reply: oneshot::Sender<Result<Answer, Refusal>> },
    Tell { frame: Bytes },
    Attach { consumer: u64, queue: Arc<EntryQueue> },
    Detach { consumer: u64, frame: Bytes },
    AttachProducer { producer: u64 },
    DetachProducer { producer: u64, frame: Bytes },
    Publish { producer: u64, sequence_id: u64, head: Bytes, entry: Bytes, reply: oneshot::Sender<Published> },
    Cut { why: String },
}

/// A handle on a connection.
#[derive(Debug)]
pub(super) struct Connection {
    address: String,
    dialled: String,
    operations: mpsc::UnboundedSender<Operation>,
    last_id: AtomicU64,
    max_message_bytes: usize,
    operation_timeout: Duration,
    closed: Arc<OnceLock<String>>,
}

impl Connection {
    /// Connects and greets, within the connect timeout. Fails with `Unavailable` naming address and cause, or with `Denied`.
    pub async fn open(target: &Target, options: &ConnectOptions) -> Result<Arc<Self>> {
        let address = target.behind.as_ref().unwrap_or(&target.dial).clone();
        let unreachable =
            |cause: String| Error::unavailable(format!("the Pulsar broker at `{address}` cannot be reached: {cause}"));
        match tokio::time::timeout(options.connect_timeout, Self::greet(target, options, &address)).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(Greeting::Cause(cause))) => Err(unreachable(cause)),
            Ok(Err(Greeting::Error(error))) => Err(error),
            Err(_) => Err(unreachable(format!("no answer within {} ms", options.connect_timeout.as_millis()))),
        }
    }

    async fn greet(target: &Target, options: &ConnectOptions, address: &str) -> Result<Arc<Self>, Greeting> {
        let shown = options.authenticator.credentials().await.map_err(Greeting::Error)?;
        let tls = if target.tls { Some(options.tls.load().map_err(Greeting::Error)?) } else { None };
        let explained = |error: std::io::Error| match tls::explain(&target.dial, &error) {
            Some(error) => Greeting::Error(error.context("connecting to the Pulsar broker")),
            None if target.tls => Greeting::Cause(format!("{error} (does it speak TLS on that port?)")),
            None if error.kind() == std::io::ErrorKind::ConnectionReset => {
                Greeting::Cause(format!("{error} (if it wants TLS, use pulsar+ssl://)"))
            }
            None => Greeting::Cause(error.to_string()),
        };
        let transport = Transport::dial(&target.dial, tls).await.map_err(explained)?;
        let session = Session::new(shown.as_ref(), target.behind.as_deref(), options.max_frame_bytes, Instant::now());
        let (sender, operations) = mpsc::unbounded_channel();
        let closed = Arc::new(OnceLock::new());
        let mut driver = Driver {
            transport,
            session,
            authenticator: options.authenticator.clone(),
            authenticating: None,
            buffer: BytesMut::with_capacity(SLAB_BYTES),
            slabs: Slabs::default(),
            operations,
            requests: HashMap::new(),
            consumers: HashMap::new(),
            producers: HashMap::new(),
            last_id: 1 << 32,
            greeted: None,
        };
        while driver.greeted.is_none() {
            match driver.step().await {
                Err(Stop::Io(error)) => return Err(explained(error)),
                Err(Stop::Closed) if !target.tls => {
                    let cause = "the broker closed it before it greeted (if it wants TLS, use pulsar+ssl://)";
                    return Err(Greeting::Cause(cause.to_string()));
                }
                Err(Stop::Session(SessionError::Refused(_))) if shown.is_none() => {
                    let text = format!(
                        "connecting to the Pulsar broker at `{address}`: it asks for authentication (a token, for one) and none is set: set 'auth-params'"
                    );
                    return Err(Greeting::Error(Error::denied(text)));
                }
                Err(Stop::Session(SessionError::Refused(refusal))) => {
                    let failure = Failure::Refused(refusal.shown(options.authenticator.shown_as()));
                    return Err(Greeting::Error(
                        failure.into_error("connecting to the broker", "the right to connect"),
                    ));
                }
                outcome => outcome?,
            }
        }
        let connection = Arc::new(Self {
            address: address.to_string(),
            dialled: target.dial.clone(),
            operations: sender,
            last_id: AtomicU64::new(0),
            max_message_bytes: driver.greeted.unwrap_or_default(),
            operation_timeout: options.operation_timeout,
            closed: closed.clone(),
        });
        tokio::spawn(driver.run(closed, address.to_string()));
        Ok(connection)
    }

    /// `HOST:PORT` of the broker.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// `HOST:PORT` of what is really connected to: the broker or a proxy before it.
    pub fn dialled(&self) -> &str {
        &self.dialled
    }

    /// The longest message the broker takes, in bytes.
    pub fn max_message_bytes(&self) -> usize {
        self.max_message_bytes
    }

    /// Whether it is of no more use.
    pub fn is_closed(&self) -> bool {
        self.operations.is_closed()
    }

    /// A number no other request, consumer or producer of this connection has.
    pub fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Why it broke, as a failure.
    pub fn broken(&self) -> Failure {
        let cause = self.closed.get().cloned().unwrap_or_else(|| "it is closed".to_string());
        Failure::Broken { address: self.address.clone(), cause }
    }

    /// Asks and waits for the answer. Dropping the future forgets the answer, not the question.
    pub async fn request(&self, frame: impl FnOnce(u64) -> Bytes) -> Tried<Answer> {
        self.request_within(self.operation_timeout, frame).await
    }

    /// [`Connection::request`] for what may take longer, or less.
    pub async fn request_within(&self, limit: Duration, frame: impl FnOnce(u64) -> Bytes) -> Tried<Answer> {
        let id = self.next_id();
        let (reply, answer) = oneshot::channel();
        self.operate(Operation::Request { id, frame: frame(id), reply })?;
        match tokio::time::timeout(limit, answer).await {
            Ok(Ok(Ok(answer))) => Ok(answer),
            Ok(Ok(Err(refusal))) => Err(Failure::Refused(refusal)),
            Ok(Err(_)) => Err(self.broken()),
            Err(_) => Err(Failure::TimedOut { address: self.address.clone(), after: limit }),
        }
    }

    /// Sends a command that has no answer.
    pub fn tell(&self, frame: Bytes) -> Tried<()> {
        self.operate(Operation::Tell { frame })
    }

    /// Makes `queue` take the entries for `consumer`.
    pub fn attach(&self, consumer: u64, queue: Arc<EntryQueue>) -> Tried<()> {
        self.operate(Operation::Attach { consumer, queue })
    }

    /// Closes a consumer, here and at the broker.
    pub fn detach(&self, consumer: u64) {
        let frame = commands::close_consumer(self.next_id(), consumer);
        // A broken connection has closed it already.
        let _ = self.operate(Operation::Detach { consumer, frame });
    }

    /// Makes answers to `producer` heard.
    pub fn attach_producer(&self, producer: u64) -> Tried<()> {
        self.operate(Operation::AttachProducer { producer })
    }

    /// Closes a producer, here and at the broker.
    pub fn detach_producer(&self, producer: u64) {
        let frame = commands::close_producer(self.next_id(), producer);
        let _ = self.operate(Operation::DetachProducer { producer, frame });
    }

    /// Publishes one entry, behind those published before. What becomes of it comes out of the receiver; nothing does if the connection
    /// breaks first.
    pub fn publish(
        &self,
        producer: u64,
        sequence_id: u64,
        head: Bytes,
        entry: Bytes,
    ) -> Tried<oneshot::Receiver<Published>> {
        let (reply, outcome) = oneshot::channel();
        self.operate(Operation::Publish { producer, sequence_id, head, entry, reply })?;
        Ok(outcome)
    }

    /// Ends the connection for everyone who shares it.
    pub fn cut(&self, why: &str) {
        let _ = self.operate(Operation::Cut { why: why.to_string() });
    }

    fn operate(&self, operation: Operation) -> Tried<()> {
        self.operations.send(operation).map_err(|_| self.broken())
    }
}

/// Why a connection did not come about.
enum Greeting {
    Cause(String),
    Error(Error),
}

impl From<Stop> for Greeting {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Session(error) => Self::Cause(error.to_string()),
            Stop::Why(why) => Self::Cause(why),
            Stop::Error(error) => Self::Error(error),
            Stop::Io(error) => Self::Cause(error.to_string()),
            Stop::Closed => Self::Cause("the broker closed it".to_string()),
            Stop::Unused => Self::Cause("it was given up".to_string()),
        }
    }
}

/// Why the driver stops.
enum Stop {
    Session(SessionError),
    Why(String),
    Error(Error),
    Io(std::io::Error),
    /// The other side said goodbye.
    Closed,
    /// The last handle is gone.
    Unused,
}

impl From<SessionError> for Stop {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

/// One publication that waits for its receipt.
struct InFlight {
    sequence_id: u64,
    reply: oneshot::Sender<Published>,
}

struct Driver {
    transport: Transport,
    session: Session,
    authenticator: Arc<Authenticator>,
    /// The answer to a challenge, being fetched.
    authenticating: Option<BoxFuture<'static, Result<Option<Credentials>>>>,
    buffer: BytesMut,
    slabs: Slabs,
    operations: mpsc::UnboundedReceiver<Operation>,
    requests: HashMap<u64, oneshot::Sender<Result<Answer, Refusal>>>,
    consumers: HashMap<u64, Arc<EntryQueue>>,
    /// Open producers, each with the publications that wait, in order.
    producers: HashMap<u64, VecDeque<InFlight>>,
    /// For requests of our own; far from the handle's.
    last_id: u64,
    greeted: Option<usize>,
}

impl Driver {
    async fn run(mut self, closed: Arc<OnceLock<String>>, address: String) {
        let why = loop {
            match self.step().await {
                Ok(()) => {}
                Err(Stop::Unused) => break "it is no longer used".to_string(),
                Err(Stop::Why(why)) => break why,
                Err(Stop::Error(error)) => break error.to_string(),
                Err(Stop::Io(error)) => break error.to_string(),
                Err(Stop::Closed) => break "the broker closed it".to_string(),
                Err(Stop::Session(error)) => break error.to_string(),
            }
        };
        tracing::debug!(address, why, "connection to the broker ended");
        // First the reason, then the news: who hears the news asks for the reason.
        closed.get_or_init(|| why.clone());
        self.operations.close();
        for (_, queue) in self.consumers.drain() {
            queue.end(format!("the connection to the broker at `{address}` broke: {why}"));
        }
        for in_flight in self.producers.drain().flat_map(|(_, waiting)| waiting) {
            let _ = in_flight.reply.send(Published::Closed(why.clone()));
        }
    }

    /// Waits for one thing and does it. Each arm is cancel-safe.
    async fn step(&mut self) -> Result<(), Stop> {
        let deadline = tokio::time::Instant::from_std(self.session.deadline());
        let greeted = self.greeted.is_some();
        tokio::select! {
            moved = self.transport.step(self.session.output(), &mut self.buffer) => match moved? {
                Moved::Written => {}
                Moved::Read(0) => return Err(Stop::Closed),
                Moved::Read(_) => self.on_read()?,
            },
            shown = async {
                match &mut self.authenticating {
                    Some(fetching) => fetching.await,
                    None => std::future::pending().await,
                }
            } => {
                self.authenticating = None;
                match shown.map_err(Stop::Error)? {
                    Some(shown) => self.session.authenticate(&shown),
                    None => return Err(Stop::Why("the broker asks for authentication and none is set: set 'auth-params'".to_string())),
                }
            }
            operation = self.operations.recv(), if greeted => match operation {
                Some(operation) => {
                    self.on_operation(operation)?;
                    // What waits is written together.
                    while let Ok(operation) = self.operations.try_recv() {
                        self.on_operation(operation)?;
                    }
                }
                None => {
                    self.flush().await;
                    return Err(Stop::Unused);
                }
            },
            () = tokio::time::sleep_until(deadline) => {
                self.session.on_deadline(Instant::now())?;
                self.requests.retain(|_, reply| !reply.is_closed());
            }
        }
        Ok(())
    }

    fn on_read(&mut self) -> Result<(), Stop> {
        let mut events = Vec::new();
        let outcome = self.session.on_bytes(Instant::now(), &mut self.buffer, &mut events);
        // A queue may stand there twice.
        let mut fed = Vec::new();
        let done = events.into_iter().try_for_each(|event| self.on_event(event, &mut fed));
        fed.iter().for_each(|queue| queue.announce());
        done?;
        outcome?;
        self.slabs.make_room(&mut self.buffer);
        Ok(())
    }

    /// Writes what is left to be said, as far as that goes within a second.
    async fn flush(&mut self) {
        let output = std::mem::take(self.session.output());
        let _ = tokio::time::timeout(Duration::from_secs(1), self.transport.finish(output)).await;
    }

    /// Queues that are given entries are added to `fed`: their readers are not woken here.
    fn on_event(&mut self, event: Event, fed: &mut Vec<Arc<EntryQueue>>) -> Result<(), Stop> {
        match event {
            Event::Connected { max_message_bytes } => self.greeted = Some(max_message_bytes),
            Event::Challenged => {
                let authenticator = self.authenticator.clone();
                self.authenticating = Some(Box::pin(async move { authenticator.fresh_credentials().await }));
            }
            Event::Answered { request, answer } => {
                let answer = answer.map_err(|refusal| refusal.shown(self.authenticator.shown_as()));
                if let Some(reply) = self.requests.remove(&request) {
                    let _ = reply.send(answer);
                }
            }
            Event::Entry { consumer, entry } => {
                let Some(queue) = self.consumers.get(&consumer) else { return Ok(()) };
                let open = queue.push(entry);
                if fed.last().is_none_or(|last| !Arc::ptr_eq(last, queue)) {
                    fed.push(queue.clone());
                }
                if !open {
                    self.consumers.remove(&consumer);
                    self.last_id += 1;
                    self.session.send(commands::close_consumer(self.last_id, consumer));
                }
            }
            Event::Receipt { producer, sequence_id, position } => {
                self.settle(producer, sequence_id, position.map_or(Published::Duplicate, Published::Stored))?;
            }
            Event::SendRefused { producer, sequence_id, refusal } => {
                let refusal = refusal.shown(self.authenticator.shown_as());
                self.settle(producer, sequence_id, Published::Refused(refusal))?;
            }
            Event::ConsumerClosed { consumer } => {
                if let Some(queue) = self.consumers.remove(&consumer) {
                    queue.end("the broker closed the consumer");
                }
            }
            Event::ProducerClosed { producer } => {
                for in_flight in self.producers.remove(&producer).into_iter().flatten() {
                    let _ = in_flight.reply.send(Published::Closed("the broker closed the producer".to_string()));
                }
            }
        }
        Ok(())
    }

    /// Hands an answer to the oldest publication of a producer, whose it must be. The chunks of a message have one sequence id: that it is a
    /// duplicate is only ever said of the last, and before what is said of the others, which are stored again.
    fn settle(&mut self, producer: u64, sequence_id: u64, outcome: Published) -> Result<(), Stop> {
        // A producer that was closed here may still be answered.
        let Some(waiting) = self.producers.get_mut(&producer) else { return Ok(()) };
        let alike = waiting.iter().take_while(|in_flight| in_flight.sequence_id == sequence_id).count();
        let meant = match outcome {
            Published::Duplicate => alike.checked_sub(1),
            _ => (alike > 0).then_some(0),
        };
        match meant.and_then(|place| waiting.remove(place)) {
            Some(in_flight) => {
                let _ = in_flight.reply.send(outcome);
                Ok(())
            }
            // A refused second copy is answered before the first: what is stored is then not known.
            None => Err(Stop::Why(format!("an answer for sequence id {sequence_id} came out of order"))),
        }
    }

    fn on_operation(&mut self, operation: Operation) -> Result<(), Stop> {
        match operation {
            Operation::Request { id, frame, reply } => {
                self.requests.insert(id, reply);
                self.session.send(frame);
            }
            Operation::Tell { frame } => self.session.send(frame),
            Operation::Attach { consumer, queue } => {
                self.consumers.insert(consumer, queue);
            }
            Operation::Detach { consumer, frame } => {
                self.consumers.remove(&consumer);
                self.session.send(frame);
            }
            Operation::AttachProducer { producer } => {
                self.producers.insert(producer, VecDeque::new());
            }
            Operation::DetachProducer { producer, frame } => {
                self.producers.remove(&producer);
                self.session.send(frame);
            }
            Operation::Publish { producer, sequence_id, head, entry, reply } => {
                match self.producers.get_mut(&producer) {
                    Some(waiting) => {
                        waiting.push_back(InFlight { sequence_id, reply });
                        self.session.send(head);
                        self.session.send(entry);
                    }
                    None => {
                        let _ = reply.send(Published::Closed("the broker closed the producer".to_string()));
                    }
                }
            }
            Operation::Cut { why } => return Err(Stop::Why(why)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
