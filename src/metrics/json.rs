//! What is counted, as the JSON that the clients of the public servers read.

use serde_json::{Value, json};

use super::reason::{AckOutcome, Family, Label, PushOutcome};
use super::totals::Sum;

pub(super) fn write(sum: &Sum) -> Vec<u8> {
    let process = sum.process;
    let connected: usize = sum.cores.iter().map(|(core, _)| core.lanes_connected).sum();
    let busy: usize = sum.cores.iter().map(|(core, _)| core.lanes_busy).sum();
    let body = json!({
        "uptime": sum.uptime.as_secs(),
        "requests": {
            "total": sum.requests(),
            "rate": rounded(sum.requests_per_second),
            "byRoute": by_route(sum),
        },
        "messages": {
            "total": sum.messages(),
            "rate": rounded(sum.messages_per_second),
            "pushed": by_label::<PushOutcome>(&sum.pushed),
            "delivered": sum.delivered,
            "acknowledged": by_label::<AckOutcome>(&sum.acked),
        },
        "database": {
            "poolSize": connected,
            "idleConnections": connected.saturating_sub(busy),
            "waitingRequests": sum.cores.iter().map(|(core, _)| core.waiting).sum::<usize>(),
        },
        "connections": { "open": sum.open(), "accepted": sum.accepted },
        "parkedPolls": sum.parked,
        // What has no meaning here is 0, for the shape.
        "memory": {
            "rss": process.map_or(0, |process| process.resident_bytes),
            "heapTotal": 0, "heapUsed": 0, "external": 0, "arrayBuffers": 0,
        },
        "cpu": {
            "user": process.map_or(0, |process| process.user_micros),
            "system": process.map_or(0, |process| process.system_micros),
        },
    });
    serde_json::to_vec(&body).expect("answers have string keys only")
}

fn by_route(sum: &Sum) -> Value {
    let counts: Vec<u64> = sum.statuses.iter().map(|counts| counts.iter().sum()).collect();
    by_label::<Family>(&counts)
}

fn by_label<L: Label>(counts: &[u64]) -> Value {
    let members = L::ALL.iter().map(|label| {
        let count = counts.get(label.index()).copied().unwrap_or(0);
        (label.name().to_owned(), count.into())
    });
    Value::Object(members.collect())
}

/// To a thousandth.
fn rounded(rate: f64) -> f64 {
    (rate * 1000.0).round() / 1000.0
}
