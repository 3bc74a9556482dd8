//! Work that blocks, done on a thread of its own without losing anything when the waiting is cut short.

use aquifer_model::{Error, Result};
use tokio::task::{JoinHandle, spawn_blocking};

/// Does work that blocks.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let ended = spawn_blocking(work).await;
    ended.map_err(|error| Error::internal("the work on a file did not end").with_source(error))?
}

/// A state that blocking work is done on.
pub(super) struct Background<S, R> {
    state: Option<S>,
    running: Option<JoinHandle<(S, R)>>,
}

impl<S: Send + 'static, R: Send + 'static> Background<S, R> {
    pub fn new(state: S) -> Self {
        Self { state: Some(state), running: None }
    }

    /// Does `work` and waits for it. Cancel-safe: if the future is dropped, the next call gives the result of the work that was under way.
    pub async fn run(&mut self, work: impl FnOnce(&mut S) -> R + Send + 'static) -> Result<R> {
        let lost = || Error::internal("the work on a file did not end");
        let running = match &mut self.running {
            Some(running) => running,
            none => {
                let mut state = self.state.take().ok_or_else(lost)?;
                none.insert(spawn_blocking(move || {
                    let result = work(&mut state);
                    (state, result)
                }))
            }
        };
        let (state, result) = running.await.map_err(|error| lost().with_source(error))?;
        self.running = None;
        self.state = Some(state);
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_is_lost_when_the_waiting_is_cut_short() {
        let mut counter = Background::new(0);
        let step = |counter: &mut i32| {
            *counter += 1;
            *counter
        };
        let mut given = Vec::new();
        while given.len() < 20 {
            tokio::select! {
                biased;
                next = counter.run(step) => given.push(next.expect("ran")),
                () = tokio::task::yield_now() => {}
            }
        }
        assert_eq!(given, (1..=20).collect::<Vec<_>>());
    }
}
