//! The settings of authentication: off, or what the tokens of clients must be.

use std::time::Duration;

use clap::{Args, ValueEnum};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use ureq::http::Uri;

use super::setting;
use crate::auth::{Names, Settings, Source, of_pem};
use crate::start::StartError;

/// A day; more is no skew.
const CLOCK_SKEW_MAX: u64 = 86_400;
/// A request that waits for keys waits so long at most, and so does a stop for it.
const DOCUMENT_LIMIT_MAX: u64 = 60_000;
/// A year.
const REFRESH_MAX: u64 = 31_536_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Choice {
    #[value(name = "HS256")]
    Hs256,
    #[value(name = "RS256")]
    Rs256,
    #[value(name = "EdDSA")]
    EdDsa,
    Auto,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_field_names, reason = "the names of the options are made of them")]
pub(super) struct AuthOptions {
    /// Whether requests need a token: true or false
    #[arg(long, env = "JWT_ENABLED", value_name = "BOOL", default_value_t = false,
        action = clap::ArgAction::Set)]
    jwt_enabled: bool,

    /// How tokens are signed: HS256, RS256 (also RS384 and RS512), `EdDSA`, or auto for any of them
    /// that there is a key for
    #[arg(
        long,
        env = "JWT_ALGORITHM",
        value_name = "NAME",
        default_value = "HS256",
        ignore_case = true
    )]
    jwt_algorithm: Choice,

    /// The shared secret of HS256
    #[arg(long, env = "JWT_SECRET", value_name = "TEXT", hide_env_values = true)]
    jwt_secret: Option<String>,

    /// The public key of RS256 or `EdDSA` as PEM; wins over --jwt-jwks-url
    #[arg(long, env = "JWT_PUBLIC_KEY", value_name = "PEM", allow_hyphen_values = true)]
    jwt_public_key: Option<String>,

    /// Where the public keys are, as a JWK set
    #[arg(long, env = "JWT_JWKS_URL", value_name = "URL")]
    jwt_jwks_url: Option<String>,

    /// Seconds between two looks for new keys there
    #[arg(long, env = "JWT_JWKS_REFRESH_INTERVAL", value_name = "SECONDS", default_value_t = 3600,
        value_parser = clap::value_parser!(u64).range(1..=REFRESH_MAX))]
    jwt_jwks_refresh_interval: u64,

    /// Milliseconds that a look may take
    #[arg(long, env = "JWT_JWKS_TIMEOUT_MS", value_name = "MS", default_value_t = 5000,
        value_parser = clap::value_parser!(u64).range(1..=DOCUMENT_LIMIT_MAX))]
    jwt_jwks_timeout_ms: u64,

    /// The issuer that tokens must name, or several with commas: one of them
    #[arg(long, env = "JWT_ISSUER", value_name = "TEXT")]
    jwt_issuer: Option<String>,

    /// The audience that tokens must name, or several with commas: one of them
    #[arg(long, env = "JWT_AUDIENCE", value_name = "TEXT")]
    jwt_audience: Option<String>,

    /// Seconds that clocks may differ
    #[arg(long, env = "JWT_CLOCK_SKEW", value_name = "SECONDS", default_value_t = 30,
        value_parser = clap::value_parser!(u64).range(0..=CLOCK_SKEW_MAX))]
    jwt_clock_skew: u64,

    /// Paths that need no token, separated by commas; one that ends with / stands for all below it
    #[arg(
        long,
        env = "JWT_SKIP_PATHS",
        value_name = "PATHS",
        default_value = "/health,/metrics/prometheus,/metrics,/"
    )]
    jwt_skip_paths: String,

    /// The claim that holds one role
    #[arg(long, env = "JWT_ROLES_CLAIM", value_name = "NAME", default_value = "role")]
    jwt_roles_claim: String,

    /// The claim that holds a list of roles
    #[arg(long, env = "JWT_ROLES_ARRAY_CLAIM", value_name = "NAME", default_value = "roles")]
    jwt_roles_array_claim: String,

    /// What the role admin is called
    #[arg(long, env = "JWT_ROLE_ADMIN", value_name = "TEXT", default_value = "admin")]
    jwt_role_admin: String,

    /// What the role read-write is called
    #[arg(long, env = "JWT_ROLE_READ_WRITE", value_name = "TEXT", default_value = "read-write")]
    jwt_role_read_write: String,

    /// What the role read-only is called
    #[arg(long, env = "JWT_ROLE_READ_ONLY", value_name = "TEXT", default_value = "read-only")]
    jwt_role_read_only: String,

    /// The claim that names the queues of a token
    #[arg(long, env = "JWT_PERMISSIONS_CLAIM", value_name = "NAME", default_value = "queen")]
    jwt_permissions_claim: String,
}

/// Who may sign tokens.
#[derive(Default)]
struct Signers {
    algorithms: Vec<Algorithm>,
    keys: Vec<DecodingKey>,
    document: Option<Source>,
}

impl AuthOptions {
    /// `None` when everybody may do everything.
    pub(super) fn settings(self) -> Result<Option<Settings>, StartError> {
        if !self.jwt_enabled {
            return Ok(None);
        }
        let Signers { algorithms, keys, document } = self.signers()?;
        Ok(Some(Settings {
            algorithms,
            keys,
            document,
            issuers: one_of("JWT_ISSUER", self.jwt_issuer.as_deref())?,
            audiences: one_of("JWT_AUDIENCE", self.jwt_audience.as_deref())?,
            clock_skew_seconds: self.jwt_clock_skew,
            skip_paths: elements(&self.jwt_skip_paths),
            names: Names {
                role_claim: self.jwt_roles_claim,
                roles_claim: self.jwt_roles_array_claim,
                admin: self.jwt_role_admin,
                read_write: self.jwt_role_read_write,
                read_only: self.jwt_role_read_only,
                permissions_claim: self.jwt_permissions_claim,
            },
        }))
    }

    /// What may sign tokens: only what has a key is allowed, and a key is only for its own kind.
    fn signers(&self) -> Result<Signers, StartError> {
        let (shared, families): (bool, &[AlgorithmFamily]) = match self.jwt_algorithm {
            Choice::Hs256 => (true, &[]),
            Choice::Rs256 => (false, &[AlgorithmFamily::Rsa]),
            Choice::EdDsa => (false, &[AlgorithmFamily::Ed]),
            Choice::Auto => (true, &[AlgorithmFamily::Rsa, AlgorithmFamily::Ed]),
        };
        let Signers { mut algorithms, mut keys, mut document } = Signers::default();
        if let Some(secret) = self.jwt_secret.as_ref().filter(|_| shared) {
            algorithms.push(Algorithm::HS256);
            keys.push(DecodingKey::from_secret(secret.as_bytes()));
        }
        if let Some(pem) = self.jwt_public_key.as_ref().filter(|_| !families.is_empty()) {
            let key = of_pem(pem, families)
                .map_err(|error| setting("JWT_PUBLIC_KEY", error.to_string()))?;
            algorithms.extend(algorithms_of(key.family()));
            keys.push(key);
        } else if let Some(url) = self.jwt_jwks_url.as_ref().filter(|_| !families.is_empty()) {
            document = Some(self.document(url)?);
            algorithms.extend(families.iter().flat_map(|family| algorithms_of(*family)));
        }
        if algorithms.is_empty() {
            let needed = match self.jwt_algorithm {
                Choice::Hs256 => "HS256 needs JWT_SECRET",
                Choice::Rs256 | Choice::EdDsa => "it needs JWT_PUBLIC_KEY or JWT_JWKS_URL",
                Choice::Auto => "auto needs JWT_SECRET, JWT_PUBLIC_KEY or JWT_JWKS_URL",
            };
            return Err(setting("JWT_ALGORITHM", needed));
        }
        Ok(Signers { algorithms, keys, document })
    }

    fn document(&self, url: &str) -> Result<Source, StartError> {
        let parsed: Option<Uri> = url.parse().ok();
        let is_fit = parsed.is_some_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
        });
        if !is_fit {
            return Err(setting("JWT_JWKS_URL", "it is no http:// or https:// URL"));
        }
        Ok(Source {
            url: url.to_owned(),
            refresh_interval: Duration::from_secs(self.jwt_jwks_refresh_interval),
            limit: Duration::from_millis(self.jwt_jwks_timeout_ms),
        })
    }
}

/// The elements of a list with commas.
fn elements(list: &str) -> Vec<String> {
    let elements = list.split(',').map(str::trim);
    elements.filter(|element| !element.is_empty()).map(str::to_owned).collect()
}

/// What tokens must name one of. A list of nothing is a mistake, and would let everybody in.
fn one_of(name: &'static str, list: Option<&str>) -> Result<Vec<String>, StartError> {
    let Some(list) = list else { return Ok(Vec::new()) };
    let elements = elements(list);
    if elements.is_empty() { Err(setting(name, "it names nothing")) } else { Ok(elements) }
}

fn algorithms_of(family: AlgorithmFamily) -> impl Iterator<Item = Algorithm> {
    let all = [Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::EdDSA];
    all.into_iter().filter(move |algorithm| algorithm.family() == family)
}
