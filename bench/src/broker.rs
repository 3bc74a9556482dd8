//! A Pulsar to measure against: the one that was given, or one that is started for the run and stopped after it.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use aquifer_catalog::Catalogs;
use aquifer_processor::sql::Session;
use aquifer_server::engine;
use tempfile::TempDir;

use crate::Failure;
use crate::cli::Settings;

/// The catalog that [`Client`] has of it.
pub const CATALOG: &str = "p";

/// Where a Pulsar listens.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// `pulsar://HOST:PORT`
    pub service: String,
    /// `http://HOST:PORT`
    pub admin: String,
}

impl Addresses {
    /// Those that the settings name.
    pub fn of(settings: &Settings) -> Result<Self, Failure> {
        let text = settings.pulsar.as_deref().ok_or("no Pulsar is named: --pulsar")?;
        let (service, admin) =
            text.trim().split_once(',').ok_or("a Pulsar is named as pulsar://HOST:PORT,http://HOST:PORT")?;
        Ok(Self { service: service.to_string(), admin: admin.to_string() })
    }
}

/// A running Pulsar; stopped when dropped if it was started here.
#[derive(Debug)]
pub struct Broker {
    own: Option<(PathBuf, TempDir)>,
    /// The settings with its addresses.
    pub settings: Settings,
}

impl Broker {
    /// The one that is given, else a fresh one.
    pub fn find(settings: &Settings) -> Result<Self, Failure> {
        let mut settings = settings.clone();
        if settings.pulsar.is_some() {
            Addresses::of(&settings)?;
            return Ok(Self { own: None, settings });
        }
        let script = settings.services.join("pulsar.sh");
        if !script.exists() {
            return Err(format!(
                "there is no `{}`: name its folder with --services, or a Pulsar with --pulsar",
                script.display()
            )
            .into());
        }
        let folder = tempfile::tempdir()?;
        eprintln!("starting a Pulsar");
        let output = Command::new(&script).arg("start").arg(folder.path()).stderr(Stdio::inherit()).output()?;
        if !output.status.success() {
            return Err(format!("`{} start` ended with {}", script.display(), output.status).into());
        }
        settings.pulsar = Some(String::from_utf8_lossy(&output.stdout).trim().to_string());
        let broker = Self { own: Some((script, folder)), settings };
        Addresses::of(&broker.settings)?;
        Ok(broker)
    }

    /// The settings, for a topic of this name.
    pub fn on_topic(&self, topic: &str) -> Settings {
        Settings { topic: topic.to_string(), ..self.settings.clone() }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some((script, folder)) = &self.own {
            // It holds nothing that is worth an orderly end.
            let _ = Command::new(script).arg("kill").arg(folder.path()).status();
        }
    }
}

/// A name that no earlier run has used.
pub fn fresh_name(what: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("bench_{what}_{}", now.as_millis())
}

/// Catalogs with one of the Pulsar.
pub struct Client {
    /// Dropped last.
    _folder: TempDir,
    /// The catalogs; [`CATALOG`] is the Pulsar.
    pub catalogs: Arc<Catalogs>,
    /// A session in that catalog.
    pub session: Session,
}

impl Client {
    /// Connects to nothing yet.
    pub async fn new(settings: &Settings) -> Result<Self, Failure> {
        let addresses = Addresses::of(settings)?;
        let folder = tempfile::tempdir()?;
        let catalogs = engine::catalogs(folder.path()).await?;
        let mut session = engine::session_over(Arc::clone(&catalogs));
        session.execute(&create_catalog(&addresses), 1).await?;
        session.execute(&format!("USE CATALOG {CATALOG}"), 1).await?;
        Ok(Self { _folder: folder, catalogs, session })
    }
}

/// The statement that makes [`CATALOG`].
pub fn create_catalog(addresses: &Addresses) -> String {
    format!(
        "CREATE CATALOG {CATALOG} WITH ('type'='pulsar', 'service-url'='{}', 'admin-url'='{}')",
        addresses.service, addresses.admin
    )
}
