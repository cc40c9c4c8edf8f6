//! The one room with SQL: connections, the migrator, and one function for each statement.
//!
//! A function here takes a session and plain values and returns plain values; it decides nothing
//! about queues. SQL text lives in `sql/`, one file for each statement. Every statement has a time
//! limit. After a lost reply the outcome is [`Error::OutcomeUnknown`], never success or failure.

mod ack;
mod blocked;
mod catalog;
mod claim;
mod connect;
mod dead_letters;
mod depth;
mod error;
mod flush;
mod groups;
mod history;
mod lags;
mod lease;
mod link;
mod messages;
mod migrate;
mod names;
mod notices;
mod page;
mod resources;
mod retention;
mod servers;
mod session;
mod switches;
mod timeline;
mod tls;
mod traces;
mod transaction;
mod tuples;
mod types;

pub use ack::{
    Ack, AckedCompleted, ConsumerState, ConsumerUpdate, DeadLetter, DeadLine, OverdueSegment,
    ack_completed, ack_lock, ack_store, dead_letter, dead_letter_lines, message_line,
    overdue_segment, release_lease,
};
pub use blocked::{Blocked, BlockedFilter, blocked, drop_lease};
pub use catalog::{
    FilteredQueue, GroupRow, GroupStart, LookPlace, PartitionNames, PendingPartition, QueueRow,
    Registration, configure_queue, delete_queue, ensure_filter_group, ensure_group,
    ensure_partitions, ensure_queue, forget_early_groups, forget_filter_groups, group_by_name,
    partition_names, pending_partitions, pending_partitions_of_filter, queue_by_name,
    register_early,
};
pub use claim::{Claim, ClaimAnswer, Claimed, Segment, Segments, claim, claim_plain, place_group};
pub use connect::ConnectSettings;
pub use dead_letters::{
    DeadLetterFilter, DeadLetterRow, StoredMessage, TakenLetter, dead_letters, finish_message,
    last_dead_letter, newest_dead_letter, oldest_dead_letters, purge_dead_letters, stored_message,
    take_dead_letters,
};
pub use depth::queue_depth;
pub use error::{Error, Verdict};
pub use flush::{FlushColumns, find_keys, find_keys_stored, flush, lock_partitions};
pub use groups::{
    GroupLag, GroupOf, GroupPartition, LaggingPartition, Moved, Page, Seek, delete_filter_groups,
    delete_group, find_groups, group_partitions, groups, lagging_partitions, seek_group,
    subscribe_group,
};
pub use history::{
    Flow, Gauge, Gauges, History, ParkedPoint, QueuePoint, Range, ServerPoint, WorkerNow,
    WorkerPoint, add_up_hour, cluster_totals, parked_series, partition_counts, postgres_stats,
    prune_history, queue_series, queue_sums, server_series, worker_series, workers_latest,
    write_history,
};
pub use lags::{LagRow, dead_letter_counts, lags};
pub use lease::{Extended, extend_lease, forget_shared_leases};
pub use messages::{
    DeadMessage, GroupOfMessage, GroupsOfQueues, MessageFilter, MessageRow, clear_queue,
    dead_letter_of_message, forget_message, groups_of_message, groups_of_queues, messages,
    partition_readers, queue_groups,
};
pub use migrate::{MigrateError, Versions, migrate};
pub use names::Addresses;
pub use notices::{NOTICE_BYTES_MAX, NoticeReceiver, NoticeSender, listen};
pub use page::Paged;
pub use resources::{
    DEAD_LETTERS_COUNTED_MAX, Label, LabelNumbers, Leases, NO_PAGE, Numbers, Overview,
    PartitionNumbers, QueueDepth, QueueFilter, QueueNumbers, QueueOfOverview, Spread,
    dead_letter_errors, depth_of_group, labels, leases, overview, partitions, queues,
};
pub use retention::{
    Leftover, LineStarts, OldSegment, OverduePlace, Step, StoredSegment, begin_behind,
    deletable_segments, delete_expired_traces, delete_partitions, delete_segments, delete_traces,
    forget_leftovers, leftovers, line_starts, lock_idle_partitions, overdue_places,
};
pub use servers::{in_background, server_left, server_seen};
pub use session::{PLANNER_SETTINGS, Session};
pub use switches::{Switch, Switches, set_switch, switches, switches_at_start};
pub use timeline::{Newest, Timeline};
pub use tls::{Tls, TlsSettings};
pub use traces::{
    NamedTraceRow, NewTrace, TraceNameRow, TraceRow, record_trace, trace_names, traces_of_message,
    traces_of_name,
};
pub use transaction::{LockedConsumer, TransactionLocks, transaction_lock};
pub use tuples::{SeenTuples, TupleId};
pub use types::Timestamp;
