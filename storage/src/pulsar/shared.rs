//! A value that many ask for at once and one makes: who waited while the making failed shares the failure.
//!
//! So a hundred readers of an unreachable broker hear of it after one connect timeout, not one after the other. All who wait drive the making: one that is kept
//! and no longer polled holds nobody up.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, WeakShared};

use aquifer_model::{Error, ErrorKind, Result};

type Made<T> = Result<T, (ErrorKind, String)>;

#[derive(Debug)]
pub(super) struct Shared<T: Clone> {
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T: Clone> {
    value: Option<T>,
    /// The making that is under way, as long as somebody waits for it, and its number.
    making: Option<WeakShared<BoxFuture<'static, Made<T>>>>,
    number: u64,
}

impl<T: Clone> Default for Shared<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { value: None, making: None, number: 0 }) }
    }
}

impl<T: Clone> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value, if it is still `good`; else what `make` gives. A making that nobody waits for any more is given up.
    pub async fn get(
        &self,
        good: impl Fn(&T) -> bool,
        make: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let (making, number) = {
            let mut state = self.state();
            if let Some(value) = state.value.as_ref().filter(|value| good(value)) {
                return Ok(value.clone());
            }
            match state.making.as_ref().and_then(WeakShared::upgrade) {
                Some(making) => (making, state.number),
                None => {
                    let made = make.map(|made| made.map_err(|error| (error.kind(), error.to_string())));
                    let making = made.boxed().shared();
                    state.making = making.downgrade();
                    state.number += 1;
                    (making, state.number)
                }
            }
        };
        let made = making.await;
        let mut state = self.state();
        if state.number == number {
            state.making = None;
            if let Ok(value) = &made {
                state.value = Some(value.clone());
            }
        }
        made.map_err(|(kind, message)| Error::new(kind, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    #[tokio::test]
    async fn who_waited_shares_the_failure_and_who_comes_later_tries_again() {
        let shared: Shared<u8> = Shared::default();
        let (made, all_wait) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let fail = || {
            let (made, all_wait) = (Arc::clone(&made), Arc::clone(&all_wait));
            async move {
                made.fetch_add(1, Ordering::SeqCst);
                all_wait.notified().await;
                Err(Error::unavailable("gone"))
            }
        };
        // Polled in this order at first.
        let (one, two, three, ()) = tokio::join!(
            shared.get(|_| true, fail()),
            shared.get(|_| true, fail()),
            shared.get(|_| true, fail()),
            async { all_wait.notify_one() }
        );
        for outcome in [one, two, three] {
            assert_eq!(outcome.expect_err("failed").to_string(), "gone");
        }
        assert_eq!(made.load(Ordering::SeqCst), 1);
        assert_eq!(shared.get(|_| true, async { Ok(1) }).await.expect("made"), 1);
        assert_eq!(shared.get(|_| true, async { Ok(2) }).await.expect("kept"), 1);
        assert_eq!(shared.get(|value| *value != 1, async { Ok(3) }).await.expect("made anew"), 3);
    }

    #[tokio::test]
    async fn one_that_is_kept_and_not_polled_holds_nobody_up() {
        let shared: Shared<u8> = Shared::default();
        let making = async {
            tokio::task::yield_now().await;
            Ok(1)
        };
        let mut kept = Box::pin(shared.get(|_| true, making));
        assert!(futures::poll!(&mut kept).is_pending());
        assert_eq!(shared.get(|_| true, async { Ok(2) }).await.expect("made by the one that waits"), 1);
        assert_eq!(kept.await.expect("the same"), 1);
        // One that was dropped in the middle is forgotten.
        let other: Shared<u8> = Shared::default();
        let mut dropped = Box::pin(other.get(|_| true, std::future::pending()));
        assert!(futures::poll!(&mut dropped).is_pending());
        drop(dropped);
        assert_eq!(other.get(|_| true, async { Ok(3) }).await.expect("made anew"), 3);
    }
}
