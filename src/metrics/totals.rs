//! The sum of what the cores count, and whom it is written for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_channel::oneshot;

use super::counters::STATUSES;
use super::histogram::{DelayCounts, LatencyCounts};
use super::history::{Deletions, History, Period};
use super::labelled::{Admitted, GroupLabel, OTHER};
use super::process::{self, Process};
use super::reason::{
    AckOutcome, CloseReason, ConnectOutcome, Family, Limit, PushOutcome, TransactionOutcome, Work,
};
use super::snapshot::{CoreState, QueueCounts, Snapshot, WorkCounts, add_all};
use super::{json, prometheus};

/// How what is counted is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    Json,
    Prometheus,
}

/// Somebody asks for what the server counts.
#[derive(Debug)]
pub struct Scrape {
    pub view: View,
    pub reply: oneshot::Sender<Vec<u8>>,
}

/// What was written to the history when somebody asked for it.
#[derive(Debug, Clone, Copy)]
pub struct Refreshed {
    pub workers: usize,
    pub queues: usize,
}

/// What a group has left in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lag {
    pub queue: String,
    pub group: String,
    pub messages: i64,
    pub seconds: i64,
}

/// What all servers of the database did, as far as it is in the history.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClusterTotals {
    pub push_requests: u64,
    pub push_messages: u64,
    pub pop_requests: u64,
    pub pop_messages: u64,
    pub ack_requests: u64,
    pub ack_completed: u64,
    pub ack_failed: u64,
    pub dead_letters: u64,
    pub transactions: u64,
    pub db_errors: u64,
}

/// What was read from the database last, on the maintenance core's own time.
#[derive(Debug, Clone, Default)]
pub struct Lags {
    pub totals: ClusterTotals,
    pub groups: Vec<Lag>,
    /// Dead letters of each queue that has some.
    pub dead_letters: Vec<(String, i64)>,
    /// `None` until it was read once.
    pub read_at: Option<Instant>,
}

/// Between two figures that a rate is made of, at least.
const RATE_INTERVAL: Duration = Duration::from_secs(5);

/// A total at a time.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    requests: u64,
    messages: u64,
}

/// Adds up what the cores count. Lives as long as the server: who is told apart stays so.
pub struct Totals {
    started: Instant,
    queues: Admitted<Arc<str>>,
    groups: Admitted<GroupLabel>,
    /// The last two, at least the interval apart.
    samples: [Option<Sample>; 2],
    pub lags: Lags,
    history: History,
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            queues: Admitted::default(),
            groups: Admitted::default(),
            samples: [None; 2],
            lags: Lags::default(),
            history: History::default(),
        }
    }
}

/// Everything that is shown.
#[derive(Debug, Default)]
pub(super) struct Sum {
    pub uptime: Duration,
    pub process: Option<Process>,
    pub cores: Vec<(CoreState, LatencyCounts)>,
    pub statuses: [[u64; STATUSES]; Family::COUNT],
    pub latencies: [LatencyCounts; Family::COUNT],
    pub pushed: [u64; PushOutcome::COUNT],
    pub delivered: u64,
    pub pops_empty: u64,
    pub acked: [u64; AckOutcome::COUNT],
    pub transactions: [u64; TransactionOutcome::COUNT],
    pub accepted: u64,
    pub closed: [u64; CloseReason::COUNT],
    pub limited: [u64; Limit::COUNT],
    pub parked: u64,
    pub work: [WorkCounts; Work::COUNT],
    pub connects: [u64; ConnectOutcome::COUNT],
    pub queues: BTreeMap<Arc<str>, QueueCounts>,
    pub groups: BTreeMap<GroupLabel, (DelayCounts, DelayCounts)>,
    pub requests_per_second: f64,
    pub messages_per_second: f64,
}

impl Sum {
    pub fn requests(&self) -> u64 {
        self.statuses.iter().flatten().sum()
    }

    /// Pushed and delivered.
    pub fn messages(&self) -> u64 {
        self.pushed.iter().sum::<u64>() + self.delivered
    }

    pub fn open(&self) -> u64 {
        self.accepted.saturating_sub(self.closed.iter().sum())
    }

    fn add(&mut self, core: &Snapshot) {
        self.cores.push((core.state, core.loop_lag.clone()));
        for (own, other) in self.statuses.iter_mut().zip(&core.statuses) {
            add_all(own, other);
        }
        for (own, other) in self.latencies.iter_mut().zip(&core.latencies) {
            own.add(other);
        }
        add_all(&mut self.pushed, &core.pushed);
        self.delivered += core.delivered;
        self.pops_empty += core.pops_empty;
        add_all(&mut self.acked, &core.acked);
        add_all(&mut self.transactions, &core.transactions);
        self.accepted += core.accepted;
        add_all(&mut self.closed, &core.closed);
        add_all(&mut self.limited, &core.limited);
        self.parked += core.parked;
        for (own, other) in self.work.iter_mut().zip(&core.work) {
            own.requests.add(&other.requests);
            own.messages.add(&other.messages);
            own.latency.add(&other.latency);
        }
        add_all(&mut self.connects, &core.connects);
    }
}

impl Totals {
    /// The sum of the cores, written as asked.
    pub fn write(&mut self, cores: &[Snapshot], view: View) -> Vec<u8> {
        let mut sum = self.sum(cores);
        sum.process = process::read();
        match view {
            View::Json => json::write(&sum),
            View::Prometheus => prometheus::write(&sum, &self.lags),
        }
    }

    /// Takes note of how much was counted, for the rates, and of how the server is, for its history.
    pub fn sample(&mut self, cores: &[Snapshot]) {
        let mut sum = self.sum(cores);
        sum.process = process::read();
        self.history.sample(&sum);
    }

    /// What was counted since the last period that was written.
    pub fn period(&mut self, cores: &[Snapshot], deleted: &Deletions) -> Period {
        let mut sum = self.sum(cores);
        sum.process = process::read();
        for (name, counts) in deleted.counts() {
            let name = name.filter(|name| self.queues.admits(name));
            let name = name.unwrap_or_else(|| Arc::from(OTHER));
            add_all(&mut sum.queues.entry(name).or_default().deleted, &counts);
        }
        self.history.sample(&sum);
        self.history.period(cores, sum.queues)
    }

    /// The next period begins where this one ended.
    pub fn written(&mut self, period: Period) {
        self.history.written(period);
    }

    fn sum(&mut self, cores: &[Snapshot]) -> Sum {
        let mut sum = Sum { uptime: self.started.elapsed(), ..Sum::default() };
        for core in cores {
            sum.add(core);
            for (name, counts) in &core.queues {
                let name = name.as_ref().filter(|name| self.queues.admits(name));
                let name = name.map_or_else(|| Arc::from(OTHER), Arc::clone);
                sum.queues.entry(name).or_default().add(counts);
            }
            for (label, (delivery, ack)) in &core.groups {
                let label = label.as_ref().filter(|label| self.groups.admits(label));
                let other = || (Arc::from(OTHER), Arc::from(OTHER));
                let of = sum.groups.entry(label.map_or_else(other, Clone::clone)).or_default();
                of.0.add(delivery);
                of.1.add(ack);
            }
        }
        (sum.requests_per_second, sum.messages_per_second) =
            self.rates(sum.requests(), sum.messages());
        sum
    }

    fn rates(&mut self, requests: u64, messages: u64) -> (f64, f64) {
        let now = Sample { at: Instant::now(), requests, messages };
        let [older, newer] = self.samples;
        if newer.is_none_or(|newer| now.at - newer.at >= RATE_INTERVAL) {
            self.samples = [newer, Some(now)];
        }
        let Some(since) = older.or(newer) else { return (0.0, 0.0) };
        let seconds = (now.at - since.at).as_secs_f64();
        let rate = |now: u64, since: u64| {
            if seconds > 0.0 { precise(now.saturating_sub(since)) / seconds } else { 0.0 }
        };
        (rate(now.requests, since.requests), rate(now.messages, since.messages))
    }
}

/// A count as a figure that is shown, exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "what is shown may be rounded")]
pub(super) fn precise(count: u64) -> f64 {
    count as f64
}

/// Microseconds as seconds.
pub(super) fn seconds(micros: u64) -> f64 {
    precise(micros) / 1e6
}

#[cfg(test)]
mod tests {
    use super::super::{Metrics, labelled::LABELLED_MAX};
    use super::*;

    #[test]
    fn past_the_bound_the_sum_counts_queues_together_whatever_they_are_called() {
        let cores = [Metrics::default(), Metrics::default()];
        for (core, metrics) in cores.iter().enumerate() {
            for n in 0..LABELLED_MAX {
                let name: Arc<str> = Arc::from(format!("{core}-{n}"));
                metrics.queue(&name).committed(Duration::from_millis(1), 1);
                metrics.group(&name, &name).delivered(7, 1);
            }
        }
        cores[0].queue(&Arc::from(OTHER)).committed(Duration::from_millis(1), 1);
        let mut totals = Totals::default();
        for _ in 0..2 {
            let snapshots = cores.each_ref().map(|core| core.snapshot(CoreState::default()));
            let sum = totals.sum(&snapshots);
            assert_eq!((sum.queues.len(), sum.groups.len()), (LABELLED_MAX + 1, LABELLED_MAX + 1));
            let others = LABELLED_MAX as u64;
            assert_eq!(sum.queues[OTHER].commit.count(), others + 1);
            assert_eq!(
                sum.queues.values().map(|queue| queue.commit.count()).sum::<u64>(),
                2 * others + 1
            );
            assert_eq!(sum.groups[&(Arc::from(OTHER), Arc::from(OTHER))].0.count(), others);
        }
    }
}
