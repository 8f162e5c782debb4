//! DELETE of one object: at once, or marked and left to whoever must finish it.
//!
//! ```text
//!   alive ──delete──▶ marked (deletionTimestamp) ──▶ gone
//!     │                 ▲ finalizers, a pod's grace period,
//!     │                 │ a namespace's content
//!     └── nothing to wait for ─────────────────────▶ gone
//! ```

use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use cadet_api::field::Error;
use cadet_api::resource::Resource;
use cadet_api::status::Status;
use cadet_api::{clock, json, meta, strategy};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::admission::{Asked, Operation, Request};
use crate::app::App;
use crate::call::ObjectCall;
use crate::object::Object;
use crate::query::{Parameters, dry_run};
use crate::writing::{self, Outcome, Proposal};
use crate::{admission, body, encode, respond, webhooks};

/// Kinds whose deletion is answered with the object rather than with a Status, as upstream.
const ANSWERED_WITH_OBJECT: &[(&str, &str)] = &[
    ("", "PersistentVolume"),
    ("", "PersistentVolumeClaim"),
    ("", "Pod"),
    ("", "PodTemplate"),
    ("", "ResourceQuota"),
    ("", "Service"),
    ("", "ServiceAccount"),
    ("storage.k8s.io", "CSIDriver"),
    ("storage.k8s.io", "CSINode"),
    ("storage.k8s.io", "StorageClass"),
    ("storage.k8s.io", "VolumeAttachment"),
];
/// Finalizers that the garbage collector takes away when it has let go of, or deleted,
/// what the object owns.
const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// What a deletion may be asked with, from the body or the query.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeleteOptions {
    #[serde(skip_serializing_if = "Option::is_none")]
    grace_period_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    preconditions: Option<Preconditions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    propagation_policy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dry_run: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    orphan_dependents: Option<bool>,
}

/// What must still be true of the object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
struct Preconditions {
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_version: Option<String>,
}

impl DeleteOptions {
    pub fn of(
        parameters: &Parameters,
        headers: &http::HeaderMap,
        bytes: Bytes,
    ) -> Result<DeleteOptions, Status> {
        let mut options = if bytes.is_empty() {
            DeleteOptions::default()
        } else {
            let decoded = body::decode("DeleteOptions", headers, bytes)?;
            let kind = json::str_at(&decoded.value, "/kind");
            if !matches!(kind, "" | "DeleteOptions") {
                return Err(Status::bad_request(format!(
                    "decoded object cannot be converted to DeleteOptions: it is a {kind}"
                )));
            }
            serde_json::from_value(decoded.value).map_err(|error| {
                Status::bad_request(format!("DeleteOptions could not be read: {error}"))
            })?
        };
        if let Some(seconds) = parameters.number("gracePeriodSeconds")? {
            options.grace_period_seconds = Some(seconds);
        }
        if let Some(policy) = parameters.get("propagationPolicy") {
            options.propagation_policy = Some(policy.to_owned());
        }
        if let Some(text) = parameters.get("dryRun") {
            options.dry_run = Some(vec![text.to_owned()]);
        }
        options.check()?;
        Ok(options)
    }

    /// Those inside another object, such as an Eviction; `dry_run` as the query has it.
    pub fn inside(value: &Value, dry_run: bool) -> Result<DeleteOptions, Status> {
        let mut options = match value {
            Value::Null => DeleteOptions::default(),
            value => serde_json::from_value(value.clone()).map_err(|error| {
                Status::bad_request(format!("DeleteOptions could not be read: {error}"))
            })?,
        };
        if dry_run {
            options.dry_run = Some(vec!["All".to_owned()]);
        }
        options.check()?;
        Ok(options)
    }

    /// The same for an object that this request itself has changed meanwhile.
    pub fn after(mut self, changed: &Value) -> DeleteOptions {
        if let Some(wanted) = &mut self.preconditions
            && let Some(version) = &mut wanted.resource_version
        {
            json::str_at(changed, "/metadata/resourceVersion").clone_into(version);
        }
        self
    }

    fn check(&self) -> Result<(), Status> {
        let mut errors = vec![];
        let known = ["Foreground", "Background", "Orphan", "nil"];
        if let Some(policy) = self.propagation_policy.as_deref() {
            let at = "propagationPolicy";
            if self.orphan_dependents.is_some() {
                let why = "orphanDependents and deletionPropagation cannot be both set";
                errors.push(Error::invalid(at, policy, why));
            }
            if policy == "nil" || !known.contains(&policy) {
                errors.push(Error::not_supported(at, policy, &known));
            }
        }
        let texts: Vec<&str> = self.dry_run.iter().flatten().map(String::as_str).collect();
        errors.extend(dry_run(&texts).err().map(|error| *error));
        match errors.as_slice() {
            [] => Ok(()),
            errors => Err(Status::invalid_options("DeleteOptions", errors)),
        }
    }

    pub fn is_dry_run(&self) -> bool {
        self.dry_run.iter().flatten().any(|text| text == "All")
    }

    /// Which of the garbage collector's finalizers hold an object while it is deleted: what
    /// the client asks for, else what holds it already, else the kind's habit.
    fn collector(&self, asked: &Resource, old: &Value) -> Option<&'static str> {
        if asked.is("", "Event") {
            return None;
        }
        if let Some(orphan) = self.orphan_dependents {
            return orphan.then_some(ORPHAN);
        }
        match self.propagation_policy.as_deref() {
            Some("Orphan") => return Some(ORPHAN),
            Some("Foreground") => return Some(FOREGROUND),
            Some(_) => return None,
            None => {}
        }
        let held = |name: &&str| json::list_at(old, "/metadata/finalizers").contains(&json!(name));
        [ORPHAN, FOREGROUND]
            .into_iter()
            .find(held)
            .or_else(|| strategy::orphans_by_default(asked).then_some(ORPHAN))
    }

    /// What the client should know about the habit it relies on.
    pub(super) fn warning(&self, asked: &Resource) -> Option<String> {
        let silent = self.propagation_policy.is_none() && self.orphan_dependents.is_none();
        (silent && asked.is("batch", "Job") && strategy::orphans_by_default(asked)).then(|| {
            "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set propagationPolicy=Orphan to suppress this warning".to_owned()
        })
    }

    pub fn check_preconditions(&self, resource: &Resource, old: &Value) -> Result<(), Status> {
        let Some(wanted) = &self.preconditions else {
            return Ok(());
        };
        let name = json::str_at(old, "/metadata/name");
        let refuse = |why: &str| Err(Status::kind_conflict(resource, name, why));
        let uid = json::str_at(old, "/metadata/uid");
        if let Some(wanted) = wanted.uid.as_deref().filter(|wanted| *wanted != uid) {
            return refuse(&format!(
                "the UID in the precondition ({wanted}) does not match the UID in record ({uid}). The object might have been deleted and then recreated"
            ));
        }
        let version = json::str_at(old, "/metadata/resourceVersion");
        if let Some(wanted) = wanted.resource_version.as_deref().filter(|w| *w != version) {
            return refuse(&format!(
                "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record ({version}). The object might have been modified"
            ));
        }
        Ok(())
    }
}

pub async fn run(call: &ObjectCall, bytes: Bytes) -> Result<Response, Status> {
    let options = DeleteOptions::of(&call.parameters, &call.headers, bytes)?;
    let asked = call.resource();
    let place = (call.namespace(), call.name());
    let (deleted, told) = delete_admitted(call, place, &options).await?;
    let response = answer(call, deleted, &options)?;
    let mut warnings: Vec<String> = options.warning(asked).into_iter().collect();
    warnings.extend(told);
    Ok(respond::warn(response, &warnings))
}

fn answer(
    call: &ObjectCall,
    deleted: Outcome,
    options: &DeleteOptions,
) -> Result<Response, Status> {
    let with_object = ANSWERED_WITH_OBJECT.contains(&call.stored().id());
    match deleted {
        Outcome::Removed(object) if !with_object => Ok(respond::status(&Status::deleted(
            call.resource(),
            object.name(),
            object.uid(),
        ))),
        Outcome::Removed(object) => encode::object(call, StatusCode::OK, &object),
        Outcome::Stored(object) => {
            // Upstream says so only to who asks for it in the old way.
            let code = match options.orphan_dependents {
                Some(false) => StatusCode::ACCEPTED,
                _ => StatusCode::OK,
            };
            encode::object(call, code, &object)
        }
        Outcome::DryRun(value) if !with_object => {
            let uid = json::str_at(&value, "/metadata/uid");
            Ok(respond::status(&Status::deleted(
                call.resource(),
                call.name(),
                uid,
            )))
        }
        Outcome::DryRun(value) => encode::value(call, StatusCode::OK, value),
    }
}

/// As [`delete_one`], for a client: with the consent of the webhooks, whose warnings are
/// returned.
pub async fn delete_admitted(
    call: &ObjectCall,
    (namespace, name): (&str, &str),
    options: &DeleteOptions,
) -> Result<(Outcome, Vec<String>), Status> {
    let (app, asked) = (&call.app, call.resource());
    let dry_run = options.is_dry_run();
    let request = Request {
        namespace,
        name,
        asked: Asked::Delete(options),
        ..Request::of(call, Operation::Delete, dry_run)
    };
    let mut warnings = vec![];
    if webhooks::may_ask(&request) {
        let resource = asked.stored_as();
        admission::may_delete(resource, name)?;
        // Who overtakes this deletion changes an object that was allowed to go.
        let found = app.world.get(resource, namespace, name);
        let old = found
            .ok_or_else(|| Status::not_found(resource, name))?
            .value();
        options.check_preconditions(resource, &old)?;
        warnings = request.consult(None, Some(&old)).await?;
    }
    let outcome = delete_one(app, asked, namespace, name, options).await?;
    Ok((outcome, warnings))
}

/// Begins or finishes the deletion of one object; `asked` is its kind in the version that
/// the client speaks.
pub async fn delete_one(
    app: &App,
    asked: &'static Resource,
    namespace: &str,
    name: &str,
    options: &DeleteOptions,
) -> Result<Outcome, Status> {
    let resource = asked.stored_as();
    admission::may_delete(resource, name)?;
    let dry_run = options.is_dry_run();
    writing::change(app, resource, namespace, name, dry_run, |old| {
        options.check_preconditions(resource, old)?;
        let mut value = mark(resource, old, options);
        let collector = options.collector(asked, old);
        // Who owns nothing need not wait for the collector to find that out.
        let uid = json::str_at(old, "/metadata/uid");
        hold(&mut value, collector.filter(|_| app.world.is_owner(uid)));
        Ok(Proposal {
            value,
            conditional: false,
            warnings: vec![],
        })
    })
    .await
    .map(|changed| changed.outcome)
}

/// The object with its deletion begun, or shortened if it had begun before.
fn mark(resource: &Resource, old: &Value, options: &DeleteOptions) -> Value {
    let mut new = old.clone();
    let asked = options.grace_period_seconds;
    let idle = strategy::goes_at_once(resource, old);
    let grace = match asked {
        Some(_) if idle => 0,
        // Upstream takes what is below zero for a second.
        Some(seconds) if seconds < 0 => 1,
        Some(seconds) => seconds,
        None => strategy::default_grace_seconds(resource, old),
    };
    let begun = json::int_at(old, "/metadata/deletionGracePeriodSeconds");
    let deleting = old.pointer("/metadata/deletionTimestamp").is_some();
    // A second deletion can only shorten the wait; one without a figure changes nothing.
    if deleting && (asked.is_none() && !idle || grace >= begun.unwrap_or(0)) {
        return new;
    }
    // The grace counts from when the deletion began.
    let ends = clock::parse(json::str_at(old, "/metadata/deletionTimestamp"));
    let began = match (ends, begun) {
        (Some(ends), Some(begun)) => ends - Duration::seconds(begun),
        _ => OffsetDateTime::now_utc(),
    };
    meta::begin_deletion(&mut new, began, grace);
    // Being deleted is a change of what is wanted.
    let generation = json::int_at(old, "/metadata/generation").unwrap_or(0);
    if generation > 0 && !deleting {
        meta::set(&mut new, "generation", generation + 1);
    }
    if resource.is("", "Namespace")
        && let Some(status) = new.as_object_mut()
    {
        json::child(status, "status").insert("phase".into(), json!("Terminating"));
    }
    new
}

/// Sets which of the collector's finalizers hold the object; others stay.
fn hold(object: &mut Value, collector: Option<&str>) {
    let mut finalizers = json::list_at(object, "/metadata/finalizers").to_vec();
    finalizers.retain(|f| *f != ORPHAN && *f != FOREGROUND);
    finalizers.extend(collector.map(|name| json!(name)));
    let finalizers = match finalizers.is_empty() {
        true => Value::Null,
        false => Value::Array(finalizers),
    };
    meta::set(object, "finalizers", finalizers);
}

/// All objects as they were before their deletion, for `deletecollection`.
pub fn survivors(outcomes: Vec<Outcome>) -> Vec<Arc<Object>> {
    outcomes
        .into_iter()
        .filter_map(|outcome| match outcome {
            Outcome::Stored(object) | Outcome::Removed(object) => Some(object),
            Outcome::DryRun(_) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cadet_api::resource::find;

    fn marked(resource: &str, old: &Value, grace: Option<i64>) -> Option<i64> {
        let resource = find("", "v1", resource).expect("row");
        let options = DeleteOptions {
            grace_period_seconds: grace,
            ..Default::default()
        };
        json::int_at(
            &mark(resource, old, &options),
            "/metadata/deletionGracePeriodSeconds",
        )
    }

    #[test]
    fn grace_is_for_running_pods_and_can_only_shrink() {
        let idle = json!({"metadata": {"name": "a"}, "spec": {}});
        let running = json!({"metadata": {"name": "a"},
            "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 7}});
        assert_eq!(marked("pods", &idle, None), Some(0));
        assert_eq!(marked("pods", &idle, Some(30)), Some(0));
        assert_eq!(marked("pods", &running, None), Some(7));
        assert_eq!(marked("pods", &running, Some(60)), Some(60));
        assert_eq!(marked("pods", &running, Some(0)), Some(0));
        assert_eq!(marked("configmaps", &idle, Some(60)), Some(0));
        let mut dying = running.clone();
        meta::begin_deletion(&mut dying, OffsetDateTime::now_utc(), 20);
        assert_eq!(marked("pods", &dying, None), Some(20));
        assert_eq!(marked("pods", &dying, Some(30)), Some(20));
        assert_eq!(marked("pods", &dying, Some(5)), Some(5));
        assert_eq!(marked("pods", &dying, Some(0)), Some(0));
    }

    #[test]
    fn a_namespace_says_that_it_is_going() {
        let namespaces = find("", "v1", "namespaces").expect("row");
        let old = json!({"metadata": {"name": "a"}, "status": {"phase": "Active"}});
        let new = mark(namespaces, &old, &DeleteOptions::default());
        assert_eq!(new["status"]["phase"], "Terminating");
    }

    #[test]
    fn preconditions_name_what_did_not_hold() {
        let pods = find("", "v1", "pods").expect("row");
        let old = json!({"metadata": {"name": "a", "uid": "u1", "resourceVersion": "3"}});
        let check = |body: Value| {
            let options: DeleteOptions = serde_json::from_value(body).expect("options");
            options
                .check_preconditions(pods, &old)
                .err()
                .map(|s| s.message)
        };
        assert_eq!(
            check(json!({"preconditions": {"uid": "u1", "resourceVersion": "3"}})),
            None
        );
        assert_eq!(
            check(json!({"preconditions": {"uid": "u2"}})).as_deref(),
            Some(
                "Operation cannot be fulfilled on Pod \"a\": the UID in the precondition (u2) does not match the UID in record (u1). The object might have been deleted and then recreated"
            )
        );
    }
}
