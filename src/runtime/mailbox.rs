//! The bounded mailbox of a core: many cores send, one receives, in the order of sending.
//!
//! One queue for all senders, not one for each pair of cores: when a producer's answer depends on
//! a message that another core must have seen first, "sent before" has to mean "received before"
//! whichever core sends next. Waking a sleeping core costs 30 to 60 microseconds.

use std::cell::RefCell;

use futures_channel::mpsc;
use futures_util::{SinkExt, StreamExt};

/// Messages that one core may leave unread before its senders wait. Protects memory; a core that
/// is this far behind is the bottleneck whatever the bound is.
const MAILBOX_MESSAGES_MAX: usize = 4096;

pub struct Mailbox<T>(mpsc::Receiver<T>);

/// In a cell, since every clone of a sender has a place of its own in the channel: one that is made for
/// each message is never refused, and the mailbox would have no bound.
pub struct Address<T>(RefCell<mpsc::Sender<T>>);

impl<T> Clone for Address<T> {
    fn clone(&self) -> Self {
        Self(RefCell::new(self.0.borrow().clone()))
    }
}

/// The receiving core has stopped.
#[derive(Debug, Clone, Copy)]
pub struct Closed;

pub fn mailbox<T>() -> (Address<T>, Mailbox<T>) {
    let (sender, receiver) = mpsc::channel(MAILBOX_MESSAGES_MAX);
    (Address(RefCell::new(sender)), Mailbox(receiver))
}

impl<T> Address<T> {
    /// Waits while the mailbox is full.
    pub async fn send(&self, message: T) -> Result<(), Closed> {
        // A clone of its own for each message: its guaranteed slot keeps `send` from contending
        // with another task of this core that waits on the same address. Bounded, since its task waits.
        let mut sender = self.0.borrow().clone();
        sender.send(message).await.map_err(|_| Closed)
    }

    /// Sends without waiting; gives the message back when the mailbox is full or closed.
    pub fn try_send(&self, message: T) -> Result<(), T> {
        self.0.borrow_mut().try_send(message).map_err(mpsc::TrySendError::into_inner)
    }
}

impl<T> Mailbox<T> {
    /// The next message, or `None` when every address is gone.
    pub async fn next(&mut self) -> Option<T> {
        self.0.next().await
    }

    /// The next message if it is there already.
    pub fn try_next(&mut self) -> Option<T> {
        self.0.try_recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mailbox_that_nobody_reads_takes_no_more_than_its_bound() {
        let (address, mut mailbox) = mailbox();
        let addresses = [address.clone(), address];
        let send = |n: usize| addresses[n % 2].try_send(n).is_ok();
        let taken = (0..2 * MAILBOX_MESSAGES_MAX).filter(|n| send(*n)).count();
        // One more for each address.
        assert!(taken <= MAILBOX_MESSAGES_MAX + addresses.len(), "{taken} messages");
        assert!(taken >= MAILBOX_MESSAGES_MAX, "{taken} messages");
        let read = std::iter::from_fn(|| mailbox.try_next()).count();
        assert_eq!(read, taken);
        assert!((0..addresses.len()).all(send), "there is room again");
    }
}
