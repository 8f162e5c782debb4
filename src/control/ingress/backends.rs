//! From a Service and a port to the endpoints that answer there. Pure.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::rules::Port;

/// The label by which a slice names its Service.
const SERVICE: &str = "kubernetes.io/service-name";

/// What endpoints of a port speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    /// HTTP/2 without TLS, as gRPC servers do (`appProtocol: kubernetes.io/h2c`, KEP-3726).
    H2c,
}

/// Endpoints to try, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    pub endpoints: Vec<SocketAddr>,
    pub protocol: Protocol,
}

/// Why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    Service,
    /// It leads out of the cluster by name.
    External,
    Port,
    Endpoints,
}

#[derive(Debug)]
struct ServicePort {
    name: String,
    number: i32,
    protocol: Protocol,
}

#[derive(Debug)]
struct ServiceParts {
    ports: Vec<ServicePort>,
    external: bool,
}

#[derive(Debug)]
struct SliceParts {
    /// Port names and numbers.
    ports: Vec<(String, u16)>,
    ready: Vec<IpAddr>,
    /// Those that still serve while they end.
    ending: Vec<IpAddr>,
}

#[derive(Debug, Default)]
struct Entry {
    service: Option<ServiceParts>,
    slices: HashMap<String, SliceParts>,
    /// Endpoints by port name, found when first asked for.
    found: Mutex<HashMap<String, Arc<[SocketAddr]>>>,
    turn: AtomicUsize,
}

impl Entry {
    fn changed(&mut self) {
        let found = self.found.get_mut();
        found.unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn endpoints(&self, port: &str) -> Arc<[SocketAddr]> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoints) = found.get(port) {
            return Arc::clone(endpoints);
        }
        let all = |of: fn(&SliceParts) -> &Vec<IpAddr>| {
            let mut all = Vec::new();
            for slice in self.slices.values() {
                if let Some((_, number)) = slice.ports.iter().find(|(name, _)| name == port) {
                    all.extend(of(slice).iter().map(|a| SocketAddr::new(*a, *number)));
                }
            }
            all.sort_unstable();
            all.dedup();
            all
        };
        let mut endpoints = all(|slice| &slice.ready);
        if endpoints.is_empty() {
            // As kube-proxy: rather one that ends than none.
            endpoints = all(|slice| &slice.ending);
        }
        let endpoints: Arc<[SocketAddr]> = endpoints.into();
        found.insert(port.to_owned(), Arc::clone(&endpoints));
        endpoints
    }
}

/// Services and slices of one namespace.
#[derive(Debug, Default)]
pub struct Backends {
    services: HashMap<String, Entry>,
    /// Slices and the Services they belong to.
    slice_of: HashMap<String, String>,
}

impl Backends {
    pub fn set_service(&mut self, name: &str, service: &Service) {
        let spec = service.spec.as_ref();
        let ports = spec
            .and_then(|spec| spec.ports.as_ref())
            .into_iter()
            .flatten();
        // Another protocol may have the same number.
        let ports = ports.filter(|port| matches!(port.protocol.as_deref(), None | Some("TCP")));
        let ports = ports.map(|port| ServicePort {
            name: port.name.clone().unwrap_or_default(),
            number: port.port,
            protocol: match port.app_protocol.as_deref() {
                Some("kubernetes.io/h2c" | "grpc") => Protocol::H2c,
                _ => Protocol::Http1,
            },
        });
        let external = spec.and_then(|spec| spec.type_.as_deref()) == Some("ExternalName");
        let parts = ServiceParts {
            ports: ports.collect(),
            external,
        };
        self.services.entry(name.to_owned()).or_default().service = Some(parts);
    }

    pub fn remove_service(&mut self, name: &str) {
        if let Some(entry) = self.services.get_mut(name) {
            entry.service = None;
            self.drop_if_empty(name);
        }
    }

    pub fn set_slice(&mut self, name: &str, slice: &EndpointSlice) {
        self.remove_slice(name);
        let labels = slice.metadata.labels.as_ref();
        let Some(service) = labels.and_then(|labels| labels.get(SERVICE)) else {
            return;
        };
        let ports = slice.ports.iter().flatten().filter_map(|port| {
            let number = port.port.and_then(|number| u16::try_from(number).ok())?;
            Some((port.name.clone().unwrap_or_default(), number))
        });
        let mut parts = SliceParts {
            ports: ports.collect(),
            ready: Vec::new(),
            ending: Vec::new(),
        };
        for endpoint in slice.endpoints.iter().flatten() {
            let Some(Ok(address)) = endpoint.addresses.first().map(|text| text.parse()) else {
                continue;
            };
            let conditions = endpoint.conditions.as_ref();
            let is =
                |of: fn(&_) -> Option<bool>, unknown| conditions.and_then(of).unwrap_or(unknown);
            if is(
                |c: &k8s_openapi::api::discovery::v1::EndpointConditions| c.ready,
                true,
            ) {
                parts.ready.push(address);
            } else if is(|c| c.serving, false) && is(|c| c.terminating, false) {
                parts.ending.push(address);
            }
        }
        let entry = self.services.entry(service.clone()).or_default();
        entry.slices.insert(name.to_owned(), parts);
        entry.changed();
        self.slice_of.insert(name.to_owned(), service.clone());
    }

    pub fn remove_slice(&mut self, name: &str) {
        let Some(service) = self.slice_of.remove(name) else {
            return;
        };
        if let Some(entry) = self.services.get_mut(&service) {
            entry.slices.remove(name);
            entry.changed();
            self.drop_if_empty(&service);
        }
    }

    fn drop_if_empty(&mut self, name: &str) {
        let empty = |entry: &Entry| entry.service.is_none() && entry.slices.is_empty();
        if self.services.get(name).is_some_and(empty) {
            self.services.remove(name);
        }
    }

    /// Up to `most` endpoints of a port, each time beginning with the next one.
    ///
    /// # Errors
    /// [`Missing`].
    pub fn choose(&self, service: &str, port: &Port, most: usize) -> Result<Choice, Missing> {
        let entry = self.services.get(service).ok_or(Missing::Service)?;
        let parts = entry.service.as_ref().ok_or(Missing::Service)?;
        if parts.external {
            return Err(Missing::External);
        }
        let mut ports = parts.ports.iter();
        let found = ports.find(|known| match port {
            Port::Name(name) => known.name == *name,
            Port::Number(number) => known.number == *number,
        });
        let port = found.ok_or(Missing::Port)?;
        let all = entry.endpoints(&port.name);
        if all.is_empty() {
            return Err(Missing::Endpoints);
        }
        let turn = entry.turn.fetch_add(1, Ordering::Relaxed) % all.len();
        let (before, from) = all.split_at(turn);
        let endpoints = from.iter().chain(before).take(most).copied().collect();
        Ok(Choice {
            endpoints,
            protocol: port.protocol,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn slice(endpoints: Value) -> EndpointSlice {
        serde_json::from_value(json!({
            "metadata": {"name": "x", "labels": {SERVICE: "web"}}, "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080}, {"name": "grpc", "port": 9090}],
            "endpoints": endpoints}))
        .unwrap()
    }

    fn backends(endpoints: Value) -> Backends {
        let mut backends = Backends::default();
        let service = json!({"spec": {"ports": [{"name": "http", "port": 80},
            {"name": "grpc", "port": 90, "appProtocol": "kubernetes.io/h2c"},
            {"name": "none", "port": 70}]}});
        backends.set_service("web", &serde_json::from_value(service).unwrap());
        backends.set_slice("web-1", &slice(endpoints));
        backends
    }

    fn first(backends: &Backends, port: Port) -> Result<String, Missing> {
        let choice = backends.choose("web", &port, 3)?;
        Ok(choice.endpoints[0].to_string())
    }

    #[test]
    fn endpoints_take_turns() {
        let backends =
            backends(json!([{"addresses": ["10.244.0.7"]}, {"addresses": ["10.244.0.8"]}]));
        let port = || Port::Number(80);
        let seen: Vec<_> = (0..4).map(|_| first(&backends, port()).unwrap()).collect();
        assert_eq!(
            seen,
            [
                "10.244.0.7:8080",
                "10.244.0.8:8080",
                "10.244.0.7:8080",
                "10.244.0.8:8080"
            ]
        );
        let choice = backends
            .choose("web", &Port::Name("grpc".into()), 1)
            .unwrap();
        assert_eq!(
            (choice.endpoints.len(), choice.protocol),
            (1, Protocol::H2c)
        );
        assert_eq!(choice.endpoints[0].port(), 9090);
    }

    #[test]
    fn a_port_is_one_of_tcp() {
        let mut backends = Backends::default();
        let service = json!({"spec": {"ports": [
            {"name": "quic", "port": 80, "protocol": "UDP"},
            {"name": "http", "port": 80, "protocol": "TCP"},
            {"name": "dns", "port": 53, "protocol": "UDP"}]}});
        backends.set_service("web", &serde_json::from_value(service).unwrap());
        backends.set_slice("web-1", &slice(json!([{"addresses": ["10.244.0.7"]}])));
        let found = first(&backends, Port::Number(80));
        assert_eq!(found.unwrap(), "10.244.0.7:8080");
        assert_eq!(first(&backends, Port::Number(53)), Err(Missing::Port));
    }

    #[test]
    fn only_ready_endpoints_unless_there_are_none() {
        let ending = json!({"ready": false, "serving": true, "terminating": true});
        let backends = |ready: bool| {
            backends(json!([
                {"addresses": ["10.244.0.7"], "conditions": ending},
                {"addresses": ["10.244.0.8"], "conditions": {"ready": ready}}]))
        };
        assert_eq!(
            first(&backends(true), Port::Number(80)).unwrap(),
            "10.244.0.8:8080"
        );
        assert_eq!(
            first(&backends(false), Port::Number(80)).unwrap(),
            "10.244.0.7:8080"
        );
    }

    #[test]
    fn what_is_missing_is_told_apart() {
        let mut backends = backends(json!([]));
        assert_eq!(first(&backends, Port::Number(80)), Err(Missing::Endpoints));
        assert_eq!(first(&backends, Port::Number(70)), Err(Missing::Endpoints));
        assert_eq!(first(&backends, Port::Number(81)), Err(Missing::Port));
        assert_eq!(first(&backends, Port::Name("x".into())), Err(Missing::Port));
        backends.remove_service("web");
        assert_eq!(first(&backends, Port::Number(80)), Err(Missing::Service));
        backends.remove_slice("web-1");
        assert!(backends.services.is_empty() && backends.slice_of.is_empty());
        let out = json!({"spec": {"type": "ExternalName", "externalName": "a.b"}});
        backends.set_service("web", &serde_json::from_value(out).unwrap());
        assert_eq!(first(&backends, Port::Number(80)), Err(Missing::External));
    }
}
