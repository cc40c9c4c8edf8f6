//! What a batch is made of.

use super::*;
use crate::ids::QueueId;
use crate::pg::QueueRow;
use crate::queue::line;
use crate::queue_options::QueueOptions;

/// A request of two messages to one partition.
fn pending(encrypted: [bool; 2]) -> Pending {
    let row = QueueRow {
        id: QueueId(1),
        namespace: String::new(),
        task: String::new(),
        options: QueueOptions::default(),
    };
    let target = Target {
        queue: Rc::new(Queue::new("q", &row)),
        partition: PartitionId(7),
        partition_name: Arc::from("p"),
    };
    let mut request =
        PushRequest { lines: Vec::new(), items: Vec::new(), targets: vec![target], arrived: None };
    for encrypted in encrypted {
        let parts = line::write(&mut request.lines, None, None, line::Origin::default(), "1");
        let parts = LineParts { encrypted, ..parts };
        request.items.push(PushItem { target: 0, transaction: None, parts });
    }
    Pending { request: Rc::new(request), reply: oneshot::channel().0, turn: 0 }
}

#[test]
fn a_segment_holds_only_encrypted_messages_or_none() {
    let mut queue = PushQueue::default();
    for encrypted in [[false, false], [true, true], [true, false]] {
        let pending = pending(encrypted);
        queue.pending_bytes += pending.request.lines.len();
        queue.pending.push_back(pending);
    }
    let batch = queue.take().unwrap();
    let columns = batch.all_columns();
    assert_eq!(columns.segment_encrypted, [false, true, false]);
    assert_eq!(columns.segment_counts, [2, 3, 1]);
    assert_eq!(columns.segment_ends, [2, 5, 6]);
    assert_eq!(columns.segment_partitions, [7, 7, 7]);
    assert_eq!((columns.partitions, columns.message_counts), (vec![7], vec![6]));
}
