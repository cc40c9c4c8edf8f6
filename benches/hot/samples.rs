//! What the pieces work on: small orders, as clients send and the database keeps them.

use std::rc::Rc;

use queen::ids::{PartitionId, QueueId};
use queen::pg::QueueRow;
use queen::queue::Queue;
use queen::queue_options::QueueOptions;

/// Messages of the large samples.
pub const MANY: usize = 100;
pub const ITEMS_MAX: usize = 10_000;
pub const PARTITION: PartitionId = PartitionId(77);

/// Whether the producer chooses transactionIds.
#[derive(Clone, Copy)]
pub enum Ids {
    Derived,
    Uuids,
    Texts,
}

impl Ids {
    pub const ALL: [(&'static str, Self); 3] =
        [("", Self::Derived), (" uuid", Self::Uuids), (" text", Self::Texts)];

    pub fn id(self, n: usize) -> Option<String> {
        match self {
            Self::Derived => None,
            Self::Uuids => Some(format!("d0f6a1a2-7b57-4a0e-9a55-{n:012x}")),
            Self::Texts => Some(format!("order-{n:06}-created")),
        }
    }
}

/// 100 bytes of JSON.
pub fn payload(n: usize) -> String {
    let text = format!(
        r#"{{"order":{n:06},"customer":"c-{n:08}","total":1999.50,"currency":"EUR","state":"created","pad":""#
    );
    let pad = "x".repeat(98 - text.len());
    format!("{text}{pad}\"}}").replacen("\"order\":0", "\"order\":1", 1)
}

/// The body of a push to one partition.
pub fn push_body(count: usize, ids: Ids) -> Vec<u8> {
    let items: Vec<String> = (0..count)
        .map(|n| {
            let id = ids.id(n).map(|id| format!(r#","transactionId":"{id}""#)).unwrap_or_default();
            let payload = payload(n);
            format!(r#"{{"queue":"orders","partition":"p-7"{id},"payload":{payload}}}"#)
        })
        .collect();
    format!(r#"{{"items":[{}]}}"#, items.join(",")).into_bytes()
}

pub fn queue() -> Rc<Queue> {
    let row = QueueRow {
        id: QueueId(1),
        namespace: String::new(),
        task: String::new(),
        options: QueueOptions::default(),
    };
    Rc::new(Queue::new("orders", &row))
}

pub fn count(count: usize) -> u64 {
    u64::try_from(count).expect("samples are small")
}
