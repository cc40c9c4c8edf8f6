//! Push and pop maintenance: kept in the database for all servers, obeyed by every core.
//!
//! A core reads them without asking. The server that is told sets them at once; the others look
//! often enough to follow within a second, and while the database is away they stay as they were.

use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Engine, Error};
use crate::pg::{self, Switch};
use crate::runtime;

/// Between two looks at what other servers were told.
const LOOK: Duration = Duration::from_millis(400);

const PUSH: u64 = 1;
const POP: u64 = 2;
/// The database was away when the server started and has not been asked yet.
const UNKNOWN: u64 = 4;
/// One change in the bits above.
const CHANGE: u64 = 8;

/// Of one process.
#[derive(Debug, Default)]
pub struct Switches(AtomicU64);

impl Switches {
    /// As they were found, if they could be.
    pub fn new(found: Option<pg::Switches>) -> Self {
        Self(AtomicU64::new(found.map_or(UNKNOWN, bits)))
    }

    /// Push maintenance is on.
    pub fn push(&self) -> bool {
        self.0.load(Ordering::Acquire) & PUSH != 0
    }

    /// Pushes go to the file buffer and stay there: push maintenance is on, or may be.
    pub fn holds_pushes(&self) -> bool {
        self.0.load(Ordering::Acquire) & (PUSH | UNKNOWN) != 0
    }

    /// Pops find nothing.
    pub fn pop(&self) -> bool {
        self.0.load(Ordering::Acquire) & POP != 0
    }

    /// What is found in the database counts unless somebody changed it since `before`.
    fn found(&self, before: u64, found: pg::Switches) {
        let now = before & !(PUSH | POP | UNKNOWN) | bits(found);
        let _ = self.0.compare_exchange(before, now, Ordering::SeqCst, Ordering::SeqCst);
    }

    fn set(&self, switch: Switch, on: bool) {
        let bit = match switch {
            Switch::Push => PUSH,
            Switch::Pop => POP,
        };
        let change = |now: u64| (if on { now | bit } else { now & !bit }).wrapping_add(CHANGE);
        self.0.update(Ordering::SeqCst, Ordering::SeqCst, change);
    }
}

fn bits(found: pg::Switches) -> u64 {
    u64::from(found.push) * PUSH + u64::from(found.pop) * POP
}

impl Engine {
    pub fn switches(&self) -> &Switches {
        &self.spill.switches
    }

    /// Turns a switch on or off for all servers. This one obeys when this returns.
    pub async fn set_switch(&self, switch: Switch, on: bool) -> Result<(), Error> {
        self.run(async move |session| pg::set_switch(session, switch, on).await).await?;
        self.spill.switches.set(switch, on);
        tracing::info!(?switch, on, "maintenance was switched");
        Ok(())
    }

    /// Follows what other servers were told.
    pub async fn follow_switches(self: Rc<Self>) {
        while !self.stopping.get() {
            runtime::sleep(LOOK).await;
            let before = self.spill.switches.0.load(Ordering::SeqCst);
            if let Ok(found) = self.run(async |session| pg::switches(session).await).await {
                self.spill.switches.found(before, found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_look_does_not_undo_a_change() {
        let switches = Switches::default();
        let before = switches.0.load(Ordering::SeqCst);
        switches.set(Switch::Push, true);
        switches.found(before, pg::Switches::default());
        assert!(switches.push() && !switches.pop());
        let before = switches.0.load(Ordering::SeqCst);
        switches.found(before, pg::Switches { push: false, pop: true });
        assert!(!switches.push() && switches.pop());
        switches.set(Switch::Pop, false);
        assert!(!switches.push() && !switches.pop());
    }

    #[test]
    fn pushes_are_held_until_somebody_knows_better() {
        let switches = Switches::new(None);
        assert!(switches.holds_pushes() && !switches.push());
        let before = switches.0.load(Ordering::SeqCst);
        switches.found(before, pg::Switches::default());
        assert!(!switches.holds_pushes());
    }
}
