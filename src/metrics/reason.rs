//! What is counted apart: each enum is a label, and its names are the label's values.

use std::cell::Cell;

/// An enum with a name for each variant.
pub trait Label: Copy + 'static {
    const ALL: &'static [Self];
    fn name(self) -> &'static str;
    fn index(self) -> usize;
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            pub const COUNT: usize = [$(Self::$variant),*].len();
        }

        impl Label for $name {
            const ALL: &'static [Self] = &[$(Self::$variant),*];

            fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

label! {
    /// The routes that are counted together.
    Family {
        Push = "push",
        Pop = "pop",
        /// A pop that may wait for messages.
        PopWait = "pop_wait",
        Ack = "ack",
        Transaction = "transaction",
        Lease = "lease",
        Configure = "configure",
        Health = "health",
        Metrics = "metrics",
        /// Everything else that has a route.
        Admin = "admin",
        /// No such route, or a method that it does not have.
        Unknown = "unknown",
        /// A request that could not be parsed.
        Rejected = "rejected",
    }
}

label! {
    /// What became of a pushed message.
    PushOutcome {
        Queued = "queued",
        Duplicate = "duplicate",
        Buffered = "buffered",
        Full = "queue_full",
        Failed = "failed",
    }
}

label! {
    /// What became of an acknowledged message.
    AckOutcome {
        Completed = "completed",
        Retry = "retry",
        Failed = "failed",
        /// It went to the dead letters.
        DeadLetter = "dead_letter",
        Refused = "refused",
    }
}

label! {
    /// What a chore took from a queue: messages, where it does not say otherwise, and why.
    Deletion {
        /// They were too old.
        Retention = "retention",
        /// Every group had passed them for long enough.
        Completed = "completed",
        /// They had waited too long, and are dead letters.
        Eviction = "eviction",
        /// Partitions that were empty for long.
        Partition = "partition",
    }
}

label! {
    TransactionOutcome {
        Committed = "committed",
        RolledBack = "rolled_back",
    }
}

label! {
    /// What a connection to the database does at one time.
    Work {
        Push = "push",
        Pop = "pop",
        Ack = "ack",
        /// One operation by itself.
        Other = "other",
    }
}

label! {
    /// What became of an attempt to connect to the database.
    ConnectOutcome {
        Connected = "connected",
        Failed = "failed",
    }
}

label! {
    /// Why a client's connection ended.
    CloseReason {
        /// The client asked for it, or ended its side between requests.
        Client = "client",
        /// The client went away in the middle of something.
        Gone = "gone",
        Idle = "idle",
        /// A request that could not be parsed, or did not arrive in time.
        Rejected = "rejected",
        /// The server stops.
        Drain = "drain",
        /// There were too many connections already.
        Refused = "refused",
        /// A TLS handshake that failed, took too long or did not begin.
        Handshake = "handshake",
    }
}

label! {
    /// The bound for which a request or a connection was refused or cut off.
    Limit {
        HeadBytes = "head_bytes",
        HeaderCount = "header_count",
        TargetBytes = "target_bytes",
        BodyBytes = "body_bytes",
        /// A chunk line, or all of them together.
        ChunkBytes = "chunk_bytes",
        TrailerBytes = "trailer_bytes",
        HeadTime = "head_time",
        BodyTime = "body_time",
        /// Requests behind a poll.
        PipelinedBytes = "pipelined_bytes",
        /// A client was too slow for its answers.
        AnswerTime = "answer_time",
        Connections = "connections",
        AddressConnections = "address_connections",
        Requests = "requests",
        RequestBytes = "request_bytes",
        Polls = "polls",
        AddressPolls = "address_polls",
    }
}

/// A count for each variant. `N` is the label's `COUNT`.
#[derive(Debug)]
pub struct Tally<const N: usize>([Cell<u64>; N]);

impl<const N: usize> Default for Tally<N> {
    fn default() -> Self {
        Self([const { Cell::new(0) }; N])
    }
}

impl<const N: usize> Tally<N> {
    pub fn add(&self, label: impl Label, count: u64) {
        let cell = &self.0[label.index()];
        cell.set(cell.get().wrapping_add(count));
    }

    pub fn counts(&self) -> [u64; N] {
        std::array::from_fn(|i| self.0[i].get())
    }
}
