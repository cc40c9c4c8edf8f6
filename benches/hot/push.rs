//! Pushes: from requests to the columns of a flush, and from what became of the items to an answer.

use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use criterion::Throughput;
use queen::api::{Answer, push};
use queen::http::Status;
use queen::http::response::{Connection, DateCache, Options};
use queen::ids::{Offset, TransactionName};
use queen::queue::{Batch, PushItem, PushRequest, Pushed, Stored, Target, line};

use super::measure::Measure;
use super::samples::{Ids, MANY, PARTITION, count, payload, queue};

/// Requests of one flush under load.
const REQUESTS: usize = 32;

pub fn measure(measure: &mut Measure) {
    for (ids, kind) in Ids::ALL {
        let requests: Vec<Rc<PushRequest>> =
            (0..REQUESTS).map(|n| Rc::new(request(n, kind))).collect();
        let name = format!("batch of {REQUESTS}{ids}");
        measure.piece("push", &name, Throughput::Elements(count(REQUESTS)), || {
            Batch::of(requests.clone()).all_columns().lines.len()
        });
    }
    let options = Options::new(DateCache::new().at(SystemTime::now()), Connection::Stays);
    for items in [1, MANY] {
        for (ids, kind) in Ids::ALL {
            let pushed = pushed(items, kind);
            let mut out = Vec::new();
            let name = format!("answer {items}{ids}");
            measure.piece("push", &name, Throughput::Elements(count(items)), || {
                out.clear();
                Answer::new(&mut out, options)
                    .write(Status::Created, |out| push::write_items(out, &pushed));
                out.len()
            });
        }
    }
}

/// A request of one message to a partition of its own.
fn request(n: usize, ids: Ids) -> PushRequest {
    let Pushed { lines, items, mut targets, .. } = pushed(1, ids);
    targets[0].partition.0 += i64::try_from(n).unwrap_or(0);
    PushRequest { lines, items, targets, arrived: None }
}

/// Items of one partition, all stored.
fn pushed(items: usize, ids: Ids) -> Pushed {
    let mut pushed = Pushed {
        lines: Vec::new(),
        items: Vec::new(),
        targets: vec![Target {
            queue: queue(),
            partition: PARTITION,
            partition_name: Arc::from("p-7"),
        }],
        stored: (0..).map(|offset| Stored::Queued(Offset(offset))).take(items).collect(),
    };
    for n in 0..items {
        let id = ids.id(n);
        let parts = line::write(
            &mut pushed.lines,
            id.as_deref(),
            None,
            line::Origin::default(),
            &payload(n),
        );
        let transaction = id.as_deref().map(TransactionName::new);
        pushed.items.push(PushItem { target: 0, transaction, parts });
    }
    pushed
}
