//! What can go wrong between us and a broker, and what kind of error it becomes at the crate's border.

use std::time::Duration;

use pulsar::message::proto::ServerError;

use aquifer_model::{Error, ErrorKind, Result};

/// The broker said no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub code: ServerError,
    pub message: String,
}

impl Refusal {
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code: ServerError::try_from(code).unwrap_or(ServerError::UnknownError), message: message.into() }
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

    /// As an error that says what was being done, and which right that needs.
    pub fn into_error(self, doing: &str, right: &str) -> Error {
        match self {
            Self::Refused(refusal) => {
                let Refusal { code, ref message } = refusal;
                // Java's exception class names and stack traces say nothing to our user.
                let reason = message.lines().next().unwrap_or_default();
                let reason = reason.rsplit_once("Exception: ").map_or(reason, |(_, reason)| reason);
                match code {
                    ServerError::AuthenticationError => Error::denied(format!(
                        "{doing}: the broker does not accept the token, correct 'auth-params': {reason}"
                    )),
                    ServerError::AuthorizationError => {
                        Error::denied(format!("{doing}: the token's role lacks {right}: {reason}"))
                    }
                    _ => Error::new(refusal.kind(), format!("{doing}: {reason} ({})", code.as_str_name())),
                }
            }
            Self::Broken { address, cause } => {
                Error::unavailable(format!("{doing}: the connection to the broker at `{address}` broke: {cause}"))
            }
            Self::TimedOut { address, after } => Error::unavailable(format!(
                "{doing}: the broker at `{address}` gave no answer within {} ms",
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
        let refusal = Refusal::new(ServerError::AuthorizationError as i32, "Client is not authorized");
        let error = Failure::Refused(refusal).into_error("reading `t`", "the right to consume");
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert_eq!(
            error.to_string(),
            "reading `t`: the token's role lacks the right to consume: Client is not authorized"
        );
    }

    #[test]
    fn an_unknown_code_is_no_reason_to_panic() {
        let error =
            Failure::Refused(Refusal::new(4711, "java.lang.FooException: odd\n at line 1")).into_error("x", "y");
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Unavailable, "x: odd (UnknownError)"));
    }
}
