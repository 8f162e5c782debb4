//! What a pod asks of a node, summed up once per pass.

use std::collections::BTreeMap;

use cadet_api::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Toleration};

/// Amounts by resource name: `cpu` in thousandths, everything else in units.
pub type Amounts = BTreeMap<String, i64>;

/// A port taken on the node itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// "" and 0.0.0.0 mean every address.
    pub ip: String,
    pub protocol: String,
    pub port: i32,
}

impl HostPort {
    /// Whether two pods cannot both have their port.
    pub fn clashes(&self, other: &HostPort) -> bool {
        let any = |ip: &str| ip.is_empty() || ip == "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (any(&self.ip) || any(&other.ip) || self.ip == other.ip)
    }
}

/// The part of a pod that matters for placing it.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    pub requests: Amounts,
    pub host_ports: Vec<HostPort>,
    pub tolerations: Vec<Toleration>,
    pub spec: PodSpec,
}

impl Ask {
    /// Sums up a pod.
    pub fn of(pod: &Pod) -> Ask {
        let Some(spec) = &pod.spec else {
            return Ask::default();
        };
        Ask {
            requests: requests(spec),
            host_ports: host_ports(spec),
            tolerations: spec.tolerations.clone().unwrap_or_default(),
            spec: spec.clone(),
        }
    }
}

/// One amount in the unit this module counts in.
pub fn amount(name: &str, text: &str) -> i64 {
    // What the server stored was validated; an amount that cannot be read counts nothing.
    let q: Quantity = text.parse().unwrap_or_default();
    if name == "cpu" { q.millis() } else { q.value() }
}

/// What a pod's containers need at the same time: all ordinary containers and sidecars
/// together, or the neediest init container with the sidecars started before it.
pub fn requests(spec: &PodSpec) -> Amounts {
    let mut sum = Amounts::new();
    for c in &spec.containers {
        add(&mut sum, &of_container(c));
    }
    let mut sidecars = Amounts::new();
    let mut peak = Amounts::new();
    for c in spec.init_containers.iter().flatten() {
        let own = of_container(c);
        if c.restart_policy.as_deref() == Some("Always") {
            add(&mut sum, &own);
            add(&mut sidecars, &own);
            most(&mut peak, &sidecars);
        } else {
            let mut now = sidecars.clone();
            add(&mut now, &own);
            most(&mut peak, &now);
        }
    }
    most(&mut sum, &peak);
    for (name, q) in spec.overhead.iter().flatten() {
        *sum.entry(name.clone()).or_default() += amount(name, &q.0);
    }
    sum
}

fn of_container(c: &Container) -> Amounts {
    c.resources
        .iter()
        .flat_map(|r| r.requests.iter().flatten())
        .map(|(name, q)| (name.clone(), amount(name, &q.0)))
        .collect()
}

/// Adds `more` to `sum`.
pub fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, n) in more {
        let slot = sum.entry(name.clone()).or_default();
        *slot = slot.saturating_add(*n);
    }
}

fn most(sum: &mut Amounts, other: &Amounts) {
    for (name, n) in other {
        let slot = sum.entry(name.clone()).or_default();
        *slot = (*slot).max(*n);
    }
}

/// The host ports of a pod.
pub fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    spec.containers
        .iter()
        .flat_map(|c| c.ports.iter().flatten())
        .filter_map(|p| {
            let port = p.host_port.filter(|n| *n > 0)?;
            Some(HostPort {
                ip: p.host_ip.clone().unwrap_or_default(),
                protocol: p.protocol.clone().unwrap_or_else(|| "TCP".into()),
                port,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn ask(spec: Value) -> Ask {
        Ask::of(&serde_json::from_value(json!({"spec": spec})).unwrap())
    }

    fn c(cpu: &str, memory: &str) -> Value {
        json!({"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}})
    }

    #[test]
    fn init_containers_count_at_their_peak_and_sidecars_always() {
        let a = ask(json!({"containers": [c("100m", "1Ki"), c("200m", "1Ki")],
            "initContainers": [c("250m", "4Ki")]}));
        assert_eq!(
            a.requests,
            Amounts::from([("cpu".into(), 300), ("memory".into(), 4096)])
        );
        let mut side = c("50m", "1Ki");
        side["restartPolicy"] = json!("Always");
        let a = ask(
            json!({"containers": [c("100m", "1Ki")], "initContainers": [side, c("250m", "1Ki")],
            "overhead": {"cpu": "1"}}),
        );
        assert_eq!(a.requests["cpu"], 300 + 1000);
        assert_eq!(a.requests["memory"], 2048);
    }

    #[test]
    fn host_ports_clash_by_address_protocol_and_number() {
        let p = |ip: &str, protocol: &str, port| HostPort {
            ip: ip.into(),
            protocol: protocol.into(),
            port,
        };
        assert!(p("", "TCP", 80).clashes(&p("10.0.0.1", "TCP", 80)));
        assert!(!p("10.0.0.2", "TCP", 80).clashes(&p("10.0.0.1", "TCP", 80)));
        assert!(!p("", "UDP", 80).clashes(&p("", "TCP", 80)));
        let a = ask(
            json!({"containers": [{"name": "a", "ports": [{"containerPort": 1}, {"containerPort": 2, "hostPort": 9}]}]}),
        );
        assert_eq!(a.host_ports, [p("", "TCP", 9)]);
    }
}
