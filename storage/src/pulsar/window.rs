//! How many bytes of entries each reader of a cluster asks for in advance: as configured, but no more than its share of what all may together.
//!
//! With few readers the network is kept busy; with hundreds of partitions, of which most wait for their turn, memory stays bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What all readers of a cluster ask for in advance together.
const TOGETHER_BYTES: usize = 128 << 20;
/// What each may ask for, however many there are.
const LEAST_BYTES: usize = 256 << 10;

/// The readers of a cluster.
#[derive(Debug)]
pub(super) struct Windows {
    each: usize,
    open: AtomicUsize,
}

/// One reader's.
#[derive(Debug)]
pub(super) struct Window(Arc<Windows>);

impl Windows {
    /// Of readers that ask for `each` bytes in advance while they are few.
    pub fn new(each: usize) -> Self {
        Self { each, open: AtomicUsize::new(0) }
    }

    /// Another reader's, until it is dropped.
    pub fn open(self: &Arc<Self>) -> Window {
        self.open.fetch_add(1, Ordering::Relaxed);
        Window(Arc::clone(self))
    }
}

impl Window {
    /// What it may ask for now.
    pub fn bytes(&self) -> usize {
        let share = TOGETHER_BYTES / self.0.open.load(Ordering::Relaxed).max(1);
        self.0.each.min(share.max(LEAST_BYTES))
    }

    /// What it may ask for while it is one of few.
    pub fn most(&self) -> usize {
        self.0.each
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_readers_share_what_few_have_each() {
        let windows = Arc::new(Windows::new(16 << 20));
        let first = windows.open();
        assert_eq!(first.bytes(), 16 << 20);
        let many: Vec<Window> = (0..199).map(|_| windows.open()).collect();
        let together: usize = many.iter().map(Window::bytes).sum();
        assert!(together <= TOGETHER_BYTES, "{together}");
        assert_eq!(first.bytes(), TOGETHER_BYTES / 200);
        let more: Vec<Window> = (0..9_800).map(|_| windows.open()).collect();
        assert_eq!(first.bytes(), LEAST_BYTES);
        drop((many, more));
        assert_eq!(first.bytes(), 16 << 20);
        assert_eq!(Arc::new(Windows::new(1000)).open().bytes(), 1000, "never more than configured");
    }
}
