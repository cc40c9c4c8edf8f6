//! `/api/v1/system/maintenance` and its `pop`: the switches, and what they hold back.

use serde_json::{Value, json};

use super::{Error, Operation, Reply, envelope};
use crate::buffer::Backlog;
use crate::http::Status;
use crate::pg::Switch;
use crate::queue::{self, Engine};

pub fn state() -> Operation {
    Operation::task(async |engine| {
        let backlog = engine.backlog();
        let (messages, failed) = backlog.map_or((0, 0), |b| (b.messages(), b.failed()));
        let mut body = push_state(&engine);
        body["popMaintenanceMode"] = engine.switches().pop().into();
        body["bufferStats"] = json!({
            "pendingCount": messages,
            "failedCount": failed,
            "dbHealthy": engine.connections() > 0,
            "failedFiles": { "count": failed },
        });
        Ok(Reply::json(Status::Ok, &body))
    })
}

pub fn set(body: &[u8]) -> Result<Operation, Error> {
    let on = envelope::enabled(body)?;
    Ok(Operation::task(async move |engine| {
        if on && engine.backlog().is_none() {
            return Err(queue::Error::BufferOff.into());
        }
        engine.set_switch(Switch::Push, on).await?;
        let mut body = push_state(&engine);
        body["message"] = if on {
            "pushes go to the file buffer".into()
        } else {
            "pushes are stored, and what is in the file buffer is stored first".into()
        };
        Ok(Reply::json(Status::Ok, &body))
    }))
}

fn push_state(engine: &Engine) -> Value {
    let backlog = engine.backlog();
    json!({
        "maintenanceMode": engine.switches().push(),
        "bufferedMessages": backlog.map_or(0, Backlog::messages),
        "bufferHealthy": backlog.is_none_or(Backlog::is_healthy),
    })
}

pub fn pop_state() -> Operation {
    Operation::task(async |engine| Ok(pop_reply(engine.switches().pop())))
}

pub fn set_pop(body: &[u8]) -> Result<Operation, Error> {
    let on = envelope::enabled(body)?;
    Ok(Operation::task(async move |engine| {
        engine.set_switch(Switch::Pop, on).await?;
        Ok(pop_reply(on))
    }))
}

fn pop_reply(on: bool) -> Reply {
    let message = if on { "pops are paused" } else { "pops are served" };
    Reply::json(Status::Ok, &json!({ "popMaintenanceMode": on, "message": message }))
}
