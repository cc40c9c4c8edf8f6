//! Signals to processes that the harness has started: killed, or stopped for a while.

use std::fs;

use super::cluster::Cluster;
use super::eventually;

pub fn signal(process: u32, signal: libc::c_int) {
    let process = libc::pid_t::try_from(process).expect("a process id fits");
    // SAFETY: kill takes two numbers. The process is a child of the test or of its cluster.
    let sent = unsafe { libc::kill(process, signal) };
    // A session may have ended by itself.
    let gone = std::io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH);
    assert!(sent == 0 || gone, "the process is ours");
}

/// The process of the cluster that started all others.
pub fn postmaster(cluster: &Cluster) -> u32 {
    let file = cluster.socket_directory().join("data/postmaster.pid");
    let lines = fs::read_to_string(file).expect("PostgreSQL is up");
    lines.lines().next().and_then(|line| line.parse().ok()).expect("its first line is a process id")
}

/// Who was started by a process and has not ended.
pub fn children(parent: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("Linux has it").flatten();
    let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    processes.filter(|process| parent_of(*process) == Some(parent)).collect()
}

/// `None` of one that has ended, waited for or not.
fn parent_of(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    fields.next()?.parse().ok().filter(|_| state != "Z")
}

/// SIGKILL to all of a PostgreSQL, which leaves everything lying about.
pub fn kill_postgres(cluster: &Cluster) {
    let all = everyone(cluster);
    for process in &all {
        signal(*process, libc::SIGKILL);
    }
    have_ended(&all);
}

/// SIGKILL to the postmaster; its sessions end by themselves, perhaps after a last commit.
pub fn kill_postmaster(cluster: &Cluster) {
    let all = everyone(cluster);
    signal(all[0], libc::SIGKILL);
    have_ended(&all);
}

/// The postmaster and those that it started.
fn everyone(cluster: &Cluster) -> Vec<u32> {
    let postmaster = postmaster(cluster);
    [vec![postmaster], children(postmaster)].concat()
}

pub fn have_ended(processes: &[u32]) {
    eventually("PostgreSQL is dead", || {
        processes.iter().all(|process| parent_of(*process).is_none()).then_some(())
    });
}

/// A signal is sent sooner than every thread obeys it. Who has ended stands still too.
fn stands_still(process: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let lines = threads.filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
    let states = lines.filter_map(|stat| stat.rsplit_once(") ")?.1.chars().next());
    states.into_iter().all(|state| "TZX".contains(state))
}

/// Processes that stand still until this is dropped.
pub struct Stopped(Vec<u32>);

impl Stopped {
    pub fn new(processes: Vec<u32>) -> Self {
        let stopped = Self(processes);
        for process in &stopped.0 {
            signal(*process, libc::SIGSTOP);
            eventually("it stands still", || stands_still(*process).then_some(()));
        }
        stopped
    }

    pub fn postgres(cluster: &Cluster) -> Self {
        let postmaster = postmaster(cluster);
        // First the one that starts others.
        let first = Self::new(vec![postmaster]);
        let mut all = Self::new(children(postmaster));
        all.0.extend(&first.0);
        std::mem::forget(first);
        all
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        for process in &self.0 {
            signal(*process, libc::SIGCONT);
        }
    }
}
