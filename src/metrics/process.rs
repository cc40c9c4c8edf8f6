//! What the kernel says about this process.

use procfs::process::{LimitValue, Process as Files};

#[derive(Debug, Clone, Copy)]
pub(super) struct Process {
    pub user_micros: u64,
    pub system_micros: u64,
    pub resident_bytes: u64,
    pub virtual_bytes: u64,
    pub open_fds: u64,
    /// `None` without a limit.
    pub max_fds: Option<u64>,
}

/// `None` where there is no /proc.
pub(super) fn read() -> Option<Process> {
    let files = Files::myself().ok()?;
    let stat = files.stat().ok()?;
    let ticks = procfs::ticks_per_second().max(1);
    let micros = |count: u64| count.saturating_mul(1_000_000 / ticks);
    let max_fds = match files.limits().ok()?.max_open_files.soft_limit {
        LimitValue::Value(max) => Some(max),
        LimitValue::Unlimited => None,
    };
    Some(Process {
        user_micros: micros(stat.utime),
        system_micros: micros(stat.stime),
        resident_bytes: stat.rss.saturating_mul(procfs::page_size()),
        virtual_bytes: stat.vsize,
        open_fds: files.fd_count().ok()? as u64,
        max_fds,
    })
}
