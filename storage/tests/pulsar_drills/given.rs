//! The broker that the tests share: `AQUIFER_TEST_PULSAR=pulsar://HOST:PORT,http://HOST:PORT`.

use aquifer_model::Partition;
use aquifer_storage::pulsar::{PulsarConfig, PulsarLog};
use reqwest::Method;
use serde_json::Value;

/// Its addresses.
pub struct Given {
    /// `pulsar://HOST:PORT`
    pub service: String,
    /// `http://HOST:PORT`
    pub admin: String,
}

/// The broker; where none is given the test says so.
pub fn given() -> Option<Given> {
    let Ok(text) = std::env::var("AQUIFER_TEST_PULSAR") else {
        assert!(std::env::var_os("AQUIFER_TEST_REQUIRE").is_none(), "AQUIFER_TEST_PULSAR is not set");
        eprintln!("SKIPPED, NOTHING TESTED: set AQUIFER_TEST_PULSAR=pulsar://HOST:PORT,http://HOST:PORT");
        return None;
    };
    let (service, admin) = text.trim().split_once(',').expect("pulsar://HOST:PORT,http://HOST:PORT");
    Some(Given { service: service.into(), admin: admin.into() })
}

impl Given {
    /// A session of its own.
    pub fn log(&self) -> PulsarLog {
        let (service_url, admin_url) = (Some(self.service.clone()), Some(self.admin.clone()));
        PulsarLog::new(PulsarConfig { service_url, admin_url, ..Default::default() }).unwrap()
    }

    /// Sets something of a topic over the admin API.
    pub async fn set(&self, partition: &Partition, what: &str, to: &Value) {
        self.ask(Method::POST, partition, what, Some(to)).await;
    }

    /// Asks the admin API something about a topic.
    pub async fn ask(&self, method: Method, partition: &Partition, what: &str, body: Option<&Value>) {
        let (topic, local) = (&partition.topic, partition.local_name());
        let url = format!("{}/admin/v2/persistent/{}/{}/{local}/{what}", self.admin, topic.tenant, topic.namespace);
        let mut request = reqwest::Client::builder().no_proxy().build().unwrap().request(method, url);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.unwrap();
        assert!(response.status().is_success(), "{what}: {:?}", response.text().await);
    }
}
