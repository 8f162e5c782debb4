//! The mutating webhooks: one after the other, and a second time those that ask for it
//! when the object has changed behind them (KEP-492).

use std::collections::HashSet;
use std::sync::Arc;

use cadet_api::status::Status;
use cadet_api::{convert, fieldcheck, json, patch, strategy};
use serde_json::Value;

use super::call::{self, Failed};
use super::hook::Hook;
use super::matching::{self, View};
use super::{Registered, registered, review};
use crate::admission::{Operation, Request};

/// The one or two rounds of a request through the mutating webhooks.
pub struct Rounds<'a> {
    request: &'a Request<'a>,
    hooks: Arc<Registered>,
    /// Called in the first round, and willing to be called again.
    called: HashSet<(String, usize)>,
    /// To be called again.
    again: HashSet<(String, usize)>,
    /// The object after the last round.
    output: Option<Value>,
    /// A webhook has changed the object, so that a second round is due.
    pub changed: bool,
    pub warnings: Vec<String>,
}

impl<'a> Rounds<'a> {
    /// `None` if no webhook is concerned.
    pub fn of(request: &'a Request<'a>) -> Option<Rounds<'a>> {
        let hooks = registered(request)?;
        matching::concerned(&hooks.mutating, request).then(|| Rounds {
            request,
            hooks,
            called: HashSet::new(),
            again: HashSet::new(),
            output: None,
            changed: false,
            warnings: vec![],
        })
    }

    /// The first round, or after a change the second one. `object` is `None` where there
    /// is none to change: for a deletion.
    pub async fn run(
        &mut self,
        mut object: Option<&mut Value>,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        let second = self.changed;
        if second && self.output.as_ref() != object.as_deref() {
            // The plugins have changed it since.
            self.again.extend(self.called.drain());
        }
        let hooks = Arc::clone(&self.hooks);
        for hook in &hooks.mutating {
            if second && !self.again.contains(&hook.key) {
                continue;
            }
            let view = matching::view(hook, self.request, object.as_deref(), old)?;
            let Some(view) = view else {
                continue;
            };
            let outcome = self.call(hook, view, object.as_deref_mut()).await;
            if matches!(outcome, Ok(true)) {
                self.changed = true;
                self.again.extend(self.called.drain());
            }
            if hook.reinvocable {
                self.called.insert(hook.key.clone());
            }
            match outcome {
                Ok(_) => {}
                Err(Failed::Calling(why)) if hook.ignores_failure => {
                    tracing::warn!(webhook = %hook.name, %why, "a webhook is passed over");
                }
                Err(failed) => return Err(failed.into_status(hook)),
            }
        }
        self.output = object.as_deref().cloned();
        Ok(())
    }

    /// Whether the webhook has changed the object.
    async fn call(
        &mut self,
        hook: &Hook,
        view: View,
        object: Option<&mut Value>,
    ) -> Result<bool, Failed> {
        let verdict = call::ask(hook, self.request, &view, true).await?;
        self.warnings.extend(verdict.warnings);
        if let Err(given) = verdict.allowed {
            return Err(Failed::Refused(review::refusal(&hook.name, given)));
        }
        let Some(bytes) = verdict.patch else {
            return Ok(false);
        };
        let broken = |why: &dyn std::fmt::Display| Failed::Refused(Status::internal(why));
        let operations: Value = serde_json::from_slice(&bytes).map_err(|e| broken(&e))?;
        if operations.as_array().is_some_and(Vec::is_empty) {
            return Ok(false);
        }
        let (Some(object), Some(shown)) = (object, view.object) else {
            return Err(broken(&format!(
                "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
                hook.name
            )));
        };
        let mut patched = shown.clone();
        patch::json_patch(&mut patched, &operations).map_err(|e| broken(&e))?;
        if patched == shown {
            return Ok(false);
        }
        self.check(hook, &shown, &patched)
            .map_err(Failed::Refused)?;
        if matching::is_of_the_kind(self.request) {
            let converted = convert::to_stored(view.row, &mut patched);
            converted.map_err(Failed::Refused)?;
            let fitting = fieldcheck::check(self.request.stored(), &patched);
            fitting.map_err(|status| broken(&status.message))?;
            strategy::complete(self.request.stored(), &mut patched);
        }
        *object = patched;
        Ok(true)
    }

    /// What a webhook makes of an object is still that object.
    fn check(&self, hook: &Hook, shown: &Value, patched: &Value) -> Result<(), Status> {
        let same = |pointer: &str| json::str_at(shown, pointer) == json::str_at(patched, pointer);
        if !patched.is_object() || !same("/apiVersion") || !same("/kind") {
            return Err(Status::internal(format!(
                "admission webhook {:?} made {} {:?} of {} {:?}",
                hook.name,
                json::str_at(patched, "/apiVersion"),
                json::str_at(patched, "/kind"),
                json::str_at(shown, "/apiVersion"),
                json::str_at(shown, "/kind"),
            )));
        }
        if !same("/metadata/namespace") {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        if self.request.operation != Operation::Create && !same("/metadata/name") {
            return Err(Status::bad_request(format!(
                "the name of the object ({}) does not match the name on the URL ({})",
                json::str_at(patched, "/metadata/name"),
                json::str_at(shown, "/metadata/name"),
            )));
        }
        Ok(())
    }
}
