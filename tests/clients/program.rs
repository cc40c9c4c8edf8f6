//! Programs that are clients: found or asked for, run to their end, and ended with the test.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;

use crate::harness::die_with_the_test;

/// The path of a program that must be there.
pub fn found(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Where Debian keeps servers, which a user's PATH may lack.
    let mut directories = std::env::split_paths(&path).chain([Path::new("/usr/sbin").to_owned()]);
    let program = directories.find_map(|directory| {
        let program = directory.join(name);
        program.is_file().then_some(program)
    });
    program.unwrap_or_else(|| panic!("{name} is not installed; scripts/setup --test installs it"))
}

/// What a program said and how it ended.
pub struct Output {
    pub status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Output {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub fn complaints(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// Lets a program die with the test, and gives it nothing of the environment that concerns
/// proxies or settings of the user.
pub fn tame(command: &mut Command) -> &mut Command {
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "NODE_OPTIONS"] {
        command.env_remove(name);
    }
    // SAFETY: prctl is async-signal-safe and touches nothing but this new process.
    unsafe { command.pre_exec(die_with_the_test) }
}

/// Runs a program to its end. All of them have a limit of time of their own for each request.
pub fn run(command: &mut Command, input: &[u8]) -> Output {
    tame(command).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program can be run");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let output = thread::scope(|scope| {
        scope.spawn(move || {
            // A client that was refused does not read the rest.
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().expect("the child is ours")
    });
    Output { status: output.status, stdout: output.stdout, stderr: output.stderr }
}
