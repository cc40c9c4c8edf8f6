//! What processes cost, from `/proc`.

use std::fs;

/// Microseconds of a clock tick: `sysconf(_SC_CLK_TCK)` is 100 on every Linux.
const TICK_US: u64 = 10_000;

/// CPU microseconds, in user mode and in the kernel, of a process and its living and awaited children.
pub fn family_us(process: u32) -> u64 {
    let own = ticks(process, true).unwrap_or(0);
    let living = children(process).into_iter().filter_map(|child| ticks(child, false));
    (own + living.sum::<u64>()) * TICK_US
}

fn ticks(process: u32, with_awaited: bool) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let fields: Vec<u64> = stat[stat.rfind(')')? + 2..]
        .split(' ')
        .skip(11)
        .take(4)
        .filter_map(|field| field.parse().ok())
        .collect();
    Some(fields.iter().take(if with_awaited { 4 } else { 2 }).sum())
}

fn children(process: u32) -> Vec<u32> {
    let path = format!("/proc/{process}/task/{process}/children");
    let list = fs::read_to_string(path).unwrap_or_default();
    list.split_whitespace().filter_map(|id| id.parse().ok()).collect()
}

pub fn threads(process: u32) -> usize {
    fs::read_dir(format!("/proc/{process}/task")).map_or(0, Iterator::count)
}

/// Resident memory in MB.
pub fn resident_mb(process: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    let kb: f64 = line.trim().trim_end_matches(" kB").parse().unwrap_or(0.0);
    kb / 1024.0
}
