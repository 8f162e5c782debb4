//! `/debug/story?kind=…&namespace=…&name=…`: the story of one object, as one document or
//! line by line as it goes on.

use std::collections::HashSet;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use cadet_api::resource::Resource;
use cadet_api::status::Status;
use cadet_store::Revision;
use http::StatusCode;
use serde_json::json;

use super::line::Line;
use super::teller::Teller;
use crate::app::App;
use crate::call::Call;
use crate::journal::Writer;
use crate::moment::Moment;
use crate::object::Object;
use crate::query::Parameters;
use crate::respond;
use crate::world::Change;

pub fn routes() -> Router<App> {
    Router::new().route("/debug/story", get(story))
}

async fn story(State(app): State<App>, request: Request) -> Response {
    match answer(app, &request) {
        Ok(response) => response,
        Err(status) => respond::status(&status),
    }
}

fn answer(app: App, request: &Request) -> Result<Response, Status> {
    let parameters = Parameters::of(request.uri())?;
    let needed = |name: &str| {
        let missing = || Status::bad_request(format!("{name}: a story needs one"));
        parameters.get(name).ok_or_else(missing)
    };
    let (kind, name) = (needed("kind")?, needed("name")?);
    let resource = kind_of(&app, kind)
        .ok_or_else(|| Status::bad_request(format!("kind: there is no {kind:?}")))?;
    let namespace = match resource.namespaced {
        true => parameters.get("namespace").unwrap_or("default"),
        false => "",
    };
    let call = request.extensions().get::<Call>();
    let asker = call.map_or("", |call| call.user.name.as_str());
    let hero = Hero {
        resource,
        namespace,
        name,
    };
    let begun = begin(&app, asker, &hero)?;
    if parameters.flag("watch") {
        return Ok(follow(app, begun));
    }
    let document = json!({
        "kind": resource.kind, "namespace": namespace, "name": name, "uid": begun.uid,
        "alive": begun.alive, "now": Moment::now(), "items": begun.lines,
    });
    Ok(respond::json(StatusCode::OK, document.to_string()))
}

/// The kind that a user means: by kind, plural, singular or short name, in any case, with
/// or without its group.
fn kind_of(app: &App, word: &str) -> Option<&'static Resource> {
    let word = word.to_lowercase();
    let (name, group) = match word.split_once('.') {
        Some((name, group)) => (name, Some(group)),
        None => (word.as_str(), None),
    };
    let rows = app.world.kinds().rows();
    let mut rows = rows.iter().copied();
    let found = rows.find(|row| {
        let is_named = row.plural == name
            || row.singular == name
            || row.kind.to_lowercase() == name
            || row.short_names.contains(&name);
        let is_stored = !row.transient && !row.is_past() && !row.verbs.is_empty();
        is_named && is_stored && group.is_none_or(|group| row.gv.group == group)
    });
    found.map(Resource::stored_as)
}

/// Whom the story is about.
struct Hero<'a> {
    resource: &'static Resource,
    namespace: &'a str,
    name: &'a str,
}

/// A story up to now.
struct Begun {
    uid: String,
    alive: bool,
    teller: Teller,
    lines: Vec<Line>,
    /// What was taken in last.
    seen: Revision,
}

fn begin(app: &App, asker: &str, hero: &Hero<'_>) -> Result<Begun, Status> {
    // What is there first, then what changed: so nothing that is there is newer than the
    // changes, and nothing is told twice.
    let now = app.world.get(hero.resource, hero.namespace, hero.name);
    let mut family: Vec<Arc<Object>> = Vec::new();
    if let Some(now) = &now {
        family.push(Arc::clone(now));
        family.extend(app.world.descendants(now.uid()));
    }
    let slices = all(app, "discovery.k8s.io", "endpointslices", hero);
    let events = all(app, "", "events", hero);
    let changes = app.world.changes(0);
    let uid = match &now {
        Some(now) => now.uid().to_owned(),
        None => {
            last_known(&changes, hero).ok_or_else(|| Status::not_found(hero.resource, hero.name))?
        }
    };
    if now.is_none() {
        family = app.world.descendants(&uid);
    }
    let touched: HashSet<&str> = changes.iter().filter_map(|c| uid_of(c)).collect();
    let is_untouched = |object: &&Arc<Object>| !touched.contains(object.uid());

    let mut teller = Teller::new(asker, &uid);
    if hero.resource.is("", "Node") {
        // Agents call their node by name in events.
        teller.also_called(hero.name);
    }
    for object in &family {
        teller.knows(object.uid());
    }
    for slice in slices.iter().filter(is_untouched) {
        teller.knows_slice(slice);
    }
    let mut lines = Vec::new();
    for object in family.iter().filter(is_untouched) {
        lines.extend(teller.remembers(object));
    }
    for event in events.iter().filter(is_untouched) {
        if teller.concerns(event) {
            lines.extend(teller.old_event(event));
        }
    }
    changes.iter().for_each(|change| teller.foresees(change));
    for change in &changes {
        let writer = app.journal.writer(change.revision);
        lines.extend(teller.take(change, writer.as_deref()));
    }
    lines.extend(teller.rest());
    // Agents' own times bring their acts before the writes that tell of them.
    lines.sort_by_key(|line| line.time);
    Ok(Begun {
        alive: teller.is_alive(&uid),
        uid,
        teller,
        lines,
        seen: changes.last().map_or(0, |change| change.revision),
    })
}

fn uid_of(change: &Change) -> Option<&str> {
    let object = change.current.as_ref().or(change.previous.as_ref())?;
    Some(object.uid())
}

/// Uid of the last object of that name, which is gone.
fn last_known(changes: &[Arc<Change>], hero: &Hero<'_>) -> Option<String> {
    let mut gone = changes.iter().rev().filter_map(|c| c.previous.as_ref());
    let found = gone.find(|object| {
        object.resource.id() == hero.resource.id()
            && object.namespace() == hero.namespace
            && object.name() == hero.name
    });
    found.map(|object| object.uid().to_owned())
}

/// All objects of a kind where the story takes place.
fn all(app: &App, group: &str, plural: &str, hero: &Hero<'_>) -> Vec<Arc<Object>> {
    let row = cadet_api::resource::find(group, "v1", plural);
    // Events about what has no namespace may be anywhere.
    let namespace = Some(hero.namespace).filter(|_| hero.resource.namespaced);
    row.map_or_else(Vec::new, |row| app.world.list(row, namespace).objects)
}

fn follow(app: App, begun: Begun) -> Response {
    let Begun {
        teller,
        lines,
        seen,
        ..
    } = begun;
    let follower = Follower {
        app,
        teller,
        first: lines,
        seen,
    };
    let frames = futures::stream::unfold(follower, |mut follower| async move {
        let frame = follower.frame().await?;
        Some((Ok::<Bytes, Infallible>(frame), follower))
    });
    let mut response = respond::json(StatusCode::OK, Bytes::new());
    *response.body_mut() = Body::from_stream(frames);
    response
}

/// A reader who wants to hear how it goes on.
struct Follower {
    app: App,
    teller: Teller,
    first: Vec<Line>,
    seen: Revision,
}

impl Follower {
    /// The next lines; `None` when the story or the server ends.
    async fn frame(&mut self) -> Option<Bytes> {
        if !self.first.is_empty() {
            return Some(written(&std::mem::take(&mut self.first)));
        }
        loop {
            if self.teller.is_over() {
                return None;
            }
            let world = Arc::clone(&self.app.world);
            let mut next = pin!(world.next_change());
            next.as_mut().enable();
            let mut lines = Vec::new();
            for change in world.changes(self.seen) {
                let writer = self.writer(change.revision).await;
                lines.extend(self.teller.take(&change, writer.as_deref()));
                self.seen = change.revision;
            }
            if !lines.is_empty() {
                return Some(written(&lines));
            }
            tokio::select! {
                () = self.app.stopping.cancelled() => return None,
                () = next => {}
            }
        }
    }

    async fn writer(&self, revision: Revision) -> Option<Arc<Writer>> {
        match self.app.is_shared() {
            // Perhaps another server's, which nobody here knows.
            true => self.app.journal.writer(revision),
            false => self.app.journal.writer_soon(revision).await,
        }
    }
}

fn written(lines: &[Line]) -> Bytes {
    let mut frame: Vec<u8> = Vec::new();
    for line in lines {
        // Texts and numbers only: writing them into memory cannot fail.
        let _ = serde_json::to_writer(&mut frame, line);
        frame.push(b'\n');
    }
    frame.into()
}
