//! Whether a table's own addresses may have the credentials of its catalog.
//!
//! A token is a secret of the cluster that it was given for: it goes to no address that the catalog does not name. So every address that the table
//! names must be the catalog's, not only one of them.

use aquifer_storage::pulsar::{PulsarConfig, TlsSettings};

use crate::options::LogSettings;

/// A table's own log, under the catalog's credentials if all its addresses are the catalog's and it brings none of its own.
pub(crate) fn with_credentials_of(log: LogSettings, catalog: &LogSettings) -> LogSettings {
    match (log, catalog) {
        (LogSettings::Pulsar(mut own), LogSettings::Pulsar(catalog))
            if own.authentication.is_none() && is_same_cluster(&own, catalog) =>
        {
            own.authentication = catalog.authentication.clone();
            if own.tls == TlsSettings::default() {
                own.tls = catalog.tls.clone();
            }
            LogSettings::Pulsar(own)
        }
        (log, _) => log,
    }
}

/// Whether every address that `own` names, and at least one, is the catalog's.
fn is_same_cluster(own: &PulsarConfig, catalog: &PulsarConfig) -> bool {
    let pairs = [(&own.service_url, &catalog.service_url), (&own.admin_url, &catalog.admin_url)];
    pairs.iter().any(|(own, _)| own.is_some()) && pairs.iter().all(|(own, catalog)| own.is_none() || own == catalog)
}

#[cfg(test)]
mod tests {
    use aquifer_storage::embedded::EmbeddedSettings;
    use aquifer_storage::pulsar::Authentication;

    use super::*;

    const SERVICE: &str = "pulsar://h:6650";
    const ADMIN: &str = "http://h:8080";

    fn config(service: Option<&str>, admin: Option<&str>) -> PulsarConfig {
        PulsarConfig {
            service_url: service.map(String::from),
            admin_url: admin.map(String::from),
            ..PulsarConfig::default()
        }
    }

    fn secret(user: &str) -> Option<Authentication> {
        Some(Authentication::Basic { user: user.into(), password: "p".into() })
    }

    #[test]
    fn credentials_go_to_no_address_that_the_catalog_does_not_name() {
        let tls = TlsSettings { key_file: Some("/key.pem".into()), ..TlsSettings::default() };
        let with = |config| PulsarConfig { authentication: secret("catalog"), tls: tls.clone(), ..config };
        let (elsewhere, other_admin) = (Some("pulsar://evil:6650"), Some("http://evil:8080"));
        let both = (Some(SERVICE), Some(ADMIN));
        for (catalog, own, expected) in [
            (both, both, true),
            (both, (Some(SERVICE), None), true),
            (both, (None, Some(ADMIN)), true),
            ((Some(SERVICE), None), (Some(SERVICE), None), true),
            ((None, Some(ADMIN)), (None, Some(ADMIN)), true),
            // One address of the catalog's does not vouch for another one.
            (both, (Some(SERVICE), other_admin), false),
            (both, (elsewhere, Some(ADMIN)), false),
            ((Some(SERVICE), None), (Some(SERVICE), other_admin), false),
            ((None, Some(ADMIN)), (elsewhere, Some(ADMIN)), false),
            (both, (elsewhere, other_admin), false),
            (both, (elsewhere, None), false),
            (both, (None, other_admin), false),
            (both, (None, None), false),
        ] {
            let catalog = LogSettings::Pulsar(with(config(catalog.0, catalog.1)));
            let found = with_credentials_of(LogSettings::Pulsar(config(own.0, own.1)), &catalog);
            let LogSettings::Pulsar(found) = found else { panic!("a cluster") };
            assert_eq!(found.authentication.is_some(), expected, "{own:?}");
            assert_eq!(found.tls.key_file.is_some(), expected, "{own:?}");
        }
    }

    #[test]
    fn a_table_that_brings_credentials_keeps_them() {
        let catalog = PulsarConfig { authentication: secret("catalog"), ..config(Some(SERVICE), None) };
        let own = PulsarConfig { authentication: secret("own"), ..config(Some(SERVICE), None) };
        let found = with_credentials_of(LogSettings::Pulsar(own), &LogSettings::Pulsar(catalog.clone()));
        let LogSettings::Pulsar(found) = found else { panic!("a cluster") };
        assert_eq!(found.authentication, secret("own"));
        let embedded = LogSettings::Embedded("/log".into(), EmbeddedSettings::default());
        let found = with_credentials_of(embedded, &LogSettings::Pulsar(catalog));
        assert!(matches!(found, LogSettings::Embedded(..)));
    }
}
