//! Questions about access: who am I, may I, may they, whose token is this. Nothing of it
//! is stored.

use axum::response::Response;
use bytes::Bytes;
use cadet_api::json::{list_at, str_at};
use cadet_api::status::Status;
use cadet_api::{clock, strategy};
use http::StatusCode;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::access::rbac::{Ask, Rule};
use crate::access::{User, is_almighty, token};
use crate::call::ObjectCall;
use crate::query::{Write, WriteOptions};
use crate::{body, fields, respond};

pub async fn run(call: &ObjectCall, bytes: Bytes) -> Result<Response, Status> {
    let options = WriteOptions::of(&call.parameters, Write::Create)?;
    let resource = call.resource();
    let decoded = body::decode(resource.kind, &call.headers, bytes)?;
    let mut review = decoded.value;
    strategy::check_body(resource, &review)?;
    let text = decoded.repeats.then_some(decoded.json.as_ref());
    let warnings = fields::check(resource, &review, text, options.validation)?;
    strategy::set_type(resource, &mut review);
    review["status"] = match resource.kind {
        "SelfSubjectReview" => whoami(&call.user),
        "SelfSubjectAccessReview" => verdict(call, &call.user, &review)?,
        "SubjectAccessReview" | "LocalSubjectAccessReview" => {
            verdict(call, &subject(call, &review)?, &review)?
        }
        "SelfSubjectRulesReview" => rules(call, &review)?,
        "TokenReview" => whose(call, &review)?,
        _ => return Err(Status::not_served(&resource.qualified())),
    };
    if resource.kind == "SelfSubjectReview" {
        let now = clock::rfc3339(OffsetDateTime::now_utc());
        review["metadata"] = json!({"creationTimestamp": now});
    }
    let response = respond::json(StatusCode::CREATED, review.to_string());
    Ok(respond::warn(response, &warnings))
}

fn info(user: &User) -> Value {
    let mut info = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        info["uid"] = json!(user.uid);
    }
    if !user.extra.is_empty() {
        info["extra"] = json!(user.extra);
    }
    info
}

fn whoami(user: &User) -> Value {
    json!({"userInfo": info(user)})
}

/// The user a review is about.
fn subject(call: &ObjectCall, review: &Value) -> Result<User, Status> {
    let mut user = User::new(str_at(review, "/spec/user"), &[]);
    user.groups = list_at(review, "/spec/groups")
        .iter()
        .filter_map(|g| g.as_str().map(str::to_owned))
        .collect();
    if user.name.is_empty() && user.groups.is_empty() {
        let error = cadet_api::field::Error::invalid(
            "spec.user",
            "",
            "at least one of user or group must be specified",
        );
        return Err(Status::invalid(call.resource(), "", &[error]));
    }
    let inside = str_at(review, "/spec/resourceAttributes/namespace");
    if call.resource().kind == "LocalSubjectAccessReview" && inside != call.namespace() {
        let error = cadet_api::field::Error::invalid(
            "spec.resourceAttributes.namespace",
            inside,
            "must match metadata.namespace",
        );
        return Err(Status::invalid(call.resource(), "", &[error]));
    }
    Ok(user)
}

/// Whether a user may do what the review's spec says.
fn verdict(call: &ObjectCall, user: &User, review: &Value) -> Result<Value, Status> {
    let (resource, path) = (
        review.pointer("/spec/resourceAttributes"),
        review.pointer("/spec/nonResourceAttributes"),
    );
    let index = call.app.rbac.index(&call.app.world);
    let almighty = is_almighty(user);
    let by = match (resource, path) {
        (Some(a), None) => {
            let ask = Ask {
                verb: str_at(a, "/verb"),
                group: str_at(a, "/group"),
                resource: str_at(a, "/resource"),
                subresource: str_at(a, "/subresource"),
                namespace: str_at(a, "/namespace"),
                name: str_at(a, "/name"),
            };
            index.why(user, &ask)
        }
        (None, Some(a)) => {
            let (verb, path) = (str_at(a, "/verb"), str_at(a, "/path"));
            index.why_path(user, verb, path)
        }
        _ => {
            let error = cadet_api::field::Error::invalid(
                "spec.resourceAttributes",
                Value::Null,
                "exactly one of nonResourceAttributes or resourceAttributes must be specified",
            );
            return Err(Status::invalid(call.resource(), "", &[error]));
        }
    };
    Ok(match by {
        // Nobody has to grant them anything.
        _ if almighty => json!({"allowed": true}),
        Some(by) => json!({"allowed": true, "reason": format!("RBAC: allowed by {by}")}),
        None => json!({"allowed": false}),
    })
}

/// All that the caller may do in a namespace.
fn rules(call: &ObjectCall, review: &Value) -> Result<Value, Status> {
    let namespace = str_at(review, "/spec/namespace");
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let mut held = call
        .app
        .rbac
        .index(&call.app.world)
        .rules(&call.user, namespace);
    if is_almighty(&call.user) {
        held.insert(
            0,
            Rule::read(&json!({"verbs": ["*"], "nonResourceURLs": ["*"]})),
        );
        held.insert(
            0,
            Rule::read(&json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]})),
        );
    }
    let (mut resources, mut paths) = (vec![], vec![]);
    for rule in held {
        if !rule.resources.is_empty() {
            let mut value =
                json!({"verbs": rule.verbs, "apiGroups": rule.groups, "resources": rule.resources});
            if !rule.names.is_empty() {
                value["resourceNames"] = json!(rule.names);
            }
            resources.push(value);
        }
        if !rule.urls.is_empty() {
            paths.push(json!({"verbs": rule.verbs, "nonResourceURLs": rule.urls}));
        }
    }
    Ok(json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false}))
}

/// Whose token the review holds.
fn whose(call: &ObjectCall, review: &Value) -> Result<Value, Status> {
    let presented = str_at(review, "/spec/token");
    if presented.is_empty() {
        return Err(Status::bad_request(
            "token is required for TokenReview in authentication",
        ));
    }
    let audiences: Vec<String> = list_at(review, "/spec/audiences")
        .iter()
        .filter_map(|a| a.as_str().map(str::to_owned))
        .collect();
    let keys = call.app.config.token_keys.as_ref();
    let found =
        keys.and_then(|keys| token::authenticate(&call.app.world, keys, presented, &audiences));
    Ok(match found {
        Some((user, audiences)) => {
            json!({"authenticated": true, "user": info(&user), "audiences": audiences})
        }
        None => json!({"authenticated": false, "user": {}, "error": "invalid bearer token"}),
    })
}
