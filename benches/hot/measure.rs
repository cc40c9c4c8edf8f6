//! Runs a piece under criterion and remembers what it allocates.

use std::hint::black_box;
use std::io::{self, Write};
use std::time::Duration;

use criterion::{Criterion, Throughput};

use super::allocations::{self, Allocated};

/// Short: a piece takes microseconds at most, so a second holds very many.
const WARM_UP: Duration = Duration::from_millis(500);
const MEASUREMENT: Duration = Duration::from_secs(1);

pub struct Measure {
    criterion: Criterion,
    allocated: Vec<(String, Allocated)>,
}

impl Measure {
    pub fn new() -> Self {
        let criterion = Criterion::default()
            .warm_up_time(WARM_UP)
            .measurement_time(MEASUREMENT)
            .configure_from_args();
        Self { criterion, allocated: Vec::new() }
    }

    /// Measures `work`, which does `throughput` at each call. Its first call is not counted, so
    /// buffers that are kept between calls have their size.
    pub fn piece<T>(
        &mut self,
        group: &str,
        name: &str,
        throughput: Throughput,
        mut work: impl FnMut() -> T,
    ) {
        black_box(work());
        let allocated = allocations::of(|| black_box(work()));
        self.allocated.push((format!("{group}/{name}"), allocated));
        let mut group = self.criterion.benchmark_group(group);
        group.throughput(throughput);
        group.bench_function(name, |bencher| bencher.iter(&mut work));
        group.finish();
    }

    pub fn finish(self) {
        self.criterion.final_summary();
        let mut out = io::stdout().lock();
        // Nobody is left to tell when standard output is closed.
        let _ = writeln!(out, "{:<44} {:>12} {:>12}", "for each call", "allocations", "bytes");
        for (name, Allocated { count, bytes }) in &self.allocated {
            let _ = writeln!(out, "{name:<44} {count:>12} {bytes:>12}");
        }
    }
}
