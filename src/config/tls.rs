//! What the settings say about TLS: for clients, and to PostgreSQL.
//!
//! Encryption that was asked for is never silently less than what was asked for: words that would
//! fall back to plain text, and settings without effect, are refused.

use std::path::PathBuf;

use tokio_postgres::config::SslMode;

use super::options::{DatabaseOptions, Options};
use super::setting;
use crate::http::target::{Plus, percent_decode};
use crate::pg;
use crate::start::StartError;

/// PEM files of the certificate that clients are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, followed by its intermediates.
    pub certificates: PathBuf,
    pub key: PathBuf,
}

/// `None` where clients speak plain HTTP.
pub(super) fn files(options: &Options) -> Result<Option<TlsFiles>, StartError> {
    match (&options.tls_cert_file, &options.tls_key_file) {
        (None, None) => Ok(None),
        (Some(certificates), Some(key)) => {
            Ok(Some(TlsFiles { certificates: certificates.clone(), key: key.clone() }))
        }
        (Some(_), None) => Err(setting("QUEEN_TLS_KEY_FILE", "the certificate needs its key")),
        (None, Some(_)) => Err(setting("QUEEN_TLS_CERT_FILE", "the key needs its certificate")),
    }
}

/// What a database URL says about TLS in words of libpq that tokio-postgres does not have.
#[derive(Debug, Default)]
pub(super) struct UrlTls {
    /// `None` when it does not say.
    required: Option<bool>,
    /// Whether it insists on a proof of who the server is.
    verifies: bool,
    ca_file: Option<PathBuf>,
}

/// Takes `sslmode` and `sslrootcert` out of a URL.
pub(super) fn split(url: &str) -> Result<(String, UrlTls), StartError> {
    let bad = |reason: &str| setting("DATABASE_URL", reason);
    let mut tls = UrlTls::default();
    let Some((base, query)) = url.split_once('?') else { return Ok((url.to_owned(), tls)) };
    let mut rest: Vec<&str> = Vec::new();
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("sslmode", "disable")) => tls.required = Some(false),
            Some(("sslmode", mode @ ("require" | "verify-ca" | "verify-full"))) => {
                tls.required = Some(true);
                tls.verifies = mode != "require";
            }
            Some(("sslmode", _)) => {
                return Err(bad("sslmode is disable, require, verify-ca or verify-full; others \
                                would send in the clear what should not be"));
            }
            // The system's authorities, as without it.
            Some(("sslrootcert", "system")) => (),
            Some(("sslrootcert", path)) => {
                let path = percent_decode(path, Plus::Literal)
                    .map_err(|_| bad("sslrootcert is not percent-encoded UTF-8"))?;
                tls.ca_file = Some(PathBuf::from(path.into_owned()));
            }
            _ => rest.push(pair),
        }
    }
    Ok((format!("{base}?{}", rest.join("&")), tls))
}

impl DatabaseOptions {
    /// How connections to `target` are encrypted; `None` where they are not.
    pub(super) fn tls(
        &self,
        target: &tokio_postgres::Config,
        url: UrlTls,
    ) -> Result<Option<pg::TlsSettings>, StartError> {
        if self.pg_use_ssl && url.required == Some(false) {
            return Err(setting("PG_USE_SSL", "is true, and the URL says sslmode=disable"));
        }
        let verifies = self.pg_ssl_reject_unauthorized;
        if !verifies && url.verifies {
            let reason = "is false, and the URL wants the certificate verified";
            return Err(setting("PG_SSL_REJECT_UNAUTHORIZED", reason));
        }
        let required =
            self.pg_use_ssl || url.required.unwrap_or(target.get_ssl_mode() == SslMode::Require);
        let ca_file = url.ca_file.or_else(|| self.pg_ssl_ca.clone());
        if ca_file.is_some() && !(required && verifies) {
            let reason = "is of no use unless PG_USE_SSL and PG_SSL_REJECT_UNAUTHORIZED are true";
            return Err(setting("PG_SSL_CA", reason));
        }
        Ok(required.then_some(pg::TlsSettings { ca_file, verifies }))
    }
}
