//! The thread that fetches the document with the keys: when the server starts, again and again, and
//! when a token names a key that is not in it.
//!
//! It blocks, so it is no core. The cores see a new set through an [`ArcSwap`], without a lock. When
//! the document cannot be had the keys that were there go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use ureq::Agent;

use super::keys::{KeySet, NoKey};
use crate::runtime;
use crate::start::StartError;

/// Between two looks because a token names an unknown key, which anybody can send. Protects whoever
/// serves the document.
const ASKED_PAUSE: Duration = Duration::from_secs(5);
/// After a document that could not be had.
const RETRY_PAUSE: Duration = Duration::from_secs(5);
/// A set of keys is a few kilobytes.
const DOCUMENT_BYTES_MAX: u64 = 1 << 20;
/// How often a request that waits for keys looks for them.
const LOOK: Duration = Duration::from_millis(5);

/// Where the document is.
#[derive(Debug, Clone)]
pub struct Source {
    pub url: String,
    pub refresh_interval: Duration,
    pub limit: Duration,
}

/// How cores ask for keys.
#[derive(Debug, Clone)]
pub struct Fetching {
    ask: SyncSender<()>,
    /// Counts the attempts that are over.
    done: Arc<AtomicU64>,
    limit: Duration,
}

impl Fetching {
    /// Asks for the document, and returns when it was looked at once more, or could not be.
    pub async fn again(&self) {
        let done = self.done.load(Ordering::Acquire);
        // Full if somebody has asked already.
        let _ = self.ask.try_send(());
        let deadline = Instant::now() + self.limit;
        while self.done.load(Ordering::Acquire) == done && Instant::now() < deadline {
            runtime::sleep(LOOK).await;
        }
    }
}

struct Fetcher {
    source: Source,
    agent: Agent,
    keys: Arc<ArcSwap<KeySet>>,
    /// What is added to the keys of the document.
    base: Box<dyn Fn() -> KeySet + Send>,
    /// As it was read last.
    document: String,
    done: Arc<AtomicU64>,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Http(#[from] ureq::Error),
    #[error(transparent)]
    NoKey(#[from] NoKey),
}

/// Starts the thread. It ends when nobody is left who could ask it.
pub fn start(
    source: Source,
    keys: Arc<ArcSwap<KeySet>>,
    base: impl Fn() -> KeySet + Send + 'static,
) -> Result<Fetching, StartError> {
    let (ask, asked) = sync_channel(1);
    let done = Arc::new(AtomicU64::new(0));
    // A little more than the thread itself allows.
    let limit = source.limit + Duration::from_secs(1);
    let fetching = Fetching { ask, done: Arc::clone(&done), limit };
    let config = Agent::config_builder()
        .timeout_global(Some(source.limit))
        .https_only(source.url.starts_with("https:"))
        .tls_config(
            ureq::tls::TlsConfig::builder()
                .root_certs(ureq::tls::RootCerts::PlatformVerifier)
                .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
                .build(),
        )
        .build();
    let fetcher = Fetcher {
        source,
        agent: config.into(),
        keys,
        base: Box::new(base),
        document: String::new(),
        done,
    };
    let thread = thread::Builder::new().name("jwks".to_owned());
    thread.spawn(move || fetcher.run(&asked)).map_err(|error| StartError::Thread {
        what: "fetches the keys for tokens",
        reason: error.to_string(),
    })?;
    Ok(fetching)
}

impl Fetcher {
    fn run(mut self, asked: &Receiver<()>) {
        let mut answered: Option<Instant> = None;
        let mut next = Instant::now() + self.fetch();
        loop {
            match asked.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(()) if answered.is_some_and(|at| at.elapsed() < ASKED_PAUSE) => {
                    self.done.fetch_add(1, Ordering::Release);
                    continue;
                }
                Ok(()) => answered = Some(Instant::now()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            next = Instant::now() + self.fetch();
        }
    }

    /// One attempt. Answers when the next one is due.
    fn fetch(&mut self) -> Duration {
        let fetched = self.try_fetch();
        self.done.fetch_add(1, Ordering::Release);
        match fetched {
            Ok(()) => self.source.refresh_interval,
            Err(error) => {
                tracing::warn!(%error, "the keys for tokens cannot be fetched from JWT_JWKS_URL");
                RETRY_PAUSE.min(self.source.refresh_interval)
            }
        }
    }

    fn try_fetch(&mut self) -> Result<(), Failure> {
        let mut answer = self.agent.get(&self.source.url).call()?;
        let body = answer.body_mut().with_config().limit(DOCUMENT_BYTES_MAX).read_to_string()?;
        if body == self.document {
            return Ok(());
        }
        let mut set = (self.base)().with_document(&body)?;
        set.turn = self.keys.load().turn + 1;
        tracing::info!(keys = set.len(), "the keys for tokens are known");
        self.keys.store(Arc::new(set));
        self.document = body;
        Ok(())
    }
}
