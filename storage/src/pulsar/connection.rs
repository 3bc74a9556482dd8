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
//! bounds what it has on its way. Who gives up waiting is forgotten at once, so that a broker that answers nothing makes nothing grow. Receipts of
//! one producer come in the order of its entries: one out of order ends the connection.

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
use super::session::{Answer, Event, Resource, Session, SessionError};
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
    pub keep_alive: Duration,
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
    Request { id: u64, frame: Bytes, asker: Asker },
    Forget { request: u64 },
    Tell { frame: Bytes },
    Attach { consumer: u64, queue: Arc<EntryQueue> },
    Detach { consumer: u64, frame: Bytes },
    AttachProducer { producer: u64 },
    DetachProducer { producer: u64, frame: Bytes },
    Publish { producer: u64, sequence_id: u64, head: Bytes, entry: Bytes, reply: oneshot::Sender<Published> },
    Cut { why: String },
}

/// Who waits for an answer.
struct Asker {
    reply: oneshot::Sender<Result<Answer, Refusal>>,
    /// What the request opens. While it does, news about it may come instead of an answer.
    opens: Option<Resource>,
}

/// What a broker says of itself in its greeting.
#[derive(Debug, Clone, Copy, Default)]
struct Greeted {
    max_message_bytes: usize,
    asks_without_making: bool,
}

/// A handle on a connection.
#[derive(Debug)]
pub(super) struct Connection {
    address: String,
    dialled: String,
    operations: mpsc::UnboundedSender<Operation>,
    last_id: AtomicU64,
    greeted: Greeted,
    operation_timeout: Duration,
    closed: Arc<OnceLock<String>>,
}

impl Connection {
    /// Connects and greets, within the connect timeout. Fails with `Unavailable` naming address and cause, or with `Denied`.
    pub async fn open(target: &Target, options: &ConnectOptions) -> Result<Arc<Self>> {
        let address = target.behind.as_ref().unwrap_or(&target.dial).clone();
        let unreachable = |cause: String| {
            Error::unavailable(format!(
                "the Pulsar broker at `{address}` cannot be reached: {cause}: check that it runs and that 'service-url', or the address it \
                 advertises, leads to it"
            ))
        };
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
        let (behind, limit) = (target.behind.as_deref(), options.max_frame_bytes);
        let session = Session::new(shown.as_ref(), behind, limit, options.keep_alive, Instant::now());
        let (sender, operations) = mpsc::unbounded_channel();
        let closed = Arc::new(OnceLock::new());
        let mut driver = Driver::new(transport, session, options.authenticator.clone(), operations);
        let greeted = loop {
            if let Some(greeted) = driver.greeted {
                break greeted;
            }
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
        };
        let connection = Arc::new(Self {
            address: address.to_string(),
            dialled: target.dial.clone(),
            operations: sender,
            last_id: AtomicU64::new(0),
            greeted,
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
        self.greeted.max_message_bytes
    }

    /// Whether it can be asked for a topic's partitions without making the topic.
    pub fn asks_without_making(&self) -> bool {
        self.greeted.asks_without_making
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

    /// Asks and waits for the answer. Dropping the future forgets the answer, which nobody waits for then; the question stays asked.
    pub async fn request(&self, frame: impl FnOnce(u64) -> Bytes) -> Tried<Answer> {
        self.ask(self.operation_timeout, None, frame).await
    }

    /// [`Connection::request`] for one that opens a consumer or a producer, which may take longer. Fails with `Invalid` if its topic is in another
    /// cluster now.
    pub async fn request_open(
        &self,
        limit: Duration,
        opens: Resource,
        frame: impl FnOnce(u64) -> Bytes,
    ) -> Tried<Answer> {
        self.ask(limit, Some(opens), frame).await
    }

    async fn ask(&self, limit: Duration, opens: Option<Resource>, frame: impl FnOnce(u64) -> Bytes) -> Tried<Answer> {
        let id = self.next_id();
        let (reply, answer) = oneshot::channel();
        self.operate(Operation::Request { id, frame: frame(id), asker: Asker { reply, opens } })?;
        let mut waiting = Waiting { connection: self, request: Some(id) };
        let answered = tokio::time::timeout(limit, answer).await;
        if answered.is_ok() {
            waiting.request = None;
        }
        match answered {
            Ok(Ok(Ok(Answer::Moved(to)))) => Err(Error::invalid(moved(to.as_deref())).into()),
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

/// A request whose answer is waited for; forgotten when dropped before it comes.
struct Waiting<'a> {
    connection: &'a Connection,
    request: Option<u64>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(request) = self.request {
            // A broken connection has forgotten it already.
            let _ = self.connection.operate(Operation::Forget { request });
        }
    }
}

/// That a topic is in another cluster now. It is not followed there: that cluster's positions, marks and identities are others, so what was read or
/// written so far means nothing to it.
fn moved(to: Option<&str>) -> String {
    match to {
        Some(to) => format!(
            "the topic was moved to another cluster, at {to}: set 'service-url' and 'admin-url' to that cluster and begin there anew (positions \
             in the two are not the same)"
        ),
        None => "the topic was moved to another cluster, whose address the broker does not name: ask who runs it, and set 'service-url' and \
                 'admin-url' to that cluster"
            .to_string(),
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
    requests: HashMap<u64, Asker>,
    consumers: HashMap<u64, Arc<EntryQueue>>,
    /// Open producers, each with the publications that wait, in order.
    producers: HashMap<u64, VecDeque<InFlight>>,
    /// For requests of our own; far from the handle's.
    last_id: u64,
    greeted: Option<Greeted>,
}

impl Driver {
    fn new(
        transport: Transport,
        session: Session,
        authenticator: Arc<Authenticator>,
        operations: mpsc::UnboundedReceiver<Operation>,
    ) -> Self {
        Self {
            transport,
            session,
            authenticator,
            authenticating: None,
            buffer: BytesMut::with_capacity(SLAB_BYTES),
            slabs: Slabs::default(),
            operations,
            requests: HashMap::new(),
            consumers: HashMap::new(),
            producers: HashMap::new(),
            last_id: 1 << 32,
            greeted: None,
        }
    }

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
            () = tokio::time::sleep_until(deadline) => self.session.on_deadline(Instant::now())?,
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
            Event::Connected { max_message_bytes, asks_without_making } => {
                self.greeted = Some(Greeted { max_message_bytes, asks_without_making });
            }
            Event::Challenged => {
                let authenticator = self.authenticator.clone();
                self.authenticating = Some(Box::pin(async move { authenticator.fresh_credentials().await }));
            }
            Event::Answered { request, answer } => {
                let answer = answer.map_err(|refusal| refusal.shown(self.authenticator.shown_as()));
                if let Some(asker) = self.requests.remove(&request) {
                    let _ = asker.reply.send(answer);
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
                self.close(Resource::Consumer(consumer), "the broker closed the consumer");
            }
            Event::ProducerClosed { producer } => {
                self.close(Resource::Producer(producer), "the broker closed the producer");
            }
            Event::Moved { resource, to } => {
                self.close(resource, &moved(to.as_deref()));
                // Of what is being opened this is the only answer.
                let opening = self.requests.iter().find(|(_, asker)| asker.opens == Some(resource)).map(|(id, _)| *id);
                if let Some(asker) = opening.and_then(|id| self.requests.remove(&id)) {
                    let _ = asker.reply.send(Ok(Answer::Moved(to)));
                }
            }
        }
        Ok(())
    }

    /// What the broker closed gets nothing more.
    fn close(&mut self, resource: Resource, why: &str) {
        match resource {
            Resource::Consumer(consumer) => {
                if let Some(queue) = self.consumers.remove(&consumer) {
                    queue.end(why);
                }
            }
            Resource::Producer(producer) => {
                for in_flight in self.producers.remove(&producer).into_iter().flatten() {
                    let _ = in_flight.reply.send(Published::Closed(why.to_string()));
                }
            }
        }
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
            Operation::Request { id, frame, asker } => {
                self.requests.insert(id, asker);
                self.session.send(frame);
            }
            Operation::Forget { request } => {
                self.requests.remove(&request);
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
