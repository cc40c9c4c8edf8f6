//! TLS for clients: the certificate in use, which a reload replaces, and the handshake of a
//! connection.
//!
//! A handshake is bounded in time and in number, since it costs a client nothing to begin one.
//! Sessions are resumed by tickets, so no core keeps anything for a client that left, and every core
//! takes the tickets of the others. What a client sends before the handshake is over (0-RTT) is not
//! taken: it could be sent again by somebody else.

use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig};

use super::connection::Connection;
use super::turns::Turns;
use super::worker::Core;
use crate::config::TlsFiles;
use crate::http::Reject;
use crate::metrics::CloseReason;
use crate::runtime::{self, Stream};
use crate::start::StartError;

/// A client that takes longer is cut off.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Handshakes in progress on one core, each of which holds some 25 kB before anything is known of the
/// client. When all clients come at once, as after a restart, the others wait for their turn.
pub const HANDSHAKES_MAX: usize = 2048;
/// The protocols of ALPN that are spoken here, the preferred one first.
const PROTOCOLS: [&[u8]; 2] = [b"http/1.1", b"http/1.0"];
/// RFC 8446 section 5.1: the type of the record that a client begins with.
const HANDSHAKE_RECORD: u8 = 22;

/// Shared by the cores.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    certificate: Arc<Certificate>,
    config: Arc<ServerConfig>,
}

/// Chosen for each handshake, so a new one is shown from the next handshake on.
#[derive(Debug)]
struct Certificate(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// What is wrong with the files.
#[derive(Debug)]
struct FileError {
    setting: &'static str,
    path: PathBuf,
    reason: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}: {}", self.setting, self.path.display(), self.reason)
    }
}

impl Tls {
    pub fn open(files: &TlsFiles) -> Result<Self, StartError> {
        let key = load(files).map_err(|FileError { setting, path, reason }| {
            let reason = format!("{}: {reason}", path.display());
            StartError::Setting { setting, reason }
        })?;
        let certificate = Arc::new(Certificate(RwLock::new(Arc::new(key))));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has suites for TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&certificate) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(|error| StartError::Setting {
            setting: "QUEEN_TLS_KEY_FILE",
            reason: format!("the system gives no random numbers: {error}"),
        })?;
        Ok(Self { files: files.clone(), certificate, config: Arc::new(config) })
    }

    /// Reads the files again. What is there stays when they are of no use.
    pub fn reload(&self) {
        match load(&self.files) {
            Ok(key) => {
                let mut current =
                    self.certificate.0.write().unwrap_or_else(PoisonError::into_inner);
                *current = Arc::new(key);
                tracing::info!("new connections are shown the TLS certificate of the files");
            }
            Err(error) => tracing::error!(%error, "the TLS certificate is kept as it was"),
        }
    }

    /// The stream to serve, encrypted; or how the connection has ended.
    pub async fn begin(&self, core: &Rc<Core>, stream: Stream) -> Result<Stream, CloseReason> {
        let handshake = self.handshake(&core.handshakes, stream);
        let begun = runtime::timeout(HANDSHAKE_LIMIT, handshake).await;
        match begun {
            Ok(Begun::Encrypted(stream)) => return Ok(stream),
            // Somebody who is told once why nothing works needs no log of the server.
            Ok(Begun::Plain(stream)) => {
                let told =
                    Connection::new(Rc::clone(core), stream, None).reject(&Reject::TLS).await;
                return Err(told);
            }
            Ok(Begun::Left) => (),
            Ok(Begun::Failed(error)) => crate::seldom!(info, %error, "a TLS handshake failed"),
            Err(_) => {
                crate::seldom!(info, limit = ?HANDSHAKE_LIMIT, "a TLS handshake was too slow");
            }
        }
        Err(CloseReason::Handshake)
    }

    async fn handshake(&self, turns: &Rc<Turns>, stream: Stream) -> Begun {
        match stream.peek().await {
            Ok(Some(HANDSHAKE_RECORD)) => (),
            // As a request of HTTP begins.
            Ok(Some(b'A'..=b'Z' | b'a'..=b'z')) => return Begun::Plain(stream),
            Ok(Some(_)) => return Begun::Failed(std::io::ErrorKind::InvalidData.into()),
            Ok(None) | Err(_) => return Begun::Left,
        }
        let _turn = turns.take().await;
        match runtime::accept_tls(stream, Arc::clone(&self.config)).await {
            Ok(stream) => Begun::Encrypted(stream),
            Err(error) => Begun::Failed(error),
        }
    }
}

/// How a handshake went.
enum Begun {
    Encrypted(Stream),
    Plain(Stream),
    /// Without a word, as those do who look whether a port is open.
    Left,
    Failed(std::io::Error),
}

fn load(files: &TlsFiles) -> Result<CertifiedKey, FileError> {
    let at = |setting, path: &Path, reason: String| {
        let path = path.to_owned();
        FileError { setting, path, reason }
    };
    let bad_chain = |reason| at("QUEEN_TLS_CERT_FILE", &files.certificates, reason);
    let bad_key = |reason| at("QUEEN_TLS_KEY_FILE", &files.key, reason);
    let pem = std::fs::read(&files.certificates).map_err(|error| bad_chain(error.to_string()))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|error| bad_chain(error.to_string()))?;
    if chain.is_empty() {
        return Err(bad_chain("there is no PEM certificate in it".to_owned()));
    }
    let pem = std::fs::read(&files.key).map_err(|error| bad_key(error.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|error| bad_key(format!("no PEM private key can be read: {error}")))?;
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(
        |error| match error {
            rustls::Error::InconsistentKeys(_) => {
                bad_key("not the key of the certificate".to_owned())
            }
            rustls::Error::InvalidCertificate(_) => bad_chain(error.to_string()),
            other => bad_key(other.to_string()),
        },
    )
}
