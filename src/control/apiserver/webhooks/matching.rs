//! Which webhooks a request concerns, and as what kind and version it is shown to them.

use cadet_api::resource::Resource;
use cadet_api::selector::LabelSelector;
use cadet_api::status::Status;
use cadet_api::{convert, json, meta};
use serde_json::Value;

use super::hook::{Hook, Rule};
use super::review;
use crate::admission::{self, Operation, Request};

/// Group of the configurations.
pub const GROUP: &str = "admissionregistration.k8s.io";

/// What a webhook is shown.
pub struct View {
    /// The kind in the version that the webhook's rules name.
    pub row: &'static Resource,
    pub object: Option<Value>,
    pub old: Option<Value>,
}

impl View {
    /// The name in the path; that inside, for a new object.
    pub fn name<'a>(&'a self, request: &Request<'a>) -> &'a str {
        match (request.name, &self.object) {
            ("", Some(object)) => json::str_at(object, "/metadata/name"),
            (name, _) => name,
        }
    }
}

/// Configurations of webhooks are never the business of webhooks.
pub fn is_exempt(resource: &Resource) -> bool {
    resource.gv.group == GROUP
}

/// Whether the rules of any hook name the request.
pub fn concerned(hooks: &[Hook], request: &Request<'_>) -> bool {
    hooks.iter().any(|hook| row_for(hook, request).is_some())
}

/// What `hook` is shown of a request, if it is to be asked. Objects are those of the
/// stored version.
///
/// # Errors
/// The namespace is gone, or a condition cannot be evaluated and the hook fails closed.
pub fn view(
    hook: &Hook,
    request: &Request<'_>,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Result<Option<View>, Status> {
    let Some(row) = row_for(hook, request) else {
        return Ok(None);
    };
    if !in_selected_namespace(&hook.namespaces, request, object)? {
        return Ok(None);
    }
    let labelled = |object: Option<&Value>| {
        object.is_some_and(|object| {
            hook.objects
                .matches(&meta::string_map(object.pointer("/metadata/labels")))
        })
    };
    if !hook.objects.is_empty() && !labelled(object) && !labelled(old) {
        return Ok(None);
    }
    let shown = |object: Option<&Value>| {
        object.map(|object| {
            let mut object = object.clone();
            if is_of_the_kind(request) {
                convert::from_stored(row, &mut object);
            }
            object
        })
    };
    let view = View {
        row,
        object: shown(object),
        old: shown(old),
    };
    Ok(meets_conditions(hook, request, &view)?.then_some(view))
}

/// Whether the body of the request is an object of the resource itself, and not that of a
/// subresource with a kind of its own.
pub fn is_of_the_kind(request: &Request<'_>) -> bool {
    request
        .named
        .subresource(request.subresource)
        .is_none_or(|part| part.kind == request.named.kind)
}

/// The version of the request's kind that a hook's rules name: the client's own, else any
/// other of the same objects.
fn row_for(hook: &Hook, request: &Request<'_>) -> Option<&'static Resource> {
    let named = |row: &Resource| hook.rules.iter().any(|rule| rule.names(request, row));
    if named(request.named) {
        return Some(request.named);
    }
    if !hook.equivalent {
        return None;
    }
    let stored = request.stored();
    let rows = request.app.world.kinds().rows();
    let mut same = rows
        .iter()
        .copied()
        .filter(|row| row.plural == stored.plural && row.stored_as() == stored);
    same.find(|row| named(row))
}

impl Rule {
    fn names(&self, request: &Request<'_>, row: &Resource) -> bool {
        let any = |list: &[String], value: &str| list.iter().any(|v| v == "*" || v == value);
        any(&self.operations, request.operation.name())
            && any(&self.groups, row.gv.group)
            && any(&self.versions, row.gv.version)
            && self.resources.iter().any(|(resource, part)| {
                (resource == "*" || resource == row.plural)
                    && (part == "*" || part == request.subresource)
            })
            && match self.scope.as_str() {
                "Namespaced" => row.namespaced,
                "Cluster" => !row.namespaced,
                _ => true,
            }
    }
}

fn in_selected_namespace(
    selector: &LabelSelector,
    request: &Request<'_>,
    object: Option<&Value>,
) -> Result<bool, Status> {
    let is_namespace = request.named.is("", "Namespace");
    if selector.is_empty() || (!request.named.namespaced && !is_namespace) {
        return Ok(true);
    }
    // A namespace that is being written brings the labels that count.
    if is_namespace
        && request.subresource.is_empty()
        && request.operation != Operation::Delete
        && let Some(object) = object
    {
        let labels = meta::string_map(object.pointer("/metadata/labels"));
        return Ok(selector.matches(&labels));
    }
    let name = if is_namespace {
        request.name
    } else {
        request.namespace
    };
    let namespaces = admission::find("namespaces")?;
    let found = request.app.world.get(namespaces, "", name);
    let found = found.ok_or_else(|| Status::not_found(namespaces, name))?;
    Ok(selector.matches_of(|key| found.label(key)))
}

/// Whether all conditions of a hook hold. One that does not hold decides, even where
/// another cannot be told.
fn meets_conditions(hook: &Hook, request: &Request<'_>, view: &View) -> Result<bool, Status> {
    if hook.conditions.is_empty() {
        return Ok(true);
    }
    let asked = review::request(request, view, "");
    let variables = [
        ("object", view.object.as_ref().unwrap_or(&Value::Null)),
        ("oldObject", view.old.as_ref().unwrap_or(&Value::Null)),
        ("request", &asked),
    ];
    let mut unknown = vec![];
    for condition in &hook.conditions {
        let outcome = match &condition.program {
            Ok(program) => program.holds_for(&variables),
            Err(why) => Err(why.clone()),
        };
        match outcome {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(why) => unknown.push(format!(
                "expression '{}' resulted in error: {why}",
                condition.expression
            )),
        }
    }
    let name = view.name(request);
    match unknown.as_slice() {
        [] => Ok(true),
        _ if hook.ignores_failure => Ok(false),
        [one] => Err(Status::forbidden(request.named, name, one)),
        many => {
            let all = format!("[{}]", many.join(", "));
            Err(Status::forbidden(request.named, name, &all))
        }
    }
}
