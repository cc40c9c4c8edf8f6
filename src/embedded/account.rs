//! The user PostgreSQL's processes run as.
//!
//! PostgreSQL refuses to run as root, so a server started by root gives its children another
//! user: the owner of the cluster, else `postgres`, else `nobody`. Every child also gets a clean
//! signal mask, because this process blocks the signals it waits for, and is cut off from the terminal,
//! because Ctrl-C goes to the whole foreground group and the server must stop first.

use std::ffi::CStr;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Nobody but the owner; PostgreSQL insists on it for its directory.
const PRIVATE_MODE: u32 = 0o700;

/// Names to try for root, in order.
const UNPRIVILEGED: [&CStr; 2] = [c"postgres", c"nobody"];

/// Enough for any line of the user database; the call fails rather than cuts.
const PASSWD_BYTES_MAX: usize = 16 * 1024;

#[derive(Clone, Debug)]
pub(super) struct Account {
    uid: u32,
    gid: u32,
    /// Whether children must change user; false when this process is not root.
    switch: bool,
}

impl Account {
    /// The user for the cluster in `directory`, which need not exist yet.
    pub(super) fn of_cluster(directory: &Path) -> Result<Account, String> {
        // SAFETY: these take nothing and cannot fail.
        let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
        if uid != 0 {
            return Ok(Account { uid, gid, switch: false });
        }
        if let Some(owner) = fs::metadata(directory).ok().filter(|meta| meta.uid() != 0) {
            return Ok(Account { uid: owner.uid(), gid: owner.gid(), switch: true });
        }
        UNPRIVILEGED
            .iter()
            .find_map(|name| lookup(name))
            .map(|(uid, gid)| Account { uid, gid, switch: true })
            .ok_or_else(|| {
                "PostgreSQL does not run as root and there is no user postgres or nobody; create \
                 one"
                .to_owned()
            })
    }

    /// A child that runs as this user, detached from the terminal, outside every directory.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/").stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            // PGDATA, PGPORT and their like are meant for somebody else's PostgreSQL.
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        command.env("LC_ALL", "C");
        if self.switch {
            // Also drops root's supplementary groups.
            command.gid(self.gid).uid(self.uid);
        }
        // SAFETY: between fork and exec only async-signal-safe calls are made, on local data.
        unsafe { command.pre_exec(detach) };
        command
    }

    /// A child that also ends when this process does, for work that is useless half done.
    pub(super) fn bound_command(&self, program: &Path) -> Command {
        let mut command = self.command(program);
        // SAFETY: prctl with these arguments changes only the calling process and is a plain
        // system call.
        unsafe {
            command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            })
        };
        command
    }

    /// Gives a directory to this user and to nobody else.
    pub(super) fn own_directory(&self, path: &Path) -> io::Result<()> {
        self.own(path, PRIVATE_MODE)
    }

    /// Gives a file to this user and to nobody else.
    pub(super) fn own_file(&self, path: &Path) -> io::Result<()> {
        self.own(path, PRIVATE_MODE & 0o666)
    }

    fn own(&self, path: &Path, mode: u32) -> io::Result<()> {
        if self.switch {
            std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid))?;
        }
        fs::set_permissions(path, Permissions::from_mode(mode))
    }

    pub(super) fn owns(&self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir() && meta.uid() == self.uid)
    }

    /// The first directory on the way to `path` that this user may not enter.
    pub(super) fn obstacle(&self, path: &Path) -> Option<PathBuf> {
        let mut ancestors: Vec<&Path> = path.ancestors().collect();
        ancestors.reverse();
        ancestors.into_iter().find(|dir| !self.may_enter(dir)).map(Path::to_owned)
    }

    fn may_enter(&self, directory: &Path) -> bool {
        let Ok(meta) = fs::metadata(directory) else { return false };
        let bit = if meta.uid() == self.uid {
            0o100
        } else if meta.gid() == self.gid {
            0o010
        } else {
            0o001
        };
        meta.mode() & bit != 0
    }
}

/// Runs in the child between fork and exec.
fn detach() -> io::Result<()> {
    // SAFETY: sigemptyset fills the set it is given, sigprocmask and setsid touch only this
    // process, and all three are async-signal-safe.
    unsafe {
        let mut none = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut none);
        if libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) != 0
            || libc::setsid() < 0
        {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

fn lookup(name: &CStr) -> Option<(u32, u32)> {
    let mut buffer = vec![0; PASSWD_BYTES_MAX];
    let mut found = std::ptr::null_mut();
    // SAFETY: passwd is a plain C structure of integers and pointers, for which zero is valid.
    let mut entry = unsafe { std::mem::zeroed::<libc::passwd>() };
    // SAFETY: every pointer is to a live local, and the length is that of the buffer.
    let status = unsafe {
        libc::getpwnam_r(
            name.as_ptr(),
            &raw mut entry,
            buffer.as_mut_ptr(),
            buffer.len(),
            &raw mut found,
        )
    };
    (status == 0 && !found.is_null() && entry.pw_uid != 0).then_some((entry.pw_uid, entry.pw_gid))
}
