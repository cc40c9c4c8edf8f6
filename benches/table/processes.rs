//! What processes cost, from `/proc`.

use std::fs;

use queen::runtime::allowed_cpus;

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
    threads_of(process).len()
}

fn threads_of(process: u32) -> Vec<u32> {
    let entries = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Gives each worker of the server a CPU that nothing else of the bench runs on: not PostgreSQL, nor
/// whoever makes load. Answers whether there are enough.
pub fn separate(server: u32, postmaster: u32, workers: usize) -> bool {
    let cpus = allowed_cpus();
    if cpus.len() <= workers {
        return false;
    }
    let (own, others) = cpus.split_at(workers);
    for thread in threads_of(server) {
        let name = fs::read_to_string(format!("/proc/{thread}/comm")).unwrap_or_default();
        let worker = name.trim().strip_prefix("core-").and_then(|core| core.parse::<usize>().ok());
        bind(thread, worker.map_or(others, |core| &own[core..=core]));
    }
    for process in children(postmaster).into_iter().chain([postmaster, std::process::id()]) {
        for thread in threads_of(process) {
            bind(thread, others);
        }
    }
    true
}

fn bind(thread: u32, cpus: &[usize]) {
    // SAFETY: the set is plain bits, for which zero is valid; `cpus` are of this machine, and the call
    // reads the set only.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        for cpu in cpus {
            libc::CPU_SET(*cpu, &mut set);
        }
        let thread = libc::pid_t::try_from(thread).expect("it is a thread's id");
        // A thread that has ended needs no CPU.
        libc::sched_setaffinity(thread, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}

/// Resident memory in MB.
pub fn resident_mb(process: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    let kb: f64 = line.trim().trim_end_matches(" kB").parse().unwrap_or(0.0);
    kb / 1024.0
}
