//! How many pods there may be above and below the wanted number. Pure.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// `spec.replicas`; 1 if nobody said.
pub fn replicas(deployment: &Deployment) -> i32 {
    let spec = deployment.spec.as_ref();
    spec.and_then(|spec| spec.replicas).unwrap_or(1)
}

pub fn strategy(deployment: &Deployment) -> &str {
    let spec = deployment.spec.as_ref();
    let strategy = spec.and_then(|spec| spec.strategy.as_ref());
    strategy
        .and_then(|strategy| strategy.type_.as_deref())
        .unwrap_or("RollingUpdate")
}

pub fn rolls(deployment: &Deployment) -> bool {
    strategy(deployment) == "RollingUpdate"
}

/// Pods above the wanted number; 0 unless it rolls.
pub fn max_surge(deployment: &Deployment) -> i32 {
    match rolls(deployment) {
        true => fenceposts(deployment).0,
        false => 0,
    }
}

/// Pods that may be missing; 0 unless it rolls.
pub fn max_unavailable(deployment: &Deployment) -> i32 {
    let replicas = replicas(deployment);
    match rolls(deployment) && replicas > 0 {
        true => fenceposts(deployment).1.min(replicas),
        false => 0,
    }
}

/// The two as numbers: percents of the wanted number, the surge rounded up, the lack rounded
/// down. If both came to nothing, nothing would ever move, so one may be missing.
fn fenceposts(deployment: &Deployment) -> (i32, i32) {
    let spec = deployment.spec.as_ref();
    let strategy = spec.and_then(|spec| spec.strategy.as_ref());
    let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
    let replicas = replicas(deployment);
    let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref());
    let lack = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
    let surge = scaled(surge, replicas, true);
    let lack = scaled(lack, replicas, false);
    match (surge, lack) {
        (0, 0) => (0, 1),
        both => both,
    }
}

/// A number, or a percentage of `total`; nothing and nonsense are 0.
pub fn scaled(value: Option<&IntOrString>, total: i32, up: bool) -> i32 {
    match value {
        None => 0,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(text)) => {
            let percent = text
                .strip_suffix('%')
                .and_then(|text| text.parse::<i64>().ok());
            let product = percent.unwrap_or(0) * i64::from(total);
            let rounded = if up {
                (product + 99).div_euclid(100)
            } else {
                product.div_euclid(100)
            };
            i32::try_from(rounded).unwrap_or(i32::MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn deployment(replicas: i32, surge: Value, lack: Value) -> Deployment {
        serde_json::from_value(json!({"metadata": {}, "spec": {"replicas": replicas,
            "selector": {}, "template": {}, "strategy": {"type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": surge, "maxUnavailable": lack}}}}))
        .unwrap()
    }

    #[test]
    fn percents_of_the_wanted_number_are_rounded_apart() {
        let both = |d: &Deployment| (max_surge(d), max_unavailable(d));
        assert_eq!(both(&deployment(10, json!("25%"), json!("25%"))), (3, 2));
        assert_eq!(both(&deployment(1, json!("25%"), json!("25%"))), (1, 0));
        assert_eq!(both(&deployment(4, json!(0), json!("10%"))), (0, 1));
        assert_eq!(both(&deployment(3, json!(2), json!(7))), (2, 3));
        assert_eq!(both(&deployment(0, json!("25%"), json!("25%"))), (0, 0));
        let mut recreate = deployment(3, json!(1), json!(1));
        let spec = recreate.spec.as_mut().unwrap();
        spec.strategy.as_mut().unwrap().type_ = Some("Recreate".into());
        assert_eq!(both(&recreate), (0, 0));
    }
}
