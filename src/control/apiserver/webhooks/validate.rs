//! The validating webhooks: all at once, because none of them changes anything.

use cadet_api::status::Status;
use futures::future::join_all;
use serde_json::Value;

use super::call::{self, Failed};
use super::hook::Hook;
use super::matching::{self, View};
use super::{registered, review};
use crate::admission::Request;

/// Asks every validating webhook that is concerned. Returns warnings.
///
/// # Errors
/// The first refusal, in the order of the webhooks.
pub async fn validate(
    request: &Request<'_>,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Result<Vec<String>, Status> {
    let Some(hooks) = registered(request) else {
        return Ok(vec![]);
    };
    let mut views: Vec<(&Hook, View)> = vec![];
    for hook in &hooks.validating {
        if let Some(view) = matching::view(hook, request, object, old)? {
            views.push((hook, view));
        }
    }
    let asked = views.iter().map(|(hook, view)| one(hook, request, view));
    let mut warnings = vec![];
    for answer in join_all(asked).await {
        warnings.extend(answer?);
    }
    Ok(warnings)
}

async fn one(hook: &Hook, request: &Request<'_>, view: &View) -> Result<Vec<String>, Status> {
    match call::ask(hook, request, view, false).await {
        Ok(verdict) => match verdict.allowed {
            Ok(()) => Ok(verdict.warnings),
            Err(given) => Err(review::refusal(&hook.name, given)),
        },
        Err(Failed::Calling(why)) if hook.ignores_failure => {
            tracing::warn!(webhook = %hook.name, %why, "a webhook is passed over");
            Ok(vec![])
        }
        Err(failed) => Err(failed.into_status(hook)),
    }
}
