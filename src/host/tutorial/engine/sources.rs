//! Where news come from: watches, the journal, answers of the web, causes. Each is a task that
//! posts to the session; all end with the step they were begun for.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::work::Outcome;
use crate::condition::{Fetched, Need, Probe, Target};
use crate::world::{Asked, Background, Change, World, WorldError};

/// How long to wait before what failed is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// What tasks tell the session.
pub(crate) enum News {
    Changed(Need, Change),
    /// The journal is open; its mark.
    Journal(String),
    Asked(Asked),
    Fetched(Probe, Fetched),
    Why(Target, Option<String>),
    /// The pause between two questions is over.
    Paused,
    Started(Box<dyn Background>),
    /// A script has run in the machine.
    Scripted,
    Worked(Outcome),
    Trouble(WorldError),
}

/// The way back to the session, for one turn: what comes late, after the step was left, is known
/// by its turn.
#[derive(Clone)]
pub(crate) struct Post {
    pub to: mpsc::UnboundedSender<(u64, News)>,
    pub turn: u64,
}

impl Post {
    pub fn send(&self, news: News) {
        // The session holds the other end for as long as any task of it lives.
        let _ = self.to.send((self.turn, news));
    }
}

/// Follows the objects of one need for ever, opening the watch again when it ends.
pub(crate) async fn watch(world: Arc<dyn World>, need: Need, post: Post) {
    loop {
        match world.watch(&need).await {
            Ok(mut changes) => {
                while let Some(change) = changes.recv().await {
                    post.send(News::Changed(need.clone(), change));
                }
            }
            Err(error) => post.send(News::Trouble(error)),
        }
        world.sleep(AGAIN).await;
    }
}

/// Follows the learner's requests since `mark`.
pub(crate) async fn journal(world: Arc<dyn World>, mark: Option<String>, post: Post) {
    let mut mark = mark;
    loop {
        match world.asked(mark.as_deref()).await {
            Ok(mut journal) => {
                mark = Some(journal.mark.clone());
                post.send(News::Journal(journal.mark));
                while let Some(asked) = journal.asked.recv().await {
                    post.send(News::Asked(asked));
                }
            }
            Err(error) => post.send(News::Trouble(error)),
        }
        world.sleep(AGAIN).await;
    }
}

/// Asks once for what cannot be watched.
pub(crate) async fn fetch(world: Arc<dyn World>, probe: Probe, post: Post) {
    let fetched = match &probe {
        Probe::Http(request) => Fetched::Http(world.http(request).await),
        Probe::Output(command) => {
            Fetched::Output(world.output(command).await.map_err(|error| error.what))
        }
        Probe::File(path) => {
            let read = world.read_file(path).await.map_err(|error| error.what);
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            Fetched::File(read.map(|bytes| bytes.map(text)))
        }
    };
    post.send(News::Fetched(probe, fetched));
}

/// Asks once why an object is as it is.
pub(crate) async fn why(world: Arc<dyn World>, object: Target, post: Post) {
    let said = world.why(&object).await;
    post.send(News::Why(object, said));
}

/// Waits once.
pub(crate) async fn pause(world: Arc<dyn World>, time: Duration, post: Post) {
    world.sleep(time).await;
    post.send(News::Paused);
}
