//! Ctrl-C: asked politely once, at once the second time.

use tokio::sync::watch;

/// Whether the user wants the end.
#[derive(Debug, Clone)]
pub struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Listens to Ctrl-C. The second one ends the process.
    pub fn listen() -> Self {
        let (sender, receiver) = watch::channel(false);
        tokio::spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                if sender.send_replace(true) {
                    std::process::exit(130);
                }
            }
            // Without a handler nobody will interrupt: the sender stays, so that waiting goes on.
            std::future::pending::<()>().await;
        });
        Self(receiver)
    }

    /// One that is told by hand.
    pub fn by_hand() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Waits for it. Cancel-safe.
    pub async fn wait(&mut self) {
        if self.0.wait_for(|asked| *asked).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
