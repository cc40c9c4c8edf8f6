//! Pushes: from what became of the items to an answer.

use std::sync::Arc;
use std::time::SystemTime;

use criterion::Throughput;
use queen::api::{Answer, push};
use queen::http::Status;
use queen::http::response::{Connection, DateCache, Options};
use queen::ids::{Offset, TransactionName};
use queen::queue::{PushItem, Pushed, Stored, Target, line};

use super::measure::Measure;
use super::samples::{Ids, MANY, PARTITION, count, payload, queue};

pub fn measure(measure: &mut Measure) {
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
        let parts = line::write(&mut pushed.lines, id.as_deref(), None, None, &payload(n));
        let transaction = id.as_deref().map(TransactionName::new);
        pushed.items.push(PushItem { target: 0, transaction, parts });
    }
    pushed
}
