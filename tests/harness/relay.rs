//! A network between a server and its PostgreSQL: a TCP port that leads to a unix socket, until it
//! swallows everything without a word.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

pub struct Relay {
    pub port: u16,
    swallows: Arc<AtomicBool>,
}

impl Relay {
    /// Relays to the cluster whose sockets are in this directory. The threads end with the test.
    pub fn to(socket_directory: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
        let port = listener.local_addr().expect("it is bound").port();
        let swallows = Arc::new(AtomicBool::new(false));
        let (target, flag) = (socket_directory.join(".s.PGSQL.5432"), Arc::clone(&swallows));
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let (target, flag) = (target.clone(), Arc::clone(&flag));
                thread::spawn(move || relay(&near, &target, &flag));
            }
        });
        Self { port, swallows }
    }

    /// From now on what is sent disappears, in both directions; also over new connections.
    pub fn swallow(&self) {
        self.swallows.store(true, Ordering::Release);
    }
}

fn relay(near: &TcpStream, target: &Path, swallows: &AtomicBool) {
    if swallows.load(Ordering::Acquire) {
        // Kept open until the other side gives up.
        pass(near, std::io::sink(), swallows);
        return;
    }
    // Dropping it tells the other side that nobody listens.
    let Ok(far) = UnixStream::connect(target) else { return };
    thread::scope(|scope| {
        scope.spawn(|| {
            pass(near, &far, swallows);
            let _ = far.shutdown(Shutdown::Both);
        });
        pass(&far, near, swallows);
        // What swallows does not say that the far end is gone either.
        if !swallows.load(Ordering::Acquire) {
            let _ = near.shutdown(Shutdown::Both);
        }
    });
}

fn pass(mut from: impl Read, mut to: impl Write, swallows: &AtomicBool) {
    let mut buffer = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if !swallows.load(Ordering::Acquire) && to.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
}
