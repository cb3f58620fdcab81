//! Object stores by URL: `s3://bucket/…`, `az://container/…`, `http://…` and `https://…`.
//!
//! Their client is asynchronous: it runs on two threads of its own, and whoever reads waits for it, as for a disk.

use std::fmt;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use ieum_model::error::{Error, ErrorKind, Result, without_secrets};
use object_store::aws::{AmazonS3Builder, Checksum, S3ConditionalPut};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::http::HttpBuilder;
use object_store::path::Path as StorePath;
use object_store::{BackoffConfig, Certificate, ClientOptions, Error as StoreError, ObjectStore, RetryConfig};
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// How long a request may take.
const TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A request that failed is made again so often, and for so long at most.
const RETRIES: usize = 3;
const RETRIES_FOR: Duration = Duration::from_secs(30);
/// A server that says nothing for so long in the middle of an answer is gone, and no request takes longer than this.
const SILENCE: Duration = Duration::from_secs(120);
const LONGEST: Duration = Duration::from_secs(900);

/// Where something is, and how it is reached. What is not given is taken from the environment, as other tools of the kind of
/// store do (`AWS_ACCESS_KEY_ID`, `AZURE_STORAGE_ACCOUNT_KEY`, …).
#[derive(Clone, Default)]
pub struct Access {
    /// The place.
    pub url: String,
    /// Where the store answers, if that does not follow from the place.
    pub endpoint: Option<String>,
    /// Region of an S3-compatible store.
    pub region: Option<String>,
    /// Access key, storage account, or user.
    pub user: Option<String>,
    /// Secret key, account key, or password.
    pub secret: Option<String>,
    /// Whether a database is reached over TLS; without it, unless it is on this machine.
    pub tls: Option<bool>,
    /// File with the certificates (PEM) of those who sign the place's own; without it those that this machine trusts.
    pub ca: Option<PathBuf>,
}

impl Access {
    /// The certificates of [`Access::ca`], read by `parse`.
    pub(crate) fn authorities<T, E>(&self, parse: impl FnOnce(&[u8]) -> Result<Vec<T>, E>) -> Result<Vec<T>> {
        let Some(file) = &self.ca else { return Ok(Vec::new()) };
        let wrong = |message: String| Error::config(message).at("ca", file.display());
        let pem = std::fs::read(file).map_err(|error| wrong(format!("certificates cannot be read: {error}")))?;
        match parse(&pem) {
            Ok(certificates) if !certificates.is_empty() => Ok(certificates),
            _ => Err(wrong("the file holds no certificate".into()).hint("it begins with -----BEGIN CERTIFICATE-----")),
        }
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("url", &without_secrets(&self.url)).finish_non_exhaustive()
    }
}

/// A folder of an object store.
#[derive(Debug, Clone)]
pub struct Store {
    /// The store.
    pub store: Arc<dyn ObjectStore>,
    /// The folder in it.
    pub prefix: StorePath,
    /// The place as it is told: a URL without credentials.
    pub told: String,
    /// Whether it can be listed; a plain HTTP server cannot.
    pub lists: bool,
}

/// Whether this is the URL of an object store, not a path.
pub fn is_url(place: &str) -> bool {
    ["s3://", "s3a://", "az://", "abfs://", "abfss://", "http://", "https://"]
        .iter()
        .any(|scheme| place.starts_with(scheme))
}

/// The folder of a store at a URL.
///
/// # Errors
/// [`ErrorKind::Config`] when the URL is none of a store, holds credentials, or lacks what the kind of store needs.
pub fn open(access: &Access) -> Result<Store> {
    let told = without_secrets(&access.url);
    let wrong = |message: &str| Error::config(message).at("store", &told);
    if told != access.url {
        return Err(wrong("the URL of a store holds credentials or a query")
            .hint("give them as `user` and `secret` of a place, each from { env }, { file } or { command }"));
    }
    let (scheme, rest) = access.url.split_once("://").ok_or_else(|| wrong("this is no URL of a store"))?;
    let (bucket, folder) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(wrong("the URL of a store lacks its bucket, container or host"));
    }
    let invalid = |error: object_store::path::Error| wrong(&format!("the folder in the store is no path: {error}"));
    let prefix = StorePath::parse(folder.trim_end_matches('/')).map_err(invalid)?;
    let failed = |error: &StoreError| from_store(error, &told).at("store", &told);
    let endpoint_is_plain = access.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    let authorities = access.authorities(Certificate::from_pem_bundle)?;
    let trusting = |options| authorities.iter().cloned().fold(options, ClientOptions::with_root_certificate);
    let options = trusting(ClientOptions::new().with_timeout(TIMEOUT).with_connect_timeout(CONNECT_TIMEOUT));
    let retry = RetryConfig { backoff: BackoffConfig::default(), max_retries: RETRIES, retry_timeout: RETRIES_FOR };
    let store: Arc<dyn ObjectStore> = match scheme {
        "s3" | "s3a" => {
            let mut builder = AmazonS3Builder::from_env()
                .with_bucket_name(bucket)
                .with_client_options(options)
                .with_retry(retry)
                .with_conditional_put(S3ConditionalPut::ETagMatch)
                .with_checksum_algorithm(Checksum::SHA256);
            if let Some(endpoint) = &access.endpoint {
                builder = builder.with_endpoint(endpoint);
            }
            if endpoint_is_plain {
                builder = builder.with_allow_http(true);
            }
            if let Some(region) = &access.region {
                builder = builder.with_region(region);
            }
            if let (Some(user), Some(secret)) = (&access.user, &access.secret) {
                builder = builder.with_access_key_id(user).with_secret_access_key(secret);
            }
            Arc::new(builder.build().map_err(|error| failed(&error))?)
        }
        "az" | "abfs" | "abfss" => {
            let mut builder = MicrosoftAzureBuilder::from_env()
                .with_container_name(bucket)
                .with_client_options(options)
                .with_retry(retry);
            if let Some(endpoint) = &access.endpoint {
                builder = builder.with_endpoint(endpoint.clone());
            }
            if endpoint_is_plain {
                builder = builder.with_allow_http(true);
            }
            if let Some(user) = &access.user {
                builder = builder.with_account(user);
            }
            if let Some(secret) = &access.secret {
                builder = builder.with_access_key(secret);
            }
            Arc::new(builder.build().map_err(|error| failed(&error))?)
        }
        "http" | "https" => {
            // A file comes as one answer, however long it is.
            let options = ClientOptions::new().with_timeout_disabled().with_connect_timeout(CONNECT_TIMEOUT);
            let options = trusting(options).with_allow_http(scheme == "http");
            let url = format!("{scheme}://{bucket}");
            let builder = HttpBuilder::new().with_url(url).with_client_options(options).with_retry(retry);
            Arc::new(builder.build().map_err(|error| failed(&error))?)
        }
        _ => return Err(wrong("this kind of store is not known").hint("known are s3://, az://, http:// and https://")),
    };
    Ok(Store { store, prefix, told: told.clone(), lists: !scheme.starts_with("http") })
}

/// A store's failure as an error of ours.
pub fn from_store(error: &StoreError, name: &str) -> Error {
    let (kind, hint) = match error {
        StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => {
            (ErrorKind::Key, "compare the credentials of the store, and what they are allowed to do")
        }
        StoreError::NotImplemented { .. }
        | StoreError::NotSupported { .. }
        | StoreError::InvalidPath { .. }
        | StoreError::UnknownConfigurationKey { .. } => (ErrorKind::Config, "compare the place in the run definition"),
        StoreError::NotFound { .. } => (ErrorKind::Temporary, "compare the name, and whether it was delivered"),
        StoreError::Precondition { .. } => (ErrorKind::Temporary, "the file was replaced while it was read; run again"),
        _ => (ErrorKind::Temporary, "check that the store can be reached, then run again"),
    };
    Error::new(kind, "the store failed").at("export", name).at("answer", told(error)).hint(hint)
}

/// A store's failure as text: without queries and user names of URLs, and not all of a long answer.
pub(crate) fn told(error: &StoreError) -> String {
    const LONGEST: usize = 400;
    let text = without_secrets(&error.to_string());
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(LONGEST).collect()
}

/// The threads on which requests are made. They hold no state of a run.
fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    let start = || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().ok();
    let started = RUNTIME.get_or_init(start).as_ref();
    started.ok_or_else(|| Error::new(ErrorKind::Temporary, "threads cannot be started"))
}

/// Waits for a request, on whatever thread.
///
/// # Errors
/// [`ErrorKind::Temporary`] when it takes longer than any request should.
pub fn wait<T: Send + 'static>(request: impl Future<Output = T> + Send + 'static) -> Result<T> {
    let (answered, answer) = mpsc::sync_channel(1);
    runtime()?.spawn(async move {
        // Whoever asked may have gone.
        let _ = answered.send(timeout(LONGEST, request).await);
    });
    let answer = answer.recv().map_err(|_| Error::internal("a request to a store ended without an answer"))?;
    answer.map_err(|_| {
        Error::new(ErrorKind::Temporary, "a store gave no answer in a quarter of an hour")
            .hint("check that the store can be reached, then run again")
    })
}

/// The pieces of an answer, as they come; the last one is followed by the end of the channel.
pub(crate) fn pieces<S>(
    request: impl Future<Output = object_store::Result<S>> + Send + 'static,
) -> Result<mpsc::Receiver<io::Result<Bytes>>>
where
    S: Stream<Item = object_store::Result<Bytes>> + Send + Unpin + 'static,
{
    /// Pieces that wait to be read.
    const AHEAD: usize = 4;
    let (sender, receiver) = mpsc::sync_channel(AHEAD);
    let failed = |error: &StoreError| io::Error::other(told(error));
    runtime()?.spawn(async move {
        let silent = || io::Error::new(io::ErrorKind::TimedOut, "the store says nothing any more");
        let mut stream = match timeout(SILENCE, request).await {
            Ok(Ok(stream)) => stream,
            asked => {
                let failed = asked.map_or_else(|_| silent(), |answer| answer.map_or_else(|e| failed(&e), |_| silent()));
                let _ = sender.send(Err(failed));
                return;
            }
        };
        loop {
            let piece = match timeout(SILENCE, stream.next()).await {
                Ok(None) => return,
                Ok(Some(piece)) => piece.map_err(|error| failed(&error)),
                Err(_) => Err(silent()),
            };
            let is_last = piece.is_err();
            // The reader is slower: the thread is lent to it for so long.
            let sent = tokio::task::block_in_place(|| sender.send(piece));
            if sent.is_err() || is_last {
                return;
            }
        }
    });
    Ok(receiver)
}
