//! The routes: which method and path is which operation.
//!
//! A path segment is compared as sent and captured as sent; whoever uses a capture decodes it,
//! once.

use super::Error;
use super::access::{Needs, Scope};
use super::admin::Look;
use crate::http::Method;
use crate::metrics::Family;

/// A route of the API, as `protocol.md` lists it.
pub struct Route {
    pub method: Method,
    /// Segments that begin with `:` capture.
    pub pattern: &'static str,
    pub(super) endpoint: Endpoint,
    /// What its sender must be allowed to.
    pub needs: Needs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    Health,
    Metrics,
    MetricsPrometheus,
    Configure,
    Push,
    PopFilter,
    PopQueue,
    PopPartition,
    Ack,
    AckBatch,
    Transaction,
    ExtendLease,
    Groups,
    GroupsLagging,
    Group,
    DeleteGroup,
    DeleteGroupInQueue,
    SubscribeGroup,
    SeekQueue,
    SeekPartition,
    DeleteQueue,
    Look(Look),
    DeadLetters,
    PurgeDeadLetters,
    RedriveDeadLetters,
    Retry,
    SetAside,
    RecordTrace,
    TracesOfMessage,
    TracesOfName,
    TraceNames,
    BufferStatus,
    Maintenance,
    SetMaintenance,
    PopMaintenance,
    SetPopMaintenance,
}

impl Endpoint {
    /// What its requests are counted under.
    pub fn family(self) -> Family {
        match self {
            Self::Push => Family::Push,
            Self::PopFilter | Self::PopQueue | Self::PopPartition => Family::Pop,
            Self::Ack | Self::AckBatch => Family::Ack,
            Self::Transaction => Family::Transaction,
            Self::ExtendLease => Family::Lease,
            Self::Configure | Self::DeleteQueue => Family::Configure,
            Self::Health => Family::Health,
            Self::Metrics | Self::MetricsPrometheus => Family::Metrics,
            _ => Family::Admin,
        }
    }
}

const fn route(method: Method, pattern: &'static str, endpoint: Endpoint, needs: Needs) -> Route {
    Route { method, pattern, endpoint, needs }
}

// Each on one line, however long: so they are a table, and `tests/tidy.rs` reads it.
#[rustfmt::skip]
pub const ROUTES: &[Route] = &[
    route(Method::Post, "/api/v1/push", Endpoint::Push, Needs::pushing(Scope::Body)),
    route(Method::Post, "/api/v1/push-legacy", Endpoint::Push, Needs::pushing(Scope::Body)),
    route(Method::Get, "/api/v1/pop", Endpoint::PopFilter, Needs::popping(Scope::Every)),
    route(Method::Get, "/api/v1/pop/queue/:queue", Endpoint::PopQueue, Needs::popping(Scope::Path(0))),
    route(Method::Get, "/api/v1/pop/queue/:queue/partition/:partition", Endpoint::PopPartition, Needs::popping(Scope::Path(0))),
    route(Method::Post, "/api/v1/ack/batch", Endpoint::AckBatch, Needs::popping(Scope::Body)),
    route(Method::Post, "/api/v1/ack", Endpoint::Ack, Needs::popping(Scope::Body)),
    route(Method::Post, "/api/v1/transaction", Endpoint::Transaction, Needs::pushing(Scope::Body)),
    route(Method::Post, "/api/v1/lease/:leaseId/extend", Endpoint::ExtendLease, Needs::popping(Scope::Body)),
    route(Method::Post, "/api/v1/configure", Endpoint::Configure, Needs::changing(Scope::Body)),
    route(Method::Get, "/api/v1/consumer-groups", Endpoint::Groups, Needs::reading(Scope::Every)),
    route(Method::Get, "/api/v1/consumer-groups/lagging", Endpoint::GroupsLagging, Needs::reading(Scope::Every)),
    route(Method::Get, "/api/v1/consumer-groups/:group", Endpoint::Group, Needs::reading(Scope::Every)),
    route(Method::Delete, "/api/v1/consumer-groups/:group", Endpoint::DeleteGroup, Needs::administering(Scope::Every)),
    route(Method::Delete, "/api/v1/consumer-groups/:group/queues/:queue", Endpoint::DeleteGroupInQueue, Needs::administering(Scope::Path(1))),
    route(Method::Post, "/api/v1/consumer-groups/:group/subscription", Endpoint::SubscribeGroup, Needs::changing(Scope::Every)),
    route(Method::Post, "/api/v1/consumer-groups/:group/queues/:queue/seek", Endpoint::SeekQueue, Needs::changing(Scope::Path(1))),
    route(Method::Post, "/api/v1/consumer-groups/:group/queues/:queue/partitions/:partition/seek", Endpoint::SeekPartition, Needs::changing(Scope::Path(1))),
    route(Method::Delete, "/api/v1/resources/queues/:queue", Endpoint::DeleteQueue, Needs::administering(Scope::Path(0))),
    route(Method::Get, "/api/v1/resources/overview", Endpoint::Look(Look::Overview), Needs::reading(Scope::Every)),
    route(Method::Get, "/api/v1/resources/queues", Endpoint::Look(Look::Queues), Needs::reading(Scope::Query)),
    route(Method::Get, "/api/v1/resources/queues/:queue", Endpoint::Look(Look::Queue), Needs::reading(Scope::Path(0))),
    route(Method::Get, "/api/v1/resources/queues/:queue/depth", Endpoint::Look(Look::QueueDepth), Needs::reading(Scope::Path(0))),
    route(Method::Get, "/api/v1/resources/namespaces", Endpoint::Look(Look::Namespaces), Needs::reading(Scope::Every)),
    route(Method::Get, "/api/v1/resources/tasks", Endpoint::Look(Look::Tasks), Needs::reading(Scope::Every)),
    route(Method::Get, "/api/v1/resources/partitions", Endpoint::Look(Look::Partitions), Needs::reading(Scope::Query)),
    route(Method::Get, "/api/v1/status", Endpoint::Look(Look::Status), Needs::reading(Scope::Query)),
    route(Method::Get, "/api/v1/status/queues", Endpoint::Look(Look::StatusOfQueues), Needs::reading(Scope::Query)),
    route(Method::Get, "/api/v1/status/queues/:queue", Endpoint::Look(Look::StatusOfQueue), Needs::reading(Scope::Path(0))),
    route(Method::Get, "/api/v1/status/queues/:queue/messages", Endpoint::Look(Look::MessagesOfQueue), Needs::reading(Scope::Path(0))),
    route(Method::Get, "/api/v1/status/analytics", Endpoint::Look(Look::Analytics), Needs::reading(Scope::Query)),
    route(Method::Get, "/api/v1/analytics/system-metrics", Endpoint::Look(Look::SystemMetrics), Needs::reading(Scope::Every)),
    route(Method::Get, "/api/v1/analytics/worker-metrics", Endpoint::Look(Look::WorkerMetrics), Needs::reading(Scope::Every)),
    route(Method::Get, "/api/v1/analytics/queue-lag", Endpoint::Look(Look::QueueLag), Needs::reading(Scope::Query)),
    route(Method::Get, "/api/v1/analytics/queue-ops", Endpoint::Look(Look::QueueOps), Needs::reading(Scope::Query)),
    route(Method::Get, "/api/v1/analytics/queue-parked-replicas", Endpoint::Look(Look::QueueParkedReplicas), Needs::reading(Scope::Query)),
    route(Method::Get, "/api/v1/analytics/retention", Endpoint::Look(Look::RetentionHistory), Needs::reading(Scope::Query)),
    route(Method::Get, "/api/v1/analytics/postgres-stats", Endpoint::Look(Look::PostgresStats), Needs::reading(Scope::Every)),
    route(Method::Post, "/api/v1/stats/refresh", Endpoint::Look(Look::RefreshStats), Needs::administering(Scope::Every)),
    route(Method::Delete, "/api/v1/queues/:queue/clear", Endpoint::Look(Look::ClearQueue), Needs::administering(Scope::Path(0))),
    route(Method::Get, "/api/v1/queues/:queue/blocked", Endpoint::Look(Look::Blocked), Needs::reading(Scope::Path(0))),
    route(Method::Post, "/api/v1/queues/:queue/blocked", Endpoint::Look(Look::Unblock), Needs::changing(Scope::Path(0))),
    route(Method::Get, "/api/v1/dlq", Endpoint::DeadLetters, Needs::reading(Scope::Query)),
    route(Method::Delete, "/api/v1/dlq", Endpoint::PurgeDeadLetters, Needs::administering(Scope::Query)),
    route(Method::Post, "/api/v1/dlq/redrive", Endpoint::RedriveDeadLetters, Needs::changing(Scope::Query)),
    route(Method::Get, "/api/v1/messages", Endpoint::Look(Look::Messages), Needs::reading(Scope::Query)),
    route(Method::Get, "/api/v1/messages/:partitionId/:transactionId", Endpoint::Look(Look::Message), Needs::reading(Scope::Message)),
    route(Method::Delete, "/api/v1/messages/:partitionId/:transactionId", Endpoint::Look(Look::DeleteMessage), Needs::changing(Scope::Message)),
    route(Method::Post, "/api/v1/messages/:partitionId/:transactionId/retry", Endpoint::Retry, Needs::changing(Scope::Message)),
    route(Method::Post, "/api/v1/messages/:partitionId/:transactionId/dlq", Endpoint::SetAside, Needs::changing(Scope::Message)),
    route(Method::Post, "/api/v1/traces", Endpoint::RecordTrace, Needs::popping(Scope::Body)),
    route(Method::Get, "/api/v1/traces/names", Endpoint::TraceNames, Needs::reading(Scope::Every)),
    route(Method::Get, "/api/v1/traces/by-name/:traceName", Endpoint::TracesOfName, Needs::reading(Scope::Every)),
    route(Method::Get, "/api/v1/traces/:partitionId/:transactionId", Endpoint::TracesOfMessage, Needs::reading(Scope::Message)),
    route(Method::Get, "/api/v1/status/buffers", Endpoint::BufferStatus, Needs::reading(Scope::Every)),
    route(Method::Get, "/api/v1/system/maintenance", Endpoint::Maintenance, Needs::administering(Scope::Every)),
    route(Method::Post, "/api/v1/system/maintenance", Endpoint::SetMaintenance, Needs::administering(Scope::Every)),
    route(Method::Get, "/api/v1/system/maintenance/pop", Endpoint::PopMaintenance, Needs::administering(Scope::Every)),
    route(Method::Post, "/api/v1/system/maintenance/pop", Endpoint::SetPopMaintenance, Needs::administering(Scope::Every)),
    route(Method::Get, "/health", Endpoint::Health, Needs::NOTHING),
    route(Method::Head, "/health", Endpoint::Health, Needs::NOTHING),
    route(Method::Get, "/metrics", Endpoint::Metrics, Needs::NOTHING),
    route(Method::Get, "/metrics/prometheus", Endpoint::MetricsPrometheus, Needs::NOTHING),
];

/// Captures of one pattern, at most.
const CAPTURES_MAX: usize = 3;

#[derive(Debug)]
pub(super) struct Matched<'a> {
    pub endpoint: Endpoint,
    pub needs: Needs,
    pub captures: [&'a str; CAPTURES_MAX],
}

/// The route of a request: of several that fit, the one that stands first. HEAD is only for what a GET changes nothing by.
pub(super) fn find(method: Method, path: &str) -> Result<Matched<'_>, Error> {
    let mut known_path = false;
    for route in ROUTES {
        if let Some(captures) = captures(route.pattern, path) {
            if route.method == method {
                return Ok(Matched { endpoint: route.endpoint, needs: route.needs, captures });
            }
            known_path = true;
        }
    }
    if known_path {
        return Err(Error::MethodNotAllowed { allow: allowed(path) });
    }
    Err(if method == Method::Other { Error::UnknownMethod } else { Error::NoSuchRoute })
}

/// What to put into `Allow` for a path; for `*` and unknown paths what the server knows at all.
pub(super) fn allowed(path: &str) -> &'static str {
    let has = |method| {
        ROUTES.iter().any(|route| route.method == method && captures(route.pattern, path).is_some())
    };
    match [Method::Get, Method::Head, Method::Post, Method::Delete].map(has) {
        [true, true, false, false] => "GET, HEAD, OPTIONS",
        [true, false, false, false] => "GET, OPTIONS",
        [false, false, true, false] => "POST, OPTIONS",
        [false, false, false, true] => "DELETE, OPTIONS",
        [true, false, false, true] => "GET, DELETE, OPTIONS",
        [true, false, true, false] => "GET, POST, OPTIONS",
        _ => "GET, HEAD, POST, DELETE, OPTIONS",
    }
}

fn captures<'a>(pattern: &str, path: &'a str) -> Option<[&'a str; CAPTURES_MAX]> {
    let mut captured = [""; CAPTURES_MAX];
    let mut count = 0;
    let mut segments = path.split('/');
    for expected in pattern.split('/') {
        let segment = segments.next()?;
        if expected.starts_with(':') {
            *captured.get_mut(count)? = segment;
            count += 1;
        } else if expected != segment {
            return None;
        }
    }
    segments.next().is_none().then_some(captured)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(method: Method, path: &str) -> Option<Endpoint> {
        find(method, path).ok().map(|matched| matched.endpoint)
    }

    #[test]
    fn paths_find_their_routes_whole() {
        assert_eq!(endpoint(Method::Post, "/api/v1/push"), Some(Endpoint::Push));
        assert_eq!(endpoint(Method::Post, "/api/v1/push/"), None);
        assert_eq!(endpoint(Method::Get, "/api/v1/pop/queue/a%2Fb"), Some(Endpoint::PopQueue));
        assert_eq!(endpoint(Method::Get, "/api/v1/pop/queue/"), Some(Endpoint::PopQueue));
        assert_eq!(endpoint(Method::Get, "/api/v1/pop/queue"), None);
        let matched = find(Method::Get, "/api/v1/pop/queue/q/partition/p").unwrap();
        assert_eq!((matched.endpoint, matched.captures), (Endpoint::PopPartition, ["q", "p", ""]));
    }

    #[test]
    fn a_known_path_names_its_methods() {
        for (path, expected) in [
            ("/api/v1/push", "POST, OPTIONS"),
            ("/health", "GET, HEAD, OPTIONS"),
            ("/api/v1/resources/queues/q", "GET, DELETE, OPTIONS"),
        ] {
            let Err(Error::MethodNotAllowed { allow }) = find(Method::Put, path) else {
                panic!("{path} has no PUT");
            };
            assert_eq!(allow, expected);
        }
        assert!(matches!(find(Method::Get, "/nowhere"), Err(Error::NoSuchRoute)));
        assert!(matches!(find(Method::Other, "/nowhere"), Err(Error::UnknownMethod)));
        assert!(matches!(
            find(Method::Head, "/api/v1/pop/queue/q"),
            Err(Error::MethodNotAllowed { .. })
        ));
    }

    #[test]
    fn every_path_has_an_allow_of_its_own() {
        for route in ROUTES {
            assert_ne!(allowed(route.pattern), allowed("/nowhere"), "{}", route.pattern);
        }
    }
}
