//! The Pulsar log against a broker of its own, which wants tokens, asks for them again when they run out, and is killed: `AQUIFER_TEST_SERVICES` names
//! the folder of `pulsar.sh`.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aquifer_formats::entry::{EntrySpec, NewMessage, build_entry};
use aquifer_model::{Cut, ErrorKind, Partition, Position, TopicName};
use aquifer_storage::pulsar::{PulsarConfig, PulsarLog, TokenSource};
use aquifer_storage::{Log, Receipt};
use bytes::Bytes;

/// How long a token lives that is to run out: long enough for a connection to be made with it, on a busy machine too.
const BRIEF_SECONDS: &str = "10";

/// A token for `role`, as the script makes them.
fn token(role: &str) -> String {
    made_token(&[role])
}

fn made_token(words: &[&str]) -> String {
    let services = std::env::var_os("AQUIFER_TEST_SERVICES").unwrap();
    let output = Command::new(PathBuf::from(services).join("pulsar.sh")).arg("token").args(words).output().unwrap();
    assert!(output.status.success(), "pulsar.sh token failed");
    String::from_utf8(output.stdout).unwrap().trim().to_string()
}

struct Own {
    folder: tempfile::TempDir,
    script: PathBuf,
    service: String,
    admin: String,
}

impl Own {
    fn start() -> Option<Self> {
        let Some(services) = std::env::var_os("AQUIFER_TEST_SERVICES") else {
            assert!(std::env::var_os("AQUIFER_TEST_REQUIRE").is_none(), "AQUIFER_TEST_SERVICES is not set");
            eprintln!("SKIPPED, NOTHING TESTED: set AQUIFER_TEST_SERVICES to the folder of pulsar.sh");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let script = PathBuf::from(services).join("pulsar.sh");
        let mut own = Self { folder, script, service: String::new(), admin: String::new() };
        let said = own.start_again();
        let (service, admin) = said.trim().split_once(',').unwrap();
        (own.service, own.admin) = (service.to_string(), admin.to_string());
        Some(own)
    }

    /// Starts it with the data it has.
    fn start_again(&self) -> String {
        let output = Command::new(&self.script)
            .arg("start")
            .arg(self.folder.path())
            .args(["--tokens", "authenticationRefreshCheckSeconds=1"])
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success(), "pulsar.sh start failed");
        String::from_utf8(output.stdout).unwrap()
    }

    fn kill(&self) {
        assert!(Command::new(&self.script).arg("kill").arg(self.folder.path()).status().unwrap().success());
    }

    fn log(&self, token: Option<TokenSource>) -> PulsarLog {
        PulsarLog::new(PulsarConfig {
            service_url: Some(self.service.clone()),
            admin_url: Some(self.admin.clone()),
            authentication: token.map(Into::into),
            ..PulsarConfig::default()
        })
        .unwrap()
    }

    async fn allow(&self, role: &str, partition: &Partition) {
        let (topic, local) = (&partition.topic, partition.local_name());
        let path = format!("persistent/{}/{}/{local}/permissions/{role}", topic.tenant, topic.namespace);
        let request = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = request.post(format!("{}/admin/v2/{path}", self.admin)).bearer_auth(token("admin"));
        let response = request.json(&["produce", "consume"]).send().await.unwrap();
        assert!(response.status().is_success(), "{:?}", response.text().await);
    }

    /// From where those who read a partition are connected, as the broker has it in its log too.
    async fn readers(&self, partition: &Partition) -> BTreeSet<String> {
        let (topic, local) = (&partition.topic, partition.local_name());
        let path = format!("persistent/{}/{}/{local}/stats", topic.tenant, topic.namespace);
        let request = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = request.get(format!("{}/admin/v2/{path}", self.admin)).bearer_auth(token("admin"));
        let answer = request.send().await.unwrap().bytes().await.unwrap();
        let stats: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        let subscriptions = stats["subscriptions"].as_object().unwrap();
        let consumers = subscriptions.values().flat_map(|subscription| subscription["consumers"].as_array().unwrap());
        consumers.map(|consumer| consumer["address"].as_str().unwrap().to_string()).collect()
    }

    /// Waits until the broker's log has a text.
    async fn says(&self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let log = self.folder.path().join("broker.log");
        while !String::from_utf8_lossy(&std::fs::read(&log).unwrap()).contains(text) {
            assert!(Instant::now() < deadline, "in vain: the broker says `{text}`");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = Command::new(&self.script).arg("kill").arg(self.folder.path()).status();
    }
}

fn entry(id: i64) -> Bytes {
    let payload = id.to_be_bytes();
    let spec = EntrySpec { producer_name: "writer".into(), publish_time_ms: 1, ..Default::default() };
    build_entry(&spec, &[NewMessage { sequence_id: id, payload: Some(&payload), ..Default::default() }]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_are_named_and_a_killed_broker_is_come_back_to() {
    let Some(own) = Own::start().map(Arc::new) else { return };
    let partition = rights_are_named(&own).await;
    a_token_that_runs_out_is_renewed_on_its_connection_or_said_to_be_refused(&own).await;
    nothing_is_lost_or_repeated_when_the_broker_is_killed(&own, &partition).await;
}

/// Gives the partition on which the role `user` may read and write.
async fn rights_are_named(own: &Own) -> Partition {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("admin.token");
    std::fs::write(&file, format!("{}\n", token("admin"))).unwrap();
    let admin = own.log(Some(TokenSource::File(file)));
    let topic = TopicName::new("public", "default", "guarded");
    admin.create_topic(&topic, 0).await.unwrap();
    let partition = Partition::new(topic.clone(), None);
    let identity = admin.identity(&topic).await.unwrap();

    let missing = own.log(None).partitions(&topic).await.expect_err("no token");
    assert_eq!(missing.kind(), ErrorKind::Denied);
    assert!(missing.to_string().contains("asks for authentication (a token, for one) and none is set"), "{missing}");
    let forged = format!("{}x", token("admin"));
    let wrong = own.log(Some(TokenSource::Literal(forged.clone()))).partitions(&topic).await.expect_err("forged");
    assert_eq!(wrong.kind(), ErrorKind::Denied);
    assert!(wrong.to_string().contains("does not accept the token") && !wrong.to_string().contains(&forged), "{wrong}");

    let user = own.log(Some(TokenSource::Literal(token("user"))));
    let denied = user.partitions(&topic).await.expect_err("no right");
    assert_eq!(denied.kind(), ErrorKind::Denied);
    assert!(denied.to_string().contains("lacks the right to look up this topic"), "{denied}");
    own.allow("user", &partition).await;
    assert_eq!(user.partitions(&topic).await.unwrap(), std::slice::from_ref(&partition));
    let mut reader = user.open_reader(&partition, Cut::Start).await.unwrap();
    let mut appender = user.open_appender(&partition, "writer").await.unwrap();
    let receipt = appender.append(entry(0), 0, 0, 1).await.unwrap();
    let given = reader.next(1000).await.unwrap();
    assert_eq!(receipt, Receipt::Stored(given[0].position));
    assert_eq!(user.last_position(&partition).await.unwrap(), Some(given[0].position));
    assert_eq!(user.schema(&topic, None).await.unwrap(), None);
    user.open_pin(&partition, "pin").await.unwrap();
    // What only looks at the topic is granted with it.
    assert_eq!(user.identity(&topic).await.unwrap(), identity);
    assert_eq!(user.ledgers(&partition).await.unwrap().len(), 1);
    for (what, error) in [
        ("policies", user.policies(&topic).await.err()),
        ("`consume` on the namespace", user.topics("public", "default").await.err()),
        ("tenant admin", user.create_topic(&TopicName::new("public", "default", "mine"), 0).await.err()),
        ("super user", user.namespaces().await.err()),
    ] {
        let error = error.unwrap_or_else(|| panic!("{what} is granted"));
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        assert!(error.to_string().contains(what), "{what}: {error}");
    }
    partition
}

/// Two read while their tokens run out, the one with a file that is renewed meanwhile, the other without.
async fn a_token_that_runs_out_is_renewed_on_its_connection_or_said_to_be_refused(own: &Own) {
    let admin = own.log(Some(TokenSource::Literal(token("admin"))));
    let topic = TopicName::new("public", "default", "challenged");
    admin.create_topic(&topic, 0).await.unwrap();
    let partition = Partition::new(topic, None);
    for role in ["renewing", "lapsing"] {
        own.allow(role, &partition).await;
    }
    let mut appender = admin.open_appender(&partition, "writer").await.unwrap();
    let first = appender.append(entry(0), 0, 0, 1).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);

    std::fs::write(file("renewing"), made_token(&["renewing", BRIEF_SECONDS])).unwrap();
    let renewing = own.log(Some(TokenSource::File(file("renewing"))));
    let mut reader = renewing.open_reader(&partition, Cut::Start).await.unwrap();
    assert_eq!(first, Receipt::Stored(reader.next(1000).await.unwrap()[0].position));
    let connected = own.readers(&partition).await;
    let [address] = Vec::from_iter(&connected)[..] else { panic!("one reads: {connected:?}") };
    // In one step, so that nobody reads half a token.
    std::fs::write(file("fresh"), token("renewing")).unwrap();
    std::fs::rename(file("fresh"), file("renewing")).unwrap();

    std::fs::write(file("lapsing"), made_token(&["lapsing", BRIEF_SECONDS])).unwrap();
    let lapsing = own.log(Some(TokenSource::File(file("lapsing"))));
    let mut lapsed = lapsing.open_reader(&partition, Cut::Start).await.unwrap();
    assert_eq!(first, Receipt::Stored(lapsed.next(1000).await.unwrap()[0].position));
    assert_eq!(own.readers(&partition).await.len(), 2);

    let waiting = tokio::time::timeout(Duration::from_secs(60), lapsed.next(1000)).await;
    let error = waiting.expect("it hears that its token has run out").expect_err("the token has run out");
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(error.to_string().contains("does not accept the token, correct 'auth-params'"), "{error}");

    own.says(&format!("[{address}] Refreshed authentication credentials for role renewing")).await;
    let second = appender.append(entry(1), 1, 1, 1).await.unwrap();
    let given = tokio::time::timeout(Duration::from_secs(30), reader.next(1000)).await.expect("an entry in time");
    assert_eq!(second, Receipt::Stored(given.unwrap()[0].position));
    assert_eq!(own.readers(&partition).await, connected, "over the connection that it had");
}

async fn nothing_is_lost_or_repeated_when_the_broker_is_killed(own: &Arc<Own>, partition: &Partition) {
    let log = own.log(Some(TokenSource::Literal(token("user"))));
    let mut reader = log.open_reader(partition, Cut::Start).await.unwrap();
    let mut pin = own.log(Some(TokenSource::Literal(token("admin")))).open_pin(partition, "pin").await.unwrap();
    let (kill, told) = tokio::sync::oneshot::channel();
    let broker = own.clone();
    let killing = tokio::spawn(async move {
        told.await.unwrap();
        tokio::task::spawn_blocking(move || {
            broker.kill();
            broker.start_again()
        })
        .await
        .unwrap()
    });
    let writing = async {
        let mut appender = log.open_appender(partition, "writer").await.unwrap();
        let mut positions = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(120);
        let (mut id, mut failures) = (1, 0);
        while id <= 600 {
            assert!(Instant::now() < deadline);
            match appender.append(entry(id), id, id, 1).await {
                Ok(Receipt::Stored(position)) => positions.push((id, Some(position))),
                // Stored before the kill, and the receipt lost.
                Ok(Receipt::Duplicate) => positions.push((id, None)),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Unknown, "{error}");
                    failures += 1;
                    appender = loop {
                        assert!(Instant::now() < deadline);
                        match log.open_appender(partition, "writer").await {
                            Ok(appender) => break appender,
                            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
                        }
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    };
                    continue;
                }
            }
            id += 1;
        }
        assert!(failures > 0, "the kill was felt");
        positions
    };
    let reading = async {
        let mut given: Vec<(i64, Position)> = Vec::new();
        let mut kill = Some(kill);
        while given.last().is_none_or(|(id, _)| *id < 600) {
            for entry in tokio::time::timeout(Duration::from_secs(90), reader.next(1000)).await.unwrap().unwrap() {
                let tail: [u8; 8] = entry.bytes[entry.bytes.len() - 8..].try_into().unwrap();
                given.push((i64::from_be_bytes(tail), entry.position));
            }
            if given.len() >= 200
                && let Some(kill) = kill.take()
            {
                kill.send(()).unwrap();
            }
        }
        given
    };
    let (written, given, killed) = tokio::join!(writing, reading, killing);
    killed.unwrap();
    let ids: Vec<i64> = given.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, (0..=600).collect::<Vec<_>>(), "each once, in order");
    for ((id, position), (read, at)) in written.iter().zip(&given[1..]) {
        assert_eq!(id, read);
        assert!(position.is_none_or(|position| position == *at), "{id}");
    }
    let middle = given[300].1;
    pin.advance(middle).await.unwrap();
    assert_eq!(pin.cut().await.unwrap(), Cut::After(middle), "the pin came back too");
}
