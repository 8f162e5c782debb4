//! A request's body on its way to an endpoint: whether it still moves, and whether somebody
//! has read of it yet.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body::{Body as _, Frame, SizeHint};

/// See the file's head. Clones are the same body.
#[derive(Debug, Clone)]
pub struct Upload(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    body: Mutex<Body>,
    empty: bool,
    /// Pieces that went on.
    moved: AtomicU64,
}

impl Upload {
    pub fn new(body: Body) -> Upload {
        Upload(Arc::new(Shared {
            empty: body.is_end_stream(),
            body: Mutex::new(body),
            moved: AtomicU64::new(0),
        }))
    }

    /// The body for an endpoint, or, while it [`Upload::is_untouched`], for another one.
    pub fn body(&self) -> Body {
        match self.0.empty {
            true => Body::empty(),
            false => Body::new(self.clone()),
        }
    }

    /// Whether nobody has read of it.
    pub fn is_untouched(&self) -> bool {
        self.moved() == 0
    }

    /// Waits until nothing has moved for `patience`, noticed at most as late again.
    pub async fn stalled(&self, patience: Duration) {
        loop {
            let before = self.moved();
            tokio::time::sleep(patience).await;
            if self.moved() == before {
                return;
            }
        }
    }

    fn moved(&self) -> u64 {
        self.0.moved.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Body> {
        self.0.body.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut *self.lock()).poll_frame(context);
        if polled.is_ready() {
            self.0.moved.fetch_add(1, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.lock().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.lock().size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn what_nobody_has_read_may_be_sent_again() {
        let upload = Upload::new(Body::from("all of it"));
        // To an endpoint that was never reached.
        drop(upload.body());
        assert!(upload.is_untouched());
        let read = upload.body().collect().await.unwrap().to_bytes();
        assert_eq!(read, "all of it");
        assert!(!upload.is_untouched());
        let empty = Upload::new(Body::empty());
        empty.body().collect().await.unwrap();
        assert!(empty.is_untouched(), "nothing is there to be lost");
    }

    #[tokio::test]
    async fn silence_ends_and_what_moves_is_waited_for() {
        let upload = Upload::new(Body::from("all of it"));
        upload.stalled(Duration::ZERO).await;
        // A piece while it sleeps, which it must notice.
        let mut waiting = std::pin::pin!(upload.stalled(Duration::from_millis(1)));
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        upload.body().collect().await.unwrap();
        let before = upload.moved();
        waiting.await;
        assert_eq!(upload.moved(), before);
    }
}
