//! Tells a story change by change: who belongs to it, and what each change means.
//!
//! ```text
//!   change of ── the family ──▶ born, changed, gone
//!            ├── an event about the family ──▶ what agents did in between
//!            └── an endpoint slice ──▶ services that lead to the family
//! ```
//! A pod's node is told when the scheduler has said why, or with whatever comes next.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cadet_api::json::str_at;
use cadet_store::Revision;
use serde_json::Value;

use super::actor::Actor;
use super::event::{self, News};
use super::line::{Line, Told};
use super::remembered;
use super::services::Services;
use super::words::{counted, kind_words};
use super::{pod, workload};
use crate::journal::Writer;
use crate::moment::Moment;
use crate::object::Object;
use crate::world::Change;

/// See the module's opening.
#[derive(Debug, Default)]
pub struct Teller {
    /// Who the story is told to.
    asker: String,
    /// Uids of the object and of all that it owns.
    family: HashSet<String>,
    /// Those of them that are there.
    alive: HashSet<String>,
    /// Those that were asked to end, or are gone.
    ending: HashSet<String>,
    /// Those whose beginning was told.
    begun: HashSet<String>,
    /// Pods that were given their node, which waits to be told.
    placed: HashMap<String, Line>,
    /// Why pods were given their nodes, by uid, as far as that is known beforehand.
    reasons: HashMap<String, String>,
    /// What a container's start counts from, by uid and name.
    made: HashMap<(String, String), Moment>,
    /// Uid, container and image of what is being fetched.
    pulling: HashSet<(String, String, String)>,
    services: Services,
}

/// When and by which write.
#[derive(Debug, Clone, Copy)]
struct When {
    at: Moment,
    revision: Revision,
}

impl Teller {
    /// A story for `asker` about the object with this uid.
    pub fn new(asker: &str, uid: &str) -> Teller {
        Teller {
            asker: asker.to_owned(),
            family: HashSet::from([uid.to_owned()]),
            ..Teller::default()
        }
    }

    /// Something that is there and belongs to the story, whose beginning may be forgotten.
    pub fn knows(&mut self, uid: &str) {
        self.family.insert(uid.to_owned());
        self.alive.insert(uid.to_owned());
    }

    /// Something else by which events may call the object.
    pub fn also_called(&mut self, name: &str) {
        self.family.insert(name.to_owned());
    }

    /// A slice that did not change while the server remembers.
    pub fn knows_slice(&mut self, slice: &Object) {
        self.services.seed(&slice.value(), &self.family);
    }

    /// Takes the scheduler's word from a change that is yet to be told: its event comes after
    /// the binding, and an agent that is quick comes before both.
    pub fn foresees(&mut self, change: &Change) {
        let news = change.current.as_ref();
        let Some(event) = news.filter(|object| object.resource.is("", "Event")) else {
            return;
        };
        let uid = event.field("involvedObject.uid").unwrap_or_default();
        if uid.is_empty() || event.field("reason") != Some("Scheduled") {
            return;
        }
        if let News::Placed(why) = event::news(&event.value())
            && !why.is_empty()
        {
            self.reasons.insert(uid.to_owned(), why);
        }
    }

    pub fn is_alive(&self, uid: &str) -> bool {
        self.alive.contains(uid)
    }

    /// Whether nothing of the family is left.
    pub fn is_over(&self) -> bool {
        self.alive.is_empty() && !self.ending.is_empty()
    }

    /// What a change tells.
    pub fn take(&mut self, change: &Change, writer: Option<&Writer>) -> Vec<Line> {
        let Some(object) = change.current.as_ref().or(change.previous.as_ref()) else {
            return Vec::new();
        };
        let when = When {
            at: change.at,
            revision: change.revision,
        };
        if object.resource.is("", "Event") {
            return self.event(change, when);
        }
        if object.resource.is("discovery.k8s.io", "EndpointSlice") {
            return self.slice(change, when);
        }
        if !self.belongs(object) {
            return Vec::new();
        }
        let mut lines = Vec::new();
        match (&change.previous, &change.current) {
            (None, Some(new)) => {
                self.alive.insert(new.uid().to_owned());
                self.begun.insert(new.uid().to_owned());
                lines.push(self.born(new, when, writer));
            }
            (Some(old), Some(new)) => {
                lines.extend(self.remembers(old));
                lines.extend(self.changed(old, new, when, writer));
            }
            (Some(old), None) => {
                lines.extend(self.remembers(old));
                lines.extend(self.gone(old, when, writer));
            }
            (None, None) => {}
        }
        lines
    }

    /// What an object remembers of the time before the window, if nothing was told of it.
    pub fn remembers(&mut self, object: &Arc<Object>) -> Vec<Line> {
        let uid = object.uid();
        if !self.begun.insert(uid.to_owned()) {
            return Vec::new();
        }
        self.alive.insert(uid.to_owned());
        let value = object.value();
        let birth = birth(&value, Actor::by_record(&value, true).who == "controller");
        remembered::memories(&value, birth)
            .into_iter()
            .map(|memory| Line {
                time: memory.at,
                exact: false,
                revision: 0,
                ..line(object, memory.actor, memory.told, WHENEVER)
            })
            .collect()
    }

    /// An event that is older than the window, by its own times.
    pub fn old_event(&mut self, object: &Object) -> Vec<Line> {
        let value = object.value();
        let exact = Moment::parse(str_at(&value, "/eventTime"));
        let times = [
            "/lastTimestamp",
            "/firstTimestamp",
            "/metadata/creationTimestamp",
        ];
        let mut times = times.iter().map(|path| str_at(&value, path));
        let Some(at) = exact.or_else(|| times.find_map(Moment::parse)) else {
            return Vec::new();
        };
        let when = When { at, revision: 0 };
        let mut lines = self.told_by_event(&value, object, when);
        for line in &mut lines {
            line.exact = exact.is_some();
        }
        lines
    }

    /// Whether an event is about the family.
    pub fn concerns(&self, event: &Object) -> bool {
        let about = event.field("involvedObject.uid").unwrap_or_default();
        self.family.contains(about)
    }

    /// What still waits to be told.
    pub fn rest(&mut self) -> Vec<Line> {
        self.placed.drain().map(|(_, line)| line).collect()
    }

    fn belongs(&mut self, object: &Object) -> bool {
        if self.family.contains(object.uid()) {
            return true;
        }
        let mut owners = object.owner_references().iter();
        let is_owned = owners.any(|owner| self.family.contains(&owner.uid));
        if is_owned {
            self.family.insert(object.uid().to_owned());
        }
        is_owned
    }

    fn actor(&self, object: &Object, value: &Value, writer: Option<&Writer>) -> Actor {
        let mut owners = object.owner_references().iter();
        let orphaned = owners.any(|owner| self.ending.contains(&owner.uid));
        match writer {
            Some(writer) => Actor::of(writer, &self.asker, object, orphaned),
            None => Actor::by_record(value, false),
        }
    }

    fn born(&mut self, new: &Arc<Object>, when: When, writer: Option<&Writer>) -> Line {
        let value = new.value();
        let actor = self.actor(new, &value, writer);
        let told = birth(&value, actor.who == "controller");
        line(new, actor, told, when)
    }

    fn changed(
        &mut self,
        old: &Arc<Object>,
        new: &Arc<Object>,
        when: When,
        writer: Option<&Writer>,
    ) -> Vec<Line> {
        let uid = new.uid().to_owned();
        let (before, now) = (old.value(), new.value());
        let actor = self.actor(new, &now, writer);
        let is_pod = new.resource.is("", "Pod");
        let is_top = new.owner_references().is_empty();
        let mut told = match is_pod {
            true => pod::changes(&before, &now),
            false => workload::changes(&before, &now, is_top),
        };
        if new.is_deleting() && !old.is_deleting() {
            self.ending.insert(uid.clone());
            told.insert(0, ending(new));
        }
        let mut lines = Vec::new();
        if !told.is_empty() {
            lines.extend(self.placed.remove(&uid));
        }
        if is_pod
            && old.node().is_none()
            && let Some(node) = new.node()
        {
            let text = match self.reasons.get(&uid) {
                Some(why) => format!("→ node {node} ({why})"),
                None => format!("→ node {node}"),
            };
            let told = Told::new("scheduled", text);
            let line = line(new, actor.clone(), told, when);
            self.placed.insert(uid, line);
        }
        lines.extend(
            told.into_iter()
                .map(|told| line(new, actor.clone(), told, when)),
        );
        lines
    }

    fn gone(&mut self, old: &Arc<Object>, when: When, writer: Option<&Writer>) -> Vec<Line> {
        // A last word of its own record would be that of an earlier write.
        let actor = match writer {
            Some(_) => self.actor(old, &Value::Null, writer),
            None => Actor::new("somebody", ""),
        };
        self.alive.remove(old.uid());
        self.ending.insert(old.uid().to_owned());
        let told = match old.resource.is("", "Pod") {
            true => Told::new("gone", "gone"),
            false => Told::new("gone", format!("deleted {}", title(old))),
        };
        let mut lines: Vec<Line> = self.placed.remove(old.uid()).into_iter().collect();
        lines.push(line(old, actor, told, when));
        lines
    }

    fn event(&mut self, change: &Change, when: When) -> Vec<Line> {
        // That an old event is swept away is no news.
        let Some(new) = change.current.as_ref().filter(|new| self.concerns(new)) else {
            return Vec::new();
        };
        let value = new.value();
        let at = match &change.previous {
            None => event::moment(&value, when.at),
            Some(old) => {
                // Counted, not new.
                if str_at(&old.value(), "/message") == str_at(&value, "/message") {
                    return Vec::new();
                }
                when.at
            }
        };
        let when = When {
            at,
            revision: when.revision,
        };
        self.told_by_event(&value, new, when)
    }

    fn told_by_event(&mut self, value: &Value, event: &Object, when: When) -> Vec<Line> {
        let field = |name| event.field(name).unwrap_or_default().to_owned();
        let uid = field("involvedObject.uid");
        let container = event::container(value).to_owned();
        let key = (uid.clone(), container.clone());
        let mut actor = Actor::of_event(value);
        let mut seconds = None;
        let told = match event::news(value) {
            News::Known => return Vec::new(),
            News::Placed(why) => {
                let line = self.placed.remove(&uid).map(|mut line| {
                    if !why.is_empty() && !self.reasons.contains_key(&uid) {
                        line.text = format!("{} ({why})", line.text);
                    }
                    line
                });
                return line.into_iter().collect();
            }
            News::Made => {
                self.made.entry(key).or_insert(when.at);
                return Vec::new();
            }
            News::Started(name) => {
                let since = self.made.remove(&key);
                seconds = since.map(|since| when.at.since(since).as_secs_f64());
                let took = seconds.map_or(String::new(), |s| format!(" ({s:.2} s)"));
                actor.part = "docker".to_owned();
                Told::new("started", format!("container {name} started{took}"))
            }
            News::Pulling(image) => {
                let text = format!("pulling {image}");
                if !self.pulling.insert((uid.clone(), container, image)) {
                    return Vec::new();
                }
                Told::new("pulling", text)
            }
            News::Told(told) => {
                if matches!(told.act, "image" | "pulled") {
                    self.made.insert(key, when.at);
                }
                told
            }
        };
        let line = Line {
            time: when.at,
            exact: true,
            who: actor.who,
            part: actor.part,
            act: told.act,
            text: told.text,
            kind: field("involvedObject.kind"),
            namespace: field("involvedObject.namespace"),
            name: field("involvedObject.name"),
            uid: uid.clone(),
            revision: when.revision,
            seconds,
        };
        self.placed.remove(&uid).into_iter().chain([line]).collect()
    }

    fn slice(&mut self, change: &Change, when: When) -> Vec<Line> {
        let value = |side: &Option<Arc<Object>>| side.as_ref().map(|object| object.value());
        let (old, new) = (value(&change.previous), value(&change.current));
        let taken = self.services.take(old.as_ref(), new.as_ref(), &self.family);
        let shown = change.current.as_ref().or(change.previous.as_ref());
        let (Some((service, number)), Some(slice)) = (taken, shown) else {
            return Vec::new();
        };
        let told = Told::new("endpoints", counted(number, "endpoint"));
        let actor = Actor::new("service", service.clone());
        vec![Line {
            kind: "Service".to_owned(),
            name: service,
            uid: String::new(),
            ..line(slice, actor, told, when)
        }]
    }
}

/// For lines that get their time elsewhere.
const WHENEVER: When = When {
    at: Moment::EPOCH,
    revision: 0,
};

fn line(object: &Object, actor: Actor, told: Told, when: When) -> Line {
    Line {
        time: when.at,
        exact: true,
        who: actor.who,
        part: actor.part,
        act: told.act,
        text: told.text,
        kind: object.resource.kind.to_owned(),
        namespace: object.namespace().to_owned(),
        name: object.name().to_owned(),
        uid: object.uid().to_owned(),
        revision: when.revision,
        seconds: None,
    }
}

fn title(object: &Object) -> String {
    let kind = kind_words(object.resource.kind);
    format!("{kind} {}", object.name())
}

/// Controllers make what users create.
fn birth(value: &Value, by_controller: bool) -> Told {
    let verb = if by_controller { "made" } else { "created" };
    let kind = kind_words(str_at(value, "/kind"));
    let name = str_at(value, "/metadata/name");
    let wanting = workload::wanting(value);
    Told::new("created", format!("{verb} {kind} {name}{wanting}"))
}

/// Somebody asked for the end; finalizers and grace say what it waits for.
fn ending(object: &Object) -> Told {
    if object.resource.is("", "Pod") {
        let value = object.value();
        let grace = value.pointer("/metadata/deletionGracePeriodSeconds");
        let text = match grace.and_then(Value::as_i64) {
            Some(0) | None => "asked to end at once".to_owned(),
            Some(grace) => format!("asked to end, {grace} s at most"),
        };
        return Told::new("ending", text);
    }
    let held = match object.finalizers() {
        [] => String::new(),
        held => format!(", held by {}", held.join(", ")),
    };
    Told::new("ending", format!("asked {} to end{held}", title(object)))
}

#[cfg(test)]
#[path = "teller_tests.rs"]
mod tests;
