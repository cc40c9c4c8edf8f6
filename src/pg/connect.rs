//! Opens one connection: picks the host, connects the stream, and leaves the protocol to
//! tokio-postgres, whose connection task runs on the same core.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use futures_channel::mpsc;
use tokio_postgres::config::Host;
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls};

use super::Error;
use crate::runtime::{self, Stream};

/// How every connection of a server is made.
#[derive(Debug, Clone)]
pub struct ConnectSettings {
    pub config: Config,
    /// Addresses of each TCP host of `config`, looked up before the cores start: a look-up blocks.
    pub addresses: Vec<Vec<IpAddr>>,
    pub schema: String,
    pub connect_limit: Duration,
    pub statement_limit: Duration,
    pub lock_limit: Duration,
}

const PORT_DEFAULT: u16 = 5432;

/// The addresses of each TCP host of `config`. Blocks while names are looked up; a name without
/// addresses has none, and connecting says so.
pub fn look_up_addresses(config: &Config) -> Vec<Vec<IpAddr>> {
    let look_up = |host: &Host| match host {
        Host::Tcp(name) => (name.as_str(), PORT_DEFAULT)
            .to_socket_addrs()
            .map(|addresses| addresses.map(|address| address.ip()).collect())
            .unwrap_or_default(),
        Host::Unix(_) => Vec::new(),
    };
    config.get_hosts().iter().map(look_up).collect()
}

impl ConnectSettings {
    /// Whether each host has an address. A name that has none now never gets one.
    pub fn is_resolved(&self) -> bool {
        let mut hosts = self.config.get_hosts().iter().zip(&self.addresses);
        hosts.all(|(host, found)| matches!(host, Host::Unix(_)) || !found.is_empty())
    }

    /// Tries each host in turn; the error of the last one is returned.
    pub(super) async fn connect(&self) -> Result<Client, Error> {
        self.connect_for_notices(None).await
    }

    /// As [`Self::connect`]; the payloads of notifications go to `notices`. When it is full they
    /// are dropped; when it closes, the connection has ended.
    pub(super) async fn connect_for_notices(
        &self,
        notices: Option<mpsc::Sender<String>>,
    ) -> Result<Client, Error> {
        let mut last = Error::Unavailable("no host in the database settings".to_owned());
        for (i, host) in self.config.get_hosts().iter().enumerate() {
            let port = self.port(i);
            let attempt = runtime::timeout(
                self.connect_limit,
                self.connect_host(i, host, port, notices.clone()),
            );
            match attempt.await {
                Ok(Ok(client)) => return Ok(client),
                Ok(Err(error)) => last = error,
                Err(_) => last = Error::Unavailable("no answer in time".to_owned()),
            }
        }
        Err(last)
    }

    /// As libpq: one port for all hosts, or one for each.
    fn port(&self, host: usize) -> u16 {
        let ports = self.config.get_ports();
        ports.get(host).or(ports.first()).copied().unwrap_or(PORT_DEFAULT)
    }

    async fn connect_host(
        &self,
        index: usize,
        host: &Host,
        port: u16,
        notices: Option<mpsc::Sender<String>>,
    ) -> Result<Client, Error> {
        let stream = match host {
            Host::Unix(directory) => connect_socket_directory(directory, port).await,
            Host::Tcp(_) => {
                let addresses = self.addresses.get(index).map_or(&[][..], Vec::as_slice);
                self.connect_first(addresses, port).await
            }
        }
        .map_err(|error| Error::Unavailable(error.to_string()))?;
        let (client, connection) = self
            .config
            .connect_raw(stream, NoTls)
            .await
            .map_err(|error| Error::Unavailable(describe(&error)))?;
        runtime::spawn(run(connection, notices));
        Ok(client)
    }

    async fn connect_first(&self, addresses: &[IpAddr], port: u16) -> std::io::Result<Stream> {
        let mut last = std::io::Error::other("the host name has no address");
        for &address in addresses {
            let address = SocketAddr::new(address, port);
            match runtime::connect_tcp(address, self.connect_limit).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// Moves the connection's bytes until it ends.
async fn run(
    mut connection: Connection<Stream, NoTlsStream>,
    mut notices: Option<mpsc::Sender<String>>,
) {
    loop {
        match poll_fn(|cx| connection.poll_message(cx)).await {
            Some(Ok(AsyncMessage::Notification(notification))) => {
                if let Some(notices) = &mut notices {
                    let _ = notices.try_send(notification.payload().to_owned());
                }
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                tracing::debug!(%error, "a database connection ended");
                return;
            }
            None => return,
        }
    }
}

async fn connect_socket_directory(directory: &Path, port: u16) -> std::io::Result<Stream> {
    runtime::connect_unix(&directory.join(format!(".s.PGSQL.{port}"))).await
}

/// The server's own words when it has some.
fn describe(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |refusal| refusal.message().to_owned())
}
