//! Turns: so many tasks of a core go on at a time, and the others in the order in which they came.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use futures_channel::oneshot;

pub struct Turns {
    free: Cell<usize>,
    /// Some may have given up.
    waiting: RefCell<VecDeque<oneshot::Sender<Turn>>>,
}

/// Lets the next one go on when it is dropped.
pub struct Turn(Option<Rc<Turns>>);

impl Turns {
    pub fn new(count: usize) -> Rc<Self> {
        Rc::new(Self { free: Cell::new(count), waiting: RefCell::default() })
    }

    /// Waits for a turn. It may be dropped at any time.
    pub async fn take(self: &Rc<Self>) -> Turn {
        if let Some(left) = self.free.get().checked_sub(1) {
            self.free.set(left);
            return Turn(Some(Rc::clone(self)));
        }
        let (next, turn) = oneshot::channel();
        self.waiting.borrow_mut().push_back(next);
        turn.await.expect("who waits stays in the list until it has its turn")
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(turns) = self.0.take() else { return };
        let mut turn = Self(Some(Rc::clone(&turns)));
        loop {
            let next = turns.waiting.borrow_mut().pop_front();
            let Some(next) = next else { break };
            match next.send(turn) {
                Ok(()) => return,
                Err(not_wanted) => turn = not_wanted,
            }
        }
        turn.0 = None;
        turns.free.update(|free| free + 1);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn turns_go_in_order_past_those_who_gave_up() {
        let cx = &mut Context::from_waker(Waker::noop());
        let turns = Turns::new(1);
        let mut first = pin!(turns.take());
        let Poll::Ready(held) = first.as_mut().poll(cx) else { panic!("it is free") };
        let mut gone = Box::pin(turns.take());
        let mut late = Box::pin(turns.take());
        let (mut third, mut fourth) = (pin!(turns.take()), pin!(turns.take()));
        assert!(gone.as_mut().poll(cx).is_pending());
        assert!(late.as_mut().poll(cx).is_pending());
        assert!(third.as_mut().poll(cx).is_pending());
        assert!(fourth.as_mut().poll(cx).is_pending());
        drop(gone);
        drop(held);
        // It has its turn and does not know it.
        drop(late);
        assert!(fourth.as_mut().poll(cx).is_pending());
        let Poll::Ready(held) = third.as_mut().poll(cx) else { panic!("it is the next") };
        drop(held);
        let Poll::Ready(held) = fourth.as_mut().poll(cx) else { panic!("it is the next") };
        drop(held);
        assert_eq!(turns.free.get(), 1);
        assert_eq!(Rc::strong_count(&turns), 1);
    }
}
