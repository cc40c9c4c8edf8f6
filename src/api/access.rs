//! Who sends a request, and what a route needs of its sender: a role, and for tokens that name queues
//! a right on those that the request is about.
//!
//! Every route says what it needs where it stands in the table. A queue in a path or a query is
//! checked before the request is read, one in a body while it is read, and the queue of a partition
//! before the operation runs, because it has to be looked up.

use std::rc::Rc;
use std::time::Instant;

use super::dead_letters::message;
use super::parameters::{Query, queue_name};
use super::{Error, Operation};
use crate::auth::{Forbidden, Gate, Identity, Right, Role};
use crate::http::Request;
use crate::ids::PartitionId;
use crate::queue::Engine;

/// What a route needs.
#[derive(Debug, Clone, Copy)]
pub struct Needs {
    /// `None` for a route that everybody may use.
    pub role: Option<Role>,
    right: Right,
    scope: Scope,
}

/// Which queues a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All of them, or the server itself.
    Every,
    /// The one in a capture of the path.
    Path(usize),
    /// The one that the query names, or all of them.
    Query,
    /// That of the message in the path.
    Message,
    /// Those in the body: checked by whoever reads it.
    Body,
}

impl Needs {
    pub const NOTHING: Self = Self { role: None, right: Right::Look, scope: Scope::Every };

    pub const fn reading(scope: Scope) -> Self {
        Self { role: Some(Role::ReadOnly), right: Right::Look, scope }
    }

    pub const fn pushing(scope: Scope) -> Self {
        Self { role: Some(Role::ReadWrite), right: Right::Push, scope }
    }

    pub const fn popping(scope: Scope) -> Self {
        Self { role: Some(Role::ReadWrite), right: Right::Pop, scope }
    }

    /// For what changes queues, groups and messages.
    pub const fn changing(scope: Scope) -> Self {
        Self { role: Some(Role::ReadWrite), right: Right::Admin, scope }
    }

    /// For what deletes many messages at once, or concerns the whole server.
    pub const fn administering(scope: Scope) -> Self {
        Self { role: Some(Role::Admin), right: Right::Admin, scope }
    }
}

/// Who sent a request: nobody in particular where no token is asked for.
#[derive(Debug, Clone, Default)]
pub struct Caller(Option<Rc<Identity>>);

/// What a request says beside its path and its body.
#[derive(Clone, Copy)]
pub struct Sender<'a> {
    pub caller: &'a Caller,
    pub traceparent: Option<&'a str>,
}

impl Caller {
    /// The subject of the token as JSON.
    pub fn subject(&self) -> Option<&str> {
        self.0.as_ref()?.subject()
    }

    /// When the token expires that a request came with.
    pub fn expires(&self) -> Option<Instant> {
        self.0.as_ref()?.expires()
    }

    pub fn is_limited(&self) -> bool {
        self.0.as_ref().is_some_and(|identity| identity.is_limited())
    }

    /// Whether this may be done to a queue, or to all of them.
    pub fn allow(&self, right: Right, queue: Option<&str>) -> Result<(), Forbidden> {
        self.0.as_ref().map_or(Ok(()), |identity| identity.allow(right, queue))
    }
}

/// Lets a request in whose sender may use the route, and for what the path and the query name.
pub fn admit(
    gate: Option<&Gate>,
    needs: Needs,
    captures: &[&str],
    request: &Request<'_>,
    now: Instant,
) -> Result<Caller, Error> {
    let (Some(gate), Some(role)) = (gate, needs.role) else { return Ok(Caller::default()) };
    if gate.skips(request.path()) {
        return Ok(Caller::default());
    }
    let identity = gate.identify(request.authorization(), now)?;
    if !identity.has(role) {
        return Err(Forbidden::Role.into());
    }
    let caller = Caller(Some(identity));
    if caller.is_limited() {
        let queue = match needs.scope {
            Scope::Message | Scope::Body => return Ok(caller),
            Scope::Every => None,
            Scope::Path(at) => Some(queue_name("queue", captures[at])?),
            Scope::Query => Query(request.query()).text("queue")?,
        };
        caller.allow(needs.right, queue.as_deref())?;
    }
    Ok(caller)
}

/// An operation that runs if its caller has a right on the queues of these partitions.
pub struct Guard {
    caller: Caller,
    right: Right,
    partitions: Vec<PartitionId>,
}

impl Guard {
    /// A partition that does not exist is left to the operation, which does not find it either.
    pub async fn check(self, engine: &Rc<Engine>) -> Result<(), Error> {
        let Self { caller, right, partitions } = self;
        for partition in partitions {
            if let Some((queue, _)) = engine.partition_names(partition).await? {
                caller.allow(right, Some(&queue.name))?;
            }
        }
        Ok(())
    }
}

impl Operation {
    /// The same operation, for a caller whose token names its queues.
    #[must_use]
    pub fn guarded(
        self,
        caller: &Caller,
        right: Right,
        partitions: impl IntoIterator<Item = PartitionId>,
    ) -> Self {
        if !caller.is_limited() {
            return self;
        }
        let mut partitions: Vec<_> = partitions.into_iter().collect();
        partitions.sort_unstable();
        partitions.dedup();
        Self::Guarded(Guard { caller: caller.clone(), right, partitions }, Box::new(self))
    }

    /// The same for the message that the path of its route names.
    pub fn guarded_by(
        self,
        needs: Needs,
        caller: &Caller,
        captures: [&str; 2],
    ) -> Result<Self, Error> {
        if needs.scope != Scope::Message || !caller.is_limited() {
            return Ok(self);
        }
        Ok(self.guarded(caller, needs.right, message(captures)?.0))
    }
}
