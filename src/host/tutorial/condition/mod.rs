//! What a step waits for: the conditions of `watch`, `not-yet` and what they need to know.
//!
//! Types are here; [`read`] makes them of YAML, [`judge`] decides whether they hold, [`ready`]
//! knows each kind's own sense of ready, [`pod`] puts a pod's state into words.

pub mod facts;
pub mod judge;
mod labels;
pub mod path;
pub mod pod;
pub mod read;
pub mod ready;
mod words;

use cadet_api::resource::{self, Resource};
use serde::Serialize;

use crate::model::Command;
pub use facts::{Facts, Fetched};
pub use judge::{Verdict, judge};
pub use path::Where;

/// One entry of a `watch` or `when` list.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    pub what: What,
    /// Line in `lesson.md`.
    pub line: u32,
}

/// The kinds of conditions.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// One object is there and is as wanted.
    Object(Target, Wanted),
    /// So many objects are there and are as wanted.
    Objects(Many, Wanted),
    /// An object is not there.
    Absent(Target),
    /// A web address answers.
    Http(Http),
    /// A command prints something.
    Output(Command, Expect),
    /// A file of the learner's lesson folder has a content.
    File(String, Expect),
    /// The learner's programs asked the API server for something.
    Asked(Ask),
    /// The commands were run here, or the learner says so.
    Done,
}

/// A kind as lessons write it: `pod`, `deployments`, `rocket.example.com`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct KindName {
    /// Lower case, without the group; as written (`pod`, `pods`, `deploy`).
    pub name: String,
    /// After the first dot, where there is one.
    pub group: Option<String>,
}

impl KindName {
    /// The built-in kind of this name: by singular, plural or short name, today's version only.
    pub fn known(&self) -> Option<&'static Resource> {
        resource::all().iter().find(|row| {
            let named = row.singular == self.name
                || row.plural == self.name
                || row.short_names.contains(&self.name.as_str());
            let grouped = self
                .group
                .as_deref()
                .is_none_or(|group| group == row.gv.group);
            // `events` is in two groups: the core one has the older, wider habits.
            let wanted = self.group.is_some() || row.gv.group != "events.k8s.io";
            named && grouped && wanted && !row.is_converted() && !row.transient
        })
    }

    /// How the kind is written in words about one object: `pod`, `deployment`,
    /// `rocket.example.com`.
    pub fn singular(&self) -> String {
        match (self.known(), &self.group) {
            (Some(row), _) => row.singular.to_owned(),
            (None, Some(group)) => format!("{}.{group}", self.name),
            (None, None) => self.name.clone(),
        }
    }

    /// How the kind is written in words about several objects.
    pub fn plural(&self) -> String {
        match (self.known(), &self.group) {
            (Some(row), _) => row.plural.to_owned(),
            (None, Some(group)) => format!("{}.{group}", self.name),
            (None, None) => self.name.clone(),
        }
    }

    /// A built-in kind by its singular name.
    pub fn built_in(singular: &str) -> KindName {
        KindName {
            name: singular.to_owned(),
            group: None,
        }
    }

    /// Whether both name the same kind, whichever of its names they use.
    pub fn same(&self, other: &KindName) -> bool {
        match (self.known(), other.known()) {
            (Some(a), Some(b)) => a == b,
            (None, None) => self == other,
            _ => false,
        }
    }
}

/// One object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Target {
    pub kind: KindName,
    pub name: String,
    /// None for kinds that live in no namespace. Of kinds not built in it is the lesson's: the
    /// [`crate::World`] leaves it out where the kind has none.
    pub namespace: Option<String>,
}

/// `pod/web-1`.
impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind.singular(), self.name)
    }
}

/// Several objects of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Many {
    pub kind: KindName,
    /// None is every namespace (`namespace: "*"`), or a kind that has none.
    pub namespace: Option<String>,
    /// A label selector, sound in a loaded lesson.
    pub selector: Option<String>,
    /// A field selector, sound in a loaded lesson.
    pub field: Option<String>,
    /// How many must be as wanted.
    pub count: Compare,
}

/// What an object must be like.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Wanted {
    /// The kind's own sense of ready; `Some(false)` wants the contrary.
    pub ready: Option<bool>,
    pub fits: Vec<Where>,
    /// Restarts of all containers of a pod together.
    pub restarts: Option<Compare>,
    /// Made after the step began.
    pub since_step: bool,
}

/// `4`, `>= 3`, `!= 0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compare {
    pub op: Order,
    pub than: i64,
}

/// How numbers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Equal,
    NotEqual,
    AtLeast,
    AtMost,
    More,
    Less,
}

/// A web address and what it must answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Http {
    pub request: HttpRequest,
    /// None is any 2xx.
    pub status: Option<u16>,
    pub expect: Expect,
}

/// A GET.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct HttpRequest {
    /// Names of Services work; `localhost` is the laptop.
    pub url: String,
    /// Name and value.
    pub headers: Vec<(String, String)>,
}

/// What a text must be like; empty is anything.
#[derive(Debug, Clone, Default)]
pub struct Expect {
    pub contains: Option<String>,
    pub matches: Option<regex::Regex>,
}

impl PartialEq for Expect {
    fn eq(&self, other: &Expect) -> bool {
        let pattern = |e: &Expect| e.matches.as_ref().map(|r| r.as_str().to_owned());
        self.contains == other.contains && pattern(self) == pattern(other)
    }
}

/// A request the learner's programs must have made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`.
    pub verb: String,
    /// Plural.
    pub resource: String,
    /// `exec` of `pods/exec`, else "".
    pub subresource: String,
    pub name: Option<String>,
    /// None is any.
    pub namespace: Option<String>,
}

/// Objects that must be watched: all of one kind in one place. Selectors are applied here, not by
/// the server, so that what does *not* match can be told to the learner.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Need {
    pub kind: KindName,
    /// None is every namespace, or a kind that has none.
    pub namespace: Option<String>,
}

/// Something that must be asked for, because nothing tells when it changes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Probe {
    Http(HttpRequest),
    Output(Command),
    File(String),
}

impl Condition {
    /// What must be watched to judge this and to say why it does not hold.
    pub fn needs(&self) -> Vec<Need> {
        match &self.what {
            What::Object(target, wanted) => needs_of(&target.kind, &target.namespace, wanted),
            What::Objects(many, wanted) => needs_of(&many.kind, &many.namespace, wanted),
            What::Absent(target) => vec![Need::new(&target.kind, &target.namespace)],
            _ => Vec::new(),
        }
    }

    /// What must be asked for to judge this.
    pub fn probe(&self) -> Option<Probe> {
        match &self.what {
            What::Http(http) => Some(Probe::Http(http.request.clone())),
            What::Output(command, _) => Some(Probe::Output(command.clone())),
            What::File(path, _) => Some(Probe::File(path.clone())),
            _ => None,
        }
    }

    /// Whether the journal of requests is needed.
    pub fn needs_journal(&self) -> bool {
        matches!(self.what, What::Asked(_))
    }
}

/// What must be watched for all of `conditions`, each once.
pub fn needs<'a>(conditions: impl IntoIterator<Item = &'a Condition>) -> Vec<Need> {
    let mut out: Vec<Need> = Vec::new();
    for need in conditions.into_iter().flat_map(Condition::needs) {
        if !out.iter().any(|known| known.same(&need)) {
            out.push(need);
        }
    }
    out
}

impl Need {
    /// One kind in one place.
    pub fn new(kind: &KindName, namespace: &Option<String>) -> Need {
        Need {
            kind: kind.clone(),
            namespace: namespace.clone(),
        }
    }

    /// Whether both want the same objects.
    pub fn same(&self, other: &Need) -> bool {
        self.namespace == other.namespace && self.kind.same(&other.kind)
    }
}

/// The kind itself, and what tells why it is not ready: the pods of what makes pods, the events
/// of pods, the endpoints of a Service.
fn needs_of(kind: &KindName, namespace: &Option<String>, wanted: &Wanted) -> Vec<Need> {
    let mut out = vec![Need::new(kind, namespace)];
    let mut also = |singular: &str| {
        out.push(Need::new(&KindName::built_in(singular), namespace));
    };
    let id = kind.known().map(Resource::id);
    match id {
        Some(("", "Pod")) => also("event"),
        Some(("", "Service")) if wanted.ready.is_some() => {
            also("endpointslice");
            also("pod");
        }
        Some(("apps", _) | ("batch", "Job") | ("", "ReplicationController"))
            if wanted.ready.is_some() =>
        {
            also("pod");
            also("event");
        }
        _ => {}
    }
    out
}
