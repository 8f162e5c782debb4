//! POST of an Eviction: a deletion that disruption budgets have a say in.
//!
//! ```text
//!   not running, or on its way out ─────────────────────▶ delete
//!   no budget ──────────────────────────────────────────▶ delete
//!   unready, and the budget lets those go ──────────────▶ delete
//!   budget has one left ── take it (disruptedPods) ─────▶ delete
//!   (what runs is marked with the condition DisruptionTarget before it goes)
//!   else 429
//! ```

use axum::response::Response;
use bytes::Bytes;
use cadet_api::json::{int_at, list_at, map_at, str_at};
use cadet_api::resource::{self, Resource};
use cadet_api::selector::LabelSelector;
use cadet_api::status::{Cause, Status};
use cadet_api::{clock, json, strategy};
use http::StatusCode;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::delete::{DeleteOptions, delete_one};
use crate::admission::{Operation, Request};
use crate::app::App;
use crate::call::ObjectCall;
use crate::object::Object;
use crate::query::{Write, WriteOptions};
use crate::writing::{self, Outcome, Proposal};
use crate::{body, respond};

/// More evictions than this that the controller has not seen yet are too many (upstream).
const MOST_UNCONFIRMED: usize = 2000;
/// Seconds to wait for the controller to take in a changed budget (upstream).
const BUDGET_LAG: u32 = 10;
const TARGET: &str = "DisruptionTarget";
const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

pub async fn run(call: &ObjectCall, bytes: Bytes) -> Result<Response, Status> {
    let options = WriteOptions::of(&call.parameters, Write::Create)?;
    let mut eviction = body::decode("Eviction", &call.headers, bytes)?.value;
    check_body(call, &eviction)?;
    strategy::set_type_of(&mut eviction, "policy/v1", "Eviction");
    let request = Request::of(call, Operation::Create, options.dry_run).part("eviction");
    let warnings = request.consult(Some(&mut eviction), None).await?;
    let wish = eviction.pointer("/deleteOptions").unwrap_or(&Value::Null);
    let mut deletion = DeleteOptions::inside(wish, options.dry_run)?;
    let dry_run = deletion.is_dry_run();
    let pods = call.stored();
    let pod = call
        .app
        .world
        .get(pods, call.namespace(), call.name())
        .ok_or_else(|| call.not_found())?;
    let value = pod.value();
    deletion.check_preconditions(pods, &value)?;
    let disrupts = !goes_unasked(&value);
    if disrupts
        && let Some(budget) = budget_of(&call.app, &pod)?
        && !lets_unready_go(&value, &budget.value())
    {
        let name = budget.name();
        let resource = budget.resource;
        writing::change(
            &call.app,
            resource,
            call.namespace(),
            name,
            dry_run,
            |old| {
                let value = taken(pods, call.name(), old)?;
                Ok(Proposal {
                    value,
                    conditional: false,
                    warnings: vec![],
                })
            },
        )
        .await?;
    }
    if disrupts && !dry_run {
        let change = writing::change(
            &call.app,
            pods,
            call.namespace(),
            call.name(),
            false,
            |old| {
                deletion.check_preconditions(pods, old)?;
                Ok(Proposal {
                    value: marked(old),
                    conditional: false,
                    warnings: vec![],
                })
            },
        );
        let changed = change.await?;
        if let Outcome::Stored(pod) = changed.outcome {
            deletion = deletion.after(&pod.value());
        }
    }
    delete_one(&call.app, pods, call.namespace(), call.name(), &deletion).await?;
    let mut done = Status::failure(201, "", "");
    done.status = "Success".to_owned();
    let response = respond::json(StatusCode::CREATED, done.to_json());
    Ok(respond::warn(response, &warnings))
}

fn check_body(call: &ObjectCall, eviction: &Value) -> Result<(), Status> {
    let (version, kind) = (str_at(eviction, "/apiVersion"), str_at(eviction, "/kind"));
    if !matches!(kind, "" | "Eviction") || !matches!(version, "" | "policy/v1" | "policy/v1beta1") {
        return Err(Status::bad_request(format!(
            "the body is a {kind} of {version}, not an Eviction of policy/v1"
        )));
    }
    let name = str_at(eviction, "/metadata/name");
    if !name.is_empty() && name != call.name() {
        return Err(Status::bad_request(
            "name in URL does not match name in Eviction object",
        ));
    }
    Ok(())
}

/// The pod with the condition that says why it goes, which Jobs and people look at.
fn marked(pod: &Value) -> Value {
    let mut new = pod.clone();
    let generation = int_at(pod, "/metadata/generation").unwrap_or(0);
    if let Some(members) = new.as_object_mut() {
        let status = json::child(members, "status");
        let conditions = status.entry("conditions").or_insert_with(|| json!([]));
        if let Some(conditions) = conditions.as_array_mut() {
            conditions.retain(|c| str_at(c, "/type") != TARGET);
            let now = clock::rfc3339(OffsetDateTime::now_utc());
            conditions.push(
                json!({"type": TARGET, "status": "True", "observedGeneration": generation,
                "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting",
                "lastProbeTime": null, "lastTransitionTime": now}),
            );
        }
    }
    new
}

/// Pods whose going disrupts nothing.
fn goes_unasked(pod: &Value) -> bool {
    matches!(
        str_at(pod, "/status/phase"),
        "Pending" | "Succeeded" | "Failed"
    ) || pod.pointer("/metadata/deletionTimestamp").is_some()
}

/// The one budget that selects the pod.
///
/// # Errors
/// 500 if several do, as upstream.
fn budget_of(app: &App, pod: &Object) -> Result<Option<std::sync::Arc<Object>>, Status> {
    let budgets = resource::find("policy", "v1", "poddisruptionbudgets")
        .ok_or_else(|| Status::internal("poddisruptionbudgets are not in the table of kinds"))?;
    let listing = app.world.list(budgets, Some(pod.namespace()));
    let mut found = None;
    for budget in listing.objects {
        let value = budget.value();
        // No selector selects nothing, an empty one everything.
        let Some(selector) = value.pointer("/spec/selector").filter(|s| s.is_object()) else {
            continue;
        };
        let selector = LabelSelector::from_object(selector).map_err(Status::internal)?;
        if !selector.matches_of(|key| pod.label(key)) {
            continue;
        }
        if found.replace(budget).is_some() {
            let why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(Status::failure(500, "", why));
        }
    }
    Ok(found)
}

/// An unready pod may go without being counted if its budget says so, or if the budget
/// is met without it.
fn lets_unready_go(pod: &Value, budget: &Value) -> bool {
    let ready = list_at(pod, "/status/conditions")
        .iter()
        .any(|c| str_at(c, "/type") == "Ready" && str_at(c, "/status") == "True");
    if ready {
        return false;
    }
    if str_at(budget, "/spec/unhealthyPodEvictionPolicy") == "AlwaysAllow" {
        return true;
    }
    let desired = int_at(budget, "/status/desiredHealthy").unwrap_or(0);
    desired > 0 && int_at(budget, "/status/currentHealthy").unwrap_or(0) >= desired
}

/// The budget with one disruption used up for the pod.
fn taken(pods: &Resource, pod: &str, budget: &Value) -> Result<Value, Status> {
    let name = str_at(budget, "/metadata/name");
    let figure = |path: &str| int_at(budget, path).unwrap_or(0);
    if figure("/status/observedGeneration") < figure("/metadata/generation") {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(refused(why).retry_after(BUDGET_LAG));
    }
    let allowed = figure("/status/disruptionsAllowed");
    if allowed < 0 {
        let why = "pdb disruptions allowed is negative";
        return Err(Status::forbidden(pods, pod, why));
    }
    let unconfirmed = map_at(budget, "/status/disruptedPods").map_or(0, serde_json::Map::len);
    if unconfirmed > MOST_UNCONFIRMED {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(Status::forbidden(pods, pod, why));
    }
    if allowed == 0 {
        return Err(refused(format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            figure("/status/desiredHealthy"),
            figure("/status/currentHealthy")
        )));
    }
    let mut new = budget.clone();
    if let Some(members) = new.as_object_mut() {
        let now = clock::rfc3339(OffsetDateTime::now_utc());
        let status = json::child(members, "status");
        status.insert("disruptionsAllowed".into(), json!(allowed - 1));
        json::child(status, "disruptedPods").insert(pod.to_owned(), json!(now));
    }
    Ok(new)
}

fn refused(why: String) -> Status {
    let mut status = Status::failure(429, "TooManyRequests", REFUSED);
    status.details.get_or_insert_default().causes.push(Cause {
        reason: "DisruptionBudget".into(),
        message: why,
        field: String::new(),
    });
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(allowed: i64, observed: i64) -> Value {
        json!({"metadata": {"name": "b", "generation": 2}, "status": {"observedGeneration": observed,
            "disruptionsAllowed": allowed, "desiredHealthy": 2, "currentHealthy": 2}})
    }

    #[test]
    fn a_budget_is_used_up_and_then_refuses() {
        let pods = resource::find("", "v1", "pods").expect("row");
        let left = taken(pods, "p", &budget(1, 2)).expect("one left");
        assert_eq!(left["status"]["disruptionsAllowed"], 0);
        assert!(left["status"]["disruptedPods"]["p"].is_string());
        let status = taken(pods, "p", &left).expect_err("none left");
        assert_eq!((status.code, status.message.as_str()), (429, REFUSED));
        let cause = &status.details.expect("details").causes[0];
        assert_eq!(
            cause.message,
            "The disruption budget b needs 2 healthy pods and has 2 currently"
        );
        let status = taken(pods, "p", &budget(1, 1)).expect_err("not observed");
        assert_eq!(status.details.expect("details").retry_after_seconds, 10);
        assert_eq!(taken(pods, "p", &budget(-1, 2)).expect_err("odd").code, 403);
    }

    #[test]
    fn an_evicted_pod_says_why_it_goes() {
        let ready = json!({"type": "Ready", "status": "True"});
        let pod = json!({"metadata": {"generation": 1}, "status": {"conditions": [ready]}});
        let marked = marked(&marked(&pod));
        let conditions = list_at(&marked, "/status/conditions");
        assert_eq!(conditions.len(), 2);
        assert_eq!(conditions[1]["reason"], "EvictionByEvictionAPI");
    }

    #[test]
    fn unready_pods_may_go_from_a_met_budget() {
        let unready = json!({"status": {"phase": "Running"}});
        let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        assert!(lets_unready_go(&unready, &budget(0, 2)));
        assert!(!lets_unready_go(&ready, &budget(0, 2)));
        let mut missed = budget(0, 2);
        missed["status"]["currentHealthy"] = json!(1);
        assert!(!lets_unready_go(&unready, &missed));
        missed["spec"]["unhealthyPodEvictionPolicy"] = json!("AlwaysAllow");
        assert!(lets_unready_go(&unready, &missed));
    }
}
