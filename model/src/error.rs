//! The one error that crosses a crate's border: what happened, and of which prescriptive kind it is.
//!
//! A kind tells the caller what to do, not where the error arose. Inside a crate small `thiserror` enums may
//! exist; at the border they become this.

use std::fmt;

/// What the caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The other side cannot be reached now: try again later.
    Unavailable,
    /// It may have happened: ask before trying again.
    Unknown,
    /// Someone newer took over: stop.
    Fenced,
    /// What was asked for is no longer kept.
    Gone,
    /// The request is wrong: change it.
    Invalid,
    /// Stored bytes are wrong.
    Corrupt,
    /// A valid request that this version does not do.
    Unsupported,
    /// A right is missing.
    Denied,
    /// The caller asked for the end (Ctrl-C, a stopped job).
    Cancelled,
    /// A fault of ours: an invariant does not hold.
    Internal,
}

/// An error at a crate's border. `message` is one fact in lower case that names what was being done.
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// A result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` that says `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// Keeps the cause; it is printed after the message.
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Puts what was being done before the message: `reading topic `t`: broker closed the connection`.
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }

    /// What the caller can do.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The message without its cause.
    pub fn message(&self) -> &str {
        &self.message
    }
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $kind:ident),* $(,)?) => {
        impl Error { $( $(#[$doc])* pub fn $name(message: impl Into<String>) -> Self { Self::new(ErrorKind::$kind, message) } )* }
    };
}

constructors! {
    /// See [`ErrorKind::Unavailable`].
    unavailable => Unavailable,
    /// See [`ErrorKind::Unknown`].
    unknown => Unknown,
    /// See [`ErrorKind::Fenced`].
    fenced => Fenced,
    /// See [`ErrorKind::Gone`].
    gone => Gone,
    /// See [`ErrorKind::Invalid`].
    invalid => Invalid,
    /// See [`ErrorKind::Corrupt`].
    corrupt => Corrupt,
    /// See [`ErrorKind::Unsupported`].
    unsupported => Unsupported,
    /// See [`ErrorKind::Denied`].
    denied => Denied,
    /// See [`ErrorKind::Cancelled`].
    cancelled => Cancelled,
    /// See [`ErrorKind::Internal`].
    internal => Internal,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut cause = self.source.as_deref().map(|e| e as &dyn std::error::Error);
        while let Some(error) = cause {
            let text = error.to_string();
            if !self.message.contains(&text) {
                write!(f, ": {text}")?;
            }
            cause = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|e| e as &(dyn std::error::Error + 'static))
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        Error::internal(error.to_string()).with_source(error)
    }
}
