//! The loop of a controller: keys from its queue, several at a time, failures again later.

use futures::StreamExt;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use tracing::{debug, warn};

use super::Shared;
use super::queue::{Key, Queue};
use super::store::Complete;
use crate::errors::Error;

/// Reconciles keys until the shutdown, at most `workers` at a time and none before `caches`
/// are complete. What is in work at the shutdown is left where it is: all state is in the API.
pub async fn work<F, R>(
    shared: &Shared,
    queue: &Queue,
    caches: &[&dyn Complete],
    workers: usize,
    reconcile: F,
) where
    F: Fn(Key) -> R,
    R: Future<Output = Result<(), Error>>,
{
    let shutdown = shared.shutdown();
    tokio::select! {
        () = shutdown.cancelled() => return,
        _ = join_all(caches.iter().map(|cache| cache.complete())) => {}
    }
    let mut running = FuturesUnordered::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            key = queue.next(), if running.len() < workers => {
                let work = reconcile(key.clone());
                running.push(async move { (key, work.await) });
            }
            Some((key, done)) = running.next(), if !running.is_empty() => {
                match done {
                    Ok(()) => queue.forget(&key),
                    Err(error) if error.is_conflict() => {
                        debug!(%key, %error, "overtaken");
                        queue.retry(key.clone());
                    }
                    Err(error) => {
                        warn!(%key, %error, "reconciliation failed");
                        queue.retry(key.clone());
                    }
                }
                queue.done(&key);
            }
        }
    }
}
