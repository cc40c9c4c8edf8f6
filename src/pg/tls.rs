//! TLS to PostgreSQL: whom to trust, the handshake, and the channel binding of SCRAM.
//!
//! tokio-postgres asks for encryption and then for a stream; both are ours, since its companions for
//! TLS want sockets that move between threads.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::LocalBoxFuture;
use sha2::{Digest, Sha256, Sha384, Sha512};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::{Resumption, WebPkiServerVerifier};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use x509_cert::der::Decode;
use x509_cert::der::oid::db::rfc5912;

use super::Error;
use crate::runtime::{self, Stream};

/// What PostgreSQL 17 and newer want to hear of a connection that begins with TLS
/// (`sslnegotiation=direct`); older ones do not mind.
const PROTOCOL: &[u8] = b"postgresql";

/// What an operator wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// PEM certificates of the authorities; `None` for those that the system trusts.
    pub ca_file: Option<PathBuf>,
    /// Whether the server must prove who it is.
    pub verifies: bool,
}

/// How connections to every host are encrypted.
#[derive(Debug, Clone)]
pub struct Tls(Arc<ClientConfig>);

impl Tls {
    /// Reads the certificates; an error is text for the operator.
    pub fn open(settings: &TlsSettings) -> Result<Self, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = if settings.verifies {
            let roots = Arc::new(roots(settings)?);
            WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
                .build()
                .map_err(|error| error.to_string())?
        } else {
            Arc::new(Anybody(Arc::clone(&provider)))
        };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has suites for TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        // PostgreSQL resumes no session.
        config.resumption = Resumption::disabled();
        Ok(Self(Arc::new(config)))
    }

    /// For the handshake with a host as the settings name it.
    pub(super) fn connector(
        &self,
        host: &str,
    ) -> Result<(Arc<ClientConfig>, ServerName<'static>), Error> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Error::Unavailable(format!("no certificate can be for {host:?}")))?;
        Ok((Arc::clone(&self.0), name))
    }
}

fn roots(settings: &TlsSettings) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(path) = &settings.ca_file else {
        let found = rustls_native_certs::load_native_certs();
        let (added, _) = roots.add_parsable_certificates(found.certs);
        let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        return match added {
            0 => Err(format!(
                "the system trusts no authority{why}; install ca-certificates or name a file"
            )),
            _ => Ok(roots),
        };
    };
    let bad = |reason: &dyn std::fmt::Display| format!("{}: {reason}", path.display());
    let pem = std::fs::read(path).map_err(|error| bad(&error))?;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| bad(&error))?;
        roots.add(certificate).map_err(|error| bad(&error))?;
    }
    if roots.is_empty() {
        return Err(bad(&"there is no PEM certificate in it"));
    }
    Ok(roots)
}

/// Trusts whoever answers, as an operator may want it. The peer must still have the key of the
/// certificate that it shows.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The handshake of one connection, when tokio-postgres asks for it.
pub(super) struct Connector(Option<(Arc<ClientConfig>, ServerName<'static>)>);

impl Connector {
    /// With `None` none may be asked for.
    pub(super) fn new(target: Option<(Arc<ClientConfig>, ServerName<'static>)>) -> Self {
        Self(target)
    }
}

impl TlsConnect<Stream> for Connector {
    type Stream = Encrypted;
    type Error = io::Error;
    type Future = LocalBoxFuture<'static, io::Result<Encrypted>>;

    fn connect(self, stream: Stream) -> Self::Future {
        Box::pin(async move {
            let (config, name) = self.0.ok_or(io::ErrorKind::Unsupported)?;
            Ok(Encrypted(runtime::connect_tls(stream, config, name).await?))
        })
    }
}

/// A stream over TLS, with what SCRAM wants to know of it.
pub(super) struct Encrypted(Stream);

impl TlsStream for Encrypted {
    fn channel_binding(&self) -> ChannelBinding {
        let hash = self.0.peer_certificate().and_then(end_point);
        hash.map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}

/// `tls-server-end-point` of RFC 5929 section 4.1: the certificate under the hash that it was signed
/// with, SHA-256 in place of MD5 and SHA-1. `None` for signatures that have no such hash of their own,
/// where PostgreSQL offers no channel binding either.
fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let signed = x509_cert::Certificate::from_der(certificate).ok()?;
    match signed.signature_algorithm().oid {
        rfc5912::SHA_384_WITH_RSA_ENCRYPTION | rfc5912::ECDSA_WITH_SHA_384 => {
            Some(Sha384::digest(certificate).to_vec())
        }
        rfc5912::SHA_512_WITH_RSA_ENCRYPTION | rfc5912::ECDSA_WITH_SHA_512 => {
            Some(Sha512::digest(certificate).to_vec())
        }
        rfc5912::SHA_1_WITH_RSA_ENCRYPTION
        | rfc5912::SHA_256_WITH_RSA_ENCRYPTION
        | rfc5912::ECDSA_WITH_SHA_256 => Some(Sha256::digest(certificate).to_vec()),
        _ => None,
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
