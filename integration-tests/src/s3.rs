//! A real S3 store for tests, started by `services/s3.sh`.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::setting;

/// A store of the test's own with the bucket `aquifer`, stopped when dropped.
#[derive(Debug)]
pub struct OwnStore {
    folder: tempfile::TempDir,
    /// `http://HOST:PORT`
    pub endpoint: String,
    /// The access key.
    pub key: String,
    /// The secret key.
    pub secret: String,
}

impl OwnStore {
    /// Starts one.
    pub fn start() -> Option<Self> {
        let services = setting("AQUIFER_TEST_SERVICES")?;
        let folder = tempfile::tempdir().expect("a folder");
        let script = Path::new(&services).join("s3.sh");
        let output = Command::new(script).arg("start").arg(folder.path()).stderr(Stdio::inherit()).output();
        let output = output.expect("s3.sh can be started");
        assert!(output.status.success(), "s3.sh start failed");
        let told = String::from_utf8(output.stdout).expect("text");
        let mut parts = told.trim().split(',').map(String::from);
        let mut next = || parts.next().expect("ENDPOINT,KEY,SECRET");
        Some(Self { folder, endpoint: next(), key: next(), secret: next() })
    }

    /// The options that reach it, each with a comma before it.
    pub fn options(&self) -> String {
        self.options_with(&self.secret)
    }

    /// The same with another secret key.
    pub fn options_with(&self, secret: &str) -> String {
        format!(
            ", 's3.endpoint' = '{}', 's3.region' = 'us-east-1', 's3.access-key' = '{}', 's3.secret-key' = '{secret}'",
            self.endpoint, self.key
        )
    }

    /// Whether it looks at signatures at all.
    pub fn asks_for_signatures(&self) -> bool {
        let code = Command::new("curl").args(["-s", "-o", "/dev/null", "-w", "%{http_code}", &self.endpoint]).output();
        code.expect("curl can be started").stdout == b"403"
    }
}

impl Drop for OwnStore {
    fn drop(&mut self) {
        if let Some(services) = setting("AQUIFER_TEST_SERVICES") {
            let _ = Command::new(Path::new(&services).join("s3.sh")).arg("stop").arg(self.folder.path()).status();
        }
    }
}
