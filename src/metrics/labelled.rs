//! Cells for each queue, or each group of a queue, with a bound on how many of them are told apart.
//!
//! A core tells apart the first that it meets, and so does the sum of all cores. Who is not among
//! them is counted under [`OTHER`] for as long as the server runs, so that no count ever falls.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

/// Queues, and groups of queues, that have series of their own. Each costs the scraper some 20 to 40
/// lines and each core up to half a kilobyte.
pub const LABELLED_MAX: usize = 1000;
/// The label of those past the bound.
pub const OTHER: &str = "other";

/// The cells of one core.
pub struct Labelled<K, T> {
    known: RefCell<HashMap<K, Rc<T>>>,
    other: Rc<T>,
}

impl<K, T: Default> Default for Labelled<K, T> {
    fn default() -> Self {
        Self { known: RefCell::default(), other: Rc::default() }
    }
}

impl<K: Eq + std::hash::Hash, T: Default> Labelled<K, T> {
    pub fn cells(&self, key: K) -> Rc<T> {
        let mut known = self.known.borrow_mut();
        if let Some(cells) = known.get(&key) {
            return Rc::clone(cells);
        }
        if known.len() >= LABELLED_MAX {
            return Rc::clone(&self.other);
        }
        Rc::clone(known.entry(key).or_default())
    }

    /// What each holds, those past the bound last and under no key.
    pub fn read<C>(&self, read: impl Fn(&T) -> C) -> Vec<(Option<K>, C)>
    where
        K: Clone,
    {
        let known = self.known.borrow();
        let each = known.iter().map(|(key, cells)| (Some(key.clone()), read(cells)));
        each.chain([(None, read(&self.other))]).collect()
    }
}

/// Which of all that the cores tell apart are told apart in their sum.
pub struct Admitted<K>(HashSet<K>);

impl<K> Default for Admitted<K> {
    fn default() -> Self {
        Self(HashSet::new())
    }
}

impl<K: Eq + std::hash::Hash + Clone> Admitted<K> {
    /// Whether it has, or gets, a series of its own.
    pub fn admits(&mut self, key: &K) -> bool {
        if !self.0.contains(key) && self.0.len() < LABELLED_MAX {
            self.0.insert(key.clone());
        }
        self.0.contains(key)
    }
}

/// A group of a queue.
pub type GroupLabel = (Arc<str>, Arc<str>);

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn past_the_bound_all_share_their_cells_for_ever() {
        let labelled: Labelled<usize, Cell<u64>> = Labelled::default();
        for key in (0..LABELLED_MAX + 5).chain([0, LABELLED_MAX]) {
            let cells = labelled.cells(key);
            cells.set(cells.get() + 1);
        }
        let read = labelled.read(Cell::get);
        assert_eq!(read.len(), LABELLED_MAX + 1);
        assert_eq!(read.last(), Some(&(None, 6)));
        assert!(read.contains(&(Some(0), 2)));
    }

    #[test]
    fn who_was_not_admitted_is_not_admitted_later() {
        let mut admitted = Admitted::default();
        assert!((0..LABELLED_MAX).all(|key| admitted.admits(&key)));
        assert!(!admitted.admits(&LABELLED_MAX) && admitted.admits(&0));
    }
}
