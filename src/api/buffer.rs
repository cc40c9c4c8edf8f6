//! `GET /api/v1/status/buffers`.

use serde_json::json;

use super::{Operation, Reply};
use crate::buffer::Backlog;
use crate::http::Status;

pub fn status() -> Operation {
    Operation::task(async |engine| {
        let backlog = engine.backlog();
        let body = json!({
            "pending": backlog.map_or(0, Backlog::messages),
            "failed": backlog.map_or(0, Backlog::failed),
            "bytes": backlog.map_or(0, Backlog::bytes),
            "dbHealthy": engine.connections() > 0,
            "worker": engine.core(),
        });
        Ok(Reply::json(Status::Ok, &body))
    })
}
