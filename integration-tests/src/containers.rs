//! Services for the tests out of containers, where there is a Docker engine.
//!
//! ```text
//!  Pulsar::start ──► docker: apachepulsar/pulsar, standalone ──ready──► pulsar://127.0.0.1:P,http://127.0.0.1:Q
//! ```
//!
//! A broker tells clients its own address, so the ports inside are those outside: two that are free here. A container ends with its value.

use std::net::TcpListener;
use std::time::Duration;

use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt, TestcontainersError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// Which image: `AQUIFER_PULSAR_IMAGE=NAME:TAG` takes another.
const IMAGE: &str = "apachepulsar/pulsar:4.0.7";
/// What `services/pulsar.sh` gives its brokers too, as far as it is not the image's own.
const SETTINGS: [(&str, &str); 7] = [
    ("advertisedAddress", "127.0.0.1"),
    ("brokerDeduplicationEnabled", "true"),
    ("transactionCoordinatorEnabled", "true"),
    (
        "brokerEntryMetadataInterceptors",
        "org.apache.pulsar.common.intercept.AppendIndexMetadataInterceptor,org.apache.pulsar.common.intercept.AppendBrokerTimestampMetadataInterceptor",
    ),
    ("exposingBrokerEntryMetadataToClientEnabled", "true"),
    ("defaultRetentionTimeInMinutes", "-1"),
    ("defaultRetentionSizeInMB", "-1"),
];
/// So long a broker may take to be ready, its image's download not counted.
const PATIENCE: Duration = Duration::from_secs(180);

/// A Pulsar in a container.
pub struct Pulsar {
    _container: ContainerAsync<GenericImage>,
    address: String,
}

/// Why there is none.
#[derive(Debug)]
pub enum NoPulsar {
    /// Docker says no.
    Docker(TestcontainersError),
    /// Something here does.
    Here(String),
}

impl std::fmt::Display for NoPulsar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Docker(error) => write!(
                f,
                "no container with Pulsar: {error}. Is there a Docker engine (`docker info`)? Without one set AQUIFER_TEST_PULSAR, or use integration-tests/services/pulsar.sh"
            ),
            Self::Here(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for NoPulsar {}

impl From<TestcontainersError> for NoPulsar {
    fn from(error: TestcontainersError) -> Self {
        Self::Docker(error)
    }
}

impl Pulsar {
    /// Starts a standalone broker and waits until it answers.
    pub async fn start() -> Result<Self, NoPulsar> {
        let image = std::env::var("AQUIFER_PULSAR_IMAGE").unwrap_or_else(|_| IMAGE.to_string());
        let (name, tag) = image.rsplit_once(':').unwrap_or((&image, "latest"));
        let (binary, http) = free_ports()?;
        // Settings from the environment are put into the file before the broker reads it, as the image's own compose files do.
        let run = "bin/apply-config-from-env.py conf/standalone.conf && exec bin/pulsar standalone --no-functions-worker --no-stream-storage";
        let image = GenericImage::new(name, tag)
            .with_wait_for(WaitFor::message_on_stdout("messaging service is ready"))
            .with_mapped_port(binary, binary.tcp())
            .with_mapped_port(http, http.tcp())
            .with_env_var("PULSAR_PREFIX_brokerServicePort", binary.to_string())
            .with_env_var("PULSAR_PREFIX_webServicePort", http.to_string())
            .with_env_var("PULSAR_MEM", "-Xms256m -Xmx512m -XX:MaxDirectMemorySize=256m")
            .with_cmd(["sh", "-c", run])
            .with_startup_timeout(PATIENCE);
        let with = |image: ContainerRequest<GenericImage>, (name, value): (&str, &str)| {
            image.with_env_var(format!("PULSAR_PREFIX_{name}"), value)
        };
        let container = SETTINGS.into_iter().fold(image, with).start().await?;
        wait_for_namespace(http).await?;
        Ok(Self { _container: container, address: format!("pulsar://127.0.0.1:{binary},http://127.0.0.1:{http}") })
    }

    /// The value for `AQUIFER_TEST_PULSAR`.
    pub fn address(&self) -> &str {
        &self.address
    }
}

/// Two ports that nobody has at the moment.
fn free_ports() -> Result<(u16, u16), NoPulsar> {
    let listen = || TcpListener::bind("127.0.0.1:0");
    let ports = listen().and_then(|a| listen().and_then(|b| Ok((a.local_addr()?.port(), b.local_addr()?.port()))));
    ports.map_err(|error| NoPulsar::Here(format!("no port is free: {error}")))
}

/// Waits until the namespace that the tests use is there.
async fn wait_for_namespace(http: u16) -> Result<(), NoPulsar> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let asked = timeout(Duration::from_secs(5), namespaces(http)).await;
        if asked.is_ok_and(|answer| answer.is_ok_and(|text| text.contains("public/default"))) {
            return Ok(());
        }
        if Instant::now() > deadline {
            let seconds = PATIENCE.as_secs();
            return Err(NoPulsar::Here(format!(
                "Pulsar's container has no namespace public/default after {seconds} s"
            )));
        }
        sleep(Duration::from_millis(200)).await;
    }
}

async fn namespaces(http: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", http)).await?;
    stream
        .write_all(b"GET /admin/v2/namespaces/public HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = Vec::new();
    // What a broker lists here is short.
    stream.take(64 * 1024).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
