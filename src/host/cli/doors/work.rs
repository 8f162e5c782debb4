//! A listener at work in a task of its own, until it is asked to end or forgotten.

use std::pin::Pin;

use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle};

/// Is ready when the work is to end.
pub type Ended = Pin<Box<dyn Future<Output = ()> + Send>>;

/// See the module.
pub struct Work {
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Work {
    /// Begins what `run` makes of the moment at which to end.
    pub fn start<F>(run: impl FnOnce(Ended) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (end, ended) = oneshot::channel::<()>();
        let ended: Ended = Box::pin(async move {
            // Both a word and a dropped sender mean: end.
            let _ = ended.await;
        });
        Self {
            end,
            task: tokio::spawn(run(ended)),
        }
    }

    /// Ends it; returns when its port or socket is free again.
    ///
    /// # Errors
    /// It broke.
    pub async fn end(self) -> Result<(), JoinError> {
        drop(self.end);
        self.task.await
    }
}
