//! The AdmissionReview: what a webhook is asked, and what may be answered
//! (admission.k8s.io/v1 and v1beta1).

use cadet_api::json;
use cadet_api::status::Status;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::matching::{self, View};
use crate::admission::{Asked, Operation, Request};

const GROUP: &str = "admission.k8s.io";

/// The question as bytes.
pub fn question(request: &Request<'_>, view: &View, version: &str, uid: &str) -> Vec<u8> {
    let review = json!({
        "kind": "AdmissionReview",
        "apiVersion": format!("{GROUP}/{version}"),
        "request": self::request(request, view, uid),
    });
    review.to_string().into_bytes()
}

/// The question's `request`; also what conditions see under that name.
pub fn request(request: &Request<'_>, view: &View, uid: &str) -> Value {
    let kind = |row: &cadet_api::resource::Resource| {
        let part = row.subresource(request.subresource);
        let part = part.filter(|_| !matching::is_of_the_kind(request));
        let (gv, kind) = part.map_or((row.gv, row.kind), |part| (part.gv, part.kind));
        json!({"group": gv.group, "version": gv.version, "kind": kind})
    };
    let resource = |row: &cadet_api::resource::Resource| json!({"group": row.gv.group, "version": row.gv.version, "resource": row.plural});
    let mut asked = json!({
        "uid": uid,
        "kind": kind(view.row),
        "resource": resource(view.row),
        "requestKind": kind(request.named),
        "requestResource": resource(request.named),
        "operation": request.operation.name(),
        "userInfo": user(request),
        "object": view.object,
        "oldObject": view.old,
        "dryRun": request.dry_run,
        "options": options(request),
    });
    let name = view.name(request);
    // Requests about a namespace are made in it.
    let namespace = match request.named.is("", "Namespace") {
        true => name,
        false => request.namespace,
    };
    for (key, value) in [
        ("subResource", request.subresource),
        ("requestSubResource", request.subresource),
        ("name", name),
        ("namespace", namespace),
    ] {
        if !value.is_empty() {
            asked[key] = json!(value);
        }
    }
    asked
}

fn user(request: &Request<'_>) -> Value {
    let Some(user) = request.user else {
        return json!({});
    };
    let mut info = json!({"username": user.name});
    if !user.uid.is_empty() {
        info["uid"] = json!(user.uid);
    }
    if !user.groups.is_empty() {
        info["groups"] = json!(user.groups);
    }
    if !user.extra.is_empty() {
        info["extra"] = json!(user.extra);
    }
    info
}

/// CreateOptions, UpdateOptions or DeleteOptions as the client gave them; null for CONNECT.
fn options(request: &Request<'_>) -> Value {
    let kind = match request.operation {
        Operation::Create => "CreateOptions",
        Operation::Update => "UpdateOptions",
        Operation::Delete => "DeleteOptions",
        Operation::Connect => return Value::Null,
    };
    let mut options = Map::new();
    options.insert("kind".into(), kind.into());
    options.insert("apiVersion".into(), "meta.k8s.io/v1".into());
    match request.asked {
        Asked::Nothing => {}
        Asked::Write(parameters) => {
            for key in ["fieldManager", "fieldValidation"] {
                if let Some(value) = parameters.get(key) {
                    options.insert(key.into(), value.into());
                }
            }
        }
        Asked::Delete(given) => {
            if let Value::Object(given) = json!(given) {
                options.extend(given);
            }
        }
    }
    if request.dry_run {
        options.insert("dryRun".into(), json!(["All"]));
    }
    Value::Object(options)
}

/// An answer that may be followed.
#[derive(Debug, PartialEq)]
pub struct Verdict {
    /// `Err` holds what the client is told, without the webhook's name.
    pub allowed: Result<(), Option<Status>>,
    /// Operations of a JSON patch.
    pub patch: Option<Vec<u8>>,
    pub warnings: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    response: Option<Answer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(default)]
    uid: String,
    #[serde(default)]
    allowed: bool,
    status: Option<Refusal>,
    #[serde(default)]
    patch: Option<String>,
    patch_type: Option<String>,
    #[serde(default)]
    warnings: Option<Vec<String>>,
}

/// A Status of which webhooks give the parts they like.
#[derive(Deserialize, Default)]
struct Refusal {
    #[serde(default)]
    status: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    details: Option<Value>,
    #[serde(default)]
    code: u16,
}

/// Why an answer is none.
#[derive(Debug, PartialEq, Eq)]
pub enum BadAnswer {
    /// It could not be read at all.
    Unreadable(String),
    /// It was read and breaks the rules.
    Invalid(String),
}

/// Reads an answer to the question `uid`.
///
/// # Errors
/// What keeps it from being followed, in upstream's words.
pub fn verdict(
    bytes: &[u8],
    version: &str,
    uid: &str,
    mutating: bool,
) -> Result<Verdict, BadAnswer> {
    let invalid = |why: String| Err(BadAnswer::Invalid(why));
    let review: Review =
        serde_json::from_slice(bytes).map_err(|error| BadAnswer::Unreadable(error.to_string()))?;
    let Some(answer) = review.response else {
        return invalid("webhook response was absent".to_owned());
    };
    let patch = answer.patch.unwrap_or_default();
    // v1beta1 never checked these, and webhooks of its time rely on that.
    if version == "v1" {
        if answer.uid != uid {
            let found = answer.uid;
            return invalid(format!("expected response.uid={uid:?}, got {found:?}"));
        }
        let wanted = format!("{GROUP}/v1");
        if review.api_version != wanted || review.kind != "AdmissionReview" {
            return invalid(format!(
                "expected webhook response of {wanted}, Kind=AdmissionReview, got {}, Kind={}",
                review.api_version, review.kind
            ));
        }
        let why = match (mutating, patch.is_empty(), &answer.patch_type) {
            (false, false, _) => Some("validating webhook may not return response.patch"),
            (false, true, Some(_)) => Some("validating webhook may not return response.patchType"),
            (true, false, None) => {
                Some("webhook returned response.patch but not response.patchType")
            }
            (true, true, Some(_)) => {
                Some("webhook returned response.patchType but not response.patch")
            }
            _ => None,
        };
        if let Some(why) = why {
            return invalid(why.to_owned());
        }
        if let Some(kind) = answer.patch_type.filter(|kind| kind != "JSONPatch") {
            return invalid(match kind.as_str() {
                "" => "webhook returned invalid response.patchType of \"\"".to_owned(),
                kind => format!("unsupported patch type {kind:?}"),
            });
        }
    }
    let patch = match patch.as_str() {
        "" => None,
        text => Some(json::base64_decode(text).map_err(|at| {
            BadAnswer::Unreadable(format!("illegal base64 data at input byte {at}"))
        })?),
    };
    let allowed = match answer.allowed {
        true => Ok(()),
        false => Err(answer.status.map(Refusal::into_status)),
    };
    Ok(Verdict {
        allowed,
        patch: patch.filter(|_| mutating),
        warnings: answer.warnings.unwrap_or_default(),
    })
}

impl Refusal {
    fn into_status(self) -> Status {
        let mut status = Status::failure(self.code, &self.reason, self.message);
        status.status = self.status;
        // Details that are not those of a Status are dropped, not passed on.
        status.details = self
            .details
            .and_then(|details| serde_json::from_value(details).ok());
        status
    }
}

/// What the client is told when a webhook says no.
pub fn refusal(hook: &str, given: Option<Status>) -> Status {
    let mut status = given.unwrap_or_else(|| Status::failure(0, "", ""));
    if status.code < 400 || status.code > 599 {
        status.code = 400;
    }
    status.status = "Failure".to_owned();
    let denied = format!("admission webhook {hook:?} denied the request");
    status.message = match (status.message.as_str(), status.reason.as_str()) {
        ("", "") => format!("{denied} without explanation"),
        ("", why) | (why, _) => format!("{denied}: {why}"),
    };
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(response: &Value, mutating: bool) -> Result<Verdict, BadAnswer> {
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "response": response});
        verdict(review.to_string().as_bytes(), "v1", "u", mutating)
    }

    #[test]
    fn answers_that_break_the_rules_are_told_apart() {
        for (response, mutating, wanted) in [
            (json!(null), true, "webhook response was absent"),
            (
                json!({"uid": "x", "allowed": true}),
                true,
                "expected response.uid=\"u\", got \"x\"",
            ),
            (
                json!({"uid": "u", "allowed": true, "patch": "W10="}),
                true,
                "webhook returned response.patch but not response.patchType",
            ),
            (
                json!({"uid": "u", "allowed": true, "patchType": "JSONPatch"}),
                true,
                "webhook returned response.patchType but not response.patch",
            ),
            (
                json!({"uid": "u", "allowed": true, "patch": "W10=", "patchType": "Merge"}),
                true,
                "unsupported patch type \"Merge\"",
            ),
            (
                json!({"uid": "u", "allowed": true, "patch": "W10=", "patchType": "JSONPatch"}),
                false,
                "validating webhook may not return response.patch",
            ),
        ] {
            let found = read(&response, mutating);
            assert_eq!(
                found,
                Err(BadAnswer::Invalid(wanted.to_owned())),
                "{response}"
            );
        }
        for bad in ["", "[]", "{\"response\": 1}"] {
            let found = verdict(bad.as_bytes(), "v1", "u", true);
            assert!(matches!(found, Err(BadAnswer::Unreadable(_))), "{bad}");
        }
        let other = br#"{"apiVersion": "v1", "kind": "Pod", "response": {"uid": "u"}}"#;
        assert_eq!(
            verdict(other, "v1", "u", true),
            Err(BadAnswer::Invalid(
                "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got v1, Kind=Pod".to_owned()
            ))
        );
    }

    #[test]
    fn the_old_review_is_read_as_loosely_as_it_always_was() {
        let old = br#"{"response": {"allowed": true, "patch": "W10="}}"#;
        let verdict = verdict(old, "v1beta1", "u", true).expect("verdict");
        assert_eq!(verdict.patch.as_deref(), Some(b"[]".as_slice()));
    }

    #[test]
    fn a_refusal_names_the_webhook_and_keeps_its_words() {
        let told = |response: Value| {
            let verdict = read(&response, false).expect("verdict");
            let status = refusal("a.b.c", verdict.allowed.expect_err("refused"));
            (status.code, status.reason, status.message)
        };
        let denied = |rest: &str| format!("admission webhook \"a.b.c\" denied the request{rest}");
        for (response, code, reason, message) in [
            (json!({"uid": "u"}), 400, "", denied(" without explanation")),
            (
                json!({"uid": "u", "status": {"code": 403, "message": "no"}}),
                403,
                "",
                denied(": no"),
            ),
            (
                json!({"uid": "u", "status": {"code": 200, "reason": "Because", "status": "Success"}}),
                400,
                "Because",
                denied(": Because"),
            ),
        ] {
            assert_eq!(told(response), (code, reason.to_owned(), message.clone()));
        }
    }
}
