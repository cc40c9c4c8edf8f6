//! A network that breaks on purpose: forwards connections and does one harm after an exact count of
//! bytes in one direction, counted over all connections from the moment that it was told to.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::{PATIENCE, scratch};

/// The name of a PostgreSQL socket in its directory, at the default port.
const SOCKET: &str = ".s.PGSQL.5432";

/// Where bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From who has connected.
    Up,
    /// Back to it.
    Down,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// Both ends see the end of the connection.
    Cut,
    /// The receiver sees the end; what it sends still arrives.
    HalfClose,
    /// The bytes wait until [`Proxy::release`], however long the ends still care.
    Stall,
    Delay(Duration),
}

enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Socket {
    fn another(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Unix(socket) => Self::Unix(socket.try_clone()?),
            Self::Tcp(socket) => Self::Tcp(socket.try_clone()?),
        })
    }

    fn close(&self, how: Shutdown) {
        // The other end may have closed it already, which is as good.
        let _ = match self {
            Self::Unix(socket) => socket.shutdown(how),
            Self::Tcp(socket) => socket.shutdown(how),
        };
    }

    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(socket) => socket.read(bytes),
            Self::Tcp(socket) => socket.read(bytes),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Unix(socket) => socket.write_all(bytes),
            Self::Tcp(socket) => socket.write_all(bytes),
        }
    }
}

struct Plan {
    way: Way,
    bytes_left: usize,
    harm: Harm,
}

#[derive(Default)]
struct State {
    plan: Mutex<Option<Plan>>,
    done: AtomicU64,
    stalled: Mutex<bool>,
    released: Condvar,
    over: AtomicBool,
    sockets: Mutex<Vec<Socket>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// How many of `count` bytes pass before the harm, when it is due within them.
    fn due(&self, way: Way, count: usize) -> Option<(usize, Harm)> {
        let mut plan = lock(&self.plan);
        let planned = plan.as_mut().filter(|plan| plan.way == way)?;
        if planned.bytes_left > count {
            planned.bytes_left -= count;
            return None;
        }
        let due = (planned.bytes_left, planned.harm);
        *plan = None;
        if due.1 == Harm::Stall {
            *lock(&self.stalled) = true;
        }
        self.done.fetch_add(1, Ordering::AcqRel);
        Some(due)
    }

    fn wait_for_release(&self) {
        let stalled = lock(&self.stalled);
        drop(self.released.wait_while(stalled, |stalled| *stalled));
    }

    fn forward(&self, way: Way, mut from: Socket, mut to: Socket) -> io::Result<()> {
        let mut bytes = [0; 16 * 1024];
        loop {
            let count = from.read(&mut bytes).unwrap_or(0);
            if count == 0 {
                to.close(Shutdown::Write);
                return Ok(());
            }
            let Some((kept, harm)) = self.due(way, count) else {
                to.write_all(&bytes[..count])?;
                continue;
            };
            to.write_all(&bytes[..kept])?;
            match harm {
                Harm::Cut => {
                    to.close(Shutdown::Both);
                    from.close(Shutdown::Both);
                    return Ok(());
                }
                Harm::HalfClose => {
                    to.close(Shutdown::Write);
                    return Ok(());
                }
                Harm::Stall => self.wait_for_release(),
                Harm::Delay(time) => thread::sleep(time),
            }
            to.write_all(&bytes[kept..count])?;
        }
    }
}

/// Starts the threads of one connection.
fn join(state: &Arc<State>, near: Socket, far: Socket) -> io::Result<()> {
    lock(&state.sockets).extend([near.another()?, far.another()?]);
    for (way, from, to) in [(Way::Up, near.another()?, far.another()?), (Way::Down, far, near)] {
        let state = Arc::clone(state);
        // What cannot be forwarded is lost with its connection, as everywhere.
        thread::spawn(move || {
            if let (Ok(source), Err(_)) = (from.another(), state.forward(way, from, to)) {
                source.close(Shutdown::Both);
            }
        });
    }
    Ok(())
}

enum Place {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// Forwards until it is dropped, which cuts everything.
pub struct Proxy {
    state: Arc<State>,
    place: Place,
    _directory: Option<TempDir>,
}

impl Proxy {
    /// In front of a PostgreSQL on a unix socket.
    pub fn of_database(socket_directory: &Path) -> Self {
        let directory = scratch();
        let place = directory.path().join(SOCKET);
        let listener = UnixListener::bind(&place).expect("the directory is new");
        let (state, far) = (Arc::new(State::default()), socket_directory.join(SOCKET));
        let accepting = Arc::clone(&state);
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if accepting.over.load(Ordering::Acquire) {
                    return;
                }
                // A refusal is passed on as an end.
                if let Ok(far) = UnixStream::connect(&far) {
                    let _ = join(&accepting, Socket::Unix(near), Socket::Unix(far));
                }
            }
        });
        Self { state, place: Place::Unix(place), _directory: Some(directory) }
    }

    /// In front of a server.
    pub fn of_server(far: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let place = listener.local_addr().expect("it is bound");
        let state = Arc::new(State::default());
        let accepting = Arc::clone(&state);
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if accepting.over.load(Ordering::Acquire) {
                    return;
                }
                if let Ok(far) = TcpStream::connect(far) {
                    let _ = near.set_nodelay(true).and(far.set_nodelay(true));
                    let _ = join(&accepting, Socket::Tcp(near), Socket::Tcp(far));
                }
            }
        });
        Self { state, place: Place::Tcp(place), _directory: None }
    }

    /// What servers take for the directory of PostgreSQL's socket.
    pub fn directory(&self) -> &Path {
        let Place::Unix(socket) = &self.place else { panic!("it stands before a server") };
        socket.parent().expect("a socket is in a directory")
    }

    /// What clients take for the address of the server.
    pub fn address(&self) -> SocketAddr {
        let Place::Tcp(address) = self.place else { panic!("it stands before a database") };
        address
    }

    /// Lets `bytes` more pass in this direction and does the harm before the next one.
    pub fn plan(&self, way: Way, bytes: usize, harm: Harm) {
        *lock(&self.state.plan) = Some(Plan { way, bytes_left: bytes, harm });
    }

    /// No harm is planned any more.
    pub fn forget(&self) {
        *lock(&self.state.plan) = None;
    }

    /// How often harm was done.
    pub fn harms(&self) -> u64 {
        self.state.done.load(Ordering::Acquire)
    }

    /// Lets pass what was stalled.
    pub fn release(&self) {
        *lock(&self.state.stalled) = false;
        self.state.released.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::Release);
        self.release();
        for socket in lock(&self.state.sockets).drain(..) {
            socket.close(Shutdown::Both);
        }
        // Wakes the thread that accepts.
        match &self.place {
            Place::Unix(path) => drop(UnixStream::connect(path)),
            Place::Tcp(address) => drop(TcpStream::connect_timeout(address, PATIENCE)),
        }
    }
}
