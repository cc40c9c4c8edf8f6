//! Servers of one database tell each other which partitions grew, so that a poll on one is woken
//! by a push on another.
//!
//! News are coalesced into one notification every few milliseconds, and only while another server
//! has been heard. A server says hello when it starts and every few seconds. Whoever hears a new
//! one answers, and lets its cores scan again, because until now neither told the other anything.
//! News may be lost; the scans of waiting polls find what they were about.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use futures_channel::oneshot;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::collector::Collector;
use crate::ids::{GroupId, PartitionId};
use crate::pg::{self, ConnectSettings, NOTICE_BYTES_MAX, NoticeSender};
use crate::queue::{Errand, Known, Labels, Message, Notice};
use crate::runtime;
use crate::runtime::mailbox::{Address, Mailbox};

/// How long news collect before they are sent.
const COALESCE: Duration = Duration::from_millis(2);
const HELLO_INTERVAL: Duration = Duration::from_secs(2);
/// A server that was not heard for so long is gone.
const PEER_SILENCE_MAX: Duration = Duration::from_secs(7);
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);
/// News that wait to be sent. More are dropped: the other servers are told to scan instead.
const WAITING_MAX: usize = 100_000;

/// One notification.
#[derive(Debug, Serialize, Deserialize)]
struct Packet {
    server: Uuid,
    news: Vec<News>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum News {
    Hello,
    Grew {
        #[serde(flatten)]
        of: Place,
    },
    Released {
        #[serde(flatten)]
        of: Place,
        group: Arc<str>,
        pending: bool,
    },
    Changed {
        queue: Arc<str>,
        deleted: bool,
    },
    Regrouped {
        queue: Arc<str>,
        group: Arc<str>,
        id: i64,
    },
    /// There was too much to tell.
    Scan,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Place {
    partition: i64,
    name: Arc<str>,
    #[serde(flatten)]
    labels: Arc<Labels>,
}

/// The talk of this server with the others.
pub struct Peers {
    server: Uuid,
    settings: ConnectSettings,
    cores: Vec<Address<Message>>,
    waiting: RefCell<Vec<News>>,
    /// Wakes the task that sends.
    sender: Cell<Option<Waker>>,
    heard: RefCell<HashMap<Uuid, Instant>>,
    stopping: Cell<bool>,
}

impl Peers {
    /// Runs until it is told to stop and all cores have ended; the chores stop first. Errands are passed on.
    pub async fn run(
        server: Uuid,
        settings: ConnectSettings,
        cores: Vec<Address<Message>>,
        mut notices: Mailbox<Notice>,
        collector: Rc<Collector>,
        errands: Address<Errand>,
        stop_chores: oneshot::Sender<Infallible>,
    ) {
        let mut stop_chores = Some(stop_chores);
        let peers = Rc::new(Self {
            server,
            settings,
            cores,
            waiting: RefCell::default(),
            sender: Cell::default(),
            heard: RefCell::default(),
            stopping: Cell::new(false),
        });
        runtime::spawn(Rc::clone(&peers).talk());
        while stop_chores.is_some() || !collector.all_ended() {
            let Some(notice) = notices.next().await else { break };
            let news = match notice {
                Notice::Stop => {
                    stop_chores = None;
                    continue;
                }
                Notice::Ended(snapshot) => {
                    collector.ended(*snapshot);
                    continue;
                }
                Notice::Scrape(scrape) => {
                    collector.take(scrape);
                    continue;
                }
                Notice::Refresh(reply) => {
                    collector.refresh(reply);
                    continue;
                }
                Notice::Errand(errand) => {
                    // Dropped when there are far too many, which is an error for who asked.
                    let _ = errands.try_send(errand);
                    continue;
                }
                notice => News::from_notice(notice),
            };
            let Some(news) = news else { continue };
            // What changed matters to a server that was not heard yet, too.
            let changed = matches!(news, News::Changed { .. } | News::Regrouped { .. });
            if changed || !peers.heard.borrow().is_empty() {
                peers.add(news);
            }
        }
        peers.stopping.set(true);
    }

    fn add(&self, news: News) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() >= WAITING_MAX {
            waiting.clear();
            waiting.push(News::Scan);
        }
        if waiting.last() != Some(&news) {
            waiting.push(news);
        }
        if let Some(sender) = self.sender.take() {
            sender.wake();
        }
    }

    /// Keeps a connection for notifications.
    async fn talk(self: Rc<Self>) {
        while !self.stopping.get() {
            match pg::listen(&self.settings).await {
                Ok((sender, mut receiver)) => {
                    self.broadcast(|| Some(Message::Stale)).await;
                    self.add(News::Hello);
                    let open = Rc::new(Cell::new(true));
                    runtime::spawn(Rc::clone(&self).send(sender, Rc::clone(&open)));
                    while let Some(payload) = receiver.next().await {
                        self.hear(&payload).await;
                    }
                    open.set(false);
                }
                Err(error) => tracing::debug!(%error, "no connection for notifications"),
            }
            runtime::sleep(RECONNECT_PAUSE).await;
        }
    }

    async fn send(self: Rc<Self>, sender: NoticeSender, open: Rc<Cell<bool>>) {
        let mut next_hello = Instant::now() + HELLO_INTERVAL;
        while open.get() && !self.stopping.get() {
            if Instant::now() >= next_hello {
                next_hello = Instant::now() + HELLO_INTERVAL;
                self.forget_silent().await;
                self.add(News::Hello);
            }
            let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
            for payload in packets(self.server, waiting) {
                if let Err(error) = sender.send(&payload).await {
                    tracing::debug!(%error, "a notification was not sent");
                    return;
                }
            }
            let quiet = next_hello.saturating_duration_since(Instant::now());
            if runtime::timeout(quiet, self.news_wait()).await.is_ok() {
                runtime::sleep(COALESCE).await;
            }
        }
    }

    /// Until there is something to send.
    async fn news_wait(&self) {
        poll_fn(|cx| {
            if !self.waiting.borrow().is_empty() {
                return Poll::Ready(());
            }
            self.sender.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    async fn forget_silent(&self) {
        let none_left = {
            let mut heard = self.heard.borrow_mut();
            let before = heard.len();
            heard.retain(|_, at| at.elapsed() < PEER_SILENCE_MAX);
            before > 0 && heard.is_empty()
        };
        if none_left {
            self.broadcast(|| Some(Message::Peers { present: false })).await;
        }
    }

    async fn hear(&self, payload: &str) {
        let packet: Packet = match serde_json::from_str(payload) {
            Ok(packet) => packet,
            Err(error) => {
                crate::seldom!(warn, %error, "a notification cannot be read");
                return;
            }
        };
        if packet.server == self.server {
            return;
        }
        let new = self.heard.borrow_mut().insert(packet.server, Instant::now()).is_none();
        if new {
            tracing::info!(server = %packet.server, "another server shares the database");
            self.add(News::Hello);
            self.broadcast(|| Some(Message::Peers { present: true })).await;
            self.broadcast(|| Some(Message::Stale)).await;
        }
        for news in packet.news {
            self.broadcast(|| news.to_message()).await;
        }
    }

    /// Sends a message to every worker core.
    async fn broadcast(&self, message: impl Fn() -> Option<Message>) {
        for core in &self.cores {
            if let Some(message) = message() {
                // A core that stopped needs no news.
                let _ = core.send(message).await;
            }
        }
    }
}

impl News {
    /// `None` for what other servers do not hear of.
    fn from_notice(notice: Notice) -> Option<Self> {
        Some(match notice {
            Notice::Grew(known) => Self::Grew { of: known.into() },
            Notice::Released { group, known, pending } => {
                Self::Released { of: known.into(), group, pending }
            }
            Notice::Changed { queue, deleted } => Self::Changed { queue, deleted },
            Notice::Regrouped { queue, group, id } => Self::Regrouped { queue, group, id: id.0 },
            Notice::Scrape(_)
            | Notice::Refresh(_)
            | Notice::Errand(_)
            | Notice::Ended(_)
            | Notice::Stop => return None,
        })
    }

    fn to_message(&self) -> Option<Message> {
        Some(match self.clone() {
            Self::Hello => return None,
            Self::Grew { of } => Message::Grew(of.into()),
            Self::Released { of, group, pending } => {
                Message::Released { group, known: of.into(), pending }
            }
            Self::Changed { queue, deleted } => Message::Changed { queue, deleted, done: None },
            Self::Regrouped { queue, group, id } => {
                Message::Regrouped { queue, group, id: GroupId(id), done: None }
            }
            Self::Scan => Message::Stale,
        })
    }
}

impl From<Known> for Place {
    fn from(Known { partition, name, labels }: Known) -> Self {
        Self { partition: partition.0, name, labels }
    }
}

impl From<Place> for Known {
    fn from(Place { partition, name, labels }: Place) -> Self {
        Self { partition: PartitionId(partition), name, labels }
    }
}

/// Notifications that are short enough; news that are not become a reason to scan.
fn packets(server: Uuid, news: Vec<News>) -> Vec<String> {
    let encode = |news: Vec<News>| {
        serde_json::to_string(&Packet { server, news }).expect("news have string keys only")
    };
    let envelope = encode(Vec::new()).len();
    let mut packets = Vec::new();
    let mut open = Vec::new();
    let mut bytes = envelope;
    for news in news {
        let mut size = serde_json::to_string(&news).map_or(usize::MAX, |text| text.len() + 1);
        let mut news = news;
        if size > NOTICE_BYTES_MAX - envelope {
            news = News::Scan;
            size = "\"scan\",".len();
        }
        if bytes + size > NOTICE_BYTES_MAX {
            packets.push(encode(std::mem::take(&mut open)));
            bytes = envelope;
        }
        bytes += size;
        open.push(news);
    }
    if !open.is_empty() {
        packets.push(encode(open));
    }
    packets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_short_enough_and_lose_nothing() {
        let name: Arc<str> = Arc::from("\u{1}".repeat(255));
        let news: Vec<News> = (0..50)
            .map(|partition| {
                let (queue, namespace, task) = (name.clone(), name.clone(), name.clone());
                let labels = Arc::new(Labels { queue, namespace, task, priority: 0 });
                News::Grew { of: Place { partition, name: name.clone(), labels } }
            })
            .collect();
        let packets = packets(Uuid::nil(), news.clone());
        assert!(packets.iter().all(|packet| packet.len() <= NOTICE_BYTES_MAX));
        let read: Vec<News> = packets
            .iter()
            .flat_map(|packet| serde_json::from_str::<Packet>(packet).unwrap().news)
            .collect();
        assert_eq!(read, news);
    }
}
