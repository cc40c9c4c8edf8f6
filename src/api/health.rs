//! `GET /health`: whether this server can do its work.

use super::Answer;
use crate::http::Status;
use crate::queue::Engine;

pub async fn run(engine: &Engine, answer: &mut Answer<'_>) {
    let healthy = engine.ping().await.is_ok();
    let (status, word, database) = if healthy {
        (Status::Ok, "healthy", "connected")
    } else {
        (Status::ServiceUnavailable, "unhealthy", "disconnected")
    };
    let body = serde_json::json!({
        "status": word,
        "database": database,
        "server": "queen",
        "version": env!("CARGO_PKG_VERSION"),
        "worker_id": engine.core(),
        "shared_state": {
            // Whether another server of the database was heard.
            "enabled": engine.hears_peers(),
            "running": engine.hears_peers(),
            "maintenance_mode": engine.switches().push(),
            "pop_maintenance_mode": engine.switches().pop(),
        },
        "queen": { "worker_id": engine.core(), "status": "active" },
    });
    answer.json(status, &body);
}
