//! Reading what the calculator needs: the pods of a target and what they use.

use std::collections::BTreeMap;

use cadet_api::quantity::{Amount, Quantity};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Deserialize;
use serde_json::Value;

use super::replicas::{Figure, Pod};

/// Pages of either kind.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct List<T: Default> {
    pub items: Vec<T>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Meta {
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodMeta {
    name: String,
    deletion_timestamp: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct WirePod {
    metadata: PodMeta,
    spec: WireSpec,
    status: WireStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireSpec {
    containers: Vec<WireContainer>,
    init_containers: Vec<WireContainer>,
    resources: WireResources,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireContainer {
    name: String,
    restart_policy: String,
    resources: WireResources,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireResources {
    requests: BTreeMap<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireStatus {
    phase: String,
    start_time: Option<Time>,
    conditions: Vec<WireCondition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireCondition {
    r#type: String,
    status: String,
    last_transition_time: Option<Time>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct WireMetrics {
    metadata: Meta,
    timestamp: Option<Time>,
    window: String,
    containers: Vec<WireUse>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct WireUse {
    name: String,
    usage: BTreeMap<String, Value>,
}

fn amount(list: &BTreeMap<String, Value>, name: &str) -> Option<Quantity> {
    list.get(name).and_then(Amount::of).map(|a| a.quantity)
}

impl WirePod {
    /// The pod as the calculator sees it; of one container only, unless it is "".
    pub fn seen(self, resource: &str, container: &str) -> Pod {
        let sidecars = self.spec.init_containers.iter();
        let sidecars = sidecars.filter(|c| c.restart_policy == "Always");
        let containers = self.spec.containers.iter().chain(sidecars);
        let whole =
            amount(&self.spec.resources.requests, resource).filter(|_| container.is_empty());
        let request = match whole {
            Some(whole) => Ok(whole.millis()),
            None => containers
                .filter(|c| container.is_empty() || c.name == container)
                .try_fold(0_i64, |sum, c| {
                    let request = amount(&c.resources.requests, resource);
                    let request = request.ok_or_else(|| c.name.clone())?;
                    Ok(sum.saturating_add(request.millis()))
                }),
        };
        let ready = self.status.conditions.iter().find(|c| c.r#type == "Ready");
        let ready =
            ready.and_then(|c| Some((c.status == "False", c.last_transition_time.as_ref()?.0)));
        Pod {
            name: self.metadata.name,
            phase: self.status.phase,
            deleting: self.metadata.deletion_timestamp.is_some(),
            started: self.status.start_time.map(|time| time.0),
            ready,
            request,
        }
    }
}

impl WireMetrics {
    /// Name of the pod, if nothing is known of a container that is asked for by name.
    pub fn lacks(&self, container: &str) -> Option<&str> {
        let known = container.is_empty() || self.containers.iter().any(|c| c.name == container);
        (!known).then_some(self.metadata.name.as_str())
    }

    /// Name of the pod and what it uses; `None` if a container's use is not known.
    pub fn seen(self, resource: &str, container: &str) -> Option<(String, Figure)> {
        let mut containers = self.containers.iter();
        let value = match container {
            "" => containers.try_fold(0_i64, |sum, c| {
                Some(sum.saturating_add(amount(&c.usage, resource)?.millis()))
            })?,
            name => amount(&containers.find(|c| c.name == name)?.usage, resource)?.millis(),
        };
        let figure = Figure {
            value,
            at: self.timestamp?.0,
            window: seconds(&self.window),
        };
        Some((self.metadata.name, figure))
    }
}

/// Seconds of a Go duration such as `1m10.5s`; what cannot be read counts as none.
fn seconds(text: &str) -> f64 {
    let (mut sum, mut number) = (0.0, String::new());
    let mut unit = String::new();
    let mut add = |number: &mut String, unit: &mut String| {
        let factor = match unit.as_str() {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => 0.0,
        };
        sum += number.parse().unwrap_or(0.0) * factor;
        number.clear();
        unit.clear();
    };
    for c in text.chars() {
        if c.is_ascii_digit() || c == '.' {
            if !unit.is_empty() {
                add(&mut number, &mut unit);
            }
            number.push(c);
        } else {
            unit.push(c);
        }
    }
    add(&mut number, &mut unit);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        assert_eq!(seconds("10s"), 10.0);
        assert_eq!(seconds("1m10.5s"), 70.5);
        assert_eq!(seconds("500ms"), 0.5);
        assert_eq!(seconds(""), 0.0);
    }

    #[test]
    fn requests_and_use_are_summed_or_taken_of_one_container() {
        let pod = || -> WirePod {
            serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {"containers": [
                {"name": "a", "resources": {"requests": {"cpu": "100m"}}},
                {"name": "b", "resources": {"requests": {"cpu": "1", "memory": "1Mi"}}}]}}))
            .unwrap()
        };
        assert_eq!(pod().seen("cpu", "").request, Ok(1100));
        assert_eq!(pod().seen("cpu", "a").request, Ok(100));
        assert_eq!(pod().seen("memory", "").request, Err("a".to_owned()));
        let metrics = || -> WireMetrics {
            serde_json::from_value(json!({"metadata": {"name": "p"}, "window": "10s",
                "timestamp": "2026-01-01T00:00:00Z", "containers": [
                {"name": "a", "usage": {"cpu": "50000000n", "memory": "4Ki"}},
                {"name": "b", "usage": {"cpu": "1", "memory": "4Ki"}}]}))
            .unwrap()
        };
        assert_eq!(metrics().seen("cpu", "").unwrap().1.value, 1050);
        assert_eq!(metrics().seen("cpu", "b").unwrap().1.value, 1000);
        assert_eq!(metrics().seen("memory", "").unwrap().1.value, 8_192_000);
        assert!(metrics().seen("cpu", "c").is_none());
        let lacking = |container| metrics().lacks(container).map(str::to_owned);
        assert_eq!(lacking("c").as_deref(), Some("p"));
        assert_eq!((lacking(""), lacking("a")), (None, None));
    }
}
