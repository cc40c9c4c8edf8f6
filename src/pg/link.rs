//! One connection to a server, and the watch over it.
//!
//! A reply that does not come is a slow statement or a dead server. Whoever waits for one longer than
//! [`SUSPICION`] asks the server for a new connection: if it answers, the statement is slow and goes on,
//! up to its own limit; if not, or if another server was promoted, the connection is given up, and
//! with it everything that waits on it. That finds a stopped process, a hung disk and a network
//! that swallows packets alike.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_channel::{mpsc, oneshot};
use futures_util::future::{Either, select};
use tokio_postgres::{AsyncMessage, Client, Connection};

use super::connect::Place;
use super::timeline::Timeline;
use super::tls::Encrypted;
use super::{ConnectSettings, Error, Verdict};
use crate::runtime::{self, Stream};

/// A statement that runs for so long makes its connection suspect. Well above what a statement
/// takes, and above the patience of a push.
const SUSPICION: Duration = Duration::from_secs(1);
/// How much longer than the server's own limit a reply may take before the connection is given up.
const REPLY_GRACE: Duration = Duration::from_secs(1);
/// How long a connection that is not needed any more may take to say goodbye.
const GOODBYE_LIMIT: Duration = Duration::from_secs(1);

pub(super) struct Link {
    client: Client,
    place: Place,
    pub timeline: Timeline,
    settings: ConnectSettings,
    broken: Cell<bool>,
    /// Somebody who waits asks already.
    asking: Cell<bool>,
    /// Sent, it ends the connection's task at once; dropped, in peace.
    stop: RefCell<Option<oneshot::Sender<()>>>,
}

impl Link {
    pub fn new(
        client: Client,
        connection: Connection<Stream, Encrypted>,
        notices: Option<mpsc::Sender<String>>,
        place: Place,
        settings: ConnectSettings,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        runtime::spawn(run(connection, notices, stopped));
        Self {
            client,
            place,
            timeline: Timeline::UNKNOWN,
            settings,
            broken: Cell::new(false),
            asking: Cell::new(false),
            stop: RefCell::new(Some(stop)),
        }
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Whether the connection is of no more use.
    pub fn is_broken(&self) -> bool {
        self.broken.get() || self.client.is_closed() || self.is_superseded()
    }

    fn is_superseded(&self) -> bool {
        self.settings.newest.supersedes(self.timeline)
    }

    pub fn set_broken(&self) {
        self.broken.set(true);
    }

    /// Closes the connection whatever is on its way.
    fn give_up(&self) {
        self.set_broken();
        if let Some(stop) = self.stop.take() {
            // It may have ended by itself.
            let _ = stop.send(());
        }
    }

    /// Waits for a reply as long as the server can be expected to send it.
    pub async fn limited<T>(
        &self,
        call: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Error> {
        match select(pin!(call), pin!(self.doubt())).await {
            Either::Left((answer, _)) => answer.map_err(|error| {
                let error = Error::from(error);
                if error.verdict() == Verdict::Reconnect {
                    self.set_broken();
                }
                error
            }),
            Either::Right((why, _)) => {
                self.give_up();
                tracing::warn!(place = ?self.place, why, "a database connection was given up");
                Err(Error::OutcomeUnknown(why.to_owned()))
            }
        }
    }

    /// Returns when a reply that was awaited since this was called will not come.
    async fn doubt(&self) -> &'static str {
        let limit = self.settings.statement_limit;
        let deadline = (!limit.is_zero()).then(|| Instant::now() + limit + REPLY_GRACE);
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return "no reply in time";
            }
            runtime::sleep(left.map_or(SUSPICION, |left| left.min(SUSPICION))).await;
            if let Some(_asking) = Asking::begin(&self.asking)
                && !Box::pin(self.settings.is_alive(&self.place, self.timeline)).await
            {
                return "the server does not answer, or another one was promoted";
            }
        }
    }
}

/// Of those who wait on a connection one asks.
struct Asking<'a>(&'a Cell<bool>);

impl<'a> Asking<'a> {
    fn begin(asking: &'a Cell<bool>) -> Option<Self> {
        (!asking.replace(true)).then(|| Self(asking))
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// Moves the connection's bytes until it ends or is given up.
async fn run(
    connection: Connection<Stream, Encrypted>,
    notices: Option<mpsc::Sender<String>>,
    stopped: oneshot::Receiver<()>,
) {
    let moving = pin!(move_messages(connection, notices));
    if let Either::Right((Err(oneshot::Canceled), moving)) = select(moving, stopped).await {
        // Nobody holds it any more. A server that hangs need not hear of it.
        let _ = runtime::timeout(GOODBYE_LIMIT, moving).await;
    }
}

async fn move_messages(
    mut connection: Connection<Stream, Encrypted>,
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
