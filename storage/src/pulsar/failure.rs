//! What can go wrong between us and a broker, and what kind of error it becomes at the crate's border.

use std::time::Duration;

use pulsar::message::proto::ServerError;

use aquifer_model::{Error, ErrorKind, Result};

/// The broker said no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub code: ServerError,
    pub message: String,
    /// What was shown to the broker, in words; `None`: nothing.
    shown: Option<&'static str>,
}

impl Refusal {
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Self {
            code: ServerError::try_from(code).unwrap_or(ServerError::UnknownError),
            message: message.into(),
            shown: None,
        }
    }

    /// The same, of one to whom this was shown.
    pub fn shown(self, shown: Option<&'static str>) -> Self {
        Self { shown, ..self }
    }

    /// Whether the same request may be granted a little later, or by another broker.
    pub fn passes(&self) -> bool {
        matches!(
            self.code,
            ServerError::ServiceNotReady
                | ServerError::TooManyRequests
                | ServerError::MetadataError
                | ServerError::PersistenceError
                | ServerError::ConsumerBusy
                | ServerError::ProducerBusy
                | ServerError::ConsumerAssignError
        )
    }

    fn kind(&self) -> ErrorKind {
        use ServerError::*;
        match self.code {
            AuthenticationError | AuthorizationError => ErrorKind::Denied,
            TopicNotFound | SubscriptionNotFound | ConsumerNotFound | InvalidTopicName | IncompatibleSchema
            | NotAllowedError | TopicTerminatedError => ErrorKind::Invalid,
            ChecksumError => ErrorKind::Corrupt,
            UnsupportedVersionError => ErrorKind::Unsupported,
            ProducerFenced => ErrorKind::Fenced,
            _ => ErrorKind::Unavailable,
        }
    }

    /// What to do next, for a message; `None` where nobody knows.
    fn remedy(&self) -> Option<&'static str> {
        use ServerError::*;
        Some(match self.code {
            TopicNotFound => "check the topic's name, or make it first (CREATE TABLE)",
            InvalidTopicName => "correct the topic's name",
            IncompatibleSchema => {
                "let columns and format fit the topic's schema, or have the namespace's schema compatibility changed"
            }
            TopicTerminatedError => "nothing more can be written to it: write to another topic",
            ProducerBlockedQuotaExceededError | ProducerBlockedQuotaExceededException => {
                "its backlog quota is used up: let its subscriptions catch up, remove those that nobody needs, or have the quota raised"
            }
            ProducerBusy => {
                "a producer with this name or with exclusive access is connected: end that one, or use another name ('sink.producer-name')"
            }
            ProducerFenced => "another producer has exclusive access: end that one before you write again",
            ConsumerBusy => "another consumer has this subscription: end that one, or use another name",
            SubscriptionNotFound | ConsumerNotFound => "it was removed meanwhile: open it again",
            NotAllowedError => {
                "a policy of the broker, the namespace or the topic forbids it: ask who runs the cluster"
            }
            UnsupportedVersionError => "it needs a newer broker",
            ChecksumError => "it was damaged on its way: send it again",
            ServiceNotReady | TooManyRequests | MetadataError | PersistenceError | ConsumerAssignError => {
                "it should pass: try again later"
            }
            _ => return None,
        })
    }
}

/// Why something asked of a broker did not come about. Nothing here says whether it happened; the asker knows what that means.
#[derive(Debug)]
pub(super) enum Failure {
    /// The broker answered with an error.
    Refused(Refusal),
    /// The connection was lost, before or after the request was sent.
    Broken { address: String, cause: String },
    /// No answer within the operation's time.
    TimedOut { address: String, after: Duration },
    /// Anything else, ready to be shown; trying again at once does not help.
    Final(Error),
}

impl Failure {
    /// Whether trying again, after a while, may help.
    pub fn passes(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.passes(),
            Self::Broken { .. } | Self::TimedOut { .. } => true,
            Self::Final(error) => error.kind() == ErrorKind::Unavailable,
        }
    }

    /// Whether the broker failed in a way that it has no code for (a `StackOverflowError`, say). For what was open already nothing else than the broker can be
    /// wrong then.
    pub fn has_no_code(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.code == ServerError::UnknownError)
    }

    /// As an error that says what was being done, and which right that needs.
    pub fn into_error(self, doing: &str, right: &str) -> Error {
        match self {
            Self::Refused(refusal) => {
                let Refusal { code, ref message, shown } = refusal;
                // Java's exception class names and stack traces say nothing to our user.
                let reason = message.lines().next().unwrap_or_default();
                let reason = reason.rsplit_once("Exception: ").map_or(reason, |(_, reason)| reason);
                match code {
                    ServerError::AuthenticationError => Error::denied(match shown {
                        Some(shown) => {
                            format!("{doing}: the broker does not accept the {shown}, correct 'auth-params': {reason}")
                        }
                        None => format!("{doing}: the broker asks for authentication, set 'auth-params': {reason}"),
                    }),
                    ServerError::AuthorizationError => Error::denied(match shown {
                        Some(shown) => format!("{doing}: the role of the {shown} lacks {right}: {reason}"),
                        None => {
                            format!("{doing}: without authentication (set 'auth-params') one lacks {right}: {reason}")
                        }
                    }),
                    _ => {
                        let remedy = refusal.remedy().map(|remedy| format!(": {remedy}")).unwrap_or_default();
                        Error::new(refusal.kind(), format!("{doing}: {reason} ({}){remedy}", code.as_str_name()))
                    }
                }
            }
            Self::Broken { address, cause } => Error::unavailable(format!(
                "{doing}: the connection to the broker at `{address}` broke: {cause}: try again when the broker is there"
            )),
            Self::TimedOut { address, after } => Error::unavailable(format!(
                "{doing}: the broker at `{address}` gave no answer within {} ms: see whether it is overloaded, or raise 'operation-timeout'",
                after.as_millis()
            )),
            Self::Final(error) => error.context(doing),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

/// A result before it is known what was being done.
pub(super) type Tried<T> = Result<T, Failure>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_what_was_done_and_the_missing_right() {
        let cases = [
            (
                ServerError::AuthorizationError,
                Some("client certificate"),
                "reading `t`: the role of the client certificate lacks the right to consume: no",
            ),
            (
                ServerError::AuthorizationError,
                None,
                "reading `t`: without authentication (set 'auth-params') one lacks the right to consume: no",
            ),
            (
                ServerError::AuthenticationError,
                Some("user and password"),
                "reading `t`: the broker does not accept the user and password, correct 'auth-params': no",
            ),
            (
                ServerError::AuthenticationError,
                None,
                "reading `t`: the broker asks for authentication, set 'auth-params': no",
            ),
        ];
        for (code, shown, text) in cases {
            let refusal = Refusal::new(code as i32, "no").shown(shown);
            let error = Failure::Refused(refusal).into_error("reading `t`", "the right to consume");
            assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Denied, text));
        }
    }

    #[test]
    fn a_message_says_what_to_do_next() {
        let refused = |code: ServerError| Failure::Refused(Refusal::new(code as i32, "java.lang.FooException: no"));
        for (failure, kind, text) in [
            (
                refused(ServerError::TopicNotFound),
                ErrorKind::Invalid,
                "opening `t`: no (TopicNotFound): check the topic's name, or make it first (CREATE TABLE)",
            ),
            (
                refused(ServerError::IncompatibleSchema),
                ErrorKind::Invalid,
                "opening `t`: no (IncompatibleSchema): let columns and format fit the topic's schema, or have the namespace's schema \
                 compatibility changed",
            ),
            (
                refused(ServerError::TopicTerminatedError),
                ErrorKind::Invalid,
                "opening `t`: no (TopicTerminatedError): nothing more can be written to it: write to another topic",
            ),
            (
                refused(ServerError::ProducerBlockedQuotaExceededError),
                ErrorKind::Unavailable,
                "opening `t`: no (ProducerBlockedQuotaExceededError): its backlog quota is used up: let its subscriptions catch up, remove those \
                 that nobody needs, or have the quota raised",
            ),
            (
                refused(ServerError::ProducerBlockedQuotaExceededException),
                ErrorKind::Unavailable,
                "opening `t`: no (ProducerBlockedQuotaExceededException): its backlog quota is used up: let its subscriptions catch up, remove \
                 those that nobody needs, or have the quota raised",
            ),
            (
                refused(ServerError::ProducerBusy),
                ErrorKind::Unavailable,
                "opening `t`: no (ProducerBusy): a producer with this name or with exclusive access is connected: end that one, or use another \
                 name ('sink.producer-name')",
            ),
            (
                refused(ServerError::ProducerFenced),
                ErrorKind::Fenced,
                "opening `t`: no (ProducerFenced): another producer has exclusive access: end that one before you write again",
            ),
            (
                refused(ServerError::ServiceNotReady),
                ErrorKind::Unavailable,
                "opening `t`: no (ServiceNotReady): it should pass: try again later",
            ),
            (
                Failure::TimedOut { address: "b:1".into(), after: Duration::from_secs(1) },
                ErrorKind::Unavailable,
                "opening `t`: the broker at `b:1` gave no answer within 1000 ms: see whether it is overloaded, or raise 'operation-timeout'",
            ),
            (
                Failure::Broken { address: "b:1".into(), cause: "reset".into() },
                ErrorKind::Unavailable,
                "opening `t`: the connection to the broker at `b:1` broke: reset: try again when the broker is there",
            ),
        ] {
            let error = failure.into_error("opening `t`", "the right to do so");
            assert_eq!((error.kind(), error.to_string().as_str()), (kind, text));
        }
    }

    #[test]
    fn an_unknown_code_is_no_reason_to_panic() {
        let error =
            Failure::Refused(Refusal::new(4711, "java.lang.FooException: odd\n at line 1")).into_error("x", "y");
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Unavailable, "x: odd (UnknownError)"));
    }
}
