//! `POST /api/v1/configure` and `DELETE /api/v1/resources/queues/:queue`.

use std::rc::Rc;

use serde_json::json;

use super::envelope::Configure;
use super::{Answer, Error};
use crate::http::Status;
use crate::queue::{Engine, PARTITION_DEFAULT};

pub async fn run(
    engine: &Rc<Engine>,
    configure: Configure,
    answer: &mut Answer<'_>,
) -> Result<(), Error> {
    let Configure { queue: name, namespace, task, options } = configure;
    let queue = engine.configure(&name, &namespace, &task, options).await?;
    let partition = queue.partition(PARTITION_DEFAULT).map(|(_, id)| id.to_uuid());
    let body = json!({
        "configured": true,
        "queueId": queue.id.to_uuid(),
        "partitionId": partition,
        "queue": name,
        "namespace": namespace,
        "task": task,
        "options": options,
    });
    answer.json(Status::Ok, &body);
    Ok(())
}

pub async fn delete(
    engine: &Rc<Engine>,
    queue: String,
    answer: &mut Answer<'_>,
) -> Result<(), Error> {
    let existed = engine.delete_queue(&queue).await?;
    answer.json(Status::Ok, &json!({ "deleted": true, "queue": queue, "existed": existed }));
    Ok(())
}
