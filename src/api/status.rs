//! The Kubernetes Status object: every refusal in the words and codes clients know.

use serde::Deserialize;

use crate::field;
use crate::resource::Resource;

pub use crate::details::{Cause, Details};

/// Reply that is no object: a failure, or the outcome of a deletion.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Status {
    /// `Success` or `Failure`.
    pub status: String,
    #[serde(default)]
    pub message: String,
    #[serde(default)]
    pub reason: String,
    #[serde(default)]
    pub details: Option<Box<Details>>,
    /// HTTP status code; 0 is left out, as upstream does for a success.
    #[serde(default)]
    pub code: u16,
    /// In an expired list's refusal, the token to go on with nevertheless.
    #[serde(skip)]
    pub continue_token: String,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.code, self.reason, self.message)
    }
}

impl std::error::Error for Status {}

fn about(res: &Resource, name: &str) -> Details {
    Details {
        name: name.to_owned(),
        group: res.gv.group.to_owned(),
        kind: res.plural.to_owned(),
        ..Details::default()
    }
}

/// Why a verb is refused, as kube-apiserver tells it.
fn cannot(
    group: &str,
    plural: &str,
    subresource: &str,
    user: &str,
    verb: &str,
    namespace: Option<&str>,
) -> String {
    let what = match subresource {
        "" => plural.to_owned(),
        sub => format!("{plural}/{sub}"),
    };
    let scope = match namespace {
        Some(ns) => format!("in the namespace {ns:?}"),
        None => "at the cluster scope".to_owned(),
    };
    format!("User {user:?} cannot {verb} resource {what:?} in API group {group:?} {scope}")
}

impl Status {
    /// A failure with an HTTP code, a reason (one CamelCase word) and a sentence.
    pub fn failure(code: u16, reason: &str, message: impl Into<String>) -> Status {
        Status {
            status: "Failure".into(),
            message: message.into(),
            reason: reason.into(),
            details: None,
            code,
            continue_token: String::new(),
        }
    }

    fn with(mut self, details: Details) -> Status {
        self.details = Some(Box::new(details));
        self
    }

    /// Says after how many seconds a client may try again.
    pub fn retry_after(mut self, seconds: u32) -> Status {
        self.details.get_or_insert_default().retry_after_seconds = seconds;
        self
    }

    /// An object was deleted at once; `kubectl delete` waits for the uid named here.
    pub fn deleted(res: &Resource, name: &str, uid: &str) -> Status {
        let details = Details {
            uid: uid.to_owned(),
            ..about(res, name)
        };
        Status {
            status: "Success".into(),
            ..Status::failure(0, "", "")
        }
        .with(details)
    }

    /// 404: there is no object of this name.
    pub fn not_found(res: &Resource, name: &str) -> Status {
        Status::failure(
            404,
            "NotFound",
            format!("{} {name:?} not found", res.qualified()),
        )
        .with(about(res, name))
    }

    /// 404: there is no such path or resource.
    pub fn no_such_path() -> Status {
        Status::failure(
            404,
            "NotFound",
            "the server could not find the requested resource",
        )
        .with(Details::default())
    }

    /// 409: the name is taken.
    pub fn already_exists(res: &Resource, name: &str) -> Status {
        let message = format!("{} {name:?} already exists", res.qualified());
        Status::failure(409, "AlreadyExists", message).with(about(res, name))
    }

    /// 409: every name made from `generateName` that we tried was taken.
    pub fn generate_name_conflict(res: &Resource, name: &str) -> Status {
        let message = format!(
            "{} {name:?} already exists, the server was not able to generate a unique name for the object",
            res.qualified()
        );
        Status::failure(409, "AlreadyExists", message)
            .with(about(res, name))
            .retry_after(1)
    }

    /// 409 for another reason than a stale resourceVersion, e.g. a failed precondition.
    pub fn conflict_because(res: &Resource, name: &str, why: &str) -> Status {
        let message = format!(
            "Operation cannot be fulfilled on {} {name:?}: {why}",
            res.qualified()
        );
        Status::failure(409, "Conflict", message).with(about(res, name))
    }

    /// 409: the pod cannot be bound.
    pub fn binding_conflict(pod: &str, why: &str) -> Status {
        let message = format!("Operation cannot be fulfilled on pods/binding {pod:?}: {why}");
        Status::failure(409, "Conflict", message).with(Details {
            name: pod.to_owned(),
            kind: "pods/binding".to_owned(),
            ..Details::default()
        })
    }

    /// As [`Status::conflict_because`], where upstream names the kind and not the resource.
    pub fn kind_conflict(res: &Resource, name: &str, why: &str) -> Status {
        let kind = res.qualified_kind();
        let message = format!("Operation cannot be fulfilled on {kind} {name:?}: {why}");
        Status::failure(409, "Conflict", message).with(Details {
            kind: res.kind.to_owned(),
            ..about(res, name)
        })
    }

    /// 409: the client's resourceVersion is not the newest.
    pub fn conflict(res: &Resource, name: &str) -> Status {
        Status::conflict_because(
            res,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 422 with one cause per wrong field. `errors` must not be empty.
    pub fn invalid(res: &Resource, name: &str, errors: &[field::Error]) -> Status {
        let details = Details {
            kind: res.kind.to_owned(),
            ..about(res, name)
        };
        Status::invalid_of(&res.qualified_kind(), details, errors)
    }

    /// 422: the options of a request are wrong; `kind` is theirs: `CreateOptions`.
    pub fn invalid_options(kind: &str, errors: &[field::Error]) -> Status {
        let details = Details {
            group: "meta.k8s.io".to_owned(),
            kind: kind.to_owned(),
            ..Details::default()
        };
        Status::invalid_of(&format!("{kind}.meta.k8s.io"), details, errors)
    }

    /// 422: an update has to say which version it is of.
    pub fn version_required(res: &Resource, name: &str) -> Status {
        let why = "must be specified for an update";
        let error = field::Error::invalid("metadata.resourceVersion", 0, why);
        // Upstream names the resource here, not the kind.
        Status::invalid_of(&res.qualified(), about(res, name), &[error])
    }

    /// 422 about a body that is no resource of its own; `kind` is its qualified name.
    pub fn invalid_of(kind: &str, details: Details, errors: &[field::Error]) -> Status {
        let mut sentences: Vec<String> = Vec::new();
        for e in errors {
            let s = e.to_string();
            if !sentences.contains(&s) {
                sentences.push(s);
            }
        }
        let all = match sentences.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let causes = errors
            .iter()
            .map(|e| Cause {
                reason: e.reason().to_owned(),
                message: e.body(),
                field: e.field.clone(),
            })
            .collect();
        let message = format!("{kind} {:?} is invalid: {all}", details.name);
        Status::failure(422, "Invalid", message).with(Details { causes, ..details })
    }

    /// 422: what a patch would make is no object of the kind.
    pub fn invalid_patch(value: String, why: &str) -> Status {
        let error = field::Error::invalid("patch", value, why);
        let cause = Cause {
            reason: error.reason().to_owned(),
            message: error.body(),
            field: error.field.clone(),
        };
        // Upstream names neither kind nor object here.
        let details = Details {
            causes: vec![cause],
            ..Details::default()
        };
        Status::failure(422, "Invalid", format!(" \"\" is invalid: {error}")).with(details)
    }

    /// 400: the request itself is wrong.
    pub fn bad_request(message: impl Into<String>) -> Status {
        Status::failure(400, "BadRequest", message)
    }

    /// 401: nobody we know.
    pub fn unauthorized() -> Status {
        Status::failure(401, "Unauthorized", "Unauthorized")
    }

    /// 403 about a resource; `why` is the clause after "is forbidden: ".
    pub fn forbidden(res: &Resource, name: &str, why: &str) -> Status {
        Status::forbidden_in(&res.qualified(), about(res, name), why)
    }

    /// `subject` is the qualified plural of what `details` name.
    fn forbidden_in(subject: &str, details: Details, why: &str) -> Status {
        let message = match details.name.as_str() {
            "" => format!("{subject} is forbidden: {why}"),
            name => format!("{subject} {name:?} is forbidden: {why}"),
        };
        Status::failure(403, "Forbidden", message).with(details)
    }

    /// 403 because `user` may not use `verb`; `namespace` is `None` at cluster scope.
    pub fn not_allowed(
        res: &Resource,
        subresource: &str,
        name: &str,
        user: &str,
        verb: &str,
        namespace: Option<&str>,
    ) -> Status {
        let why = cannot(res.gv.group, res.plural, subresource, user, verb, namespace);
        Status::forbidden(res, name, &why)
    }

    /// 403 because `user` may not act as somebody: the user, group, account or attribute
    /// `name`, told as if it were an object of `group` and `plural`.
    pub fn may_not_impersonate(
        group: &str,
        plural: &str,
        subresource: &str,
        name: &str,
        user: &str,
        namespace: Option<&str>,
    ) -> Status {
        let why = cannot(group, plural, subresource, user, "impersonate", namespace);
        let subject = match group {
            "" => plural.to_owned(),
            group => format!("{plural}.{group}"),
        };
        let details = Details {
            name: name.to_owned(),
            group: group.to_owned(),
            kind: plural.to_owned(),
            ..Details::default()
        };
        Status::forbidden_in(&subject, details, &why)
    }

    /// 403 for a path that is no resource, e.g. `/metrics`.
    pub fn not_allowed_path(user: &str, verb: &str, path: &str) -> Status {
        let message = format!("forbidden: User {user:?} cannot {verb} path {path:?}");
        Status::failure(403, "Forbidden", message).with(Details::default())
    }

    /// 405: the resource does not know this verb.
    pub fn method_not_allowed(res: &Resource, verb: &str) -> Status {
        if res.custom.is_none() {
            let message = "the server does not allow this method on the requested resource";
            return Status::failure(405, "MethodNotAllowed", message).with(Details::default());
        }
        let message = format!(
            "{verb} is not supported on resources of kind {:?}",
            res.qualified()
        );
        Status::failure(405, "MethodNotAllowed", message).with(about(res, ""))
    }

    /// 406: we cannot answer in any form the client accepts.
    pub fn not_acceptable(offered: &[&str]) -> Status {
        let message = format!(
            "only the following media types are accepted: {}",
            offered.join(", ")
        );
        Status::failure(406, "NotAcceptable", message)
    }

    /// 415: we cannot read the body.
    pub fn unsupported_media_type(accepted: &[&str]) -> Status {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        Status::failure(415, "UnsupportedMediaType", message)
    }

    /// 413: the body is longer than `limit` bytes.
    pub fn body_too_large(limit: usize) -> Status {
        let message = format!("Request entity too large: limit is {limit}");
        Status::failure(413, "RequestEntityTooLarge", message)
    }

    /// 410: the revision asked for is no longer kept.
    pub fn expired(message: impl Into<String>) -> Status {
        Status::failure(410, "Expired", message)
    }

    /// 410 for a watch from `asked` when the oldest kept revision is `oldest`.
    pub fn too_old(asked: u64, oldest: u64) -> Status {
        Status::expired(format!("too old resource version: {asked} ({oldest})"))
    }

    /// 410 for a list at an exact revision that is no longer kept.
    pub fn list_expired() -> Status {
        Status::expired("The resourceVersion for the provided list is too old.")
    }

    /// 410 for a list continued after its snapshot was given up; `token` goes on with what
    /// there is by now.
    pub fn continue_expired(token: String) -> Status {
        let message = "The provided continue parameter is too old to display a consistent list result. \
             You can start a new list without the continue parameter, or use the continue token in \
             this response to retrieve the remainder of the results. Continuing with the provided \
             token results in an inconsistent list - objects that were created, modified, or deleted \
             between the time the first chunk was returned and now may show up in the list.";
        Status {
            continue_token: token,
            ..Status::expired(message)
        }
    }

    /// 504: the client names a revision from the future.
    pub fn resource_version_too_large(asked: u64, current: u64) -> Status {
        let cause = Cause {
            reason: "ResourceVersionTooLarge".into(),
            message: "Too large resource version".into(),
            field: String::new(),
        };
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        Status::failure(504, "Timeout", message).with(Details {
            causes: vec![cause],
            retry_after_seconds: 1,
            ..Details::default()
        })
    }

    /// 504: we did not finish in time.
    pub fn timeout(message: &str) -> Status {
        Status::failure(504, "Timeout", format!("Timeout: {message}")).with(Details::default())
    }

    /// 429: try again after `seconds`.
    pub fn too_many_requests(seconds: u32) -> Status {
        let message = "Too many requests, please try again later.";
        Status::failure(429, "TooManyRequests", message).retry_after(seconds)
    }

    /// 500: our own fault; `why` is evidence, not blame.
    pub fn internal(why: impl std::fmt::Display) -> Status {
        let cause = Cause {
            message: why.to_string(),
            ..Cause::default()
        };
        Status::failure(
            500,
            "InternalError",
            format!("Internal error occurred: {why}"),
        )
        .with(Details {
            causes: vec![cause],
            ..Details::default()
        })
    }

    /// 503: we, or a node we need, cannot be reached now.
    pub fn unavailable(message: impl Into<String>) -> Status {
        Status::failure(503, "ServiceUnavailable", message)
    }

    /// 501: known to Kubernetes, not served by this version of Cadet.
    pub fn not_served(what: &str) -> Status {
        let message = format!("this cluster does not serve {what} yet");
        Status::failure(501, "NotImplemented", message)
    }

    /// The Status as JSON text.
    pub fn to_json(&self) -> Vec<u8> {
        // A struct of strings and numbers cannot fail to serialize.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::find;
    use serde_json::json;

    #[test]
    fn not_found_is_what_kubectl_expects() {
        let s = Status::not_found(find("", "v1", "pods").unwrap(), "x");
        assert_eq!(
            serde_json::to_value(&s).unwrap(),
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "pods \"x\" not found", "reason": "NotFound",
                "details": {"name": "x", "kind": "pods"}, "code": 404})
        );
        let lease = find("coordination.k8s.io", "v1", "leases").unwrap();
        let s = Status::not_found(lease, "x");
        assert_eq!(s.message, "leases.coordination.k8s.io \"x\" not found");
    }

    #[test]
    fn invalid_lists_each_cause_once_in_the_sentence() {
        let pods = find("", "v1", "pods").unwrap();
        let e = field::Error::required("spec.containers[0].image", "");
        let s = Status::invalid(pods, "x", std::slice::from_ref(&e));
        assert_eq!(
            s.message,
            "Pod \"x\" is invalid: spec.containers[0].image: Required value"
        );
        let s = Status::invalid(
            pods,
            "x",
            &[e.clone(), e, field::Error::required("spec.a", "why")],
        );
        assert_eq!(
            s.message,
            "Pod \"x\" is invalid: [spec.containers[0].image: Required value, spec.a: Required value: why]"
        );
        let details = s.details.unwrap();
        assert_eq!((details.kind.as_str(), details.causes.len()), ("Pod", 3));
        assert_eq!(details.causes[0].reason, "FieldValueRequired");
    }

    #[test]
    fn forbidden_names_user_verb_and_scope() {
        let pods = find("", "v1", "pods").unwrap();
        let s = Status::not_allowed(pods, "", "", "jo", "list", Some("default"));
        assert_eq!(
            s.message,
            "pods is forbidden: User \"jo\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
        );
        let nodes = find("", "v1", "nodes").unwrap();
        let s = Status::not_allowed(nodes, "status", "n", "jo", "patch", None);
        assert_eq!(
            s.message,
            "nodes \"n\" is forbidden: User \"jo\" cannot patch resource \"nodes/status\" in API group \"\" at the cluster scope"
        );
    }

    #[test]
    fn a_deletion_reports_the_uid_and_no_code() {
        let s = Status::deleted(find("", "v1", "configmaps").unwrap(), "c", "u-1");
        let v = serde_json::to_value(s).unwrap();
        assert_eq!(v["status"], "Success");
        assert_eq!(v["details"]["uid"], "u-1");
        assert!(v.get("code").is_none() && v.get("reason").is_none());
    }
}
