//! A broker of a drill's own, with a second door that leads through a proxy.
//!
//! ```text
//!  clients of the test's choice ──► main door ─┐
//!  what is drilled ──► proxy ──► second door ──┴─► broker          a lookup through the second door answers the proxy's address
//! ```

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use aquifer_storage::pulsar::{PulsarConfig, PulsarLog};

/// A standalone broker; killed when dropped.
pub struct Own {
    folder: tempfile::TempDir,
    script: PathBuf,
    arguments: Vec<String>,
    /// `pulsar://HOST:PORT`, the main door.
    pub service: String,
    /// `http://HOST:PORT`
    pub admin: String,
}

/// A port that nobody has now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The folder of `pulsar.sh`; where it is not set the test says so.
pub fn services() -> Option<PathBuf> {
    let services = std::env::var_os("AQUIFER_TEST_SERVICES").map(PathBuf::from);
    if services.is_none() {
        assert!(std::env::var_os("AQUIFER_TEST_REQUIRE").is_none(), "AQUIFER_TEST_SERVICES is not set");
        eprintln!("SKIPPED, NOTHING TESTED: set AQUIFER_TEST_SERVICES to the folder of pulsar.sh");
    }
    services
}

/// The settings that open a second door at `door`, through which lookups answer `advertised`.
pub fn second_door(main: u16, door: SocketAddr, advertised: SocketAddr) -> Vec<String> {
    vec![
        format!("advertisedListeners=main:pulsar://127.0.0.1:{main},cut:pulsar://{advertised}"),
        "internalListenerName=main".to_string(),
        format!("bindAddresses=cut:pulsar://{door}"),
        // `advertisedAddress` and listeners exclude each other.
        "advertisedAddress=".to_string(),
    ]
}

impl Own {
    /// Starts one whose main door is on `port`.
    pub async fn start(services: PathBuf, port: u16, settings: Vec<String>) -> Self {
        let mut arguments = vec![port.to_string(), free_port().to_string(), free_port().to_string()];
        arguments.extend(settings);
        let folder = tempfile::tempdir().unwrap();
        let (service, admin) = (String::new(), String::new());
        let mut own = Self { folder, script: services.join("pulsar.sh"), arguments, service, admin };
        let said = own.start_again().await;
        let (service, admin) = said.trim().split_once(',').unwrap();
        (own.service, own.admin) = (service.to_string(), admin.to_string());
        own
    }

    /// Starts it with the data it has.
    pub async fn start_again(&self) -> String {
        let mut command = Command::new(&self.script);
        command.arg("start").arg(self.folder.path()).args(&self.arguments).stderr(Stdio::inherit());
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        assert!(output.status.success(), "pulsar.sh start failed");
        String::from_utf8(output.stdout).unwrap()
    }

    /// SIGKILL.
    pub fn kill(&self) {
        assert!(Command::new(&self.script).arg("kill").arg(self.folder.path()).status().unwrap().success());
    }

    /// A session over `service`. What is lost is tried again for as long as a restart may take on a busy machine.
    pub fn log(&self, service: &str) -> PulsarLog {
        PulsarLog::new(PulsarConfig {
            service_url: Some(service.to_string()),
            admin_url: Some(self.admin.clone()),
            operation_timeout: Duration::from_secs(300),
            ..Default::default()
        })
        .unwrap()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = Command::new(&self.script).arg("kill").arg(self.folder.path()).status();
    }
}
