//! What the machine must grant before anything is started: locked memory, open files, io_uring, the
//! port.
//!
//! Each check tries the thing itself rather than reading version numbers, and each failure says
//! what to change. Without them the same troubles would surface deep inside a core.

use std::io;
use std::net::{TcpListener, ToSocketAddrs};

use crate::start::StartError;

/// Below this the runtime refuses to set up a ring, also with `CAP_IPC_LOCK`.
const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;

const SYSCTL_FILE: &str = "/proc/sys/kernel/io_uring_disabled";

const ADVICE_SYSCTL: &str = "the sysctl kernel.io_uring_disabled forbids it; set it to 0";
const ADVICE_SECCOMP: &str = "a seccomp profile forbids it, as containers do by default; allow the \
    io_uring_setup, io_uring_enter and io_uring_register calls, for docker with --security-opt \
    seccomp=unconfined or a profile of your own";
const ADVICE_KERNEL: &str = "the kernel has none or was built without it; Linux 5.11 or newer \
    with CONFIG_IO_URING is needed";
const ADVICE_LIMITS: &str = "raise the limits of open files and locked memory";

/// Every check that needs no database.
pub fn check(host: &str, port: u16) -> Result<(), StartError> {
    // In this order: older kernels charge the ring of the second check to the limit of the first.
    locked_memory()?;
    open_files();
    io_uring()?;
    address_is_free(host, port)
}

fn io_uring() -> Result<(), StartError> {
    // SAFETY: io_uring_params is plain integers, for which zero is valid and means "defaults". It
    // is 120 bytes long, checked by the array's type; the kernel writes only inside it.
    let descriptor = unsafe {
        let mut params = [0_u32; 30];
        libc::syscall(libc::SYS_io_uring_setup, 1, params.as_mut_ptr())
    };
    if let Ok(descriptor) = i32::try_from(descriptor)
        && descriptor >= 0
    {
        // SAFETY: the descriptor was just made and nobody else knows it.
        unsafe { libc::close(descriptor) };
        return Ok(());
    }
    let source = io::Error::last_os_error();
    let advice = match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) if disabled_by_sysctl() => ADVICE_SYSCTL,
        Some(libc::EPERM | libc::EACCES) => ADVICE_SECCOMP,
        Some(libc::ENOSYS) => ADVICE_KERNEL,
        _ => ADVICE_LIMITS,
    };
    Err(StartError::IoUring { source, advice })
}

/// 1 forbids it to processes without a group or capability, 2 to everybody.
fn disabled_by_sysctl() -> bool {
    std::fs::read_to_string(SYSCTL_FILE).is_ok_and(|text| text.trim() != "0")
}

/// Raises the soft limit as far as the hard one, and the hard one where that is allowed.
fn locked_memory() -> Result<(), StartError> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live structure of the right type.
    if unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) } != 0 {
        // Not allowed to ask: the runtime finds out by itself.
        return Ok(());
    }
    let hard = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
    let enough = libc::rlimit { rlim_cur: MEMLOCK_BYTES_MIN, rlim_max: MEMLOCK_BYTES_MIN };
    let reached = [hard, enough].into_iter().any(|wanted| {
        // SAFETY: setrlimit reads a live structure of the right type.
        wanted.rlim_cur >= MEMLOCK_BYTES_MIN
            && unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const wanted) } == 0
    });
    if reached || limit.rlim_cur >= MEMLOCK_BYTES_MIN {
        return Ok(());
    }
    Err(StartError::Memlock { have_kib: limit.rlim_max / 1024, need_kib: MEMLOCK_BYTES_MIN / 1024 })
}

/// Raises the soft limit as far as the hard one: each connection needs a descriptor, and the usual
/// soft limit of 1024 is made for programs that use select(2).
fn open_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live structure of the right type.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } == 0 {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: setrlimit reads a live structure of the right type. Where it is not allowed the
        // limit stays, and connections past it wait to be accepted.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    }
}

/// The cores listen with `SO_REUSEPORT`, with which a second server of the same user would share
/// the port in silence. A plain listener is refused instead.
fn address_is_free(host: &str, port: u16) -> Result<(), StartError> {
    let failed = |source| StartError::Listen { address: format!("{host}:{port}"), source };
    let addresses: Vec<_> = (host, port).to_socket_addrs().map_err(failed)?.collect();
    TcpListener::bind(addresses.as_slice()).map(drop).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_seen_and_port_zero_is_always_free() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let refused = address_is_free("127.0.0.1", port).unwrap_err().to_string();
        assert!(refused.contains(&format!("127.0.0.1:{port}")), "{refused}");
        address_is_free("127.0.0.1", 0).unwrap();
    }
}
