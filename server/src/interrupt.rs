//! Ctrl-C: asked politely once; a script ends at once the second time, a shell goes on to its prompt.

use std::sync::Arc;

use tokio::sync::watch;

/// Whether the user wants what runs to end.
#[derive(Debug, Clone)]
pub struct Interrupt {
    asked: watch::Receiver<bool>,
    asks: Arc<watch::Sender<bool>>,
}

impl Interrupt {
    /// Listens to Ctrl-C. Where `is_last`, the second one ends the process with exit code 130.
    pub fn listen(is_last: bool) -> Self {
        let (asks, asked) = watch::channel(false);
        let asks = Arc::new(asks);
        let sender = Arc::clone(&asks);
        tokio::spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                if sender.send_replace(true) && is_last {
                    std::process::exit(130);
                }
            }
        });
        Self { asked, asks }
    }

    /// Forgets that the user asked: what runs next is to run.
    pub fn rearm(&self) {
        self.asks.send_replace(false);
    }

    /// Waits for it. Cancel-safe.
    pub async fn wait(&mut self) {
        // The sender lives as long as this does.
        if self.asked.wait_for(|asked| *asked).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
