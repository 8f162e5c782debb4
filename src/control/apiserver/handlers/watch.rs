//! GET of a collection with `watch`: a stream of events, one JSON document per line.
//!
//! ```text
//!   start ──▶ initial events (ADDED …, BOOKMARK if asked) ──▶ live events ──▶ end
//!     └─ too old: one ERROR event                               │   ▲
//!                                                               └───┘ BOOKMARK each minute
//! ```
//! It ends on its timeout, when the server stops, or when the reader is too slow; the
//! client then resumes from the last version it saw.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use cadet_api::status::Status;
use cadet_store::{Revision, RevisionError};
use http::StatusCode;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::call::ObjectCall;
use crate::encode::EventEncoder;
use crate::metrics::OpenWatch;
use crate::query::ListOptions;
use crate::respond;
use crate::selection::Selection;
use crate::world::{Change, Scope, Subscription, World};

/// Shortest life of a watch without a timeout of its own; the longest is twice that, so
/// that watches opened together do not all end together. Upstream's figures.
const MIN_LIFE_SECONDS: u64 = 1800;
/// Bytes from which on a frame takes in no more events.
const ENOUGH: usize = 64 * 1024;

pub fn run(call: &ObjectCall) -> Result<Response, Status> {
    let options = ListOptions::of(&call.parameters, call.resource(), true)?;
    let namespace = call.reference.namespace.as_deref();
    // `watch=true` on one object is a watch on the collection with that name.
    let name = call
        .reference
        .name
        .as_deref()
        .or_else(|| options.fields.exact("metadata.name"));
    let node = options.fields.exact("spec.nodeName");
    let scope = Scope::new(call.resource(), namespace, name, node);
    let encoder = EventEncoder::new(call)?;
    let selection = Selection::new(&options, namespace);

    let world = &call.app.world;
    let initial = match (options.initial_events, options.revision) {
        (Some(true), asked) => {
            let newest = world.revision();
            if let Some(asked) = asked.filter(|asked| *asked > newest) {
                return Err(Status::resource_version_too_large(asked, newest));
            }
            true
        }
        (Some(false), _) => false,
        // No version, or "any": begin with what there is.
        (None, None | Some(0)) => true,
        (None, Some(_)) => false,
    };
    let begun = if initial {
        world
            .list_and_watch(call.resource(), namespace, scope)
            .map(|(listing, s)| (Some(listing), s))
    } else {
        // Events up to a version from the future are not wanted; there are none yet.
        let from = options.revision.map(|asked| asked.min(world.revision()));
        world
            .watch(scope, from)
            .map(|subscription| (None, subscription))
    };
    let (listing, subscription) = match begun {
        Ok(begun) => begun,
        Err(RevisionError::TooOld { asked, oldest }) => {
            let line = encoder.error(&Status::too_old(asked, oldest));
            return Ok(stream_of(Body::from(line)));
        }
        Err(RevisionError::Future { asked, newest }) => {
            return Err(Status::resource_version_too_large(asked, newest));
        }
    };

    let mut first = Frame::default();
    let mut seen = options.revision.unwrap_or(0);
    if let Some(listing) = listing {
        let named = |object: &crate::object::Object| {
            call.reference
                .name
                .as_ref()
                .is_none_or(|name| object.name() == *name)
        };
        for object in listing
            .objects
            .iter()
            .filter(|o| selection.holds(o) && named(o))
        {
            first.push(encoder.initial(object));
        }
        if options.initial_events == Some(true) && options.bookmarks {
            first.push(encoder.bookmark(listing.revision, true));
        }
        seen = listing.revision;
    }

    let watcher = Watcher {
        first: first.into_bytes(),
        seen,
        subscription,
        selection,
        encoder,
        world: Arc::clone(&call.app.world),
        bookmarks: options
            .bookmarks
            .then(|| bookmark_clock(call.app.config.bookmark_every)),
        deadline: Instant::now() + Duration::from_secs(life_seconds(&options)),
        stopping: call.app.stopping.clone(),
        _open: call.app.metrics.open_watch(),
    };
    let frames = futures::stream::unfold(watcher, |mut watcher| async move {
        let frame = watcher.frame().await?;
        Some((Ok::<Bytes, Infallible>(frame), watcher))
    });
    Ok(stream_of(Body::from_stream(frames)))
}

fn stream_of(body: Body) -> Response {
    let mut response = respond::json(StatusCode::OK, Bytes::new());
    *response.body_mut() = body;
    response
}

fn life_seconds(options: &ListOptions) -> u64 {
    let mut random = [0_u8; 2];
    // Without randomness all watches live equally long, which is no reason to fail one.
    let _ = getrandom::fill(&mut random);
    let spread = u64::from(u16::from_be_bytes(random)) % MIN_LIFE_SECONDS;
    options
        .timeout_seconds
        .filter(|seconds| *seconds > 0)
        .unwrap_or(MIN_LIFE_SECONDS + spread)
}

fn bookmark_clock(every: Duration) -> Interval {
    let mut clock = tokio::time::interval_at(Instant::now() + every, every);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    clock
}

/// What goes to the client at once: an event alone as it is shared by all who watch, several
/// put together.
#[derive(Default)]
enum Frame {
    #[default]
    Empty,
    One(Bytes),
    Many(BytesMut),
}

impl Frame {
    fn push(&mut self, line: Bytes) {
        *self = match std::mem::take(self) {
            Frame::Empty => Frame::One(line),
            Frame::One(first) => {
                // Where two are, more will be.
                let mut lines = BytesMut::with_capacity(4 * (first.len() + line.len()));
                lines.extend_from_slice(&first);
                lines.extend_from_slice(&line);
                Frame::Many(lines)
            }
            Frame::Many(mut lines) => {
                lines.extend_from_slice(&line);
                Frame::Many(lines)
            }
        };
    }

    fn len(&self) -> usize {
        match self {
            Frame::Empty => 0,
            Frame::One(line) => line.len(),
            Frame::Many(lines) => lines.len(),
        }
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Frame::Empty => Bytes::new(),
            Frame::One(line) => line,
            Frame::Many(lines) => lines.freeze(),
        }
    }
}

/// One open watch.
struct Watcher {
    /// What is sent before anything live.
    first: Bytes,
    /// Events up to here are known to the client.
    seen: Revision,
    subscription: Subscription,
    selection: Selection,
    encoder: EventEncoder,
    world: Arc<World>,
    bookmarks: Option<Interval>,
    deadline: Instant,
    stopping: CancellationToken,
    _open: OpenWatch,
}

impl Watcher {
    /// The next bytes for the client; `None` ends the stream.
    async fn frame(&mut self) -> Option<Bytes> {
        if !self.first.is_empty() {
            return Some(std::mem::take(&mut self.first));
        }
        loop {
            let tick = async {
                match self.bookmarks.as_mut() {
                    Some(clock) => clock.tick().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.stopping.cancelled() => return None,
                () = tokio::time::sleep_until(self.deadline) => return None,
                change = self.subscription.next() => {
                    let mut frame = Frame::default();
                    self.gather(&mut frame, change.ok()?);
                    if frame.len() > 0 {
                        return Some(frame.into_bytes());
                    }
                }
                _ = tick => {
                    // All changes up to this revision are in the queue already, because
                    // the world publishes a change before it shows its revision.
                    let revision = self.world.revision();
                    let mut frame = Frame::default();
                    while let Some(change) = self.subscription.try_next() {
                        self.take(&mut frame, &change);
                    }
                    frame.push(self.encoder.bookmark(revision.max(self.seen), false));
                    return Some(frame.into_bytes());
                }
            }
        }
    }

    /// One change and what else waits already, up to a frame's size.
    fn gather(&mut self, frame: &mut Frame, change: Arc<Change>) {
        self.take(frame, &change);
        while frame.len() < ENOUGH
            && let Some(change) = self.subscription.try_next()
        {
            self.take(frame, &change);
        }
    }

    fn take(&mut self, frame: &mut Frame, change: &Change) {
        if change.revision <= self.seen {
            return;
        }
        self.seen = change.revision;
        let before = change
            .previous
            .as_ref()
            .is_some_and(|object| self.selection.holds(object));
        let after = change
            .current
            .as_ref()
            .is_some_and(|object| self.selection.holds(object));
        if let Some(what) = change.seen(before, after) {
            frame.push(self.encoder.event(change, what));
        }
    }
}
