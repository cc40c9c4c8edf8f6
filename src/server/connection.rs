//! One client connection: reads, lets the parser find requests, runs them one after another, and
//! writes the answers in order.
//!
//! Requests that were sent together are answered together: answers collect in the output buffer
//! until no whole request is left. While a poll waits, the socket is watched too, so a client that
//! went away is noticed; what it sends meanwhile is kept for later. A read that waits has taken no
//! bytes (see `runtime::socket`), so giving it up loses none.
//!
//! A request that has begun must arrive in time (see `limits`). The clock is only read for one that did
//! not arrive at once.
//!
//! What a connection holds is bounded: a request by the parser's limits, further requests behind a
//! poll by [`PIPELINED_BYTES_MAX`], answers by [`OUT_BYTES_MAX`] and one answer more. Room for a
//! request is made as its bytes come, not as they are announced.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::limits::{Guest, Polling, limit_of};
use super::worker::{Core, InFlight};
use crate::api::{self, Answer, Undo};
use crate::http::response::{self, Connection as Persistence, Options};
use crate::http::{Method, Parsed, Reject, Request, RequestParser, Status, Step};
use crate::metrics::{CloseReason, Family, Limit};
use crate::queue::Engine;
use crate::runtime::{self, Stream};

/// Read at once. Most requests fit, and each connection keeps this much.
const READ_BYTES: usize = 4 << 10;
/// The room that is made on a client's word for how much it will send.
const READ_AHEAD_BYTES_MIN: usize = 16 << 10;
/// The most room that is made for a client that has sent as much already.
const READ_AHEAD_BYTES_MAX: usize = 1 << 20;
/// A buffer that grew beyond this for one large request is given back.
const BUFFER_BYTES_KEPT: usize = 64 << 10;
/// Answers that collect before they are written, and other connections are looked at.
const OUT_BYTES_MAX: usize = 16 << 10;
/// Bytes of further requests that are taken in while a poll waits.
const PIPELINED_BYTES_MAX: usize = 64 << 10;
/// A client that takes none of its answer for so long is gone.
const WRITE_LIMIT: Duration = Duration::from_secs(30);
/// A client takes its answers at this rate on the average, after the first [`WRITE_LIMIT`]; a slower
/// one would hold their memory for long.
const WRITE_BYTES_PER_SECOND_MIN: u64 = 16 << 10;
/// How long the system of a client that has ended its side may take to take its answers, or to say
/// that nobody is there.
const TAKEN_LIMIT: Duration = Duration::from_secs(5);
const TAKEN_LOOK: Duration = Duration::from_millis(1);
/// What a client may go on sending behind its last answer, which is a body as large as is allowed by
/// default; in which time, if its request was refused and if it was not; and how long it may pause.
/// They bound the work for who is not served any more.
const LINGER_BYTES_MAX: usize = 64 << 20;
const REFUSED_LINGER_LIMIT: Duration = Duration::from_secs(30);
const CLOSED_LINGER_LIMIT: Duration = Duration::from_millis(500);
const LINGER_SILENCE_LIMIT: Duration = Duration::from_secs(2);
/// What is read of it at once, which each such client costs.
const LINGER_READ_BYTES: usize = READ_BYTES;

pub struct Connection {
    core: Rc<Core>,
    stream: Stream,
    guest: Option<Guest>,
    parser: RequestParser,
    /// When a request that has not arrived whole was first seen.
    begun: Option<Instant>,
    /// Received and not consumed: `received[start..]`.
    received: Vec<u8>,
    start: usize,
    out: Vec<u8>,
    /// Leases in answers that are not written yet.
    undo: Vec<Undo>,
    /// While requests are not answered, or their answers not written.
    busy: Option<InFlight>,
}

impl Connection {
    /// A connection of a client that was let in, or of one to be refused.
    pub fn new(core: Rc<Core>, stream: Stream, guest: Option<Guest>) -> Self {
        let parser = RequestParser::new(core.crowd.limits.http);
        stream.set_write_timeout(Some(WRITE_LIMIT));
        Self {
            core,
            stream,
            guest,
            parser,
            begun: None,
            received: Vec::new(),
            start: 0,
            out: Vec::new(),
            undo: Vec::new(),
            busy: None,
        }
    }

    /// Serves the connection until it ends.
    pub async fn serve(mut self) -> CloseReason {
        loop {
            match self.parser.step(&mut self.received[self.start..]) {
                Ok(Step::Complete(parsed)) => {
                    if let Err(reason) = self.handle(&parsed).await {
                        return reason;
                    }
                }
                Ok(Step::Continue) => self.out.extend_from_slice(response::CONTINUE),
                Ok(Step::NeedMore { bytes_hint }) => {
                    if let Err(reason) = self.write_out().await {
                        return reason;
                    }
                    if let Err(reason) = self.receive(bytes_hint).await {
                        return reason;
                    }
                }
                Err(reject) => return self.reject(&reject).await,
            }
        }
    }

    /// Tells a client that is not let in why, and ends the connection.
    pub async fn refuse(mut self, reject: &Reject) {
        self.reject(reject).await;
    }

    async fn handle(&mut self, parsed: &Parsed) -> Result<(), CloseReason> {
        let begun = Instant::now();
        let core = Rc::clone(&self.core);
        let request = Request::new(parsed, &self.received[self.start..]);
        let persistence = Persistence::for_request(&parsed.head, core.is_stopping());
        let mut options = Options::new(core.date(begun), persistence);
        options.common = core.common.lines(request.origin());
        options.head_only = parsed.head.method == Method::Head;
        self.busy.get_or_insert_with(|| core.in_flight());
        let (family, operation) = read(&core, &request, begun).await;
        self.consume(parsed.consumed);
        let status = match operation.and_then(|operation| self.admit(family, operation)) {
            Err(error) => {
                if let api::Error::Limit(limit) = error {
                    core.engine.metrics().limited(limit);
                }
                let mut answer = Answer::new(&mut self.out, options);
                error.write(&mut answer);
                answer.status()
            }
            Ok((operation, Some(polling))) => {
                self.write_out().await?;
                self.busy = Some(core.in_flight());
                let status = self.wait_for(operation, options).await?;
                drop(polling);
                status
            }
            Ok((operation, None)) => {
                let _working = core.crowd.work();
                let mut answer = Answer::new(&mut self.out, options).closing(&core.stopping);
                let undo = operation.run(&core.engine, &mut answer).await;
                self.undo.extend(undo);
                answer.status()
            }
        };
        if let Some(status) = status {
            core.engine.metrics().answered(family, status, begun.elapsed());
        }
        if persistence == Persistence::Closes || core.is_stopping() {
            self.write_out().await?;
            self.linger(CLOSED_LINGER_LIMIT).await;
            let drains = core.is_stopping();
            return Err(if drains { CloseReason::Drain } else { CloseReason::Client });
        }
        if self.out.len() >= OUT_BYTES_MAX {
            self.write_out().await?;
            // Others may have asked for something since.
            runtime::take_turns().await;
        }
        Ok(())
    }

    /// Lets an operation be run, if there is room for it. How the server is can always be asked.
    fn admit(
        &self,
        family: Family,
        operation: api::Operation,
    ) -> Result<(api::Operation, Option<Polling>), api::Error> {
        let polling = match (&self.guest, family) {
            (Some(guest), Family::PopWait) => Some(guest.poll().map_err(api::Error::Limit)?),
            (_, Family::Health | Family::Metrics) | (None, _) => None,
            _ => {
                self.core.crowd.may_work().map_err(api::Error::Limit)?;
                None
            }
        };
        Ok((operation, polling))
    }

    /// Runs an operation that may wait for long, and gives it up when the client goes away.
    async fn wait_for(
        &mut self,
        operation: api::Operation,
        options: Options<'static>,
    ) -> Result<Option<Status>, CloseReason> {
        self.stream.set_read_timeout(None);
        self.hold(self.received.len() - self.start);
        let engine: Rc<Engine> = Rc::clone(&self.core.engine);
        let mut out = std::mem::take(&mut self.out);
        let ended = {
            let mut answer = Answer::new(&mut out, options).closing(&self.core.stopping);
            let mut running = pin!(async {
                let undo = operation.run(&engine, &mut answer).await;
                (undo, answer.status())
            });
            let (stream, received) = (&mut self.stream, &mut self.received);
            let mut left = pin!(client_left(stream, received));
            poll_fn(|cx| {
                // In this order: a client that is known to be gone takes no message with it.
                if let Poll::Ready(left) = left.as_mut().poll(cx) {
                    return Poll::Ready(Err(left));
                }
                running.as_mut().poll(cx).map(Ok)
            })
            .await
        };
        let (undo, status) = match ended {
            Ok(ended) => ended,
            Err(Left::Gone) => return Err(CloseReason::Gone),
            Err(Left::Crowded) => return Err(self.reject(&Reject::PIPELINE).await),
        };
        self.out = out;
        self.undo.extend(undo);
        Ok(status)
    }

    /// Drops a request from the front of what was received.
    fn consume(&mut self, count: usize) {
        self.start += count;
        self.begun = None;
        self.parser.reset();
        if self.start == self.received.len() {
            self.received.clear();
            self.start = 0;
            self.received.shrink_to(BUFFER_BYTES_KEPT);
        }
    }

    /// Takes note of how many bytes of its requests the connection holds.
    fn hold(&mut self, bytes: usize) {
        if let Some(guest) = &mut self.guest {
            guest.hold(bytes);
        }
    }

    /// How long to wait for what comes next, or why not at all.
    fn patience(&mut self) -> Result<Duration, &'static Reject> {
        let crowd = &self.core.crowd;
        if self.parser.is_idle(&self.received) {
            return Ok(crowd.limits.idle_time);
        }
        if crowd.holds_too_much() {
            return Err(&Reject::REQUEST_BYTES);
        }
        let now = Instant::now();
        let begun = *self.begun.get_or_insert(now);
        let is_in_body = self.parser.is_in_body();
        let time = crowd.limits.request_time(is_in_body, self.received.len());
        let left = (begun + time).saturating_duration_since(now);
        if left.is_zero() { Err(self.too_late()) } else { Ok(left) }
    }

    fn too_late(&self) -> &'static Reject {
        if self.parser.is_in_body() { &Reject::BODY_TIME } else { &Reject::HEAD_TIME }
    }

    async fn receive(&mut self, bytes_hint: usize) -> Result<(), CloseReason> {
        if self.start > 0 {
            self.received.drain(..self.start);
            self.start = 0;
        }
        let filled = self.received.len();
        self.hold(filled);
        let patience = match self.patience() {
            Ok(patience) => patience,
            Err(reject) => return Err(self.reject(reject).await),
        };
        let ahead = filled.clamp(READ_AHEAD_BYTES_MIN, READ_AHEAD_BYTES_MAX);
        let room = bytes_hint.clamp(READ_BYTES, ahead);
        self.received.resize(filled + room, 0);
        self.stream.set_read_timeout(Some(patience));
        let read = self.stream.read(&mut self.received[filled..]).await;
        self.received.truncate(filled + read.as_ref().map_or(0, |count| *count));
        self.hold(self.received.len());
        let idle = self.parser.is_idle(&self.received);
        match read {
            Ok(0) if idle => Err(CloseReason::Client),
            Ok(0) => Err(CloseReason::Gone),
            Ok(_) => Ok(()),
            Err(error) if error.kind() != io::ErrorKind::TimedOut => Err(CloseReason::Gone),
            Err(_) if idle => Err(CloseReason::Idle),
            Err(_) => Err(self.reject(self.too_late()).await),
        }
    }

    /// Answers what cannot be served, and closes.
    pub async fn reject(&mut self, reject: &Reject) -> CloseReason {
        let date = self.core.date(Instant::now());
        let head_only = self.parser.wants_head_only();
        response::write_reject(&mut self.out, reject, date, self.core.common, head_only);
        let metrics = self.core.engine.metrics();
        metrics.answered(Family::Rejected, reject.status, Duration::ZERO);
        if let Some(limit) = limit_of(reject) {
            metrics.limited(limit);
        }
        // Nothing of it is read any more.
        self.received = Vec::new();
        self.start = 0;
        self.hold(0);
        if let Err(reason) = self.write_out().await {
            return reason;
        }
        // Who was too slow has had its time.
        let was_slow = reject.status == Status::RequestTimeout;
        self.linger(if was_slow { CLOSED_LINGER_LIMIT } else { REFUSED_LINGER_LIMIT }).await;
        CloseReason::Rejected
    }

    /// Reads on before closing: a socket that is closed with unread bytes resets the connection, and
    /// the client might never see the end of its answer (RFC 9112 section 9.6). Many a client looks
    /// for an answer only when it has sent all of its request.
    async fn linger(&mut self, limit: Duration) {
        self.stream.shutdown_write().await;
        self.stream.set_read_timeout(Some(LINGER_SILENCE_LIMIT));
        let mut left = LINGER_BYTES_MAX;
        let mut piece = vec![0; LINGER_READ_BYTES];
        let stream = &mut self.stream;
        let _ = runtime::timeout(limit, async {
            while left > 0 {
                match stream.read(&mut piece).await {
                    Ok(count) if count > 0 => left = left.saturating_sub(count),
                    _ => return,
                }
                runtime::take_turns().await;
            }
        })
        .await;
    }

    /// Writes the collected answers. When they do not reach the client, leases in them are given
    /// back.
    async fn write_out(&mut self) -> Result<(), CloseReason> {
        if self.out.is_empty() {
            return Ok(());
        }
        let delivered = self.deliver().await;
        self.out.clear();
        self.out.shrink_to(BUFFER_BYTES_KEPT);
        if delivered {
            self.undo.clear();
        }
        for undo in self.undo.drain(..) {
            undo.run(&self.core.engine).await;
        }
        self.busy = None;
        if delivered { Ok(()) } else { Err(CloseReason::Gone) }
    }

    /// Answers whether the client has the answers, as far as can be known.
    async fn deliver(&mut self) -> bool {
        // A socket takes answers to a client that is gone, once.
        let ended = !self.undo.is_empty() && self.client_has_ended().await;
        self.write_in_time().await && (!ended || self.is_taken().await)
    }

    /// Answers whether all was written before the client was too slow for its answers.
    async fn write_in_time(&mut self) -> bool {
        let seconds = self.out.len() as u64 / WRITE_BYTES_PER_SECOND_MIN;
        let limit = WRITE_LIMIT + Duration::from_secs(seconds);
        let core = &self.core;
        let mut writing = pin!(self.stream.write_all(&self.out));
        let mut cut_off = None;
        poll_fn(|cx| {
            if let Poll::Ready(written) = writing.as_mut().poll(cx) {
                if written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut) {
                    core.engine.metrics().limited(Limit::AnswerTime);
                }
                return Poll::Ready(written.is_ok());
            }
            // Made only where the client is slow.
            let cut_off =
                cut_off.get_or_insert_with(|| Box::pin(runtime::timeout(limit, core.cut_off())));
            cut_off.as_mut().poll(cx).map(|late| {
                if late.is_err() {
                    core.engine.metrics().limited(Limit::AnswerTime);
                }
                false
            })
        })
        .await
    }

    /// Whether the client has ended its side: it may be gone, or only have no more to ask.
    async fn client_has_ended(&mut self) -> bool {
        if self.received.len() - self.start >= PIPELINED_BYTES_MAX {
            return false;
        }
        let mut piece = [0; 256];
        let (stream, received) = (&mut self.stream, &mut self.received);
        // Nothing is waited for, so nothing times out.
        stream.set_read_timeout(None);
        poll_fn(|cx| {
            Poll::Ready(match stream.poll_read_into(cx, &mut piece) {
                Poll::Ready(Ok(count)) => {
                    received.extend_from_slice(&piece[..count]);
                    count == 0
                }
                Poll::Ready(Err(_)) => true,
                Poll::Pending => false,
            })
        })
        .await
    }

    /// Whether a client that has ended its side has taken its answers: if it is gone, its system
    /// refuses them.
    async fn is_taken(&self) -> bool {
        let deadline = Instant::now() + TAKEN_LIMIT;
        loop {
            if let Some(taken) = self.stream.is_taken() {
                return taken;
            }
            if Instant::now() >= deadline || self.core.is_cut_off() {
                return false;
            }
            runtime::sleep(TAKEN_LOOK).await;
        }
    }
}

/// Understands a request. It waits where its token names a key that is not known yet.
async fn read(
    core: &Core,
    request: &Request<'_>,
    begun: Instant,
) -> (Family, Result<api::Operation, api::Error>) {
    let read = || api::read(&core.engine, &core.settings, core.gate.as_ref(), request, begun);
    match (read(), &core.gate) {
        ((_, Err(error)), Some(gate)) if error.wants_keys() => {
            gate.wait_for_keys().await;
            read()
        }
        (understood, _) => understood,
    }
}

/// Why a poll is given up.
enum Left {
    Gone,
    /// More was sent behind it than is kept.
    Crowded,
}

/// Returns when the client of a poll ends its side, which is taken for leaving. Keeps what it sends
/// until then, up to a bound: past it nobody could tell whether the client is still there.
async fn client_left(stream: &mut Stream, received: &mut Vec<u8>) -> Left {
    let received_max = received.len() + PIPELINED_BYTES_MAX;
    let mut piece = [0; 1024];
    while received.len() < received_max {
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return Left::Gone,
            Ok(count) => received.extend_from_slice(&piece[..count]),
        }
    }
    Left::Crowded
}
