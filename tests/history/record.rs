//! What clients saw: every request that was answered, with the times between which it was.

use std::time::Instant;

/// Microseconds since the run began, on the clock of the clients.
pub type Micros = u64;

/// A request left and its answer arrived; what it did was done in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub sent: Micros,
    pub answered: Micros,
}

/// One element of the answer to a push.
#[derive(Debug, Clone)]
pub struct Push {
    pub span: Span,
    pub partition: String,
    pub transaction_id: String,
    pub id: String,
    pub duplicate: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    pub offset: u64,
    pub id: String,
    pub transaction_id: String,
}

/// What a pop got from one partition.
#[derive(Debug, Clone)]
pub struct Pop {
    pub span: Span,
    pub group: &'static str,
    pub partition: String,
    /// `None` with `autoAck`.
    pub lease: Option<String>,
    /// In the order of the answer.
    pub messages: Vec<Delivered>,
}

/// What an accepted acknowledgment made of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    Completed,
    Dead,
    /// To be delivered again.
    Open,
}

/// One acknowledgment that was accepted; one that was refused changes nothing.
#[derive(Debug, Clone)]
pub struct Ack {
    pub span: Span,
    pub group: &'static str,
    pub partition: String,
    pub offset: u64,
    pub lease: String,
    pub made: Made,
    /// It ended the lease.
    pub released: bool,
}

/// A dead letter as the database has it in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    pub group: String,
    pub partition: String,
    pub offset: u64,
}

#[derive(Debug, Clone, Default)]
pub struct History {
    pub pushes: Vec<Push>,
    pub pops: Vec<Pop>,
    pub acks: Vec<Ack>,
    pub dead_letters: Vec<DeadLetter>,
    /// The ids of messages that transactions completed.
    pub effects: Vec<String>,
}

impl History {
    pub fn append(&mut self, mut other: Self) {
        self.pushes.append(&mut other.pushes);
        self.pops.append(&mut other.pops);
        self.acks.append(&mut other.acks);
        self.dead_letters.append(&mut other.dead_letters);
        self.effects.append(&mut other.effects);
    }
}

/// Gives spans.
#[derive(Debug, Clone, Copy)]
pub struct Clock(pub Instant);

impl Clock {
    fn now(self) -> Micros {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(Micros::MAX)
    }

    /// Runs a request.
    pub fn time<T>(self, request: impl FnOnce() -> T) -> (Span, T) {
        let sent = self.now();
        let answer = request();
        (Span { sent, answered: self.now() }, answer)
    }
}
