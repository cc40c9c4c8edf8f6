//! Acks: from a body to entries by partition, and from what became of them to an answer.

use std::sync::Arc;
use std::time::SystemTime;

use criterion::Throughput;
use queen::api::ack::{self, Done, Plan};
use queen::api::{Answer, envelope};
use queen::http::response::{Connection, DateCache, Options};
use queen::ids::{Offset, message_id, new_lease_id};
use queen::queue::{Acked, Settled};

use super::measure::Measure;
use super::samples::{ITEMS_MAX, Ids, MANY, PARTITION, count, queue};

pub fn measure(measure: &mut Measure) {
    for (name, kind) in Ids::ALL {
        let ids: Vec<String> = (0..MANY).map(|n| kind.id(n).unwrap_or_else(|| own_id(n))).collect();
        pieces(measure, name, &ids);
    }
}

/// The transactionId of a message whose producer gave none.
fn own_id(n: usize) -> String {
    let offset = i64::try_from(n).expect("samples are small");
    message_id(PARTITION, Offset(offset)).to_string()
}

fn pieces(measure: &mut Measure, name: &str, ids: &[String]) {
    let body = body(ids);
    let bytes = Throughput::Bytes(count(body.len()));
    measure.piece("ack", &format!("envelope 100{name}"), bytes.clone(), || {
        envelope::ack_batch(&body, ITEMS_MAX).expect("the sample is an ack").entries.len()
    });
    measure.piece("ack", &format!("plan 100{name}"), bytes, || Plan::batch(&body));
    let queue = queue();
    let names = Some((queue, Arc::from("p-7")));
    let options = Options::new(DateCache::new().at(SystemTime::now()), Connection::Stays);
    let mut out = Vec::new();
    measure.piece("ack", &format!("answer 100{name}"), Throughput::Elements(count(MANY)), || {
        out.clear();
        let entries = vec![Settled { refusal: None, dead: false }; MANY];
        let acked = Acked { entries, released: true, pending: false };
        let done = vec![Done { places: (0..MANY).collect(), names: names.clone(), acked }];
        ack::write(&mut Answer::new(&mut out, options), ids, done, true);
        out.len()
    });
}

fn body(ids: &[String]) -> Vec<u8> {
    let (partition, lease) = (PARTITION.to_uuid(), new_lease_id(PARTITION));
    let entries: Vec<String> = ids
        .iter()
        .map(|id| {
            format!(
                r#"{{"transactionId":"{id}","partitionId":"{partition}","leaseId":"{lease}","status":"completed"}}"#
            )
        })
        .collect();
    let entries = entries.join(",");
    format!(r#"{{"consumerGroup":"billing","acknowledgments":[{entries}]}}"#).into_bytes()
}
