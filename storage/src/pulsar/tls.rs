//! TLS to brokers, the admin API and token issuers: whom we trust, who we are, and what a failed handshake means.
//!
//! A host's certificate must name the host that is dialled and be signed by a known CA: the one of the CA file if one is given, else the public
//! ones. Neither check can be turned off. Files are read for every new connection to a broker, so that renewed ones are used.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};

use aquifer_model::{Error, Result};

use super::bounded;

/// The files that TLS needs, all in PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// The certificates of the CAs to trust, instead of the public ones.
    pub ca_file: Option<PathBuf>,
    /// Our certificate, with those between it and its CA.
    pub certificate_file: Option<PathBuf>,
    /// Our certificate's private key.
    pub key_file: Option<PathBuf>,
}

/// Longer files hold no certificates.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

fn certificates(what: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let text = bounded::read(what, path, MAX_FILE_BYTES)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| Error::invalid(format!("reading the {what} `{}`: {error}", path.display())))?;
    if found.is_empty() {
        return Err(Error::invalid(format!("the {what} `{}` holds no certificate in PEM", path.display())));
    }
    Ok(found)
}

impl TlsSettings {
    /// What rustls is told. Fails with `Invalid` naming the file that is wrong.
    pub(super) fn load(&self) -> Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        match &self.ca_file {
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Some(path) => {
                for certificate in certificates("CA file", path)? {
                    roots.add(certificate).map_err(|error| {
                        Error::invalid(format!("the CA file `{}` holds a bad certificate: {error}", path.display()))
                    })?;
                }
            }
        }
        let internal = |error: rustls::Error| Error::internal(format!("preparing TLS: {error}"));
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(internal)?
            .with_root_certificates(roots);
        let config = match (&self.certificate_file, &self.key_file) {
            (None, None) => builder.with_no_client_auth(),
            (Some(certificate), Some(key)) => {
                let chain = certificates("certificate file", certificate)?;
                let secret =
                    PrivateKeyDer::from_pem_slice(&bounded::read("key file", key, MAX_FILE_BYTES)?).map_err(|_| {
                        Error::invalid(format!(
                            "the key file `{}` holds no private key in PEM (PKCS#8, PKCS#1 or SEC1, not encrypted)",
                            key.display()
                        ))
                    })?;
                builder.with_client_auth_cert(chain, secret).map_err(|error| {
                    Error::invalid(format!(
                        "the key file `{}` does not fit the certificate file `{}`: {error}",
                        key.display(),
                        certificate.display()
                    ))
                })?
            }
            (Some(_), None) => {
                return Err(Error::invalid("a certificate file is given without its key file (`tls-key-file`)"));
            }
            (None, Some(_)) => {
                return Err(Error::invalid(
                    "a key file is given without its certificate file (`tls-certificate-file`)",
                ));
            }
        };
        Ok(Arc::new(config))
    }

    /// A client for HTTP that follows no redirects and no proxy settings of the environment.
    pub(super) fn http_client(&self, connect_timeout: Duration, timeout: Duration) -> Result<reqwest::Client> {
        let mut builder = reqwest::Client::builder()
            .connect_timeout(connect_timeout)
            .timeout(timeout)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        if *self != Self::default() {
            builder = builder.use_preconfigured_tls((*self.load()?).clone());
        }
        builder.build().map_err(|error| Error::internal(format!("preparing to ask over HTTP: {error}")))
    }
}

/// What a failed handshake with `host` means, where TLS is the cause: one sentence with the remedy. None of it heals by trying again.
pub(super) fn explain(host: &str, error: &io::Error) -> Option<Error> {
    explain_cause(host, find_cause(error.get_ref()?)?)
}

fn find_cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            return find_cause(inner);
        }
        cause = error.source();
    }
    None
}

/// [`explain`] for an error that holds another somewhere within.
pub(super) fn explain_any(host: &str, error: &(dyn std::error::Error + 'static)) -> Option<Error> {
    explain_cause(host, find_cause(error)?)
}

fn explain_cause(host: &str, cause: &rustls::Error) -> Option<Error> {
    let text = match cause {
        // A bad signature is another CA of the same name.
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => format!(
            "the certificate of `{host}` is signed by a CA that is not known here: name the CA's file with `tls-ca-file`"
        ),
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => format!("the certificate of `{host}` does not name that host: use an address that it names"),
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            format!("the certificate of `{host}` has expired: it must be renewed there")
        }
        rustls::Error::InvalidCertificate(other) => {
            format!("the certificate of `{host}` is not to be trusted: {other:?}")
        }
        rustls::Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::HandshakeFailure
            | AlertDescription::AccessDenied
            // What Pulsar's brokers say, through OpenSSL, of a client certificate whose CA they do not know.
            | AlertDescription::InternalError,
        ) => format!(
            "`{host}` does not accept our certificate, or wants one: name it with `tls-certificate-file` and `tls-key-file` ({cause})"
        ),
        rustls::Error::InvalidMessage(_) => {
            return Some(Error::invalid(format!(
                "what answers at `{host}` does not speak TLS: use a pulsar:// or http:// address"
            )));
        }
        _ => return None,
    };
    Some(Error::denied(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aquifer_model::ErrorKind;

    #[test]
    fn a_wrong_file_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("some.pem");
        let with_ca = TlsSettings { ca_file: Some(path.clone()), ..Default::default() };
        let check = |settings: &TlsSettings, words: &str| {
            let error = settings.load().expect_err(words);
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains(words), "{error}");
        };
        check(&with_ca, "reading the CA file");
        std::fs::write(&path, "no certificate").expect("written");
        check(&with_ca, "holds no certificate in PEM");
        std::fs::write(&path, vec![b'-'; MAX_FILE_BYTES as usize + 1]).expect("written");
        check(&with_ca, "longer than 4194304 bytes");
        check(&TlsSettings { certificate_file: Some(path.clone()), ..Default::default() }, "tls-key-file");
        check(&TlsSettings { key_file: Some(path), ..Default::default() }, "tls-certificate-file");
        assert!(TlsSettings::default().load().is_ok());
    }

    #[test]
    fn a_failed_handshake_is_one_sentence_with_a_remedy() {
        for (cause, words) in [
            (rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer), "`tls-ca-file`"),
            (rustls::Error::InvalidCertificate(CertificateError::BadSignature), "`tls-ca-file`"),
            (rustls::Error::InvalidCertificate(CertificateError::NotValidForName), "does not name that host"),
            (rustls::Error::AlertReceived(AlertDescription::CertificateRequired), "`tls-certificate-file`"),
            (rustls::Error::AlertReceived(AlertDescription::InternalError), "does not accept our certificate"),
        ] {
            let error = explain("h:1", &io::Error::new(io::ErrorKind::InvalidData, cause)).expect("explained");
            assert!(error.kind() == ErrorKind::Denied && error.to_string().contains(words), "{error}");
        }
        assert!(explain("h:1", &io::Error::other("odd")).is_none());
    }
}
