//! The disk below PostgreSQL: how long a commit waits for it, and that no measurement waits for what
//! the one before it wrote.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::harness::cluster::Cluster;

/// What PostgreSQL writes at once.
const BLOCK: [u8; 8192] = [1; 8192];
/// Writes of one look.
const WRITES: usize = 200;
/// What a server that has run for a while has in files that are used again: a new file is filled with
/// zeros first, and commits wait for that. In MB.
const LOG_MB: u32 = 1000;

/// A write and its `fdatasync`, as `pg_test_fsync(1)` measures them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fdatasync {
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// Writes over what is there, as PostgreSQL writes its log.
pub fn fdatasync(directory: &Path) -> Fdatasync {
    let path = directory.join("fdatasync");
    let file = File::create(&path).expect("the scratch directory is writable");
    let offsets: Vec<u64> = (0..WRITES as u64).map(|n| n * BLOCK.len() as u64).collect();
    for offset in &offsets {
        file.write_all_at(&BLOCK, *offset).expect("there is room");
    }
    file.sync_all().expect("the disk works");
    let write = |offset: &u64| {
        let begun = Instant::now();
        file.write_all_at(&BLOCK, *offset).expect("there is room");
        file.sync_data().expect("the disk works");
        begun.elapsed()
    };
    let mut times: Vec<Duration> = offsets.iter().map(write).collect();
    // The next look makes its own.
    let _ = std::fs::remove_file(path);
    times.sort_unstable();
    let ms = |percent: usize| times[WRITES * percent / 100].as_secs_f64() * 1000.0;
    Fdatasync { p50_ms: ms(50), p99_ms: ms(99) }
}

/// Makes the log files of a new cluster, to be used again from here on.
pub fn age(cluster: &Cluster) {
    let fill = format!(
        "SELECT pg_logical_emit_message(false, 'bench', repeat('x', 1 << 20))
         FROM generate_series(1, {LOG_MB})"
    );
    let mut sql = cluster.admin();
    sql.execute(&fill, &[]).expect("there is room");
    sql.batch_execute("CHECKPOINT").expect("this is the superuser");
}

/// Writes down what PostgreSQL and the kernel have kept back.
pub fn settle(cluster: &Cluster) {
    cluster.admin().batch_execute("CHECKPOINT").expect("this is the superuser");
    // SAFETY: sync has no preconditions and cannot fail.
    unsafe { libc::sync() };
}
