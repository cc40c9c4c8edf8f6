//! What ordinary connections notice of bad neighbours: the latency of their pushes, alone and then
//! beside clients that never end a head, and beside those together that send a body byte by byte, do
//! not read, go away in the middle, or die while they wait.

use std::collections::VecDeque;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::harness::open_files;
use crate::lab::Lab;
use crate::open_loop;
use crate::wrk::Figures;

const CONNECTIONS: u32 = 32;
/// Of all of them: far below what the server can do, so that a wait is somebody else's doing.
const PUSHES_PER_SECOND: f64 = 1000.0;
const SLOW: usize = 2000;
/// Of them, one after another: so many get their byte at once.
const PARTS: u32 = 50;
const STOPPED_READERS: usize = 50;
/// Polls that are parked together, and killed together. With ten times as many, ten times as rarely,
/// what is measured is this machine's processors: making such a crowd takes one of them for a while.
const POLLS: usize = 20;
const PAUSE: Duration = Duration::from_millis(20);
/// What the sink keeps open: the slow ones, and others for a second or so.
const SINK_CONNECTIONS: usize = SLOW + STOPPED_READERS + 2000;
/// A byte every few seconds: each gets a few of them through before the server gives it up.
const SLOW_HEAD: Slow = Slow { begin: HEAD, then: b"x", round: Duration::from_secs(3) };
const HEAD: &[u8] = b"GET /health HTTP/1.1\r\nHost: bench\r\nX: ";
const SLOW_BODY: Slow = Slow { begin: PUSH, then: PUSH, round: Duration::from_secs(1) };
const PUSH: &[u8] = b"POST /api/v1/push HTTP/1.1\r\nHost: bench\r\nContent-Length: 1000\r\n\r\n{";
/// Until the slow ones are connected, and those who stop reading are no longer served.
const SETTLING: Duration = Duration::from_secs(10);
const POLL: &[u8] =
    b"GET /api/v1/pop/queue/nothing?wait=true&timeout=600000 HTTP/1.1\r\nHost: bench\r\n\r\n";
const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nHost: bench\r\n\r\n";

/// What a slow client sends, a byte in each round: the beginning, and then again and again the other.
#[derive(Clone, Copy)]
struct Slow {
    begin: &'static [u8],
    then: &'static [u8],
    round: Duration,
}

type Neighbour = fn(&str, &AtomicBool);

const SLOW_HEADS: &[Neighbour] = &[|address, ended| send_slowly(SLOW_HEAD, address, ended)];
const ALL: &[Neighbour] = &[
    stop_reading,
    |address, ended| send_slowly(SLOW_BODY, address, ended),
    leave_in_the_middle,
    die_waiting,
];

pub fn run(lab: &Lab) {
    open_files();
    // Where everything shares the CPUs, what is measured is how the kernel divides them.
    let separate = if lab.separate() { "a CPU of its own" } else { "no CPU of its own" };
    println!("Each of {} workers has {separate}.\n", lab.workers());
    let ordinary = || {
        let span = Duration::from_secs(lab.seconds());
        open_loop::pushes(lab, "ordinary", PUSHES_PER_SECOND, CONNECTIONS, span)
    };
    ordinary();
    println!(
        "| {CONNECTIONS} connections, {PUSHES_PER_SECOND} pushes/s | p50 ms | p99 ms | max ms | failed |"
    );
    println!("| --- | ---: | ---: | ---: | ---: |");
    let before = line("alone", &ordinary());
    let kinds = [("slow heads", SLOW_HEADS), ("bad neighbours", ALL)];
    let beside_them = kinds.map(|(name, neighbours)| {
        let elsewhere = beside(&sink(), neighbours, &format!("beside {name} of a sink"), ordinary);
        (name, elsewhere, beside(lab.address(), neighbours, &format!("beside {name}"), ordinary))
    });
    let after = line("alone again", &ordinary());
    let alone = f64::midpoint(before, after);
    println!();
    for (name, elsewhere, here) in beside_them {
        println!(
            "p99 beside {name}: {:.2} times that alone (aim: at most 2); {:.2} times where they \
             trouble a sink, so that only their own work and the kernel's is felt.",
            here / alone,
            elsewhere / alone
        );
    }
}

/// Measures while the server at `address` has bad neighbours, whose p99 it answers.
fn beside(
    address: &str,
    neighbours: &[Neighbour],
    what: &str,
    measure: impl Fn() -> Figures,
) -> f64 {
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        for neighbour in neighbours {
            let ended = &ended;
            scope.spawn(move || neighbour(address, ended));
        }
        thread::sleep(SETTLING);
        let p99 = line(what, &measure());
        ended.store(true, Ordering::Relaxed);
        p99
    })
}

/// A server that does the least: it accepts, and closes what it accepted long ago. It runs until the
/// program ends. Answers its address.
fn sink() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound").to_string();
    thread::spawn(move || {
        let mut kept = VecDeque::new();
        for stream in listener.incoming() {
            kept.push_back(stream);
            if kept.len() > SINK_CONNECTIONS {
                // Not of the first ones, which are slow or do not read.
                kept.remove(SLOW + STOPPED_READERS);
            }
        }
    });
    address
}

fn line(what: &str, figures: &Figures) -> f64 {
    println!(
        "| {what} | {:.2} | {:.2} | {:.1} | {} |",
        figures.p50_ms, figures.p99_ms, figures.max_ms, figures.failed
    );
    figures.p99_ms
}

fn connect(address: &str) -> TcpStream {
    TcpStream::connect(address).expect("the server listens")
}

/// Sends, and does not mind a server that has closed the connection.
fn send(stream: &mut TcpStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes);
}

/// The server cuts those off that take too long for a head; they begin again.
fn send_slowly(what: Slow, address: &str, ended: &AtomicBool) {
    let begin = || (connect(address), what.begin.iter().chain(what.then.iter().cycle()));
    let mut slow: Vec<_> = (0..SLOW).map(|_| begin()).collect();
    let pause = what.round / PARTS;
    loop {
        for some in slow.chunks_mut(SLOW.div_ceil(PARTS as usize)) {
            if ended.load(Ordering::Relaxed) {
                return;
            }
            for slow in some {
                let byte = slow.1.next().map_or(b' ', |byte| *byte);
                if slow.0.write_all(&[byte]).is_err() {
                    *slow = begin();
                }
            }
            thread::sleep(pause);
        }
    }
}

/// Connections with answers that nobody reads, more than the sockets hold.
fn stop_reading(address: &str, ended: &AtomicBool) {
    let requests = HEALTH.repeat(20_000);
    let stop = || {
        let mut stream = connect(address);
        stream.set_nonblocking(true).expect("a TCP socket has this mode");
        send(&mut stream, &requests);
        stream
    };
    let _stopped: Vec<TcpStream> = (0..STOPPED_READERS).map(|_| stop()).collect();
    while !ended.load(Ordering::Relaxed) {
        thread::sleep(PAUSE);
    }
}

fn leave_in_the_middle(address: &str, ended: &AtomicBool) {
    while !ended.load(Ordering::Relaxed) {
        for bytes in (1..PUSH.len()).step_by(8) {
            send(&mut connect(address), &PUSH[..bytes]);
        }
        thread::sleep(PAUSE);
    }
}

fn die_waiting(address: &str, ended: &AtomicBool) {
    while !ended.load(Ordering::Relaxed) {
        let mut polls: Vec<TcpStream> = (0..POLLS).map(|_| connect(address)).collect();
        for poll in &mut polls {
            send(poll, POLL);
        }
        thread::sleep(PAUSE);
    }
}
