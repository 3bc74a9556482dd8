//! The admin REST API: what topics there are, what a topic's log is made of, and the rules under which it forgets.
//!
//! A request goes to the given address and follows a broker's redirects to the broker that serves a topic, token included: to any host, as brokers
//! name each other, but never from https:// to http:// or back, and not more than five times. Answers are bounded. What an error body gives as its
//! `reason` stands in the message; a missing right is named.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue, LOCATION};
use reqwest::{Method, StatusCode, Url};
use serde_json::{Value, json};
use tokio::sync::{Mutex, OnceCell};

use aquifer_model::{Cut, Error, ErrorKind, Partition, Result, TopicIdentity, TopicName};

use super::auth::Authenticator;
use super::brokers::LOOKUP;
use super::commands::MAKER;
use super::config::{PulsarConfig, ServiceUrl};
use super::facts;
use super::namespace_policies::{self, requests};
use super::tls::{TlsSettings, explain_any};
use crate::log::NamespacePolicies;
use crate::log::{LedgerInfo, Policies};

const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
const MAX_REDIRECTS: usize = 5;
/// Our topic property.
const UUID_PROPERTY: &str = "aquifer.uuid";

#[derive(Debug)]
pub(super) struct Admin {
    base: Url,
    authenticator: Arc<Authenticator>,
    tls: TlsSettings,
    connect_timeout: Duration,
    operation_timeout: Duration,
    client: OnceCell<reqwest::Client>,
    /// One at a time gives a topic its UUID.
    naming: Mutex<()>,
}

/// What a request is for: the words of its errors.
struct Doing<'a> {
    what: String,
    right: &'a str,
}

const TENANT_ADMIN: &str = "the tenant admin's right (be a role that administers the tenant)";
const STATISTICS: &str = "the right to read the topic's statistics (grant it `consume`)";
const SUPER_USER: &str = "the super user's right (be a role among the broker's `superUserRoles`)";

fn doing(what: impl Into<String>, right: &str) -> Doing<'_> {
    Doing { what: what.into(), right }
}

impl Admin {
    pub fn new(base: Url, config: &PulsarConfig, authenticator: Arc<Authenticator>) -> Self {
        Self {
            base,
            authenticator,
            tls: config.tls.clone(),
            connect_timeout: config.connect_timeout,
            operation_timeout: config.operation_timeout,
            client: OnceCell::new(),
            naming: Mutex::default(),
        }
    }

    /// The address without path, for messages.
    pub fn address(&self) -> String {
        self.base.as_str().trim_end_matches('/').to_string()
    }

    /// The brokers' address, from the cluster's entry; the default port of the same host where the entry may not be read or names none.
    pub async fn service_url(&self) -> Result<ServiceUrl> {
        let host = self.base.host_str().unwrap_or_default();
        let tls = self.base.scheme() == "https";
        let assumed = || format!("{}://{host}", if tls { "pulsar+ssl" } else { "pulsar" }).parse::<ServiceUrl>();
        let ask = doing("asking the admin API for the brokers' address", SUPER_USER);
        let names = match self.get(&ask, &["clusters"], &[]).await {
            Ok(names) => facts::strings(&names),
            Err(error) if error.kind() == ErrorKind::Denied => return assumed(),
            Err(error) => return Err(error),
        };
        let mut entries = Vec::new();
        for name in names.iter().filter(|name| *name != "global") {
            match self.get(&ask, &["clusters", name], &[]).await {
                Ok(entry) => entries.push(entry),
                Err(error) if error.kind() == ErrorKind::Denied => return assumed(),
                Err(error) => return Err(error),
            }
        }
        match facts::choose_service_url(&entries, self.base.as_str(), tls) {
            facts::ServiceChoice::Use(url) => url.parse(),
            facts::ServiceChoice::NoneNamed => assumed(),
            facts::ServiceChoice::Several => Err(Error::invalid(format!(
                "the admin API at `{}` knows several clusters ({}): name the brokers' address with 'service-url'",
                self.address(),
                names.join(", ")
            ))),
        }
    }

    pub async fn topics(&self, tenant: &str, namespace: &str) -> Result<Vec<TopicName>> {
        let ask = doing(format!("listing the topics of `{tenant}/{namespace}`"), TENANT_ADMIN);
        let single = self.get(&ask, &["persistent", tenant, namespace], &[]).await?;
        let partitioned = self.get(&ask, &["persistent", tenant, namespace, "partitioned"], &[]).await?;
        Ok(facts::topics(&facts::strings(&single), &facts::strings(&partitioned)))
    }

    pub async fn namespaces(&self) -> Result<Vec<(String, String)>> {
        let ask = doing("listing the tenants", SUPER_USER);
        let mut found = Vec::new();
        for tenant in facts::strings(&self.get(&ask, &["tenants"], &[]).await?) {
            let ask = doing(format!("listing the namespaces of tenant `{tenant}`"), TENANT_ADMIN);
            let names = self.get(&ask, &["namespaces", &tenant], &[]).await?;
            found.extend(facts::strings(&names).iter().filter_map(|name| facts::namespace(name)));
        }
        found.sort();
        Ok(found)
    }

    pub async fn create_namespace(&self, tenant: &str, namespace: &str) -> Result<()> {
        let ask = doing(format!("looking for tenant `{tenant}`"), SUPER_USER);
        if self.ask(&ask, Method::GET, &["tenants", tenant], &[], None).await?.is_none() {
            let make = doing(format!("making tenant `{tenant}`"), SUPER_USER);
            let clusters = self.get(&make, &["clusters"], &[]).await?;
            let body = json!({ "adminRoles": [], "allowedClusters": clusters });
            match self.ask(&make, Method::PUT, &["tenants", tenant], &[], Some(&body)).await {
                Err(error) if !error.message().contains("already") => return Err(error),
                _ => {}
            }
        }
        let make = doing(format!("making namespace `{tenant}/{namespace}`"), TENANT_ADMIN);
        self.put(&make, &["namespaces", tenant, namespace], &json!({})).await
    }

    pub async fn set_namespace_policies(
        &self,
        tenant: &str,
        namespace: &str,
        policies: &NamespacePolicies,
    ) -> Result<()> {
        let ask = doing(format!("setting policies of namespace `{tenant}/{namespace}`"), TENANT_ADMIN);
        let standing = self.get(&ask, &["namespaces", tenant, namespace, "retention"], &[]).await?;
        for (method, policy, body) in requests(policies, &standing) {
            let path = ["namespaces", tenant, namespace, policy];
            let set = self.ask(&ask, method, &path, &[], Some(&body)).await?;
            set.ok_or_else(|| Error::invalid(format!("{}: it is not there", ask.what)))?;
        }
        Ok(())
    }

    pub async fn namespace_policies(&self, tenant: &str, namespace: &str) -> Result<NamespacePolicies> {
        let ask = doing(format!("reading the policies of namespace `{tenant}/{namespace}`"), TENANT_ADMIN);
        Ok(namespace_policies::read(&self.get(&ask, &["namespaces", tenant, namespace], &[]).await?))
    }

    pub async fn delete_namespace(&self, tenant: &str, namespace: &str) -> Result<()> {
        let ask = doing(format!("deleting namespace `{tenant}/{namespace}`"), TENANT_ADMIN);
        match self.ask(&ask, Method::DELETE, &["namespaces", tenant, namespace], &[], None).await? {
            Some(_) => Ok(()),
            None => Err(Error::invalid(format!("there is no namespace `{tenant}/{namespace}`"))),
        }
    }

    pub async fn create_topic(&self, topic: &TopicName, partitions: u32) -> Result<()> {
        let make = doing(format!("making topic `{topic}`"), TENANT_ADMIN);
        match partitions {
            0 => self.put(&make, &path(topic, &topic.name, &[]), &json!({})).await,
            _ => self.put(&make, &path(topic, &topic.name, &["partitions"]), &json!(partitions)).await,
        }
    }

    pub async fn delete_topic(&self, topic: &TopicName, partitioned: bool) -> Result<()> {
        let make = doing(format!("deleting topic `{topic}`"), TENANT_ADMIN);
        let rest: &[&str] = if partitioned { &["partitions"] } else { &[] };
        let path = path(topic, &topic.name, rest);
        self.ask(&make, Method::DELETE, &path, &[("force", "true")], None)
            .await?
            .ok_or_else(|| unknown_topic(topic))?;
        Ok(())
    }

    pub async fn remove_subscription(&self, partition: &Partition, name: &str) -> Result<()> {
        let make = doing(format!("removing pin `{name}` of `{partition}`"), "the right to `consume` from the topic");
        let local = partition.local_name();
        let path = path(&partition.topic, &local, &["subscription", name]);
        self.ask(&make, Method::DELETE, &path, &[("force", "true")], None).await?;
        Ok(())
    }

    pub async fn ledgers(&self, partition: &Partition) -> Result<Vec<LedgerInfo>> {
        facts::ledgers(&self.internal_stats(partition, "reading the ledgers").await?)
            .map_err(|error| error.context(format!("reading the ledgers of `{partition}`")))
    }

    /// How many partitions `topic` has, 0 if it is not partitioned; `None` if it is not there. For brokers that would make the topic if they were asked
    /// over the wire; the admin API does not.
    pub async fn partition_count(&self, topic: &TopicName) -> Result<Option<u32>> {
        let ask =
            doing("asking the admin API, as this older broker would make the topic if it were asked itself", LOOKUP);
        let path = path(topic, &topic.name, &["partitions"]);
        let query = [("checkAllowAutoCreation", "false")];
        let Some(found) = self.ask(&ask, Method::GET, &path, &query, None).await? else { return Ok(None) };
        let count = found.get("partitions").and_then(Value::as_u64).and_then(|count| u32::try_from(count).ok());
        let count =
            count.ok_or_else(|| Error::unsupported(format!("{}: its answer holds no `partitions`", ask.what)))?;
        Ok(Some(count))
    }

    /// Where the subscription `name` stands. Fails with `Gone` if the topic has none.
    pub async fn mark(&self, partition: &Partition, name: &str) -> Result<Cut> {
        facts::mark(&self.internal_stats(partition, "reading the pins").await?, name)
            .map_err(|error| error.context(format!("reading pin `{name}` of `{partition}`")))
    }

    /// [`Admin::mark`]; `None` if the topic has no such subscription, or is itself not there. Any other failure is one.
    pub async fn find_mark(&self, partition: &Partition, name: &str) -> Result<Option<Cut>> {
        let ask = doing(format!("reading the pins of `{partition}`"), STATISTICS);
        let local = partition.local_name();
        let path = path(&partition.topic, &local, &["internalStats"]);
        let Some(stats) = self.ask(&ask, Method::GET, &path, &[], None).await? else { return Ok(None) };
        match facts::mark(&stats, name) {
            Ok(cut) => Ok(Some(cut)),
            Err(error) if error.kind() == ErrorKind::Gone => Ok(None),
            Err(error) => Err(error.context(format!("reading pin `{name}` of `{partition}`"))),
        }
    }

    /// Which request made the subscription `name`, as it said itself; `None` if it said nothing.
    pub async fn maker(&self, partition: &Partition, name: &str) -> Result<Option<String>> {
        let ask = doing(format!("reading the pins of `{partition}`"), STATISTICS);
        let local = partition.local_name();
        let stats = self.get(&ask, &path(&partition.topic, &local, &["stats"]), &[]).await?;
        let properties = &stats["subscriptions"][name]["subscriptionProperties"];
        Ok(properties.get(MAKER).and_then(Value::as_str).map(String::from))
    }

    async fn internal_stats(&self, partition: &Partition, what: &str) -> Result<Value> {
        let ask = doing(format!("{what} of `{partition}`"), STATISTICS);
        let local = partition.local_name();
        self.get(&ask, &path(&partition.topic, &local, &["internalStats"]), &[]).await
    }

    /// Identity of a topic known to be there. Its UUID is computed from name and creation identity, so that two who give it at once give
    /// the same one; it is kept as a property all the same, which a topic made again does not have.
    pub async fn identity(&self, topic: &TopicName, partitioned: bool) -> Result<TopicIdentity> {
        let ask = doing(
            format!("reading the identity of `{topic}`"),
            "the right to read the topic's internal information (grant it `consume`)",
        );
        let first = Partition::new(topic.clone(), partitioned.then_some(0)).local_name();
        let info = self.get(&ask, &path(topic, &first, &["internal-info"]), &[]).await?;
        let creation = info
            .get("creationDate")
            .and_then(Value::as_str)
            .ok_or_else(|| Error::unsupported(format!("{}: the broker names no creation date", ask.what)))?;
        let properties = path(topic, &topic.name, &["properties"]);
        let _alone = self.naming.lock().await;
        let mut kept = self.get(&ask, &properties, &[]).await?;
        if kept.get(UUID_PROPERTY).is_none() {
            let make = doing(format!("giving `{topic}` its property `{UUID_PROPERTY}`"), TENANT_ADMIN);
            let uuid = facts::uuid_for(topic, creation);
            match self.put(&make, &properties, &json!({ UUID_PROPERTY: uuid.to_string() })).await {
                Ok(()) => {}
                // Who may only read or write the topic knows it by what anyone with the right would write.
                Err(error) if error.kind() == ErrorKind::Denied => {
                    return Ok(TopicIdentity { creation: creation.to_string(), uuid });
                }
                Err(error) => return Err(error),
            }
            kept = self.get(&ask, &properties, &[]).await?;
        }
        let text = kept.get(UUID_PROPERTY).and_then(Value::as_str).unwrap_or_default();
        let uuid = text.parse().map_err(|_| {
            Error::invalid(format!(
                "topic property `{UUID_PROPERTY}` of `{topic}` is `{text}`, which is no UUID: correct or remove it"
            ))
        })?;
        Ok(TopicIdentity { creation: creation.to_string(), uuid })
    }

    /// `max_message_bytes`: what the broker announces; a topic may have less.
    pub async fn policies(&self, topic: &TopicName, max_message_bytes: usize) -> Result<Policies> {
        let ask = doing(
            format!("reading the policies of `{topic}`"),
            "the right to read the topic's policies (tenant admin)",
        );
        let applied = [("applied", "true")];
        let of_topic = async |name: &str| self.get(&ask, &path(topic, &topic.name, &[name]), &applied).await;
        let retention = of_topic("retention").await?;
        let ttl = of_topic("messageTTL").await?;
        let quotas = of_topic("backlogQuotaMap").await?;
        let deduplication = of_topic("deduplicationEnabled").await?;
        let own_limit = of_topic("maxMessageSize").await?;
        let namespace = ["namespaces", &topic.tenant, &topic.namespace, "subscriptionExpirationTime"];
        let mut expiry = self.get(&ask, &namespace, &[]).await?;
        if expiry.is_null() {
            // Who may not read the broker's settings gets the setting's default: never.
            let runtime = self.get(&ask, &["brokers", "configuration", "runtime"], &[]).await;
            expiry = runtime
                .ok()
                .and_then(|runtime| {
                    Some(json!(runtime.get("subscriptionExpirationTimeMinutes")?.as_str()?.parse::<i64>().ok()?))
                })
                .unwrap_or_default();
        }
        Ok(Policies {
            retention: facts::retention(&retention),
            message_ttl: facts::seconds_if_any(&ttl, 1),
            evicts_backlog: facts::evicts_backlog(&quotas),
            subscription_expiry: facts::seconds_if_any(&expiry, 60),
            deduplicates: deduplication.as_bool().unwrap_or(false),
            max_message_bytes: own_limit
                .as_u64()
                .and_then(|bytes| usize::try_from(bytes).ok())
                .filter(|bytes| *bytes > 0)
                .map_or(max_message_bytes, |bytes| bytes.min(max_message_bytes)),
        })
    }

    /// A JSON answer; null where the body is empty. What is not there is `Invalid`.
    async fn get(&self, doing: &Doing<'_>, path: &[&str], query: &[(&str, &str)]) -> Result<Value> {
        self.ask(doing, Method::GET, path, query, None)
            .await?
            .ok_or_else(|| Error::invalid(format!("{}: it is not there", doing.what)))
    }

    async fn put(&self, doing: &Doing<'_>, path: &[&str], body: &Value) -> Result<()> {
        self.ask(doing, Method::PUT, path, &[], Some(body))
            .await?
            .ok_or_else(|| Error::invalid(format!("{}: what it belongs to is not there", doing.what)))?;
        Ok(())
    }

    /// One request, redirects followed. `None` for 404.
    async fn ask(
        &self,
        doing: &Doing<'_>,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Option<Value>> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| Error::invalid(format!("`{}` can be no admin URL", self.base)))?
            .pop_if_empty()
            .extend(["admin", "v2"])
            .extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.client().await?.request(method.clone(), url.clone());
            if let Some(header) = self.authenticator.header().await? {
                let value = authorization(&header).map_err(|error| error.context(&doing.what))?;
                request = request.header(AUTHORIZATION, value);
            }
            if let Some(body) = body {
                request = request.json(body);
            }
            let response = request.send().await.map_err(|error| self.unreachable(doing, error))?;
            let status = response.status();
            if status.is_redirection() {
                url = response
                    .headers()
                    .get(LOCATION)
                    .and_then(|to| url.join(to.to_str().ok()?).ok())
                    .filter(|to| to.scheme() == url.scheme())
                    .ok_or_else(|| {
                        Error::unavailable(format!(
                            "{}: the admin API redirects to no {}:// address: set 'admin-url' to where it leads",
                            doing.what,
                            url.scheme()
                        ))
                    })?;
                continue;
            }
            let text = self.body(doing, response).await?;
            return if status.is_success() {
                read_json(&text).map(Some).map_err(|error| error.context(&doing.what))
            } else if status == StatusCode::NOT_FOUND {
                Ok(None)
            } else {
                Err(refusal(doing, self.authenticator.shown_as(), status, &text))
            };
        }
        Err(Error::unavailable(format!("{}: more than {MAX_REDIRECTS} redirects", doing.what)))
    }

    async fn body(&self, doing: &Doing<'_>, mut response: reqwest::Response) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|error| self.unreachable(doing, error))? {
            if text.len() + part.len() > MAX_ANSWER_BYTES {
                return Err(Error::unsupported(format!(
                    "{}: the admin API's answer is over {MAX_ANSWER_BYTES} bytes",
                    doing.what
                )));
            }
            text.extend_from_slice(&part);
        }
        Ok(text)
    }

    async fn client(&self) -> Result<&reqwest::Client> {
        self.client.get_or_try_init(async || self.tls.http_client(self.connect_timeout, self.operation_timeout)).await
    }

    fn unreachable(&self, doing: &Doing<'_>, error: reqwest::Error) -> Error {
        if let Some(explained) = explain_any(&self.address(), &error) {
            return explained.context(&doing.what);
        }
        let mut cause: &dyn std::error::Error = &error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let cause = match (error.is_connect(), error.is_timeout()) {
            (true, true) => format!("no answer within {} ms", self.connect_timeout.as_millis()),
            (false, true) => format!("no answer within {} ms", self.operation_timeout.as_millis()),
            _ => cause.to_string(),
        };
        let address = self.address();
        Error::unavailable(format!(
            "{}: the Pulsar admin API at `{address}` cannot be reached: {cause}: check that it runs and that 'admin-url' leads to it",
            doing.what
        ))
    }
}

/// The header, which says of itself that it is not to be shown.
fn authorization(text: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(text).map_err(|_| {
        Error::invalid("what 'auth-params' gives has characters that no HTTP header can hold: correct it")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// The segments of a topic's path, behind `/admin/v2`.
fn path<'a>(topic: &'a TopicName, local: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    ["persistent", &topic.tenant, &topic.namespace, local].into_iter().chain(rest.iter().copied()).collect()
}

pub(super) fn unknown_topic(topic: &TopicName) -> Error {
    Error::invalid(format!("topic `{topic}` is not there: check its name"))
}

fn read_json(text: &[u8]) -> Result<Value> {
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Null);
    }
    serde_json::from_slice(text)
        .map_err(|error| Error::unavailable(format!("the admin API's answer is no JSON: {error}")))
}

/// The error that an answer's status and body stand for.
fn refusal(doing: &Doing<'_>, shown: Option<&str>, status: StatusCode, body: &[u8]) -> Error {
    let what = &doing.what;
    let given =
        serde_json::from_slice::<Value>(body).ok().and_then(|body| Some(body.get("reason")?.as_str()?.to_string()));
    if status == StatusCode::UNAUTHORIZED && given.is_none() {
        // A missing right has a reason. This is the door before it.
        return Error::denied(match shown {
            Some(shown) => format!("{what}: the admin API does not accept the {shown}: correct 'auth-params'"),
            None => format!("{what}: the admin API asks for authentication and none is set: set 'auth-params'"),
        });
    }
    let reason = given.unwrap_or_else(|| format!("HTTP status {}", status.as_u16()));
    let reason = reason.lines().next().unwrap_or_default();
    match status.as_u16() {
        401 | 403 => Error::denied(format!("{what} needs {}: {reason}", doing.right)),
        409 => Error::invalid(format!("{what}: it is there already: {reason}")),
        501 => Error::unsupported(format!("{what}: {reason}")),
        500.. | 408 | 429 => Error::unavailable(format!("{what}: {reason}")),
        _ => Error::invalid(format!("{what}: {reason}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aquifer_model::ErrorKind;

    #[test]
    fn a_refusal_gives_the_reason_and_names_the_missing_right() {
        let ask = doing("reading the ledgers of `t`", TENANT_ADMIN);
        for (status, body, kind, text) in [
            (
                401,
                r#"{"reason":"no"}"#,
                ErrorKind::Denied,
                "reading the ledgers of `t` needs the tenant admin's right (be a role that administers the tenant): no",
            ),
            (
                401,
                "<html>",
                ErrorKind::Denied,
                "reading the ledgers of `t`: the admin API does not accept the user and password: correct 'auth-params'",
            ),
            (
                409,
                r#"{"reason":"exists"}"#,
                ErrorKind::Invalid,
                "reading the ledgers of `t`: it is there already: exists",
            ),
            (412, r#"{"reason":"bad\nstack"}"#, ErrorKind::Invalid, "reading the ledgers of `t`: bad"),
            (500, "<html>", ErrorKind::Unavailable, "reading the ledgers of `t`: HTTP status 500"),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            let error = refusal(&ask, Some("user and password"), status, body.as_bytes());
            assert_eq!((error.kind(), error.to_string().as_str()), (kind, text));
        }
    }

    #[test]
    fn a_token_in_a_header_is_not_to_be_shown() {
        let value = authorization("Bearer canary").expect("a header");
        assert!(value.is_sensitive() && !format!("{value:?}").contains("canary"), "{value:?}");
        let error = authorization("Bearer canary\n").expect_err("no header").to_string();
        assert!(error.contains("'auth-params'") && !error.contains("canary"), "{error}");
    }

    #[test]
    fn an_empty_body_is_null_and_html_is_an_error() {
        assert_eq!(read_json(b" \n").expect("empty"), Value::Null);
        assert!(read_json(b"<html>").is_err());
    }
}
