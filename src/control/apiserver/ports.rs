//! Node ports of Services: one range, no port twice.
//!
//! As with addresses, what is in use is read from the Services themselves; ports of
//! Services on their way into the store are held here until they can be read there.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use cadet_api::json::{int_at, list_at, str_at};
use cadet_api::resource::Resource;
use cadet_api::status::Status;
use cadet_api::{field, json};
use serde_json::{Value, json};

use crate::app::App;
use crate::world::World;

/// First and last port, as upstream without `--service-node-port-range`.
const FIRST: i64 = 30_000;
const LAST: i64 = 32_767;

/// The ports on their way.
#[derive(Debug, Default)]
pub struct NodePorts {
    pending: Arc<Mutex<HashSet<i64>>>,
}

/// Ports held for a Service that is being stored; dropping it lets go.
#[derive(Debug)]
pub struct HeldPorts {
    ports: HashSet<i64>,
    pending: Arc<Mutex<HashSet<i64>>>,
}

impl Drop for HeldPorts {
    fn drop(&mut self) {
        if self.ports.is_empty() {
            return;
        }
        let mut pending = lock(&self.pending);
        pending.retain(|port| !self.ports.contains(port));
    }
}

/// Checks the node ports a Service asks for and gives it those it left to us. Keep what
/// is returned until the Service can be read in the world.
///
/// # Errors
/// 422 for a port outside the range or of another Service, 500 when none is left.
pub fn give(app: &App, resource: &Resource, service: &mut Value) -> Result<HeldPorts, Status> {
    let ports = &app.node_ports;
    let mut held = HeldPorts {
        ports: HashSet::new(),
        pending: Arc::clone(&ports.pending),
    };
    if !resource.is("", "Service") || !takes_ports(service) {
        return Ok(held);
    }
    let uid = str_at(service, "/metadata/uid").to_owned();
    let mut pending = lock(&ports.pending);
    let mut taken = used(&app.world, &uid)?;
    taken.extend(pending.iter());
    let mut seed = [0_u8; 2];
    // Without randomness the lowest free port is as good.
    let _ = getrandom::fill(&mut seed);
    let chosen =
        choose(service, &taken, u16::from_be_bytes(seed)).map_err(|fault| match fault {
            Fault::Refused(error) => {
                let name = str_at(service, "/metadata/name");
                Status::invalid(resource, name, &[*error])
            }
            Fault::Full => Status::internal("failed to allocate a nodePort: range is full"),
        })?;
    pending.extend(chosen.iter());
    held.ports = chosen;
    Ok(held)
}

/// Whether the Service is of a kind that is reached through node ports.
fn takes_ports(service: &Value) -> bool {
    matches!(str_at(service, "/spec/type"), "NodePort" | "LoadBalancer")
}

/// Whether ports left open are to be filled: a load balancer may do without.
fn wants_ports(service: &Value) -> bool {
    str_at(service, "/spec/type") == "NodePort"
        || service
            .pointer("/spec/allocateLoadBalancerNodePorts")
            .is_none_or(|v| v.as_bool() != Some(false))
}

/// Whether a load balancer asks each node if it has a pod of the Service.
fn wants_health_port(service: &Value) -> bool {
    str_at(service, "/spec/type") == "LoadBalancer"
        && str_at(service, "/spec/externalTrafficPolicy") == "Local"
}

#[derive(Debug, PartialEq)]
enum Fault {
    Refused(Box<field::Error>),
    Full,
}

/// Writes the open ports into the Service; all that it then has.
fn choose(service: &mut Value, taken: &HashSet<i64>, seed: u16) -> Result<HashSet<i64>, Fault> {
    let mut mine: HashSet<i64> = HashSet::new();
    let asked = |path: &str, port: i64| match port {
        port if !(FIRST..=LAST).contains(&port) => {
            Err(Fault::Refused(Box::new(field::Error::invalid(
                path,
                port,
                format!(
                    "provided port is not in the valid range. The range of valid ports is {FIRST}-{LAST}"
                ),
            ))))
        }
        port if taken.contains(&port) => Err(Fault::Refused(Box::new(field::Error::invalid(
            path,
            port,
            "provided port is already allocated",
        )))),
        port => Ok(port),
    };
    // What is asked for comes first, so that no free choice takes it away. One number may
    // serve several protocols of one Service.
    for (i, port) in list_at(service, "/spec/ports").iter().enumerate() {
        let number = int_at(port, "/nodePort").unwrap_or(0);
        if number != 0 {
            mine.insert(asked(&format!("spec.ports[{i}].nodePort"), number)?);
        }
    }
    let health = int_at(service, "/spec/healthCheckNodePort").unwrap_or(0);
    let health_wanted = wants_health_port(service);
    if health_wanted && health != 0 {
        mine.insert(asked("spec.healthCheckNodePort", health)?);
    }
    let span = LAST - FIRST + 1;
    let any = |mine: &mut HashSet<i64>| {
        let free = (0..span)
            .map(|n| FIRST + (i64::from(seed) + n) % span)
            .find(|port| !taken.contains(port) && !mine.contains(port))
            .ok_or(Fault::Full)?;
        mine.insert(free);
        Ok(free)
    };
    let fill = wants_ports(service);
    for port in json::list_mut(service, "/spec/ports").into_iter().flatten() {
        if fill && int_at(port, "/nodePort").unwrap_or(0) == 0 && port.is_object() {
            port["nodePort"] = json!(any(&mut mine)?);
        }
    }
    if health_wanted && health == 0 {
        service["spec"]["healthCheckNodePort"] = json!(any(&mut mine)?);
    }
    Ok(mine)
}

/// The ports of all Services but the one with this uid.
fn used(world: &World, uid: &str) -> Result<HashSet<i64>, Status> {
    let services = crate::admission::find("services")?;
    let mut ports = HashSet::new();
    for service in world.list(services, None).objects {
        let kind = service.field("spec.type").unwrap_or_default();
        if !matches!(kind, "NodePort" | "LoadBalancer") || service.uid() == uid {
            continue;
        }
        let value = service.value();
        let own = list_at(&value, "/spec/ports").iter();
        ports.extend(own.filter_map(|port| int_at(port, "/nodePort")));
        ports.extend(int_at(&value, "/spec/healthCheckNodePort"));
    }
    Ok(ports)
}

fn lock(pending: &Mutex<HashSet<i64>>) -> std::sync::MutexGuard<'_, HashSet<i64>> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_given_kept_and_refused() {
        let mut service = json!({"spec": {"type": "NodePort",
            "ports": [{"port": 80}, {"port": 81, "nodePort": 30001}]}});
        let taken = HashSet::from([30_000]);
        let mine = choose(&mut service, &taken, 0).expect("free");
        assert_eq!(service["spec"]["ports"][0]["nodePort"], 30_002);
        assert_eq!(mine, HashSet::from([30_001, 30_002]));
        let words = |port: i64| {
            let mut service = json!({"spec": {"type": "NodePort", "ports": [{"nodePort": port}]}});
            match choose(&mut service, &taken, 0) {
                Err(Fault::Refused(error)) => error.to_string(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(
            words(30_000),
            "spec.ports[0].nodePort: Invalid value: 30000: provided port is already allocated"
        );
        assert_eq!(
            words(80),
            "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767"
        );
    }

    #[test]
    fn a_load_balancer_may_do_without_and_may_want_a_health_port() {
        let mut service = json!({"spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Local",
            "allocateLoadBalancerNodePorts": false, "ports": [{"port": 80}]}});
        choose(&mut service, &HashSet::new(), 5).expect("free");
        assert_eq!(service["spec"]["ports"][0].get("nodePort"), None);
        assert_eq!(service["spec"]["healthCheckNodePort"], 30_005);
    }

    #[test]
    fn a_full_range_is_said_to_be_full() {
        let mut service = json!({"spec": {"type": "NodePort", "ports": [{"port": 80}]}});
        let taken = (FIRST..=LAST).collect();
        assert_eq!(choose(&mut service, &taken, 9), Err(Fault::Full));
    }
}
