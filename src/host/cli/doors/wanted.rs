//! Which ports of the laptop a Service asks for. Pure.

use std::net::IpAddr;

use serde_json::Value;

/// One door: a port of the laptop and where it leads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// Namespace and name of the Service.
    pub service: String,
    /// The port of the laptop.
    pub local: u16,
    /// The Service's address in the cluster.
    pub host: String,
    /// Its port there.
    pub port: u16,
}

/// Namespace and name, as people write them.
pub fn name(service: &Value) -> String {
    let text = |field: &str| service["metadata"][field].as_str().unwrap_or_default();
    format!("{}/{}", text("namespace"), text("name"))
}

/// The doors `service` asks for: its ports if it is a load balancer's, then its node ports.
pub fn of(service: &Value) -> Vec<Wanted> {
    let Some(host) = address(service) else {
        return Vec::new();
    };
    let mut doors: Vec<Wanted> = Vec::new();
    let fields: &[&str] = if is_balanced(service) {
        &["port", "nodePort"]
    } else {
        &["nodePort"]
    };
    for field in fields {
        for row in ports(service).filter(|row| is_tcp(row)) {
            let (Some(local), Some(port)) = (number(&row[*field]), number(&row["port"])) else {
                continue;
            };
            let door = Wanted {
                service: name(service),
                local,
                host: host.to_owned(),
                port,
            };
            if !doors.contains(&door) {
                doors.push(door);
            }
        }
    }
    doors
}

/// Ports `service` offers outside that a tunnel cannot carry, such as `53/UDP`: an SSH
/// session has channels for TCP only (RFC 4254, 7.2).
pub fn not_carried(service: &Value) -> Vec<String> {
    if address(service).is_none() {
        return Vec::new();
    }
    let others = ports(service).filter(|row| !is_tcp(row));
    others
        .filter_map(|row| Some(format!("{}/{}", row["port"], row["protocol"].as_str()?)))
        .collect()
}

/// The cluster address of a Service that is meant to be reached from outside.
fn address(service: &Value) -> Option<&str> {
    let spec = &service["spec"];
    let outside = matches!(spec["type"].as_str(), Some("NodePort" | "LoadBalancer"));
    let ip = spec["clusterIP"].as_str().filter(|_| outside)?;
    // "None" is a headless Service's.
    ip.parse::<IpAddr>().ok().map(|_| ip)
}

/// True for a Service of type LoadBalancer that is ours: a class names somebody else (KEP-1959).
fn is_balanced(service: &Value) -> bool {
    let spec = &service["spec"];
    spec["type"] == "LoadBalancer" && spec["loadBalancerClass"].is_null()
}

fn ports(service: &Value) -> impl Iterator<Item = &Value> {
    service["spec"]["ports"].as_array().into_iter().flatten()
}

fn is_tcp(row: &Value) -> bool {
    matches!(row["protocol"].as_str(), None | Some("TCP"))
}

fn number(value: &Value) -> Option<u16> {
    let number = value.as_u64().and_then(|n| u16::try_from(n).ok());
    number.filter(|n| *n != 0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(spec: Value) -> Value {
        json!({"metadata": {"namespace": "default", "name": "flask-kubernetes"}, "spec": spec})
    }

    fn locals(spec: Value) -> Vec<(u16, u16)> {
        let doors = of(&service(spec));
        doors.iter().map(|d| (d.local, d.port)).collect()
    }

    #[test]
    fn a_load_balancer_has_its_ports_and_its_node_ports() {
        let spec = json!({"type": "LoadBalancer", "clusterIP": "10.96.0.7", "ports": [
            {"port": 6000, "targetPort": 5000, "nodePort": 30123, "protocol": "TCP"},
            {"port": 443, "nodePort": 30124}]});
        assert_eq!(
            locals(spec.clone()),
            [(6000, 6000), (443, 443), (30123, 6000), (30124, 443)]
        );
        let doors = of(&service(spec));
        assert_eq!(doors[0].service, "default/flask-kubernetes");
        assert_eq!(doors[0].host, "10.96.0.7");
    }

    #[test]
    fn node_ports_lead_to_the_service_they_belong_to() {
        let ports = json!([{"port": 80, "nodePort": 30080}]);
        let spec = json!({"type": "NodePort", "clusterIP": "10.96.0.7", "ports": ports});
        assert_eq!(locals(spec), [(30080, 80)]);
        // Another balancer's Service still has node ports.
        let spec = json!({"type": "LoadBalancer", "loadBalancerClass": "example.com/b",
            "clusterIP": "10.96.0.7", "ports": ports});
        assert_eq!(locals(spec), [(30080, 80)]);
    }

    #[test]
    fn what_is_not_meant_for_outside_has_no_door() {
        for spec in [
            json!({"type": "ClusterIP", "clusterIP": "10.96.0.7", "ports": [{"port": 80}]}),
            json!({"type": "ExternalName", "externalName": "example.com"}),
            json!({"type": "NodePort", "clusterIP": "None", "ports": [{"port": 80, "nodePort": 30000}]}),
            json!({"type": "LoadBalancer", "ports": [{"port": 80}]}),
            json!({"type": "LoadBalancer", "clusterIP": "10.96.0.7", "ports": [
                {"port": 0}, {"port": 70_000}, {"port": "80"}, {}]}),
            json!({}),
        ] {
            assert!(locals(spec.clone()).is_empty(), "{spec}");
            assert!(not_carried(&service(spec)).is_empty());
        }
    }

    #[test]
    fn udp_is_named_and_the_tcp_beside_it_served() {
        let spec = json!({"type": "LoadBalancer", "clusterIP": "10.96.0.7", "ports": [
            {"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"},
            {"port": 9, "protocol": "SCTP"}]});
        assert_eq!(not_carried(&service(spec.clone())), ["53/UDP", "9/SCTP"]);
        assert_eq!(locals(spec), [(53, 53)]);
    }
}
