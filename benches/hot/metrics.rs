//! What counting adds to a request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::Throughput;
use queen::http::Status;
use queen::metrics::{Family, Metrics, PushOutcome, Work};

use super::measure::Measure;

pub fn measure(measure: &mut Measure) {
    let metrics = Metrics::default();
    let queue = metrics.queue(&Arc::from("q"));
    let begun = Instant::now();
    measure.piece("metrics", "read the clock", Throughput::Elements(1), || begun.elapsed());
    // The time differs from request to request, and so do the buckets.
    let mut n = 0;
    measure.piece("metrics", "count a push of one", Throughput::Elements(1), || {
        n = (n + 7919) % 100_000;
        let after = Duration::from_micros(n);
        metrics.answered(Family::Push, Status::Created, after);
        metrics.pushed(PushOutcome::Queued, 1);
        queue.committed(after, 1);
    });
    measure.piece("metrics", "count a batch", Throughput::Elements(1), || {
        n = (n + 7919) % 100_000;
        metrics.worked(Work::Push, 20, 20, Duration::from_micros(n));
    });
}
