//! Turns requests into operations and results into answers.
//!
//! In two steps. [`read`] understands a request while its bytes are borrowed from the connection's
//! buffer, and refuses bad ones; what it returns owns what it needs. [`Operation::run`] then
//! carries it out and writes the answer. Knows no socket and no SQL. Status codes are chosen in
//! `error.rs`, except for what an operation says when it succeeds.

mod access;
pub mod ack;
mod admin;
mod answer;
mod buffer;
mod configure;
mod dead_letters;
pub mod envelope;
mod error;
mod groups;
mod health;
mod lease;
mod maintenance;
mod metrics;
mod page;
mod parameters;
mod pop;
pub mod push;
mod route;
mod stored;
mod trace_context;
mod traces;
mod transaction;

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use access::{Caller, Needs, Sender};
pub use answer::Answer;
pub use error::Error;
pub use route::ROUTES;

use futures_util::future::{FutureExt, LocalBoxFuture};
use serde::Serialize;

use crate::auth::{Gate, Right};
use crate::http::{Method, Request, Status};
use crate::metrics::{Family, View};
use crate::queue::{Engine, PopRequest, Popped, PushPlan, StartChoice};
use access::Guard;
use route::{Endpoint, Matched};
use trace_context::traceparent;

/// What the API needs to know of the server's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    pub pop_timeout_default: Duration,
    pub pop_batch_default: i32,
    pub pop_batch_max: i32,
    pub push_items_max: usize,
    pub start_default: StartChoice,
}

/// An operation that is no part of the hot path: it makes its answer apart.
type Task = Box<dyn FnOnce(Rc<Engine>) -> LocalBoxFuture<'static, Result<Reply, Error>>>;

/// An answer that is not written yet.
pub struct Reply {
    status: Status,
    body: Vec<u8>,
}

impl Reply {
    pub fn json(status: Status, value: &impl Serialize) -> Self {
        let body = serde_json::to_vec(value).expect("answers have string keys only");
        Self { status, body }
    }
}

/// A request that was understood.
pub enum Operation {
    Health,
    Metrics(View),
    Configure(envelope::Configure),
    Push(PushPlan),
    Pop(PopRequest, pop::Autopilot),
    Ack(ack::Plan),
    DeleteQueue(String),
    Task(Task),
    /// An operation with a question before it.
    Guarded(Guard, Box<Operation>),
    /// What the methods of a path are.
    Options {
        allow: &'static str,
    },
}

/// What must be undone when an answer could not be written.
pub struct Undo {
    popped: Popped,
    group: Arc<str>,
}

impl Undo {
    pub async fn run(self, engine: &Rc<Engine>) {
        engine.give_back(self.popped, self.group).await;
    }
}

/// Understands a request that came at `arrived`, and says what it is to be counted under. With a
/// `gate` its sender must be known.
pub fn read(
    engine: &Engine,
    settings: &Settings,
    gate: Option<&Gate>,
    request: &Request<'_>,
    arrived: Instant,
) -> (Family, Result<Operation, Error>) {
    if request.method() == Method::Options {
        let allow = route::allowed(request.path());
        return (Family::Admin, Ok(Operation::Options { allow }));
    }
    let matched = match route::find(request.method(), request.path()) {
        Ok(matched) => matched,
        Err(error) => return (Family::Unknown, Err(error)),
    };
    let Matched { needs, captures, .. } = matched;
    let operation = access::admit(gate, needs, &captures, request, arrived).and_then(|caller| {
        let operation = read_matched(engine, settings, request, arrived, &matched, &caller)?;
        let operation = operation.waiting_until(caller.expires());
        operation.guarded_by(needs, &caller, [captures[0], captures[1]])
    });
    let family = match &operation {
        Ok(operation) if operation.waits() => Family::PopWait,
        _ => matched.endpoint.family(),
    };
    (family, operation)
}

fn read_matched(
    engine: &Engine,
    settings: &Settings,
    request: &Request<'_>,
    arrived: Instant,
    Matched { endpoint, captures, .. }: &Matched<'_>,
    caller: &Caller,
) -> Result<Operation, Error> {
    let sender = || Sender { caller, traceparent: traceparent(request) };
    match endpoint {
        Endpoint::Health => Ok(Operation::Health),
        Endpoint::Metrics => Ok(Operation::Metrics(View::Json)),
        Endpoint::MetricsPrometheus => Ok(Operation::Metrics(View::Prometheus)),
        Endpoint::Configure => {
            let configure = envelope::configure(request.body())?;
            caller.allow(Right::Admin, Some(&configure.queue))?;
            Ok(Operation::Configure(configure))
        }
        Endpoint::Push => {
            push::read(engine, settings, request.body(), sender(), arrived).map(Operation::Push)
        }
        Endpoint::PopQueue => pop::read(settings, captures[0], None, request.query(), arrived),
        Endpoint::PopFilter => pop::read_filter(settings, request.query(), arrived),
        Endpoint::PopPartition => {
            pop::read(settings, captures[0], Some(captures[1]), request.query(), arrived)
        }
        Endpoint::Ack => Ok(ack::Plan::one(request.body())?.operation(caller)),
        Endpoint::AckBatch => Ok(ack::Plan::batch(request.body())?.operation(caller)),
        Endpoint::Transaction => {
            transaction::read(engine, settings, request.body(), sender(), arrived)
        }
        Endpoint::ExtendLease => lease::extend(captures[0], request.body(), caller),
        Endpoint::Groups => groups::list(request.query()),
        Endpoint::GroupsLagging => groups::lagging(request.query()),
        Endpoint::Group => groups::partitions(captures[0], request.query()),
        Endpoint::DeleteGroup => groups::delete(captures[0], None, request.query()),
        Endpoint::DeleteGroupInQueue => {
            groups::delete(captures[0], Some(captures[1]), request.query())
        }
        Endpoint::SubscribeGroup => groups::subscribe(captures[0], request.body()),
        Endpoint::SeekQueue => groups::seek(captures[0], captures[1], request.body()),
        Endpoint::SeekPartition => {
            groups::seek_partition(captures[0], captures[1], captures[2], request.body())
        }
        Endpoint::DeleteQueue => {
            let queue = parameters::queue_name("queue", captures[0])?;
            Ok(Operation::DeleteQueue(queue.into_owned()))
        }
        Endpoint::Look(look) => admin::read(*look, *captures, request.query(), request.body()),
        Endpoint::DeadLetters => dead_letters::list(request.query()),
        Endpoint::PurgeDeadLetters => dead_letters::purge(request.query()),
        Endpoint::RedriveDeadLetters => dead_letters::redrive(request.query()),
        Endpoint::Retry => {
            dead_letters::retry([captures[0], captures[1]], request.query(), request.body())
        }
        Endpoint::SetAside => {
            let message = [captures[0], captures[1]];
            dead_letters::set_aside(settings, message, request.query(), request.body())
        }
        Endpoint::RecordTrace => traces::record(request.body(), caller),
        Endpoint::TracesOfMessage => {
            traces::of_message([captures[0], captures[1]], request.query())
        }
        Endpoint::TracesOfName => traces::of_name(captures[0], request.query()),
        Endpoint::TraceNames => traces::names(request.query()),
        Endpoint::BufferStatus => Ok(buffer::status()),
        Endpoint::Maintenance => Ok(maintenance::state()),
        Endpoint::SetMaintenance => maintenance::set(request.body()),
        Endpoint::PopMaintenance => Ok(maintenance::pop_state()),
        Endpoint::SetPopMaintenance => maintenance::set_pop(request.body()),
    }
}

impl Operation {
    /// An operation off the hot path.
    fn task<F>(work: impl FnOnce(Rc<Engine>) -> F + 'static) -> Self
    where
        F: Future<Output = Result<Reply, Error>> + 'static,
    {
        Self::Task(Box::new(move |engine| work(engine).boxed_local()))
    }

    /// Whether it may wait for long: then the connection watches whether its client is still
    /// there.
    pub fn waits(&self) -> bool {
        matches!(self, Self::Pop(request, _) if request.wait.is_some())
    }

    /// The same, which waits no longer than its caller's token is good.
    fn waiting_until(mut self, expires: Option<Instant>) -> Self {
        if let (Self::Pop(PopRequest { wait: Some(wait), arrived, .. }, _), Some(expires)) =
            (&mut self, expires)
        {
            *wait = (*wait).min(expires.saturating_duration_since(*arrived));
        }
        self
    }

    /// Carries it out and writes the answer.
    pub async fn run(self, engine: &Rc<Engine>, answer: &mut Answer<'_>) -> Option<Undo> {
        let operation = match self {
            Self::Guarded(guard, operation) => match guard.check(engine).await {
                Ok(()) => *operation,
                Err(error) => {
                    error.write(answer);
                    return None;
                }
            },
            operation => operation,
        };
        let outcome = match operation {
            Self::Guarded(..) => unreachable!("an operation is guarded once"),
            Self::Health => {
                health::run(engine, answer).await;
                Ok(None)
            }
            Self::Metrics(view) => metrics::run(engine, view, answer).await.map(|()| None),
            Self::Configure(configure) => {
                configure::run(engine, configure, answer).await.map(|()| None)
            }
            Self::Push(plan) => push::run(engine, plan, answer).await.map(|()| None),
            Self::Pop(request, autopilot) => pop::run(engine, request, autopilot, answer).await,
            Self::Ack(plan) => plan.run(engine, answer).await.map(|()| None),
            Self::DeleteQueue(queue) => {
                configure::delete(engine, queue, answer).await.map(|()| None)
            }
            Self::Task(task) => task(Rc::clone(engine)).await.map(|reply| {
                answer.write(reply.status, |out| out.extend_from_slice(&reply.body));
                None
            }),
            Self::Options { allow } => {
                answer.allow(allow);
                answer.empty(Status::NoContent);
                Ok(None)
            }
        };
        outcome.unwrap_or_else(|error| {
            error.write(answer);
            None
        })
    }
}
