//! Rules for disruption budgets and the Scale subresource.

use serde_json::Value;

use super::rollout::{int_or_percent, not_above_all};
use super::selector::{label_selector, not_negative};
use crate::field::Error;
use crate::json::str_at;

pub(super) fn budget(o: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    let e = &mut errors;
    let amount = |key: &str| o.pointer(&format!("/spec/{key}"));
    if amount("minAvailable").is_some() && amount("maxUnavailable").is_some() {
        e.push(Error::invalid(
            "spec",
            o["spec"].clone(),
            "minAvailable and maxUnavailable cannot be both set",
        ));
    }
    for key in ["minAvailable", "maxUnavailable"] {
        if let Some(value) = amount(key) {
            let at = format!("spec.{key}");
            int_or_percent(e, &at, value);
            not_above_all(e, o, &at);
        }
    }
    if o.pointer("/spec/selector").is_some() {
        label_selector(e, "spec.selector", o, "/spec/selector");
    }
    let policy = str_at(o, "/spec/unhealthyPodEvictionPolicy");
    if !matches!(policy, "" | "IfHealthyBudget" | "AlwaysAllow") {
        e.push(Error::not_supported(
            "spec.unhealthyPodEvictionPolicy",
            policy,
            &["AlwaysAllow", "IfHealthyBudget"],
        ));
    }
    errors
}

/// What is wrong with a Scale that somebody wants to write.
pub fn scale(o: &Value) -> Vec<Error> {
    let mut errors = Vec::new();
    not_negative(&mut errors, o, &["spec.replicas"]);
    errors
}
