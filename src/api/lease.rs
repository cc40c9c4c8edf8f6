//! `POST /api/v1/lease/:leaseId/extend`.
//!
//! An extension that is refused is no error: a consumer that is too late must learn it without
//! its client trying again.

use serde_json::json;
use uuid::Uuid;

use super::{Caller, Error, Operation, Reply, envelope, parameters};
use crate::auth::Right;
use crate::http::Status;
use crate::ids;
use crate::pg::{self, Extended};
use crate::queue;

pub fn extend(lease: &str, body: &[u8], caller: &Caller) -> Result<Operation, Error> {
    let lease = parameters::path_text("leaseId", lease)?.into_owned();
    let ms = envelope::extend_ms(body)?;
    let id = Uuid::try_parse(&lease).ok();
    let found = id.and_then(|id| Some((id, ids::lease_partition(id)?)));
    let operation = Operation::task(async move |engine| {
        let extended = match found {
            // A text that cannot be an id of ours names no lease.
            None => Extended::NotFound,
            Some((id, partition)) => engine
                .run(async move |session| pg::extend_lease(session, id, partition, ms).await)
                .await
                .map_err(queue::Error::from)?,
        };
        Ok(answer(&lease, extended))
    });
    // The partitions of one lease are of one queue.
    Ok(operation.guarded(caller, Right::Pop, found.map(|(_, partition)| partition)))
}

fn answer(lease: &str, extended: Extended) -> Reply {
    let (renewed, until, error) = match extended {
        Extended::Renewed { partitions, until } => (partitions, Some(until.to_string()), None),
        Extended::Expired => (0, None, Some("Lease already expired")),
        Extended::NotFound => (0, None, Some("Lease not found")),
    };
    let body = json!({
        "leaseId": lease,
        "success": error.is_none(),
        "renewed": renewed,
        "newExpiresAt": until,
        "expiresAt": until,
        "lease_expires_at": until,
        "error": error,
    });
    Reply::json(Status::Ok, &body)
}
