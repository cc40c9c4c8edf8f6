//! What is counted, in the text format of Prometheus, version 0.0.4.
//!
//! The names of the public servers where they have them, else Prometheus's conventions: base units,
//! `_total` for what only grows. A family without a series is not written.

use ::prometheus::TextEncoder;
use ::prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use super::histogram::Counts;
use super::reason::{
    AckOutcome, CloseReason, ConnectOutcome, Family, Label, Limit, PushOutcome, TransactionOutcome,
    Work,
};
use super::totals::{ClusterTotals, Lags, Sum, precise, seconds};
use crate::http::Status;

/// The families that are written, in their order.
#[derive(Default)]
struct Page(Vec<MetricFamily>);

type Labels<'a> = &'a [(&'a str, &'a str)];

pub(super) fn write(sum: &Sum, lags: &Lags) -> Vec<u8> {
    let mut page = Page::default();
    write_process(&mut page, sum);
    write_http(&mut page, sum);
    write_messages(&mut page, sum);
    write_work(&mut page, sum);
    write_server(&mut page, sum);
    write_lags(&mut page, lags);
    page.0.retain(|family| !family.get_metric().is_empty());
    let text = TextEncoder::new().encode_to_string(&page.0);
    text.expect("every family has a name and a series").into_bytes()
}

impl Page {
    fn family(&mut self, name: &str, help: &str, kind: MetricType, series: Vec<Metric>) {
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(series);
        self.0.push(family);
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.family(name, help, MetricType::GAUGE, vec![gauge(&[], value)]);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, help, MetricType::COUNTER, vec![counter(&[], precise(value))]);
    }

    /// A counter for each variant of a label.
    fn tally<L: Label>(&mut self, name: &str, help: &str, label: &str, counts: &[u64]) {
        let series = L::ALL.iter().zip(counts);
        let series =
            series.map(|(value, count)| counter(&[(label, value.name())], precise(*count)));
        self.family(name, help, MetricType::COUNTER, series.collect());
    }

    fn histograms(&mut self, name: &str, help: &str, series: Vec<Metric>) {
        self.family(name, help, MetricType::HISTOGRAM, series);
    }
}

fn metric(labels: Labels<'_>) -> Metric {
    let pairs = labels.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    Metric::from_label(pairs.collect())
}

fn gauge(labels: Labels<'_>, value: f64) -> Metric {
    let (mut metric, mut gauge) = (metric(labels), Gauge::default());
    gauge.set_value(value);
    metric.set_gauge(gauge);
    metric
}

fn counter(labels: Labels<'_>, value: f64) -> Metric {
    let (mut metric, mut counter) = (metric(labels), Counter::default());
    counter.set_value(value);
    metric.set_counter(counter);
    metric
}

fn histogram<const FIRST: u32, const STEP: u32, const N: usize>(
    labels: Labels<'_>,
    counts: &Counts<FIRST, STEP, N>,
    shown: fn(u64) -> f64,
) -> Metric {
    let (mut metric, mut histogram) = (metric(labels), Histogram::default());
    let buckets = counts.cumulative().map(|(bound, below)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(shown(bound));
        bucket.set_cumulative_count(below);
        bucket
    });
    // The encoder adds the infinite one.
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(counts.count());
    histogram.set_sample_sum(shown(counts.sum()));
    metric.set_histogram(histogram);
    metric
}

fn flag(on: bool) -> f64 {
    f64::from(u8::from(on))
}

fn write_process(page: &mut Page, sum: &Sum) {
    page.gauge("queen_uptime_seconds", "Time since the start.", sum.uptime.as_secs_f64());
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    let help = "Always 1; the version is a label.";
    page.family("queen_build_info", help, MetricType::GAUGE, vec![gauge(&version, 1.0)]);
    let Some(process) = sum.process else { return };
    page.counter(
        "queen_cpu_user_microseconds_total",
        "Processor time in user mode.",
        process.user_micros,
    );
    page.counter(
        "queen_cpu_system_microseconds_total",
        "Processor time in the kernel.",
        process.system_micros,
    );
    let modes = [("user", process.user_micros), ("system", process.system_micros)];
    let modes = modes.map(|(mode, micros)| counter(&[("mode", mode)], seconds(micros)));
    let help = "Processor time by mode.";
    page.family("queen_process_cpu_seconds_total", help, MetricType::COUNTER, modes.to_vec());
    let gauges = [
        ("queen_process_resident_memory_bytes", "Resident memory.", process.resident_bytes),
        ("queen_process_virtual_memory_bytes", "Virtual memory.", process.virtual_bytes),
        ("queen_process_open_fds", "Open file descriptors.", process.open_fds),
    ];
    for (name, help, value) in gauges {
        page.gauge(name, help, precise(value));
    }
    if let Some(max) = process.max_fds {
        page.gauge("queen_process_max_fds", "Most file descriptors.", precise(max));
    }
}

fn write_http(page: &mut Page, sum: &Sum) {
    let mut answers = Vec::new();
    for family in Family::ALL {
        for (status, count) in Status::ALL.iter().zip(&sum.statuses[family.index()]) {
            if *count > 0 {
                let code = status.code().to_string();
                let labels = [("route", family.name()), ("status", &*code)];
                answers.push(counter(&labels, precise(*count)));
            }
        }
    }
    page.family(
        "queen_http_requests_total",
        "Answered requests by kind of route and status.",
        MetricType::COUNTER,
        answers,
    );
    let answered = Family::ALL.iter().map(|family| (family, &sum.latencies[family.index()]));
    let answered = answered.filter(|(_, counts)| counts.count() > 0);
    page.histograms(
        "queen_http_request_duration_seconds",
        "From a request's last byte read to its answer ready to be sent.",
        answered
            .map(|(family, counts)| histogram(&[("route", family.name())], counts, seconds))
            .collect(),
    );
    page.gauge("queen_connections", "Open connections of clients.", precise(sum.open()));
    page.counter("queen_connections_accepted_total", "Connections of clients.", sum.accepted);
    page.tally::<CloseReason>(
        "queen_connections_closed_total",
        "Connections of clients that ended, by reason.",
        "reason",
        &sum.closed,
    );
    page.tally::<Limit>(
        "queen_http_limited_total",
        "Requests and connections refused or cut off, by the limit that they reached.",
        "limit",
        &sum.limited,
    );
    page.gauge("queen_parked_polls", "Pops that wait for messages.", precise(sum.parked));
}

fn write_messages(page: &mut Page, sum: &Sum) {
    page.tally::<PushOutcome>(
        "queen_push_messages_total",
        "Pushed messages by what became of them.",
        "outcome",
        &sum.pushed,
    );
    page.counter("queen_pop_messages_total", "Delivered messages.", sum.delivered);
    page.counter("queen_pop_empty_total", "Pops that found nothing.", sum.pops_empty);
    page.tally::<AckOutcome>(
        "queen_ack_messages_total",
        "Acknowledged messages by what became of them.",
        "outcome",
        &sum.acked,
    );
    page.tally::<TransactionOutcome>(
        "queen_transactions_total",
        "Transactions by outcome.",
        "outcome",
        &sum.transactions,
    );
    let parked = sum.queues.iter().filter(|(_, counts)| counts.parked > 0);
    page.family(
        "queen_queue_parked_consumers",
        "Pops that wait for messages of a queue.",
        MetricType::GAUGE,
        parked.map(|(queue, counts)| gauge(&[("queue", queue)], precise(counts.parked))).collect(),
    );
    let queues = sum.queues.iter().map(|(queue, counts)| (queue, &counts.commit));
    let queues = queues.filter(|(_, counts)| counts.count() > 0);
    page.histograms(
        "queen_message_commit_seconds",
        "From a message's request read to its commit.",
        queues.map(|(queue, counts)| histogram(&[("queue", queue)], counts, seconds)).collect(),
    );
    let (mut deliveries, mut acks) = (Vec::new(), Vec::new());
    for ((queue, group), (delivery, ack)) in &sum.groups {
        let labels = [("queue", &**queue), ("group", &**group)];
        if delivery.count() > 0 {
            deliveries.push(histogram(&labels, delivery, seconds));
        }
        if ack.count() > 0 {
            acks.push(histogram(&labels, ack, seconds));
        }
    }
    page.histograms(
        "queen_message_delivery_seconds",
        "From the time a message was stored to each delivery.",
        deliveries,
    );
    page.histograms(
        "queen_message_ack_seconds",
        "From a message's delivery to its acknowledgement.",
        acks,
    );
}

fn write_work(page: &mut Page, sum: &Sum) {
    let work = || Work::ALL.iter().map(|work| (work.name(), &sum.work[work.index()]));
    // Single operations carry no messages and are one request each.
    let batches = || work().filter(|(name, _)| *name != Work::Other.name());
    let series =
        work().map(|(name, counts)| histogram(&[("work", name)], &counts.latency, seconds));
    page.histograms(
        "queen_db_work_seconds",
        "Time of a PostgreSQL connection for one batch.",
        series.collect(),
    );
    let series =
        batches().map(|(name, counts)| histogram(&[("work", name)], &counts.requests, precise));
    page.histograms("queen_db_work_requests", "Requests in one batch.", series.collect());
    let series =
        batches().map(|(name, counts)| histogram(&[("work", name)], &counts.messages, precise));
    page.histograms("queen_db_work_messages", "Messages in one batch.", series.collect());
    page.tally::<ConnectOutcome>(
        "queen_db_connects_total",
        "Attempts to connect to PostgreSQL.",
        "outcome",
        &sum.connects,
    );
    let total = |each: fn(&super::CoreState) -> usize| -> f64 {
        precise(sum.cores.iter().map(|(core, _)| each(core) as u64).sum())
    };
    let (connected, busy) = (total(|core| core.lanes_connected), total(|core| core.lanes_busy));
    for (name, help, value) in [
        ("queen_db_pool_size", "Connections to PostgreSQL that are up.", connected),
        ("queen_db_pool_size_max", "Connections to keep.", total(|core| core.lanes)),
        ("queen_db_pool_idle", "Connections without work.", (connected - busy).max(0.0)),
        ("queen_db_pool_active", "Connections at work.", busy),
        ("queen_db_waiting", "Requests that wait for one.", total(|core| core.waiting)),
    ] {
        page.gauge(name, help, value);
    }
}

fn write_server(page: &mut Page, sum: &Sum) {
    let lags = sum.cores.iter().map(|(state, lag)| {
        let core = state.core.to_string();
        histogram(&[("core", &*core)], lag, seconds)
    });
    let lags = lags.collect();
    page.histograms("queen_loop_lag_seconds", "How much later than asked a core ran a task.", lags);
    let Some((state, _)) = sum.cores.first() else { return };
    let buffered = state.buffered.unwrap_or_default();
    let healthy = state.buffered.is_none_or(|buffered| buffered.healthy);
    for (name, help, value) in [
        ("queen_file_buffer_pending", "Messages in the file buffer.", precise(buffered.messages)),
        ("queen_file_buffer_bytes", "Bytes of its files.", precise(buffered.bytes)),
        ("queen_file_buffer_failed", "Records set aside.", precise(buffered.failed)),
        ("queen_file_buffer_db_healthy", "Whether its messages can be stored.", flag(healthy)),
        ("queen_maintenance_mode_enabled", "Push maintenance.", flag(state.push_maintenance)),
        ("queen_pop_maintenance_mode_enabled", "Pop maintenance.", flag(state.pop_maintenance)),
    ] {
        page.gauge(name, help, value);
    }
}

fn write_cluster(page: &mut Page, totals: &ClusterTotals) {
    let scope = ("scope", "cluster");
    let acked = totals.ack_completed + totals.ack_failed;
    for (name, help, value) in [
        ("queen_cluster_push_requests_total", "Pushes of all servers.", totals.push_requests),
        ("queen_cluster_pop_requests_total", "Pops of all servers.", totals.pop_requests),
        ("queen_cluster_ack_requests_total", "Acks of all servers.", totals.ack_requests),
        ("queen_cluster_transactions_total", "Committed transactions.", totals.transactions),
        ("queen_cluster_push_messages_total", "Messages pushed.", totals.push_messages),
        ("queen_cluster_pop_messages_total", "Messages delivered.", totals.pop_messages),
        ("queen_cluster_ack_messages_total", "Messages acknowledged.", acked),
        ("queen_cluster_db_errors_total", "Requests that failed within.", totals.db_errors),
        ("queen_cluster_dlq_total", "Messages that became dead letters.", totals.dead_letters),
    ] {
        let series = vec![counter(&[scope], precise(value))];
        page.family(name, help, MetricType::COUNTER, series);
    }
    let results = [("success", totals.ack_completed), ("failed", totals.ack_failed)];
    let results =
        results.map(|(result, count)| counter(&[scope, ("result", result)], precise(count)));
    let help = "Messages acknowledged, by result.";
    page.family("queen_cluster_ack_total", help, MetricType::COUNTER, results.to_vec());
}

#[expect(clippy::cast_precision_loss, reason = "what is shown may be rounded")]
fn write_lags(page: &mut Page, lags: &Lags) {
    let Some(read_at) = lags.read_at else { return };
    write_cluster(page, &lags.totals);
    let each = |value: fn(&super::Lag) -> i64| {
        let series = lags.groups.iter().map(move |lag| {
            gauge(&[("queue", &*lag.queue), ("group", &*lag.group)], value(lag) as f64)
        });
        series.collect::<Vec<_>>()
    };
    page.family(
        "queen_group_lag",
        "Messages that a group has left.",
        MetricType::GAUGE,
        each(|lag| lag.messages),
    );
    page.family(
        "queen_group_lag_seconds",
        "Age of the newest message where a group is furthest behind.",
        MetricType::GAUGE,
        each(|lag| lag.seconds),
    );
    let all: i64 = lags.dead_letters.iter().map(|(_, count)| count).sum();
    page.family(
        "queen_dlq_depth",
        "Dead letters.",
        MetricType::GAUGE,
        vec![gauge(&[("scope", "cluster")], all as f64)],
    );
    let series =
        lags.dead_letters.iter().map(|(queue, count)| gauge(&[("queue", queue)], *count as f64));
    let series = series.collect();
    page.family("queen_dlq_depth_by_queue", "Dead letters.", MetricType::GAUGE, series);
    page.gauge(
        "queen_lag_age_seconds",
        "Since the lags and dead letters were read.",
        read_at.elapsed().as_secs_f64(),
    );
}
