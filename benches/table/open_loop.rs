//! Open loops: requests leave by a schedule whatever became of those before, and a latency begins
//! when its request was due, so that a slow answer is not hidden by the requests that it delayed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::lab::Lab;
use crate::wrk::Figures;

/// Latencies above this count as this.
const LATENCY_US_MAX: u64 = 60_000_000;
/// Consumers that wait in the delivery loop.
const CONSUMERS: usize = 4;

/// A keep-alive connection that knows as much HTTP as it needs.
struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    fn to(lab: &Lab) -> Self {
        let stream = TcpStream::connect(lab.address()).expect("the server listens");
        stream.set_nodelay(true).expect("it is a TCP socket");
        Self { stream, received: Vec::new() }
    }

    fn post(&mut self, path: &str, body: &str) -> u16 {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.exchange(&request).0
    }

    /// Sends a request and answers the status and the body.
    fn exchange(&mut self, request: &str) -> (u16, String) {
        self.stream.write_all(request.as_bytes()).expect("the server reads");
        let head_end = loop {
            if let Some(at) = self.received.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            self.receive();
        };
        let head = String::from_utf8_lossy(&self.received[..head_end]).to_ascii_lowercase();
        let status = head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .map_or(0, |length| length.trim().parse().expect("a length is a number"));
        while self.received.len() < head_end + length {
            self.receive();
        }
        let body =
            String::from_utf8_lossy(&self.received[head_end..head_end + length]).into_owned();
        self.received.drain(..head_end + length);
        (status, body)
    }

    fn receive(&mut self) {
        let mut chunk = [0; 16 << 10];
        let count = self.stream.read(&mut chunk).expect("the server answers");
        assert!(count > 0, "the server closed the connection");
        self.received.extend_from_slice(&chunk[..count]);
    }
}

pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("the bounds are in order")
}

pub fn record(latencies: &mut Histogram<u64>, latency: Duration) {
    let us = u64::try_from(latency.as_micros()).unwrap_or(LATENCY_US_MAX);
    latencies.saturating_record(us.max(1));
}

fn figures(latencies: &Histogram<u64>, took: Duration, failed: u64) -> Figures {
    let ms = |us: u64| us as f64 / 1000.0;
    let rate = latencies.len() as f64 / took.as_secs_f64();
    Figures {
        requests_per_second: rate,
        p50_ms: ms(latencies.value_at_quantile(0.5)),
        p99_ms: ms(latencies.value_at_quantile(0.99)),
        max_ms: ms(latencies.max()),
        failed,
        messages_per_second: rate,
    }
}

/// Sleeps are cut short by at most a microsecond instead of 50.
fn sleep_precisely() {
    // SAFETY: PR_SET_TIMERSLACK takes a number of nanoseconds and no pointer.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1000) };
}

fn sleep_until(due: Instant) {
    thread::sleep(due.saturating_duration_since(Instant::now()));
}

/// Pushes of one message, `rate` a second over `connections`, to 100 partitions.
pub fn pushes(lab: &Lab, queue: &str, rate: f64, connections: u32, span: Duration) -> Figures {
    let begun = Instant::now() + Duration::from_millis(50);
    let interval = Duration::from_secs_f64(f64::from(connections) / rate);
    let payload = "x".repeat(lab.payload());
    let (mut latencies, mut failed) = (histogram(), 0);
    thread::scope(|scope| {
        let loops: Vec<_> = (0..connections)
            .map(|number| {
                let payload = &payload;
                let mut connection = Connection::to(lab);
                scope.spawn(move || {
                    sleep_precisely();
                    let (mut latencies, mut failed) = (histogram(), 0);
                    let mut due = begun + interval.mul_f64(f64::from(number) / f64::from(connections));
                    let mut at = number;
                    while due < begun + span {
                        sleep_until(due);
                        let body = format!(
                            r#"{{"items":[{{"queue":"{queue}","partition":"p{}","payload":{{"text":"{payload}"}}}}]}}"#,
                            at % 100
                        );
                        failed += u64::from(connection.post("/api/v1/push", &body) != 201);
                        record(&mut latencies, due.elapsed());
                        due += interval;
                        at += 1;
                    }
                    (latencies, failed)
                })
            })
            .collect();
        for each in loops {
            let (of_one, failed_of_one) = each.join().expect("no loop fails");
            latencies.add(of_one).expect("the bounds are the same");
            failed += failed_of_one;
        }
    });
    figures(&latencies, span, failed)
}

/// From the moment at which a push was due to the arrival of its message at a consumer that waits
/// for it: `rate` messages a second.
pub fn deliveries(lab: &Lab, queue: &str, rate: f64) -> Figures {
    let begun = Instant::now() + Duration::from_millis(200);
    let span = Duration::from_secs(lab.seconds());
    let ended = AtomicBool::new(false);
    let pop = format!(
        "GET /api/v1/pop/queue/{queue}?wait=true&timeout=1000&autoAck=true HTTP/1.1\r\n\
         Host: bench\r\n\r\n"
    );
    let mut latencies = histogram();
    let (mut failed, mut sent) = (0, 0);
    thread::scope(|scope| {
        let consumers: Vec<_> = (0..CONSUMERS)
            .map(|_| {
                let mut connection = Connection::to(lab);
                let (ended, pop) = (&ended, &pop);
                scope.spawn(move || {
                    let mut latencies = histogram();
                    while !ended.load(Ordering::Relaxed) {
                        let (_, body) = connection.exchange(pop);
                        if let Some(due) = due_of(&body) {
                            record(&mut latencies, begun.elapsed().saturating_sub(due));
                        }
                    }
                    latencies
                })
            })
            .collect();
        let mut producer = Connection::to(lab);
        sleep_precisely();
        let mut due = begun;
        while due < begun + span {
            sleep_until(due);
            let at = due.duration_since(begun).as_nanos();
            let body = format!(r#"{{"items":[{{"queue":"{queue}","payload":{{"due":{at}}}}}]}}"#);
            failed += u64::from(producer.post("/api/v1/push", &body) != 201);
            sent += 1;
            due += Duration::from_secs_f64(1.0 / rate);
        }
        // Consumers stop after their next answer, which may be the last message.
        ended.store(true, Ordering::Relaxed);
        for consumer in consumers {
            latencies.add(consumer.join().expect("no loop fails")).expect("the same bounds");
        }
    });
    // What nobody got is a failure, too.
    failed += sent - latencies.len().min(sent);
    figures(&latencies, span, failed)
}

/// The `due` of the message in an answer.
fn due_of(body: &str) -> Option<Duration> {
    let digits = &body[body.find(r#""due":"#)? + 6..];
    let end = digits.find(|c: char| !c.is_ascii_digit())?;
    digits[..end].parse().ok().map(Duration::from_nanos)
}
