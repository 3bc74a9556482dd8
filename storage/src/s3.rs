//! How a bucket of S3, or of a store that speaks as it does, is reached: addresses `s3://BUCKET/PREFIX` and the options `s3.*`.
//!
//! What the options do not say is taken from the environment (`AWS_ACCESS_KEY_ID` …) or from the machine's role.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aquifer_model::{Error, Result};
use object_store::RetryConfig;
use object_store::aws::{AmazonS3, AmazonS3Builder};

/// The options that say how a bucket is reached.
pub const OPTIONS: [&str; 8] = [
    "s3.endpoint",
    "s3.region",
    "s3.access-key",
    "s3.secret-key",
    "s3.session-token",
    "s3.path-style-access",
    "s3.path.style.access",
    "s3.anonymous",
];

/// A bucket that an address names, and how it is reached. Opening one connects to nothing.
#[derive(Debug, Clone)]
pub struct OpenBucket {
    /// Its objects.
    pub store: Arc<AmazonS3>,
    /// `s3://BUCKET`, in the scheme that the address has.
    pub root: String,
    /// What the address says behind the bucket, without slashes at its ends.
    pub prefix: String,
}

/// Scheme and the rest of an address of a bucket.
fn split(address: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = address.split_once("://")?;
    ["s3", "s3a", "s3n"].contains(&scheme.to_ascii_lowercase().as_str()).then_some((scheme, rest))
}

/// Whether an address is in a bucket.
pub fn is_address(address: &str) -> bool {
    split(address).is_some()
}

/// The bucket of an address. Fails with `Invalid` on options that contradict each other.
pub fn open(address: &str, options: &BTreeMap<String, String>) -> Result<OpenBucket> {
    let get = |key: &str| options.get(key).map(String::as_str).filter(|value| !value.is_empty());
    let flag = |key: &str| match get(key).map(str::to_ascii_lowercase).as_deref() {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(other) => Err(Error::invalid(format!("'{key}' = '{other}': write true or false"))),
    };
    let (scheme, rest) = split(address)
        .ok_or_else(|| Error::invalid(format!("`{address}` is no address of a bucket: write s3://BUCKET/PREFIX")))?;
    let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if name.is_empty() {
        return Err(Error::invalid(format!("`{address}` names no bucket: write {scheme}://BUCKET/PREFIX")));
    }
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(name).with_retry(RetryConfig {
        max_retries: 5,
        retry_timeout: Duration::from_secs(60),
        ..RetryConfig::default()
    });
    if let Some(endpoint) = get("s3.endpoint") {
        if !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
            return Err(Error::invalid(format!(
                "'s3.endpoint' = '{endpoint}': write http://HOST:PORT or https://HOST"
            )));
        }
        builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
    }
    if let Some(region) = get("s3.region") {
        builder = builder.with_region(region);
    }
    match (get("s3.access-key"), get("s3.secret-key")) {
        (Some(key), Some(secret)) => {
            builder = builder.with_access_key_id(key).with_secret_access_key(secret);
        }
        (None, None) => {}
        _ => {
            return Err(Error::invalid("'s3.access-key' and 's3.secret-key' belong together: give both, or neither"));
        }
    }
    if let Some(token) = get("s3.session-token") {
        builder = builder.with_token(token);
    }
    if flag("s3.anonymous")? == Some(true) {
        builder = builder.with_skip_signature(true);
    }
    // Path style is what all stores know.
    let path_style = flag("s3.path-style-access")?.or(flag("s3.path.style.access")?).unwrap_or(true);
    builder = builder.with_virtual_hosted_style_request(!path_style);
    let store = builder
        .build()
        .map_err(|error| Error::invalid(format!("the options of `{scheme}://{name}` do not fit together: {error}")))?;
    let prefix = prefix.trim_matches('/').to_string();
    Ok(OpenBucket { store: Arc::new(store), root: format!("{scheme}://{name}"), prefix })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_bucket_and_a_prefix_and_half_a_key_is_refused() {
        for (address, root, prefix) in
            [("s3://b", "s3://b", ""), ("s3a://b/some/where/", "s3a://b", "some/where"), ("S3://b//k", "S3://b", "k")]
        {
            let opened = open(address, &BTreeMap::new()).expect(address);
            assert_eq!((opened.root.as_str(), opened.prefix.as_str()), (root, prefix), "{address}");
        }
        assert!(!is_address("/b/k") && !is_address("file:///b"));
        let options = |key: &str, value: &str| BTreeMap::from([(key.to_string(), value.to_string())]);
        for (address, options, part) in [
            ("s3:///k", BTreeMap::new(), "names no bucket"),
            ("gs://b/k", BTreeMap::new(), "no address of a bucket"),
            ("s3://b", options("s3.access-key", "x"), "'s3.secret-key'"),
            ("s3://b", options("s3.endpoint", "localhost:9000"), "http://HOST:PORT"),
            ("s3://b", options("s3.anonymous", "yes"), "true or false"),
        ] {
            let error = open(address, &options).expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
