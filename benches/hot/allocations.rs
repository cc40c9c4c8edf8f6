//! Counts what this binary allocates, between any two moments.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

static COUNT: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

fn count(bytes: usize) {
    COUNT.fetch_add(1, Relaxed);
    BYTES.fetch_add(bytes as u64, Relaxed);
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    /// Growing counts as an allocation: it may copy everything.
    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as above.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(old, layout) }
    }
}

/// What was allocated between two moments.
#[derive(Debug, Clone, Copy)]
pub struct Allocated {
    pub count: u64,
    pub bytes: u64,
}

/// What `work` allocates. Other threads must be idle.
pub fn of<T>(work: impl FnOnce() -> T) -> Allocated {
    let (count, bytes) = (COUNT.load(Relaxed), BYTES.load(Relaxed));
    let result = work();
    let allocated =
        Allocated { count: COUNT.load(Relaxed) - count, bytes: BYTES.load(Relaxed) - bytes };
    drop(result);
    allocated
}
