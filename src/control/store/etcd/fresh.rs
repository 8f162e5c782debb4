//! How new etcd is: one question at a time, asked for all who came before it was sent.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::Shared;
use super::client::CallError;
use crate::{Revision, Unfresh};

/// Longest a reader is kept waiting.
const PATIENCE: Duration = Duration::from_secs(3);

type Answer = Result<Revision, Unfresh>;

/// Who wants to know.
#[derive(Default)]
pub(super) struct Asking {
    waiting: Mutex<Vec<oneshot::Sender<Answer>>>,
    arrived: Notify,
}

impl Asking {
    pub async fn ask(&self) -> Answer {
        let (sender, answer) = oneshot::channel();
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(sender);
        self.arrived.notify_one();
        answer.await.unwrap_or_else(|_| {
            Err(Unfresh {
                reason: "the store is closed".to_owned(),
            })
        })
    }

    fn take(&self) -> Vec<oneshot::Sender<Answer>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut waiting)
    }
}

/// Asks for ever.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        shared.asking.arrived.notified().await;
        loop {
            let waiting = shared.asking.take();
            if waiting.is_empty() {
                break;
            }
            let used = shared.client.endpoint();
            let asked = async {
                match shared.head().await {
                    // The connection broke under the question; asking changes nothing, so it is
                    // asked once more.
                    Err(CallError::Unanswered(_)) => shared.head().await,
                    answer => answer,
                }
            };
            let answer = match tokio::time::timeout(PATIENCE, asked).await {
                Ok(Ok(head)) => Ok(head.revision),
                Ok(Err(error)) => Err(super::unfresh(error)),
                Err(_) => {
                    shared.client.leave(used);
                    Err(Unfresh {
                        reason: "etcdserver: request timed out".to_owned(),
                    })
                }
            };
            for reader in waiting {
                // A reader that has gone away waits no more.
                let _ = reader.send(answer.clone());
            }
        }
    }
}
