//! Finds the server that takes writes and opens a connection to it.
//!
//! Every address of every host is asked at the same time, so one that is dead costs no time when
//! another answers. A server that is read-only or a standby is passed over, and so is a primary that
//! was superseded: a promotion begins a new timeline, and whoever has seen one does not go back.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_channel::mpsc;
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config};

use super::Error;
use super::link::Link;
use super::names::Addresses;
use super::timeline::{Newest, Timeline};
use super::tls::{Connector, Tls};
use super::tuples::SeenTuples;
use crate::runtime::{self, Stream};

/// How long a primary that continues another timeline than the last one waits for one that may be
/// newer still. The first connection of a process waits for every host instead: a former primary
/// that somebody started again must not be taken for the primary.
const COMPARE_LIMIT: Duration = Duration::from_millis(200);

/// How every connection of a server is made.
#[derive(Debug, Clone)]
pub struct ConnectSettings {
    pub config: Config,
    /// For every host that is not a socket; `None` where nothing is encrypted.
    pub tls: Option<Tls>,
    /// Of the hosts of `config`.
    pub addresses: Addresses,
    pub schema: String,
    /// A server that takes longer to answer a new connection is as one that is away.
    pub connect_limit: Duration,
    pub statement_limit: Duration,
    pub lock_limit: Duration,
    /// How long a peer across a network may leave packets unanswered.
    pub silence_limit: Duration,
    /// Of all connections of the process.
    pub newest: Newest,
    /// By all connections of the process.
    pub seen: SeenTuples,
}

const PORT_DEFAULT: u16 = 5432;

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Unix(PathBuf),
    /// The host as it is in the settings, which is what its certificate is for.
    Tcp(String, SocketAddr),
}

impl ConnectSettings {
    /// Whether each host has an address. One that has none when the server starts is misspelt.
    pub fn is_resolved(&self) -> bool {
        let mut hosts = self.config.get_hosts().iter().enumerate();
        hosts
            .all(|(i, host)| matches!(host, Host::Unix(_)) || !self.addresses.of_host(i).is_empty())
    }

    fn places(&self) -> Vec<Place> {
        let ports = self.config.get_ports();
        let mut places = Vec::new();
        for (i, host) in self.config.get_hosts().iter().enumerate() {
            // As libpq: one port for all hosts, or one for each.
            let port = ports.get(i).or(ports.first()).copied().unwrap_or(PORT_DEFAULT);
            match host {
                Host::Unix(directory) => {
                    places.push(Place::Unix(directory.join(format!(".s.PGSQL.{port}"))));
                }
                Host::Tcp(name) => {
                    let address = |ip: IpAddr| Place::Tcp(name.clone(), SocketAddr::new(ip, port));
                    places.extend(self.addresses.of_host(i).into_iter().map(address));
                }
            }
        }
        places
    }

    /// Connects to the server that takes writes.
    pub(super) async fn connect(&self) -> Result<Link, Error> {
        self.connect_for_notices(None).await
    }

    /// As [`Self::connect`]; the payloads of notifications go to `notices`. When it is full they
    /// are dropped; when it closes, the connection has ended.
    pub(super) async fn connect_for_notices(
        &self,
        notices: Option<&mpsc::Sender<String>>,
    ) -> Result<Link, Error> {
        let places = self.places();
        let (known, alone) = (self.newest.get(), places.len() == 1);
        let mut looks: FuturesUnordered<_> =
            places.into_iter().map(|place| self.look(place, notices.cloned())).collect();
        let mut last = Error::Unavailable("no host of the settings has an address".to_owned());
        let mut found: Option<Link> = None;
        // Each look has its own limit.
        let mut deadline: Option<Instant> = None;
        loop {
            let look = match deadline {
                None => looks.next().await,
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    runtime::timeout(left, looks.next()).await.unwrap_or(None)
                }
            };
            match look {
                Some(Ok(link)) if alone || known == Some(link.timeline) => return Ok(link),
                Some(Ok(link)) => {
                    if known.is_some() || link.timeline == Timeline::UNKNOWN {
                        deadline.get_or_insert(Instant::now() + COMPARE_LIMIT);
                    }
                    let newer = |found: &Link| link.timeline.supersedes(found.timeline);
                    if found.as_ref().is_none_or(newer) {
                        found = Some(link);
                    }
                }
                Some(Err(error)) => last = error,
                None => break,
            }
        }
        // Its own words would decide what becomes of a request, and no request was sent.
        let unavailable = |error: Error| match error {
            Error::Refused { message, .. } => Error::Unavailable(message),
            other => other,
        };
        found.ok_or_else(|| unavailable(last))
    }

    /// Whether the server at `own` answers a new connection, be it to refuse it, and no other one
    /// supersedes its `timeline`.
    pub(super) async fn is_alive(&self, own: &Place, timeline: Timeline) -> bool {
        let looks = self.places().into_iter().map(async |place| {
            let is_own = place == *own;
            (is_own, self.look(place, None).await)
        });
        let mut looks: FuturesUnordered<_> = looks.collect();
        let mut alive = false;
        while let Some((is_own, look)) = looks.next().await {
            let answered = matches!(look, Ok(_) | Err(Error::Refused { .. }));
            if self.newest.supersedes(timeline) || is_own && !answered {
                return false;
            }
            alive |= is_own;
        }
        alive
    }

    /// Connects to one place. [`Error::Refused`] when the server there is up and not to be used.
    fn look(
        &self,
        place: Place,
        notices: Option<mpsc::Sender<String>>,
    ) -> LocalBoxFuture<'static, Result<Link, Error>> {
        let settings = self.clone();
        Box::pin(async move {
            let limit = settings.connect_limit;
            runtime::timeout(limit, settings.open(place, notices))
                .await
                .unwrap_or_else(|_| Err(Error::Unavailable("no answer in time".to_owned())))
        })
    }

    async fn open(
        &self,
        place: Place,
        notices: Option<mpsc::Sender<String>>,
    ) -> Result<Link, Error> {
        let unreachable = |error: std::io::Error| Error::Unavailable(error.to_string());
        let stream = self.connect_stream(&place).await.map_err(unreachable)?;
        let mut config = self.config.clone();
        let connector = match (&place, &self.tls) {
            (Place::Tcp(host, _), Some(tls)) => Some(tls.connector(host)?),
            _ => None,
        };
        config.ssl_mode(if connector.is_some() { SslMode::Require } else { SslMode::Disable });
        let connector = Connector::new(connector);
        let (client, connection) =
            config.connect_raw(stream, connector).await.map_err(|error| {
                match Error::from(error) {
                    // Nothing was asked for yet.
                    Error::OutcomeUnknown(why) => Error::Unavailable(why),
                    refused => refused,
                }
            })?;
        let mut link = Link::new(client, connection, notices, place, self.clone());
        link.timeline = look_closer(link.client()).await?;
        if !self.newest.admits(link.timeline) {
            return Err(Error::Unavailable("another server was promoted since".to_owned()));
        }
        Ok(link)
    }

    async fn connect_stream(&self, place: &Place) -> std::io::Result<Stream> {
        match place {
            Place::Unix(path) => runtime::connect_unix(path).await,
            Place::Tcp(_, address) => {
                runtime::connect_tcp(*address, self.connect_limit, self.silence_limit).await
            }
        }
    }
}

/// The timeline of a server that takes writes.
async fn look_closer(client: &Client) -> Result<Timeline, Error> {
    let row = client.query_one(include_str!("sql/is_read_only.sql"), &[]).await?;
    if row.get(0) {
        let message = "the server is read-only".to_owned();
        return Err(Error::Refused { code: "25006".to_owned(), message });
    }
    let timeline = client.query_one(include_str!("sql/timeline.sql"), &[]).await;
    match timeline.map_err(Error::from) {
        Ok(row) => Ok(Timeline::new(row.get(0), row.get(1))),
        // Some services that speak PostgreSQL's protocol have no WAL to show.
        Err(Error::Refused { .. }) => Ok(Timeline::UNKNOWN),
        Err(error) => Err(error),
    }
}
