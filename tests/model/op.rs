//! What a producer or a consumer may do, as data that proptest makes and shrinks.
//!
//! An operation names partitions, groups, messages and leases by small numbers that find their
//! meaning when it runs, so every sequence makes sense and still does after others were left out.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::reference::Options;

pub const PARTITIONS: [&str; 4] = ["p0", "p1", "p 2", "p/3"];
/// The first is that of consumers who name none.
pub const GROUPS: [&str; 3] = ["__QUEUE_MODE__", "audit", "b & c"];

/// Seconds. Every duration of an option lies between two multiples of this, and time passes in
/// multiples of it, so the time that a test really takes never decides anything.
pub const TICK: u64 = 1000;

#[derive(Debug, Clone)]
pub enum Op {
    Configure(Options),
    Push(Vec<Item>),
    Pop(Pop),
    /// One message of those that were delivered lately.
    Ack(Pick, Status),
    /// Several of them, whatever their leases.
    AckMany(Vec<(Pick, Status)>),
    /// What one pop delivered: a status for each message, in an order.
    AckLease(AckLease),
    /// Acks of what one pop delivered, and pushes.
    Transact(AckLease, Vec<Item>),
    /// The lease of a delivery lately, for so many ticks and a part of one.
    Extend(u8, u8),
    Seek(Seek),
    /// Ticks that pass.
    Pass(u8),
    Delete,
}

#[derive(Debug, Clone)]
pub struct Item {
    pub partition: usize,
    pub id: Id,
    pub trace: bool,
    pub payload: u8,
}

/// The transactionId of a pushed message.
#[derive(Debug, Clone)]
pub enum Id {
    None,
    /// One of a few, so that it repeats.
    Named(u8),
    /// One of a few that are UUIDs.
    Uuid(u8),
    /// The id of a message that was delivered lately.
    OfMessage(u8),
}

#[derive(Debug, Clone)]
pub struct Pop {
    pub group: usize,
    pub partition: Option<usize>,
    pub batch: usize,
    pub partitions: usize,
    pub auto_ack: bool,
    pub start: Start,
}

/// An operator moves a group.
#[derive(Debug, Clone, Copy)]
pub struct Seek {
    pub group: usize,
    /// `None`: in every partition.
    pub partition: Option<usize>,
    /// To the end, else to the beginning.
    pub to_end: bool,
}

/// Where the group starts if this is its first pop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    Unsaid,
    All,
    New,
    Now,
    LongAgo,
}

/// A message to acknowledge.
#[derive(Debug, Clone)]
pub struct Pick {
    /// How many deliveries ago.
    pub back: u8,
    pub lease: LeaseChoice,
    pub message: MessageChoice,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseChoice {
    AsDelivered,
    Absent,
    /// That of another delivery, so many deliveries ago.
    Other(u8),
    Nonsense,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageChoice {
    AsDelivered,
    /// A message of the same partition that stands so far behind it.
    Behind(u8),
    Unknown,
    UnknownPartition,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    Completed,
    Success,
    Retry,
    Failed,
    Dlq,
}

#[derive(Debug, Clone)]
pub struct AckLease {
    /// How many pops ago.
    pub back: u8,
    /// For the first, second, ... message, again from the start when they run out; `None` leaves
    /// the message out.
    pub statuses: Vec<Option<Status>>,
    /// The order of the entries is turned by so many, and turned around when odd.
    pub turn: u8,
}

/// A queue's life: how it is made, and what is done to it.
#[derive(Debug, Clone)]
pub struct Life {
    /// `None`: by the first push.
    pub options: Option<Options>,
    pub ops: Vec<Op>,
}

/// Lives of up to so many operations; in one that `ages`, time passes.
pub fn life(length: usize, ages: bool) -> impl Strategy<Value = Life> {
    let life = (option::weighted(0.8, options(ages)), vec(op(ages), 1..=length));
    life.prop_map(|(options, ops)| Life { options, ops })
}

fn options(ages: bool) -> impl Strategy<Value = Options> {
    let seconds = |usually: u32| prop_oneof![usually => Just(0), 1 => Just(300), 1 => Just(1300)];
    // Without time, what hides new messages hides them for good.
    let usually = if ages { 3 } else { 40 };
    (prop_oneof![Just(300), Just(1300), Just(2300)], 0..4_u32, seconds(4), seconds(usually), {
        seconds(usually)
    })
        .prop_map(|(lease, retry_limit, retry_delay, delay, window)| Options {
            lease,
            retry_limit,
            retry_delay,
            delay,
            window,
        })
}

fn op(ages: bool) -> BoxedStrategy<Op> {
    let timeless = prop_oneof![
        60 => vec(item(), 1..=6).prop_map(Op::Push),
        100 => pop().prop_map(Op::Pop),
        70 => ack_lease().prop_map(Op::AckLease),
        36 => (pick(), status()).prop_map(|(pick, status)| Op::Ack(pick, status)),
        15 => vec((pick(), status()), 0..6).prop_map(Op::AckMany),
        20 => (ack_lease(), vec(item(), 0..4)).prop_map(|(ack, items)| Op::Transact(ack, items)),
        12 => (0..12_u8, 0..4_u8).prop_map(|(back, ticks)| Op::Extend(back, ticks)),
        6 => seek().prop_map(Op::Seek),
        3 => options(ages).prop_map(Op::Configure),
        1 => Just(Op::Delete),
    ];
    if ages {
        prop_oneof![7 => timeless, 1 => (1..=3_u8).prop_map(Op::Pass)].boxed()
    } else {
        timeless.boxed()
    }
}

fn item() -> impl Strategy<Value = Item> {
    let id = prop_oneof![
        8 => Just(Id::None),
        8 => (0..30_u8).prop_map(Id::Named),
        3 => (0..10_u8).prop_map(Id::Uuid),
        1 => (0..8_u8).prop_map(Id::OfMessage),
    ];
    let partition = prop_oneof![4 => Just(0), 2 => Just(1), 1 => Just(2), 1 => Just(3)];
    (partition, id, prop::bool::weighted(0.1), any::<u8>())
        .prop_map(|(partition, id, trace, payload)| Item { partition, id, trace, payload })
}

fn pop() -> impl Strategy<Value = Pop> {
    let group = prop_oneof![5 => Just(0), 2 => Just(1), 1 => Just(2)];
    let partition =
        option::weighted(0.4, prop_oneof![4 => Just(0_usize), 2 => Just(1), 1 => 2..4_usize]);
    let batch = prop_oneof![3 => Just(1_usize), 4 => 2..6_usize, 2 => Just(20)];
    let partitions = prop_oneof![6 => Just(1_usize), 1 => Just(2), 1 => Just(4)];
    let start = prop_oneof![
        8 => Just(Start::Unsaid),
        1 => Just(Start::All),
        2 => Just(Start::New),
        1 => Just(Start::Now),
        1 => Just(Start::LongAgo),
    ];
    (group, partition, batch, partitions, prop::bool::weighted(0.15), start).prop_map(
        |(group, partition, batch, partitions, auto_ack, start)| Pop {
            group,
            partition,
            batch,
            partitions,
            auto_ack,
            start,
        },
    )
}

fn seek() -> impl Strategy<Value = Seek> {
    (0..GROUPS.len(), option::weighted(0.4, 0..PARTITIONS.len()), any::<bool>())
        .prop_map(|(group, partition, to_end)| Seek { group, partition, to_end })
}

fn status() -> impl Strategy<Value = Status> {
    prop_oneof![
        5 => Just(Status::Completed),
        1 => Just(Status::Success),
        2 => Just(Status::Retry),
        4 => Just(Status::Failed),
        1 => Just(Status::Dlq),
    ]
}

fn pick() -> impl Strategy<Value = Pick> {
    let lease = prop_oneof![
        10 => Just(LeaseChoice::AsDelivered),
        3 => Just(LeaseChoice::Absent),
        2 => (0..10_u8).prop_map(LeaseChoice::Other),
        1 => Just(LeaseChoice::Nonsense),
    ];
    let message = prop_oneof![
        14 => Just(MessageChoice::AsDelivered),
        2 => (1..4_u8).prop_map(MessageChoice::Behind),
        1 => Just(MessageChoice::Unknown),
        1 => Just(MessageChoice::UnknownPartition),
    ];
    (0..12_u8, lease, message).prop_map(|(back, lease, message)| Pick { back, lease, message })
}

fn ack_lease() -> impl Strategy<Value = AckLease> {
    let back = prop_oneof![6 => Just(0_u8), 2 => Just(1), 1 => 2..6_u8];
    let statuses = prop_oneof![
        3 => Just(vec![Some(Status::Completed)]),
        1 => Just(vec![Some(Status::Failed)]),
        4 => vec(option::weighted(0.8, status()), 1..6),
    ];
    (back, statuses, any::<u8>()).prop_map(|(back, statuses, turn)| AckLease {
        back,
        statuses,
        turn,
    })
}
