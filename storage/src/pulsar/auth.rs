//! Who we are: what is shown to brokers and to the admin API, fetched anew where it runs out.
//!
//! ```text
//!  token ── literal, or a file read each time ──┐
//!  OAuth2 ── issuer's page ─► token endpoint ───┼─► method + data (brokers) · Authorization (admin API)
//!  basic ── user:password ──────────────────────┤
//!  certificate ── TLS shows it ─────────────────┘
//! ```
//!
//! No secret shows in `Debug`, in errors or in traces. An OAuth2 token is kept until nine tenths of its life are over, or the broker asks again; the
//! client's secret goes over https:// only, but for an issuer that is http:// itself.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::sync::{Mutex, OnceCell};

use aquifer_model::{Error, Result};

use super::bounded;
use super::config::{PulsarConfig, TokenSource};
use super::tls::{TlsSettings, explain_any};

/// How to authenticate.
#[derive(Clone, PartialEq, Eq)]
pub enum Authentication {
    /// A JSON web token.
    Token(TokenSource),
    /// A user and a password.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// OAuth2 by client credentials: a token of an issuer.
    OAuth2(OAuth2Settings),
    /// The client certificate of [`TlsSettings`].
    Certificate,
}

/// Where OAuth2 tokens come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuth2Settings {
    /// The issuer, under whose address `/.well-known/openid-configuration` lies.
    pub issuer_url: String,
    /// Who asks.
    pub client: OAuth2Client,
    /// For whom the token is to be good.
    pub audience: Option<String>,
    /// What it is to allow.
    pub scope: Option<String>,
}

/// A client's credentials at an issuer.
#[derive(Clone, PartialEq, Eq)]
pub enum OAuth2Client {
    /// A JSON file with `client_id` and `client_secret`, read for every token.
    KeyFile(PathBuf),
    /// The two themselves.
    Credentials {
        /// The client.
        id: String,
        /// Its secret.
        secret: String,
    },
}

impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(source) => source.fmt(f),
            Self::Basic { user, .. } => write!(f, "basic:{user}:****"),
            Self::OAuth2(settings) => settings.fmt(f),
            Self::Certificate => f.write_str("tls"),
        }
    }
}

impl fmt::Debug for OAuth2Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyFile(path) => write!(f, "file:{}", path.display()),
            Self::Credentials { id, .. } => write!(f, "{id}:****"),
        }
    }
}

impl From<TokenSource> for Authentication {
    fn from(source: TokenSource) -> Self {
        Self::Token(source)
    }
}

impl Authentication {
    /// Reads what an auth plugin's name (`token`, `basic`, `oauth2`, `tls`, or the Java class) and its parameters mean, as Pulsar's clients do.
    /// Without a name the parameters are a token. Gives the files of a client certificate where the parameters name them.
    pub fn parse(plugin: Option<&str>, parameters: Option<&str>) -> Result<(Self, TlsSettings)> {
        let none = TlsSettings::default();
        let given = parameters.unwrap_or_default().trim();
        let missing = |how: &str| Error::invalid(format!("the parameters of the authentication are missing: {how}"));
        match plugin_kind(plugin.unwrap_or("token")) {
            Some("token") if given.is_empty() => Err(missing("write token:TOKEN or file:///PATH in `auth-params`")),
            Some("token") => {
                let inner = given.strip_prefix("token:").filter(|rest| rest.starts_with("file:")).unwrap_or(given);
                Ok((Self::Token(inner.parse()?), none))
            }
            Some("basic") => {
                let how = "write {\"userId\":\"USER\",\"password\":\"PASSWORD\"} in `auth-params`";
                let both = match serde_json::from_str::<Value>(given) {
                    Ok(json) => text(&json, "userId").zip(text(&json, "password")),
                    Err(_) => given.split_once(':').map(|(user, password)| (user.to_string(), password.to_string())),
                };
                let (user, password) = both.filter(|(user, _)| !user.is_empty()).ok_or_else(|| missing(how))?;
                Ok((Self::Basic { user, password }, none))
            }
            Some("oauth2") => Ok((Self::OAuth2(parse_oauth2(given)?), none)),
            Some(_) => {
                let files = |name: &str| {
                    let json = serde_json::from_str::<Value>(given).ok().and_then(|json| text(&json, name));
                    let listed = || given.split(',').find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix(':'));
                    json.or_else(|| listed().map(str::to_string)).map(PathBuf::from)
                };
                let tls = TlsSettings {
                    certificate_file: files("tlsCertFile"),
                    key_file: files("tlsKeyFile"),
                    ca_file: None,
                };
                Ok((Self::Certificate, tls))
            }
            None => Err(Error::unsupported(format!(
                "the authentication `{}` is not known: write token, basic, oauth2 or tls",
                plugin.unwrap_or_default()
            ))),
        }
    }

    fn method(&self) -> &'static str {
        match self {
            Self::Token(_) | Self::OAuth2(_) => "token",
            Self::Basic { .. } => "basic",
            Self::Certificate => "tls",
        }
    }
}

/// `token`, `basic`, `oauth2` or `tls`, from that or from the Java class's name.
pub fn plugin_kind(plugin: &str) -> Option<&'static str> {
    let class = plugin.rsplit('.').next().unwrap_or_default();
    match class {
        "token" | "AuthenticationToken" => Some("token"),
        "basic" | "AuthenticationBasic" => Some("basic"),
        "oauth2" | "AuthenticationOAuth2" => Some("oauth2"),
        "tls" | "AuthenticationTls" => Some("tls"),
        _ => None,
    }
}

fn text(json: &Value, name: &str) -> Option<String> {
    json.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_string)
}

fn parse_oauth2(given: &str) -> Result<OAuth2Settings> {
    let how = "write {\"issuerUrl\":\"https://…\",\"privateKey\":\"file:///PATH\",\"audience\":\"…\"} in `auth-params`";
    let wrong = |why: &str| Error::invalid(format!("the parameters of OAuth2 {why}: {how}"));
    let json: Value = serde_json::from_str(given).map_err(|_| wrong("are no JSON"))?;
    if text(&json, "type").is_some_and(|kind| kind != "client_credentials") {
        return Err(Error::unsupported("only the OAuth2 type `client_credentials` is supported"));
    }
    let issuer_url = text(&json, "issuerUrl").ok_or_else(|| wrong("name no `issuerUrl`"))?;
    if !issuer_url.starts_with("https://") && !issuer_url.starts_with("http://") {
        return Err(wrong("name an `issuerUrl` that is no http:// or https:// address"));
    }
    let client = match text(&json, "privateKey") {
        Some(key) => match key.strip_prefix("file:") {
            Some(path) => OAuth2Client::KeyFile(path.strip_prefix("//").unwrap_or(path).into()),
            None => {
                let encoded = key.strip_prefix("data:application/json;base64,").ok_or_else(|| {
                    wrong("name a `privateKey` that is neither file: nor data:application/json;base64,")
                })?;
                let bytes = STANDARD.decode(encoded).map_err(|_| wrong("name a `privateKey` that is no base64"))?;
                read_key(&bytes).ok_or_else(|| wrong("name a `privateKey` without client_id and client_secret"))?
            }
        },
        None => text(&json, "clientId")
            .or_else(|| text(&json, "client_id"))
            .zip(text(&json, "clientSecret").or_else(|| text(&json, "client_secret")))
            .map(|(id, secret)| OAuth2Client::Credentials { id, secret })
            .ok_or_else(|| wrong("name no `privateKey`"))?,
    };
    Ok(OAuth2Settings { issuer_url, client, audience: text(&json, "audience"), scope: text(&json, "scope") })
}

fn read_key(bytes: &[u8]) -> Option<OAuth2Client> {
    let json: Value = serde_json::from_slice(bytes).ok()?;
    let (id, secret) = text(&json, "client_id").zip(text(&json, "client_secret"))?;
    Some(OAuth2Client::Credentials { id, secret })
}

/// What is shown to a broker.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub method: &'static str,
    pub data: Vec<u8>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:****", self.method)
    }
}

/// Longer files hold no credentials.
const MAX_KEY_BYTES: u64 = 64 * 1024;
/// A token is used no longer than this, whatever life its issuer gives it.
const LONGEST_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How long a token is good whose issuer does not say.
const ASSUMED_LIFE: Duration = Duration::from_secs(60);
/// Longer answers of an issuer are none.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// Fetches credentials.
pub(super) struct Authenticator {
    source: Option<Authentication>,
    tls: TlsSettings,
    connect_timeout: Duration,
    timeout: Duration,
    client: OnceCell<reqwest::Client>,
    /// The issuer's token and until when it is used.
    kept: Mutex<Option<(String, Instant)>>,
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl Authenticator {
    pub fn new(config: &PulsarConfig) -> Self {
        Self {
            source: config.authentication.clone(),
            tls: config.tls.clone(),
            connect_timeout: config.connect_timeout,
            timeout: config.operation_timeout,
            client: OnceCell::new(),
            kept: Mutex::new(None),
        }
    }

    /// What is shown, in the words of errors; `None` if nothing is set.
    pub fn shown_as(&self) -> Option<&'static str> {
        self.source.as_ref().map(|source| match source {
            Authentication::Token(_) => "token",
            Authentication::Basic { .. } => "user and password",
            Authentication::OAuth2(_) => "token of the OAuth2 issuer",
            Authentication::Certificate => "client certificate",
        })
    }

    /// What to show a broker; `None` if nothing is set.
    pub async fn credentials(&self) -> Result<Option<Credentials>> {
        let Some(source) = &self.source else { return Ok(None) };
        let data = match source {
            Authentication::Token(token) => token.load().await?.into_bytes(),
            Authentication::Basic { user, password } => format!("{user}:{password}").into_bytes(),
            Authentication::OAuth2(settings) => self.issued(settings).await?.into_bytes(),
            Authentication::Certificate => Vec::new(),
        };
        Ok(Some(Credentials { method: source.method(), data }))
    }

    /// [`Authenticator::credentials`] for a broker that asks again: nothing that was kept.
    pub async fn fresh_credentials(&self) -> Result<Option<Credentials>> {
        *self.kept.lock().await = None;
        self.credentials().await
    }

    /// The value of the `Authorization` header; `None` if there is none to send.
    pub async fn header(&self) -> Result<Option<String>> {
        Ok(self.credentials().await?.and_then(|shown| match shown.method {
            "token" => Some(format!("Bearer {}", String::from_utf8_lossy(&shown.data))),
            "basic" => Some(format!("Basic {}", STANDARD.encode(shown.data))),
            _ => None,
        }))
    }

    /// A token of the issuer, the kept one while it is good. Who waits for one that is being asked for shares it.
    async fn issued(&self, settings: &OAuth2Settings) -> Result<String> {
        let mut kept = self.kept.lock().await;
        if let Some((token, until)) = kept.as_ref()
            && Instant::now() < *until
        {
            return Ok(token.clone());
        }
        let (token, life) = self.ask_issuer(settings).await?;
        *kept = Some((token.clone(), Instant::now() + kept_for(life)));
        Ok(token)
    }

    async fn ask_issuer(&self, settings: &OAuth2Settings) -> Result<(String, Duration)> {
        let issuer = settings.issuer_url.trim_end_matches('/');
        let doing = format!("asking the OAuth2 issuer `{issuer}` for a token");
        let client =
            self.client.get_or_try_init(async || self.tls.http_client(self.connect_timeout, self.timeout)).await?;
        let (id, secret) = match &settings.client {
            OAuth2Client::Credentials { id, secret } => (id.clone(), secret.clone()),
            OAuth2Client::KeyFile(path) => {
                let shown = path.display();
                let bytes = bounded::load("OAuth2 key file", path, MAX_KEY_BYTES).await?;
                match read_key(&bytes) {
                    Some(OAuth2Client::Credentials { id, secret }) => (id, secret),
                    _ => {
                        return Err(Error::invalid(format!(
                            "the OAuth2 key file `{shown}` is no JSON with `client_id` and `client_secret`"
                        )));
                    }
                }
            }
        };
        let page = client.get(format!("{issuer}/.well-known/openid-configuration"));
        let named = text(&answer(&doing, issuer, page).await?, "token_endpoint")
            .ok_or_else(|| Error::invalid(format!("{doing}: its page names no `token_endpoint`")))?;
        let endpoint = token_endpoint(&doing, issuer, &named)?;
        let mut form = vec![("grant_type", "client_credentials"), ("client_id", &id), ("client_secret", &secret)];
        form.extend(settings.audience.as_deref().map(|audience| ("audience", audience)));
        form.extend(settings.scope.as_deref().map(|scope| ("scope", scope)));
        let given = answer(&doing, issuer, client.post(endpoint).form(&form)).await?;
        let token = text(&given, "access_token")
            .ok_or_else(|| Error::unavailable(format!("{doing}: its answer holds no `access_token`")))?;
        Ok((token, life_of(&given)))
    }
}

/// How long the token in an issuer's answer is good.
fn life_of(given: &Value) -> Duration {
    let named = given.get("expires_in").and_then(Value::as_u64).map(Duration::from_secs);
    named.unwrap_or(ASSUMED_LIFE).min(LONGEST_LIFE)
}

/// How long a token of this life is used: the last tenth is left for clocks that differ and requests on their way.
fn kept_for(life: Duration) -> Duration {
    life.mul_f64(0.9)
}

/// The address that the secret goes to. Only an issuer that is itself asked in the clear may have it sent in the clear.
fn token_endpoint(doing: &str, issuer: &str, named: &str) -> Result<reqwest::Url> {
    let url: reqwest::Url = named.parse().map_err(|_| {
        Error::invalid(format!(
            "{doing}: its page names a `token_endpoint` that is no address: correct it at the issuer"
        ))
    })?;
    match url.scheme() {
        "https" => Ok(url),
        "http" if issuer.starts_with("http://") => Ok(url),
        scheme => Err(Error::invalid(format!(
            "{doing}: its page names the token endpoint `{scheme}://{}`, and the client's secret is sent over https:// only: have the issuer name \
             such an address",
            url.host_str().unwrap_or_default()
        ))),
    }
}

/// A JSON answer of the issuer. Nothing of the request, which holds the secret, stands in an error.
async fn answer(doing: &str, issuer: &str, request: reqwest::RequestBuilder) -> Result<Value> {
    let unreachable = |error: reqwest::Error| match explain_any(issuer, &error) {
        Some(explained) => explained.context(doing),
        None => {
            let mut cause: &dyn std::error::Error = &error;
            while let Some(deeper) = cause.source() {
                cause = deeper;
            }
            Error::unavailable(format!("{doing}: it cannot be reached: {cause}"))
        }
    };
    let mut response = request.send().await.map_err(unreachable)?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(unreachable)? {
        if body.len() + part.len() > MAX_ANSWER_BYTES {
            return Err(Error::unsupported(format!("{doing}: its answer is over {MAX_ANSWER_BYTES} bytes")));
        }
        body.extend_from_slice(&part);
    }
    let json: Option<Value> = serde_json::from_slice(&body).ok();
    if status.is_success() {
        return json.ok_or_else(|| Error::unavailable(format!("{doing}: its answer is no JSON")));
    }
    let reason = json
        .as_ref()
        .and_then(|json| text(json, "error_description").or_else(|| text(json, "error")))
        .unwrap_or_else(|| format!("HTTP status {}", status.as_u16()));
    Err(match status.as_u16() {
        400 | 401 | 403 => Error::denied(format!("{doing}: it does not accept the client's credentials: {reason}")),
        404 => Error::invalid(format!("{doing}: there is no issuer at that address")),
        _ => Error::unavailable(format!("{doing}: {reason}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(plugin: &str, parameters: &str) -> Authentication {
        Authentication::parse(Some(plugin), Some(parameters)).expect(parameters).0
    }

    #[test]
    fn parameters_are_read_as_pulsars_clients_read_them() {
        let literal = Authentication::Token(TokenSource::Literal("abc".into()));
        assert_eq!(parsed("org.apache.pulsar.client.impl.auth.AuthenticationToken", "token:abc"), literal);
        assert_eq!(parsed("token", "token:file:///x"), Authentication::Token(TokenSource::File("/x".into())));
        assert_eq!(Authentication::parse(None, Some("abc")).expect("a token").0, literal);
        let basic = Authentication::Basic { user: "u".into(), password: "p:q".into() };
        assert_eq!(parsed("basic", r#"{"userId":"u","password":"p:q"}"#), basic);
        assert_eq!(parsed("basic", "u:p:q"), basic);
        let (kind, tls) =
            Authentication::parse(Some("tls"), Some("tlsCertFile:/c.pem,tlsKeyFile:/k.pem")).expect("tls");
        assert_eq!(kind, Authentication::Certificate);
        assert_eq!((tls.certificate_file, tls.key_file), (Some("/c.pem".into()), Some("/k.pem".into())));
        let key = STANDARD.encode(r#"{"client_id":"i","client_secret":"s"}"#);
        let given = format!(
            r#"{{"issuerUrl":"https://i","privateKey":"data:application/json;base64,{key}","audience":"a","scope":"b"}}"#
        );
        let Authentication::OAuth2(settings) = parsed("oauth2", &given) else { unreachable!("oauth2") };
        assert_eq!(settings.client, OAuth2Client::Credentials { id: "i".into(), secret: "s".into() });
        assert_eq!((settings.audience.as_deref(), settings.scope.as_deref()), (Some("a"), Some("b")));
        for (plugin, parameters) in [
            ("token", ""),
            ("basic", "nobody"),
            ("oauth2", "no json"),
            ("oauth2", "{}"),
            ("oauth2", r#"{"issuerUrl":"ftp://x","privateKey":"file:///k"}"#),
            ("oauth2", r#"{"issuerUrl":"https://x","privateKey":"secret"}"#),
            ("athenz", "x"),
        ] {
            assert!(Authentication::parse(Some(plugin), Some(parameters)).is_err(), "{plugin} {parameters}");
        }
    }

    #[test]
    fn a_token_of_any_life_is_kept_for_a_time_that_a_clock_can_hold() {
        for (answer, seconds) in [
            (r#"{}"#, 60),
            (r#"{"expires_in":0}"#, 0),
            (r#"{"expires_in":3600}"#, 3600),
            (r#"{"expires_in":-1}"#, 60),
            (r#"{"expires_in":18446744073709551615}"#, 30 * 86400),
        ] {
            let life = life_of(&serde_json::from_str(answer).expect("JSON"));
            assert_eq!(life, Duration::from_secs(seconds), "{answer}");
            assert!(Instant::now().checked_add(kept_for(life)).is_some(), "{answer}");
        }
    }

    #[test]
    fn a_secret_is_not_sent_in_the_clear() {
        for (issuer, named, words) in [
            ("https://i", "https://i/token", None),
            ("https://i", "https://elsewhere/token", None),
            ("http://i", "http://i/token", None),
            ("http://i", "https://i/token", None),
            ("https://i", "http://i/token?canary", Some("the token endpoint `http://i`")),
            ("https://i", "ftp://i/token", Some("the token endpoint `ftp://i`")),
            ("http://i", "ftp://i/token", Some("over https:// only")),
            ("https://i", "/token", Some("that is no address")),
        ] {
            match (token_endpoint("asking", issuer, named), words) {
                (Ok(url), None) => assert_eq!(url.as_str(), named),
                (Err(error), Some(words)) => {
                    let text = error.to_string();
                    assert_eq!(error.kind(), aquifer_model::ErrorKind::Invalid);
                    assert!(text.contains(words) && !text.contains("canary"), "{text}");
                }
                (outcome, _) => unreachable!("{issuer} {named}: {outcome:?}"),
            }
        }
    }

    #[test]
    fn no_secret_is_shown() {
        let secret = "canary";
        let shown = [
            format!("{:?}", Authentication::Basic { user: "u".into(), password: secret.into() }),
            format!("{:?}", OAuth2Client::Credentials { id: "i".into(), secret: secret.into() }),
            format!("{:?}", Credentials { method: "token", data: secret.into() }),
        ];
        assert!(shown.iter().all(|text| !text.contains(secret)), "{shown:?}");
    }
}
