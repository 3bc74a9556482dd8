//! The Pulsar log against brokers of its own that speak TLS and know tokens, passwords and client certificates, or let nobody in without such a
//! certificate: `AQUIFER_TEST_SERVICES` names the folder of `pulsar.sh`. The certificates are made by `openssl` for the test.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use aquifer_formats::entry::{EntrySpec, NewMessage, build_entry};
use aquifer_model::{Cut, ErrorKind, Partition, TopicName};
use aquifer_storage::pulsar::{Authentication, PulsarConfig, PulsarLog, TlsSettings};
use aquifer_storage::{Log, Receipt};

fn openssl(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).current_dir(folder).output().expect("openssl is there");
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_string()
}

/// A CA, and what it signs: `server` for `localhost` only, `admin` as a client; and another CA, of the same name, which signs `foreign` for that client.
fn make_certificates(folder: &Path) {
    let authority = |name: &str| {
        let (key, certificate) = (format!("{name}.key"), format!("{name}.pem"));
        let new = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=a test's CA"];
        openssl(folder, &[&new[..], &["-keyout", &key, "-out", &certificate]].concat());
    };
    authority("ca");
    authority("other");
    for (name, subject, extension, authority) in [
        ("server", "/CN=broker", "subjectAltName=DNS:localhost", "ca"),
        ("admin", "/CN=admin", "keyUsage=digitalSignature", "ca"),
        ("foreign", "/CN=admin", "keyUsage=digitalSignature", "other"),
    ] {
        let (key, request, certificate) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
        openssl(folder, &["req", "-newkey", "rsa:2048", "-nodes", "-subj", subject, "-keyout", &key, "-out", &request]);
        std::fs::write(folder.join("extension"), extension).unwrap();
        let (ca, ca_key) = (format!("{authority}.pem"), format!("{authority}.key"));
        let sign = ["x509", "-req", "-days", "2", "-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial"];
        openssl(folder, &[&sign[..], &["-extfile", "extension", "-in", &request, "-out", &certificate]].concat());
    }
}

struct Own {
    folder: tempfile::TempDir,
    script: PathBuf,
    secure_port: u16,
    secure_web_port: u16,
    plain: String,
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Own {
    /// Starts one; `more` are further settings of the broker.
    fn start(more: &[&str]) -> Option<Self> {
        let Some(services) = std::env::var_os("AQUIFER_TEST_SERVICES") else {
            assert!(std::env::var_os("AQUIFER_TEST_REQUIRE").is_none(), "AQUIFER_TEST_SERVICES is not set");
            eprintln!("SKIPPED, NOTHING TESTED: set AQUIFER_TEST_SERVICES to the folder of pulsar.sh");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        make_certificates(at);
        let hash = openssl(at, &["passwd", "-apr1", "a password"]);
        std::fs::write(at.join("users"), format!("admin:{hash}\n")).unwrap();
        // The script asks whether the broker is ready with a token: HS256, made by openssl too.
        std::fs::write(at.join("secret"), "a key for tests, 32 bytes long..").unwrap();
        let token = token(at, "admin");
        let script = PathBuf::from(services).join("pulsar.sh");
        let (secure_port, secure_web_port) = (free_port(), free_port());
        let provider = |kind: &str| format!("org.apache.pulsar.broker.authentication.AuthenticationProvider{kind}");
        let file = |name: &str| at.join(name).display().to_string();
        let mut command = Command::new(&script);
        command.arg("start").arg(at.join("broker"));
        for (key, value) in [
            ("brokerServicePortTls", secure_port.to_string()),
            ("webServicePortTls", secure_web_port.to_string()),
            ("tlsCertificateFilePath", file("server.pem")),
            ("tlsKeyFilePath", file("server.key")),
            ("tlsTrustCertsFilePath", file("ca.pem")),
            ("authenticationEnabled", "true".into()),
            ("authorizationEnabled", "true".into()),
            ("superUserRoles", "admin".into()),
            ("authenticationProviders", ["Token", "Tls", "Basic"].map(provider).join(",")),
            ("basicAuthConf", format!("file://{}", file("users"))),
            ("tokenSecretKey", format!("file://{}", file("secret"))),
            ("brokerClientAuthenticationPlugin", "org.apache.pulsar.client.impl.auth.AuthenticationToken".into()),
            ("brokerClientAuthenticationParameters", format!("token:{token}")),
        ] {
            command.arg(format!("{key}={value}"));
        }
        command.args(more);
        let output = command.env("PULSAR_ADMIN_TOKEN", &token).stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "pulsar.sh start failed");
        let said = String::from_utf8(output.stdout).unwrap();
        let plain = said.trim().split_once(',').unwrap().0.to_string();
        Some(Self { script, secure_port, secure_web_port, plain, folder })
    }

    fn file(&self, name: &str) -> Option<PathBuf> {
        Some(self.folder.path().join(name))
    }

    /// What is trusted: the broker's CA.
    fn trusted(&self) -> TlsSettings {
        TlsSettings { ca_file: self.file("ca.pem"), ..Default::default() }
    }

    /// The parameters of the plugin `tls` for a client certificate.
    fn certificate(&self, name: &str) -> String {
        let file = |ending: &str| self.folder.path().join(format!("{name}.{ending}")).display().to_string();
        format!("tlsCertFile:{},tlsKeyFile:{}", file("pem"), file("key"))
    }

    fn log(&self, host: &str, plugin: &str, parameters: &str, tls: TlsSettings) -> PulsarLog {
        let (authentication, from_parameters) = Authentication::parse(Some(plugin), Some(parameters)).unwrap();
        let tls = TlsSettings { ca_file: tls.ca_file, ..from_parameters };
        PulsarLog::new(PulsarConfig {
            service_url: Some(format!("pulsar+ssl://{host}:{}", self.secure_port)),
            admin_url: Some(format!("https://{host}:{}", self.secure_web_port)),
            authentication: Some(authentication),
            tls,
            ..PulsarConfig::default()
        })
        .unwrap()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = Command::new(&self.script).arg("kill").arg(self.folder.path().join("broker")).status();
    }
}

fn token(folder: &Path, role: &str) -> String {
    let url = |text: &str| {
        std::fs::write(folder.join("text"), text).unwrap();
        openssl(folder, &["base64", "-A", "-in", "text"]).replace('+', "-").replace('/', "_").replace('=', "")
    };
    let signed = format!("{}.{}", url(r#"{"alg":"HS256"}"#), url(&format!(r#"{{"sub":"{role}"}}"#)));
    std::fs::write(folder.join("signed"), &signed).unwrap();
    let sign =
        ["dgst", "-sha256", "-hmac", "a key for tests, 32 bytes long..", "-binary", "-out", "signature", "signed"];
    openssl(folder, &sign);
    let signature = openssl(folder, &["base64", "-A", "-in", "signature"]);
    format!("{signed}.{}", signature.replace('+', "-").replace('/', "_").replace('=', ""))
}

/// Makes a topic, writes to it and reads it back.
async fn works(log: &PulsarLog, name: &str) {
    let topic = TopicName::new("public", "default", name);
    log.create_topic(&topic, 0).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    let partition = Partition::new(topic, None);
    let mut appender = log.open_appender(&partition, "writer").await.unwrap();
    let spec = EntrySpec { producer_name: "writer".into(), ..Default::default() };
    let large = vec![7; 3_000_000];
    let mut written = Vec::new();
    for sequence_id in 0..3 {
        let message = NewMessage { sequence_id, payload: Some(&large), ..Default::default() };
        let bytes = build_entry(&spec, &[message]).unwrap();
        match appender.append(bytes, sequence_id, sequence_id, 1).await.unwrap() {
            Receipt::Stored(position) => written.push(position),
            Receipt::Duplicate => panic!("a duplicate"),
        }
    }
    let mut reader = log.open_reader(&partition, Cut::Start).await.unwrap();
    let mut read = Vec::new();
    while read.len() < written.len() {
        read.extend(reader.next(1 << 20).await.unwrap().into_iter().map(|entry| entry.position));
    }
    assert_eq!(read, written, "{name}");
    let mut pin = log.open_pin(&partition, "pin").await.unwrap();
    pin.advance(written[2]).await.unwrap();
    assert_eq!(pin.cut().await.unwrap(), Cut::After(written[2]));
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_and_every_authentication_work_and_each_failure_is_one_sentence() {
    let Some(own) = Own::start(&[]) else { return };
    let with_ca = || own.trusted();
    let good = token(own.folder.path(), "admin");
    let file = own.folder.path().join("token");
    std::fs::write(&file, "wrong").unwrap();
    let by_file = own.log("localhost", "token", &format!("file://{}", file.display()), with_ca());
    let topic = TopicName::new("public", "default", "none");
    let error = by_file.partitions(&topic).await.expect_err("a wrong token");
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    // The renewed file is read for the next connection.
    std::fs::write(&file, &good).unwrap();
    works(&by_file, "by-token").await;
    works(&own.log("localhost", "basic", r#"{"userId":"admin","password":"a password"}"#, with_ca()), "by-password")
        .await;
    works(&own.log("localhost", "tls", &own.certificate("admin"), with_ca()), "by-certificate").await;

    let failing = |host: &str, plugin: &str, parameters: &str, tls: TlsSettings| {
        let log = own.log(host, plugin, parameters, tls);
        let topic = topic.clone();
        async move {
            let wire = log.partitions(&topic).await.expect_err("refused by the broker");
            let admin = log.topics("public", "default").await.expect_err("refused by the admin API");
            assert_eq!((wire.kind(), admin.kind()), (ErrorKind::Denied, ErrorKind::Denied), "{wire}\n{admin}");
            (wire.to_string(), admin.to_string())
        }
    };
    let other = TlsSettings { ca_file: own.file("other.pem"), ..Default::default() };
    for (words, (wire, admin)) in [
        ("`tls-ca-file`", failing("localhost", "token", &good, TlsSettings::default()).await),
        ("`tls-ca-file`", failing("localhost", "token", &good, other).await),
        ("does not name that host", failing("127.0.0.1", "token", &good, with_ca()).await),
    ] {
        assert!(wire.contains(words) && admin.contains(words), "{words}:\n{wire}\n{admin}");
    }
    let (wire, _) = failing("localhost", "basic", r#"{"userId":"admin","password":"canary"}"#, with_ca()).await;
    assert!(wire.contains("does not accept") && !wire.contains("canary"), "{wire}");
    // Plain words on the port that speaks TLS, and the other way round.
    let address = |url: String| {
        let config = PulsarConfig { service_url: Some(url), tls: with_ca(), ..PulsarConfig::default() };
        PulsarLog::new(config).unwrap()
    };
    let error = address(format!("pulsar://localhost:{}", own.secure_port)).partitions(&topic).await.expect_err("plain");
    assert!(error.to_string().contains("pulsar+ssl://"), "{error}");
    let plain = own.plain.replace("pulsar://127.0.0.1", "pulsar+ssl://localhost");
    let error = address(plain.clone()).partitions(&topic).await.expect_err("no TLS there");
    assert!(error.to_string().contains("TLS"), "{plain}: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_client_certificate_must_be_shown_none_and_a_foreign_one_are_refused_at_once_in_one_sentence() {
    let Some(own) = Own::start(&["tlsRequireTrustedClientCertOnConnect=true"]) else { return };
    let topic = TopicName::new("public", "default", "none");
    let token = token(own.folder.path(), "admin");
    for (what, plugin, parameters) in
        [("no certificate", "token", token), ("one of a foreign CA", "tls", own.certificate("foreign"))]
    {
        let log = own.log("localhost", plugin, &parameters, own.trusted());
        let started = Instant::now();
        let wire = log.partitions(&topic).await.expect_err("refused by the broker");
        let admin = log.namespaces().await.expect_err("refused by the admin API");
        // What may pass is tried again for 30 s.
        assert!(started.elapsed() < Duration::from_secs(20), "{what} was tried again and again: {wire}\n{admin}");
        for error in [wire, admin] {
            assert_eq!(error.kind(), ErrorKind::Denied, "{what}: {error}");
            let said = error.to_string();
            for words in ["does not accept our certificate, or wants one", "`tls-certificate-file` and `tls-key-file`"]
            {
                assert_eq!(said.matches(words).count(), 1, "{what}: {said}");
            }
            assert!(!said.contains('\n'), "{what}: {said}");
        }
    }
    works(&own.log("localhost", "tls", &own.certificate("admin"), own.trusted()), "by-required-certificate").await;
}
