//! A value that many ask for at once and one makes: who waited while the making failed shares the failure.
//!
//! So a hundred readers of an unreachable broker hear of it after one connect timeout, not one after the other.

use std::future::Future;
use std::time::Instant;

use tokio::sync::Mutex;

use aquifer_model::{Error, ErrorKind, Result};

#[derive(Debug)]
pub(super) struct Shared<T> {
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    value: Option<T>,
    failed: Option<(Instant, ErrorKind, String)>,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { value: None, failed: None }) }
    }
}

impl<T: Clone> Shared<T> {
    /// The value, if it is still `good`; else what `make` gives. Dropping the future leaves the making to the next asker.
    pub async fn get(&self, good: impl Fn(&T) -> bool, make: impl Future<Output = Result<T>>) -> Result<T> {
        let asked = Instant::now();
        let mut state = self.state.lock().await;
        if let Some(value) = state.value.as_ref().filter(|value| good(value)) {
            return Ok(value.clone());
        }
        if let Some((_, kind, message)) = state.failed.as_ref().filter(|(at, ..)| *at >= asked) {
            return Err(Error::new(*kind, message.clone()));
        }
        match make.await {
            Ok(value) => {
                *state = State { value: Some(value.clone()), failed: None };
                Ok(value)
            }
            Err(error) => {
                state.failed = Some((Instant::now(), error.kind(), error.to_string()));
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn who_waited_shares_the_failure_and_who_comes_later_tries_again() {
        let shared: Shared<u8> = Shared::default();
        let made = AtomicUsize::new(0);
        let fail = || async {
            made.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            Err(Error::unavailable("gone"))
        };
        let (one, two, three) =
            tokio::join!(shared.get(|_| true, fail()), shared.get(|_| true, fail()), shared.get(|_| true, fail()));
        for outcome in [one, two, three] {
            assert_eq!(outcome.expect_err("failed").to_string(), "gone");
        }
        assert_eq!(made.load(Ordering::SeqCst), 1);
        assert_eq!(shared.get(|_| true, async { Ok(1) }).await.expect("made"), 1);
        assert_eq!(shared.get(|_| true, async { Ok(2) }).await.expect("kept"), 1);
        assert_eq!(shared.get(|value| *value != 1, async { Ok(3) }).await.expect("made anew"), 3);
    }
}
