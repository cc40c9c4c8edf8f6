//! What a server counted in one period, as the rows that are stored of it.
//!
//! A period ends when its rows are written: where that fails, the next one begins where it began, so
//! nothing is lost but the resolution. A row has the names of the columns that it is for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::histogram::{Counts, DelayCounts, LatencyCounts};
use super::labelled::{Labelled, OTHER};
use super::process::Process;
use super::reason::{AckOutcome, Deletion, Family, Label, PushOutcome, Tally, TransactionOutcome};
use super::snapshot::{CoreState, QueueCounts, Snapshot};
use super::totals::Sum;
use crate::http::Status;

/// Queues that have a row of their own in one period, those with the most messages. Bounds what a server
/// stores: at one period a minute, 144000 rows a day.
const QUEUES_MAX: usize = 100;

/// What chores took from queues.
#[derive(Default)]
pub struct Deletions(Labelled<Arc<str>, Tally<{ Deletion::COUNT }>>);

impl Deletions {
    pub fn count(&self, queue: &str, what: Deletion, count: u64) {
        self.0.cells(Arc::from(queue)).add(what, count);
    }

    pub(super) fn counts(&self) -> Vec<(Option<Arc<str>>, [u64; Deletion::COUNT])> {
        self.0.read(Tally::counts)
    }
}

/// What samples saw: their sum, the least, the most and the last.
#[derive(Debug, Clone, Copy, Serialize)]
struct Spread([u64; 4]);

impl Default for Spread {
    fn default() -> Self {
        Self([0, u64::MAX, 0, 0])
    }
}

impl Spread {
    fn add(&mut self, value: u64) {
        let [sum, least, most, _] = self.0;
        self.0 = [sum + value, least.min(value), most.max(value), value];
    }
}

#[derive(Debug, Clone, Copy, Default, Serialize)]
struct ServerRow {
    seconds: u64,
    samples: u64,
    /// Hundredths of a percent of one processor.
    cpu_user: Spread,
    cpu_system: Spread,
    resident_bytes: Spread,
    virtual_bytes: Spread,
    pool_size: Spread,
    pool_idle: Spread,
    pool_active: Spread,
    waiting: Spread,
    connections: Spread,
    parked: Spread,
    buffered: Spread,
}

impl ServerRow {
    fn sample(&mut self, sum: &Sum, cpu: [u64; 2]) {
        let total = |of: fn(&CoreState) -> usize| -> u64 {
            sum.cores.iter().map(|(core, _)| of(core) as u64).sum()
        };
        let (connected, busy) = (total(|core| core.lanes_connected), total(|core| core.lanes_busy));
        let buffered = sum.cores.first().and_then(|(core, _)| core.buffered);
        self.samples += 1;
        self.cpu_user.add(cpu[0]);
        self.cpu_system.add(cpu[1]);
        self.resident_bytes.add(sum.process.map_or(0, |process| process.resident_bytes));
        self.virtual_bytes.add(sum.process.map_or(0, |process| process.virtual_bytes));
        self.pool_size.add(connected);
        self.pool_idle.add(connected.saturating_sub(busy));
        self.pool_active.add(busy);
        self.waiting.add(total(|core| core.waiting));
        self.connections.add(sum.open());
        self.parked.add(sum.parked);
        self.buffered.add(buffered.map_or(0, |buffered| buffered.messages));
    }
}

/// How a core was.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct WorkerGauges {
    samples: u64,
    pool_size: Spread,
    pool_idle: Spread,
    waiting: Spread,
}

impl WorkerGauges {
    fn sample(&mut self, core: &CoreState) {
        self.samples += 1;
        self.pool_size.add(core.lanes_connected as u64);
        self.pool_idle.add(core.lanes_connected.saturating_sub(core.lanes_busy) as u64);
        self.waiting.add(core.waiting as u64);
    }
}

/// What went through a core or a queue.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Flow {
    push_requests: u64,
    push_messages: u64,
    pop_requests: u64,
    pop_messages: u64,
    pop_empty: u64,
    ack_requests: u64,
    ack_completed: u64,
    ack_failed: u64,
    dead_letters: u64,
    transactions: u64,
    lag_count: u64,
    lag_micros: u64,
    lag_max_micros: u64,
}

impl Flow {
    fn acked(&mut self, outcomes: &[u64; AckOutcome::COUNT]) {
        let of = |outcome: AckOutcome| outcomes[outcome.index()];
        self.dead_letters = of(AckOutcome::DeadLetter);
        self.ack_completed = of(AckOutcome::Completed);
        self.ack_failed = of(AckOutcome::Failed) + of(AckOutcome::Retry) + self.dead_letters;
    }

    fn lag(&mut self, lag: &DelayCounts) {
        [self.lag_count, self.lag_micros, self.lag_max_micros] = summary(lag);
    }
}

fn summary<const F: u32, const S: u32, const N: usize>(counts: &Counts<F, S, N>) -> [u64; 3] {
    [counts.count(), counts.sum(), counts.upper_bound()]
}

#[derive(Debug, Serialize)]
struct WorkerRow {
    worker: usize,
    #[serde(flatten)]
    flow: Flow,
    requests: u64,
    db_errors: u64,
    loop_lag_count: u64,
    loop_lag_micros: u64,
    loop_lag_max_micros: u64,
    #[serde(flatten)]
    gauges: WorkerGauges,
}

impl WorkerRow {
    fn new(core: &Snapshot, before: Option<&Snapshot>, gauges: WorkerGauges) -> Self {
        let answers = |of: fn(Family, Status) -> bool| {
            count_answers(core, of) - before.map_or(0, |before| count_answers(before, of))
        };
        let counted = |of: fn(&Snapshot) -> u64| of(core) - before.map_or(0, of);
        let mut flow = Flow {
            push_requests: answers(|family, _| family == Family::Push),
            push_messages: counted(|core| {
                let of = |outcome: PushOutcome| core.pushed[outcome.index()];
                of(PushOutcome::Queued) + of(PushOutcome::Buffered)
            }),
            pop_requests: answers(|family, _| matches!(family, Family::Pop | Family::PopWait)),
            pop_messages: counted(|core| core.delivered),
            pop_empty: counted(|core| core.pops_empty),
            ack_requests: answers(|family, _| family == Family::Ack),
            transactions: counted(|core| core.transactions[TransactionOutcome::Committed.index()]),
            ..Flow::default()
        };
        let acked =
            |i: usize| core.acked[i] - before.map_or(0, |before: &Snapshot| before.acked[i]);
        flow.acked(&std::array::from_fn(acked));
        let none = (DelayCounts::default(), LatencyCounts::default());
        let (lag_before, loop_before) = before.map_or(none, |b| (lag_of(b), b.loop_lag.clone()));
        flow.lag(&lag_of(core).since(&lag_before));
        let [loop_lag_count, loop_lag_micros, loop_lag_max_micros] =
            summary(&core.loop_lag.since(&loop_before));
        Self {
            worker: core.state.core,
            flow,
            requests: answers(|_, _| true),
            // Who asks how the server is gets an answer, whatever it says.
            db_errors: answers(|family, status| {
                status.code() >= 500 && !matches!(family, Family::Health | Family::Metrics)
            }),
            loop_lag_count,
            loop_lag_micros,
            loop_lag_max_micros,
            gauges,
        }
    }
}

fn count_answers(core: &Snapshot, of: fn(Family, Status) -> bool) -> u64 {
    let families = Family::ALL.iter().zip(&core.statuses);
    let counts = families.flat_map(|(family, counts)| {
        Status::ALL.iter().zip(counts).filter(|(status, _)| of(*family, **status))
    });
    counts.map(|(_, count)| count).sum()
}

fn lag_of(core: &Snapshot) -> DelayCounts {
    let mut lag = DelayCounts::default();
    core.queues.iter().for_each(|(_, queue)| lag.add(&queue.delivery));
    lag
}

#[derive(Debug, Serialize)]
struct QueueRow {
    queue: Arc<str>,
    #[serde(flatten)]
    flow: Flow,
    parked: u64,
    retention_messages: u64,
    completed_messages: u64,
    evicted_messages: u64,
    partitions_created: u64,
    partitions_deleted: u64,
}

impl QueueRow {
    fn new(queue: Arc<str>, counts: &QueueCounts) -> Self {
        let mut flow = Flow {
            push_requests: counts.pushes,
            push_messages: counts.commit.count(),
            pop_requests: counts.pops,
            pop_messages: counts.delivery.count(),
            pop_empty: counts.pops_empty,
            ack_requests: counts.acks,
            transactions: counts.transactions,
            ..Flow::default()
        };
        flow.acked(&counts.acked);
        flow.lag(&counts.delivery);
        let deleted = |reason: Deletion| counts.deleted[reason.index()];
        Self {
            queue,
            flow,
            parked: counts.parked,
            retention_messages: deleted(Deletion::Retention),
            completed_messages: deleted(Deletion::Completed),
            evicted_messages: deleted(Deletion::Eviction),
            partitions_created: counts.partitions_created,
            partitions_deleted: deleted(Deletion::Partition),
        }
    }

    /// What rows are chosen by.
    fn weight(counts: &QueueCounts) -> u64 {
        let acked: u64 = counts.acked.iter().sum();
        let deleted: u64 = counts.deleted.iter().sum();
        let messages = counts.commit.count() + counts.delivery.count() + acked + deleted;
        messages
            + counts.pops_empty
            + counts.transactions
            + counts.parked
            + counts.partitions_created
    }
}

#[derive(Debug, Serialize)]
struct Rows {
    server: ServerRow,
    workers: Vec<WorkerRow>,
    queues: Vec<QueueRow>,
}

/// What had been counted when a period ended.
#[derive(Debug, Default)]
struct Base {
    at: Option<Instant>,
    cores: BTreeMap<usize, Snapshot>,
    queues: BTreeMap<Arc<str>, QueueCounts>,
}

/// A period that is not written yet.
#[derive(Debug)]
pub struct Period {
    rows: Rows,
    end: Base,
}

impl Period {
    /// Its rows: an object with the members `server`, `workers` and `queues`.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.rows).expect("rows have string keys only")
    }

    pub fn workers(&self) -> usize {
        self.rows.workers.len()
    }

    pub fn queues(&self) -> usize {
        self.rows.queues.len()
    }
}

/// The period that is under way.
#[derive(Debug, Default)]
pub struct History {
    begin: Base,
    server: ServerRow,
    workers: BTreeMap<usize, WorkerGauges>,
    process: Option<(Instant, Process)>,
}

impl History {
    pub(super) fn sample(&mut self, sum: &Sum) {
        let now = Instant::now();
        let cpu = match (self.process, sum.process) {
            (Some((at, before)), Some(process)) => {
                let share = |spent: u64, before: u64| {
                    let micros = u64::try_from((now - at).as_micros()).unwrap_or(1);
                    spent.saturating_sub(before) * 10_000 / micros.max(1)
                };
                [
                    share(process.user_micros, before.user_micros),
                    share(process.system_micros, before.system_micros),
                ]
            }
            _ => [0; 2],
        };
        self.process = sum.process.map(|process| (now, process));
        self.server.sample(sum, cpu);
        for (core, _) in &sum.cores {
            self.workers.entry(core.core).or_default().sample(core);
        }
    }

    pub(super) fn period(
        &self,
        cores: &[Snapshot],
        queues: BTreeMap<Arc<str>, QueueCounts>,
    ) -> Period {
        let now = Instant::now();
        let age = self.begin.at.map_or(Duration::ZERO, |begin| now - begin);
        let server = ServerRow { seconds: age.as_secs(), ..self.server };
        let workers = cores.iter().map(|core| {
            let worker = core.state.core;
            let gauges = self.workers.get(&worker).copied().unwrap_or_default();
            WorkerRow::new(core, self.begin.cores.get(&worker), gauges)
        });
        let since = queues.iter().map(|(queue, counts)| {
            let before = self.begin.queues.get(queue).cloned().unwrap_or_default();
            (Arc::clone(queue), counts.since(&before))
        });
        let rows = Rows { server, workers: workers.collect(), queues: choose(since) };
        let cores = cores.iter().map(|core| (core.state.core, core.clone())).collect();
        Period { rows, end: Base { at: Some(now), cores, queues } }
    }

    pub(super) fn written(&mut self, period: Period) {
        self.begin = period.end;
        self.server = ServerRow::default();
        self.workers.clear();
    }
}

/// Those that had most to do; the others are one row.
fn choose(queues: impl Iterator<Item = (Arc<str>, QueueCounts)>) -> Vec<QueueRow> {
    let busy = queues.filter(|(_, counts)| QueueRow::weight(counts) > 0);
    let (mut other, mut named): (Vec<_>, Vec<_>) = busy.partition(|(queue, _)| &**queue == OTHER);
    named.sort_by_key(|(_, counts)| std::cmp::Reverse(QueueRow::weight(counts)));
    other.extend(named.drain(QUEUES_MAX.min(named.len())..));
    if !other.is_empty() {
        let mut sum = QueueCounts::default();
        for (_, counts) in &other {
            sum.add(counts);
        }
        named.push((Arc::from(OTHER), sum));
    }
    named.into_iter().map(|(queue, counts)| QueueRow::new(queue, &counts)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Metrics, Totals};
    use super::*;

    fn rows(period: &Period) -> serde_json::Value {
        serde_json::from_str(&period.to_json()).unwrap()
    }

    #[test]
    fn a_period_has_what_was_counted_since_the_last_one_that_was_written() {
        let (core, deleted, mut totals) =
            (Metrics::default(), Deletions::default(), Totals::default());
        let mut period = || totals.period(&[core.snapshot(CoreState::default())], &deleted);
        let queue = core.queue(&Arc::from("q"));
        queue.committed(Duration::from_millis(1), 3);
        core.pushed(PushOutcome::Queued, 3);
        let first = period();
        deleted.count("q", Deletion::Retention, 2);
        let again = period();
        totals.written(again);
        let mut period = || totals.period(&[core.snapshot(CoreState::default())], &deleted);
        queue.committed(Duration::from_millis(1), 4);
        let second = period();
        assert_eq!(rows(&first)["queues"][0]["push_messages"], 3);
        assert_eq!(rows(&first)["workers"][0]["push_messages"], 3);
        let second = rows(&second);
        assert_eq!(second["queues"][0]["push_messages"], 4);
        assert_eq!(second["queues"][0]["retention_messages"], 0);
        assert_eq!(second["workers"][0]["push_messages"], 0);
        assert_eq!(second["server"]["samples"], 1);
    }

    #[test]
    fn the_busiest_queues_have_rows_and_the_others_share_one() {
        let queues = (0..QUEUES_MAX as u64 + 5).map(|n| {
            let counts = QueueCounts { pops_empty: n, ..QueueCounts::default() };
            (Arc::from(format!("q{n}")), counts)
        });
        let rows = choose(queues);
        assert_eq!(rows.len(), QUEUES_MAX + 1);
        let last = &rows[QUEUES_MAX];
        // One of them did nothing.
        assert_eq!((&*last.queue, last.flow.pop_empty), (OTHER, 1 + 2 + 3 + 4));
    }
}
