//! Who is behind a request: set by the guard for as long as it is answered, found by what
//! commits a write.

use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::Request;
use cadet_store::Revision;
use http::header::USER_AGENT;

use super::Entry;
use crate::access::User;
use crate::app::App;
use crate::metrics::Asked;
use crate::query::Parameters;
use crate::target::{Reference, Target};

/// Longest User-Agent kept, in bytes.
const AGENT_MAX: usize = 160;

/// Beginnings of the names of the cluster's own parts, whose requests nobody learns from:
/// loops, node agents, add-ons.
const OWN: &[&str] = &[
    "system:kube-",
    "system:cadet-",
    "system:apiserver",
    "system:node:",
    "system:serviceaccount:kube-system:",
];

/// Who wrote something, and by what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Writer {
    pub user: String,
    /// `User-Agent`, cut short.
    pub agent: String,
    /// `fieldManager`, "" if not given.
    pub manager: String,
    pub verb: &'static str,
    /// Plural and subresource the request named.
    pub resource: &'static str,
    pub subresource: &'static str,
}

impl Writer {
    /// The server itself.
    pub(super) fn server() -> Writer {
        Writer {
            user: "system:apiserver".to_owned(),
            ..Writer::default()
        }
    }
}

/// See the module's opening.
#[derive(Debug)]
pub struct Trail {
    writer: Arc<Writer>,
    asked: Asked,
    namespace: String,
    name: String,
    /// Whether the journal is to have it.
    outside: bool,
    /// Revision and name of the object written last.
    written: Mutex<Option<(Revision, String)>>,
}

tokio::task_local! {
    static TRAIL: Arc<Trail>;
}

impl Trail {
    /// The trail of a request; `None` if nobody will want to know, which is so of the
    /// cluster's own reading.
    pub fn of(
        request: &Request,
        user: &User,
        target: &Target,
        parameters: &Parameters,
        asked: Asked,
    ) -> Option<Arc<Trail>> {
        let Target::Object(reference) = target else {
            return None;
        };
        let outside = !OWN.iter().any(|own| user.name.starts_with(own));
        if !outside && matches!(asked.verb, "get" | "list" | "watch") {
            return None;
        }
        let header = request.headers().get(USER_AGENT);
        let agent = header.and_then(|value| value.to_str().ok());
        let manager = parameters.get("fieldManager").unwrap_or_default();
        let writer = Writer {
            user: user.name.clone(),
            agent: cut(agent.unwrap_or_default(), AGENT_MAX).to_owned(),
            manager: cut(manager, AGENT_MAX).to_owned(),
            verb: asked.verb,
            resource: asked.resource,
            subresource: asked.subresource,
        };
        let Reference {
            namespace, name, ..
        } = reference;
        Some(Arc::new(Trail {
            writer: Arc::new(writer),
            asked,
            namespace: namespace.clone().unwrap_or_default(),
            name: name.clone().unwrap_or_default(),
            outside,
            written: Mutex::default(),
        }))
    }

    /// The request is answered: into the journal with it.
    pub fn answered(&self, app: &App, code: u16) {
        if !self.outside {
            return;
        }
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let (revision, made) = match &*written {
            Some((revision, name)) => (*revision, name.as_str()),
            None => (0, ""),
        };
        let Asked {
            verb,
            group,
            version,
            resource,
            subresource,
            ..
        } = self.asked;
        // The path of a create does not name what is made.
        let name = match (self.name.is_empty(), verb) {
            (true, "create") => made,
            _ => self.name.as_str(),
        };
        app.journal.record(Entry {
            user: self.writer.user.clone(),
            agent: self.writer.agent.clone(),
            verb,
            group,
            version,
            resource,
            subresource,
            namespace: self.namespace.clone(),
            name: name.to_owned(),
            code,
            revision,
            ..Entry::default()
        });
    }
}

/// Runs the answering of a request on its trail.
pub async fn follow<F: Future>(trail: Option<Arc<Trail>>, run: F) -> F::Output {
    match trail {
        Some(trail) => TRAIL.scope(trail, run).await,
        None => run.await,
    }
}

/// An object was written or removed at `revision`, by whoever's trail this task is on.
pub fn wrote(app: &App, revision: Revision, name: &str) {
    let writer = TRAIL.try_with(|trail| {
        let mut written = trail.written.lock().unwrap_or_else(PoisonError::into_inner);
        *written = Some((revision, name.to_owned()));
        Arc::clone(&trail.writer)
    });
    // Without a trail it is no request, but a loop of the server itself.
    app.journal.written(revision, writer.ok());
}

/// The beginning of a text, no longer than `most` bytes.
fn cut(text: &str, most: usize) -> &str {
    let mut ends = (0..=most.min(text.len())).rev();
    let end = ends.find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::Kinds;

    fn trail(user: &str, path: &str, verb: &'static str) -> Option<Arc<Trail>> {
        let request = Request::get(path).header(USER_AGENT, "kubectl/v1.33.0 (linux/amd64)");
        let request = request.body(axum::body::Body::empty()).expect("request");
        let target = Target::of(request.uri().path(), &Kinds::default());
        let parameters = Parameters::of(request.uri()).expect("query");
        let asked = Asked::of(verb, &target);
        Trail::of(&request, &User::new(user, &[]), &target, &parameters, asked)
    }

    #[test]
    fn own_parts_leave_a_trail_only_where_they_write() {
        let path = "/api/v1/namespaces/default/pods/x";
        for own in [
            "system:node:cadet",
            "system:kube-scheduler",
            "system:kube-controller-manager",
            "system:cadet-ingress",
            "system:serviceaccount:kube-system:addon",
        ] {
            assert!(trail(own, path, "get").is_none(), "{own}");
            let writing = trail(own, path, "patch").expect("a write");
            assert!(!writing.outside, "{own}");
        }
        for other in [
            "cadet-admin",
            "system:anonymous",
            "system:serviceaccount:default:web",
        ] {
            assert!(trail(other, path, "get").is_some_and(|t| t.outside));
        }
        assert!(trail("cadet-admin", "/version", "get").is_none());
    }

    #[test]
    fn a_trail_knows_who_asks_for_what() {
        let path = "/api/v1/namespaces/a/pods/x/status?fieldManager=m";
        let trail = trail("lee", path, "patch").expect("outside");
        let Writer {
            user,
            agent,
            manager,
            verb,
            resource,
            subresource,
        } = &*trail.writer;
        assert_eq!(
            [user, agent, manager],
            ["lee", "kubectl/v1.33.0 (linux/amd64)", "m"]
        );
        assert_eq!(
            [*verb, *resource, *subresource],
            ["patch", "pods", "status"]
        );
        assert_eq!((trail.namespace.as_str(), trail.name.as_str()), ("a", "x"));
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("abc", 5), "abc");
        assert_eq!(cut("abc", 2), "ab");
        assert_eq!(cut("aüb", 2), "a");
        assert_eq!(cut("", 2), "");
    }
}
