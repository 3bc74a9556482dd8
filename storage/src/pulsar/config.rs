//! What a Pulsar log is told: addresses, authentication, deadlines and limits; and how addresses are read.
//!
//! A value of these connects to nothing. A token never shows in `Debug`, in errors or in traces.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use aquifer_formats::chunked::ChunkBounds;
use aquifer_model::{Error, Result};

use super::auth::Authentication;
use super::bounded;
use super::session::KEEP_ALIVE;
use super::tls::TlsSettings;

/// The settings of a [`super::PulsarLog`]. At least one of the two addresses must be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulsarConfig {
    /// `pulsar://HOST:PORT`, or `pulsar+ssl://HOST:PORT` with TLS, several hosts after commas; the scheme `pulsar` and the port (6650, with TLS
    /// 6651) may be left out. If absent, the admin
    /// API's cluster entry is asked, and where that may not be read, the admin host's port 6650 is assumed.
    pub service_url: Option<String>,
    /// `http://HOST:PORT` or `https://…`; the scheme may be left out, the port then too (8080). If absent, `http://HOST:8080` of
    /// the service URL's first host is assumed, with TLS `https://HOST:8443`.
    pub admin_url: Option<String>,
    /// Who we are.
    pub authentication: Option<Authentication>,
    /// Whom to trust, for `pulsar+ssl://` and `https://`.
    pub tls: TlsSettings,
    /// How long reaching an address may take, handshake included.
    pub connect_timeout: Duration,
    /// How long one operation may take, and how long a reader tries to get back to a lost broker.
    pub operation_timeout: Duration,
    /// After this long without a byte, at most an hour, a broker is asked whether it is there; after as long again its connection is given up.
    pub keep_alive: Duration,
    /// The longest frame that is ever buffered, in bytes, whatever message size the broker announces. If absent, what it announces, and at most 32 MiB.
    pub max_frame_bytes: Option<usize>,
    /// How many bytes of entries a reader asks for in advance; less where there are many. Four times as much is the hard limit of what is queued.
    pub read_ahead_bytes: usize,
    /// What readers do with encrypted messages, which nobody here can decrypt.
    pub encrypted: EncryptedMessages,
    /// Whether readers are given only the newest message of each key, as far as the broker has compacted the topic.
    pub read_compacted: bool,
    /// What may wait in a reader for the last chunks of chunked messages.
    pub chunks: ChunkBounds,
}

/// What readers do with encrypted messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EncryptedMessages {
    /// They are given as they are: decoding them fails, and the policy for bad messages decides.
    #[default]
    Fail,
    /// They are passed over.
    Discard,
    /// The cipher text is the payload; what decrypting needs stands in the properties ([`aquifer_formats::encrypted`]).
    Raw,
}

impl Default for PulsarConfig {
    fn default() -> Self {
        Self {
            service_url: None,
            admin_url: None,
            authentication: None,
            tls: TlsSettings::default(),
            connect_timeout: Duration::from_secs(5),
            operation_timeout: Duration::from_secs(30),
            keep_alive: KEEP_ALIVE,
            max_frame_bytes: None,
            read_ahead_bytes: 16 * 1024 * 1024,
            encrypted: EncryptedMessages::Fail,
            read_compacted: false,
            chunks: ChunkBounds::default(),
        }
    }
}

/// Where a token comes from. It is read anew for every connection, so that a renewed file is used.
#[derive(Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// The token itself.
    Literal(String),
    /// A file that holds it.
    File(PathBuf),
}

/// Longer files are no tokens.
const MAX_TOKEN_BYTES: u64 = 64 * 1024;

impl TokenSource {
    /// The token's text. Fails with `Invalid` if the file cannot be read or holds no token.
    pub(super) async fn load(&self) -> Result<String> {
        let text = match self {
            Self::Literal(text) => text.clone(),
            Self::File(path) => {
                let bytes = bounded::load("token file", path, MAX_TOKEN_BYTES).await?;
                String::from_utf8(bytes).map_err(|_| {
                    Error::invalid(format!("reading the token file `{}`: it is no UTF-8 text", path.display()))
                })?
            }
        };
        let token = text.trim();
        if token.is_empty() || token.chars().any(|c| c.is_control() || c == ' ') {
            return Err(Error::invalid(format!(
                "{self:?} holds no token: it must be one word of printable characters"
            )));
        }
        Ok(token.to_string())
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(_) => f.write_str("token:****"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

impl FromStr for TokenSource {
    type Err = Error;

    /// Reads `file:PATH`, `file://PATH`, `token:TEXT` or the token itself.
    fn from_str(text: &str) -> Result<Self> {
        if let Some(path) = text.strip_prefix("file:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(Error::invalid("`file:` names no token file: write file:PATH"));
            }
            return Ok(Self::File(PathBuf::from(path)));
        }
        Ok(Self::Literal(text.strip_prefix("token:").unwrap_or(text).to_string()))
    }
}

/// The brokers behind a service URL, in the order to try, each `HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServiceUrl {
    pub tls: bool,
    pub hosts: Vec<String>,
}

impl ServiceUrl {
    /// The first host without its port.
    pub fn first_host(&self) -> &str {
        let first = self.hosts.first().map_or("", String::as_str);
        first.rsplit_once(':').map_or(first, |(host, _)| host)
    }

    /// The admin API's address where none is given.
    pub fn assumed_admin_url(&self) -> String {
        let host = self.first_host();
        if self.tls { format!("https://{host}:8443") } else { format!("http://{host}:8080") }
    }
}

impl fmt::Display for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.tls { "pulsar+ssl://" } else { "pulsar://" }, self.hosts.join(","))
    }
}

impl FromStr for ServiceUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::invalid(format!(
                "`{text}` is no Pulsar service URL: write pulsar://HOST:PORT, for example pulsar://localhost:6650"
            ))
        };
        let trimmed = text.trim();
        let (tls, port, rest) = match trimmed.split_once("://") {
            Some(("pulsar", rest)) => (false, 6650, rest),
            Some(("pulsar+ssl", rest)) => (true, 6651, rest),
            Some(_) => return Err(wrong()),
            None => (false, 6650, trimmed),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let hosts =
            rest.split(',').map(|host| with_port(host.trim(), port).ok_or_else(wrong)).collect::<Result<_>>()?;
        Ok(Self { tls, hosts })
    }
}

/// `HOST:PORT` with `port` where the text has none; `None` if it is no host.
fn with_port(host: &str, port: u16) -> Option<String> {
    let fine = |name: &str| {
        !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c.is_control() || "/@?#".contains(c))
    };
    let (name, given) = match host.strip_prefix('[') {
        Some(rest) => {
            let (inside, after) = rest.split_once(']')?;
            inside.parse::<std::net::Ipv6Addr>().ok()?;
            (&host[..inside.len() + 2], after.strip_prefix(':'))
        }
        None => match host.split_once(':') {
            Some((name, given)) => (name, Some(given)),
            None => (host, None),
        },
    };
    let port = match given {
        Some(given) => given.parse::<u16>().ok()?,
        None => port,
    };
    fine(name).then(|| format!("{name}:{port}"))
}

/// The admin API's base, without `/admin/v2`.
pub(super) fn parse_admin_url(text: &str) -> Result<reqwest::Url> {
    let wrong = || {
        Error::invalid(format!("`{text}` is no admin URL: write http://HOST:PORT, for example http://localhost:8080"))
    };
    let trimmed = text.trim().trim_end_matches('/');
    let full = match trimmed.split_once("://") {
        Some(("http" | "https", _)) => trimmed.to_string(),
        Some(_) => return Err(wrong()),
        None => format!("http://{}", with_port(trimmed, 8080).ok_or_else(wrong)?),
    };
    let url: reqwest::Url = full.parse().map_err(|_| wrong())?;
    if url.host_str().is_none_or(str::is_empty) || !url.username().is_empty() || url.password().is_some() {
        return Err(wrong());
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aquifer_model::ErrorKind;

    #[test]
    fn a_service_url_may_leave_out_scheme_and_port() {
        for (text, hosts) in [
            ("pulsar://a:1", vec!["a:1"]),
            ("a", vec!["a:6650"]),
            ("localhost:9092", vec!["localhost:9092"]),
            ("pulsar://a:1,b,c:3/", vec!["a:1", "b:6650", "c:3"]),
            ("pulsar://[::1]:7", vec!["[::1]:7"]),
            ("pulsar://[::1]", vec!["[::1]:6650"]),
        ] {
            assert_eq!(text.parse::<ServiceUrl>().expect(text).hosts, hosts, "{text}");
        }
        assert_eq!("pulsar://[::1]:7".parse::<ServiceUrl>().expect("a url").first_host(), "[::1]");
        for text in ["", "pulsar://", "http://a:1", "a:b", "pulsar://a:1,,b", "a/b", "u@h:1"] {
            assert!(text.parse::<ServiceUrl>().is_err(), "{text}");
        }
        let safe = "pulsar+ssl://a,b:7".parse::<ServiceUrl>().expect("a url");
        assert_eq!((safe.tls, safe.to_string().as_str()), (true, "pulsar+ssl://a:6651,b:7"));
        assert_eq!(safe.assumed_admin_url(), "https://a:8443");
    }

    #[test]
    fn an_admin_url_may_leave_out_its_scheme() {
        for (text, full) in [
            ("localhost:9092", "http://localhost:9092/"),
            ("localhost", "http://localhost:8080/"),
            ("http://h:1/", "http://h:1/"),
            ("https://h/prefix", "https://h/prefix"),
        ] {
            assert_eq!(parse_admin_url(text).expect(text).as_str(), full, "{text}");
        }
        for text in ["", "pulsar://a:1", "http://", "http://user:secret@h:1", "a b"] {
            assert!(parse_admin_url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_token_is_never_shown() {
        let config = PulsarConfig {
            authentication: Some("token:canary-1234".parse::<TokenSource>().expect("a token").into()),
            ..Default::default()
        };
        assert!(!format!("{config:?}").contains("canary"));
        assert_eq!("file:///x/y".parse::<TokenSource>().expect("a file"), TokenSource::File("/x/y".into()));
        assert_eq!("file:x".parse::<TokenSource>().expect("a file"), TokenSource::File("x".into()));
    }

    #[tokio::test]
    async fn a_token_file_is_trimmed_and_a_bad_one_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        std::fs::write(&path, "abc.def\n").expect("written");
        assert_eq!(TokenSource::File(path.clone()).load().await.expect("a token"), "abc.def");
        std::fs::write(&path, "two words").expect("written");
        let error = TokenSource::File(path.clone()).load().await.expect_err("no token").to_string();
        assert!(error.contains("token") && !error.contains("two words"), "{error}");
        for bytes in [vec![b'a'; MAX_TOKEN_BYTES as usize + 1], vec![0xff]] {
            std::fs::write(&path, bytes).expect("written");
            let error = TokenSource::File(path.clone()).load().await.expect_err("no token");
            assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("token file"), "{error}");
        }
        assert!(
            TokenSource::File("/nowhere/t".into()).load().await.expect_err("gone").to_string().contains("/nowhere/t")
        );
    }
}
