//! Which address a proxy request goes to: a pod, one of a Service's endpoints, a node.

use std::net::IpAddr;
use std::sync::Arc;

use cadet_api::json;
use cadet_api::resource::{self, Resource};
use cadet_api::status::Status;
use rustls::ClientConfig;
use serde_json::Value;

use super::dial::Peer;
use super::{kubelet, trust};
use crate::admission::find;
use crate::call::ObjectCall;
use crate::world::World;

/// `[SCHEME:]NAME[:PORT]`, as proxy paths name things.
#[derive(Debug, PartialEq, Eq)]
pub struct Named<'a> {
    https: bool,
    pub name: &'a str,
    port: &'a str,
}

impl<'a> Named<'a> {
    /// Upstream's reading: two parts are name and port, three begin with a scheme.
    pub fn parse(text: &'a str) -> Option<Named<'a>> {
        let parts: Vec<&str> = text.split(':').collect();
        let (scheme, name, port) = match parts.as_slice() {
            [name] => ("", *name, ""),
            [name, port] => ("", *name, *port),
            [scheme, name, port] => (*scheme, *name, *port),
            _ => return None,
        };
        let https = match scheme {
            "" | "http" => false,
            "https" => true,
            _ => return None,
        };
        (!name.is_empty()).then_some(Named { https, name, port })
    }

    fn tls(&self) -> Result<Option<Arc<ClientConfig>>, Status> {
        self.https.then(trust::anyone).transpose()
    }
}

/// Where a proxy request goes.
pub fn peer(call: &ObjectCall) -> Result<Peer, Status> {
    let named = Named::parse(call.name()).ok_or_else(|| {
        let what = call.resource().singular;
        Status::bad_request(format!("invalid {what} request {:?}", call.name()))
    })?;
    match call.stored().id() {
        ("", "Pod") => pod(call, &named),
        ("", "Service") => service(call, &named),
        ("", "Node") => node(call, &named),
        _ => Err(Status::no_such_path()),
    }
}

fn get(call: &ObjectCall, resource: &'static Resource, name: &str) -> Result<Value, Status> {
    call.app
        .world
        .get(resource, call.namespace(), name)
        .map(|object| object.value())
        .ok_or_else(|| Status::not_found(call.resource(), name))
}

fn pod(call: &ObjectCall, named: &Named<'_>) -> Result<Peer, Status> {
    let pod = get(call, call.stored(), named.name)?;
    let ports: Vec<&Value> = json::list_at(&pod, "/spec/containers")
        .iter()
        .flat_map(|container| json::list_at(container, "/ports"))
        .collect();
    let number = |port: &&Value| json::int_at(port, "/containerPort");
    let port = match (named.port, named.port.parse::<i64>()) {
        ("", _) => ports.first().and_then(number).unwrap_or(80),
        (_, Ok(number)) => number,
        (name, Err(_)) => ports
            .iter()
            .find(|port| json::str_at(port, "/name") == name)
            .and_then(number)
            .ok_or_else(|| Status::bad_request(format!("invalid pod request {:?}", call.name())))?,
    };
    Ok(Peer {
        host: allowed(json::str_at(&pod, "/status/podIP"))?,
        port: port_number(port)?,
        tls: named.tls()?,
    })
}

fn service(call: &ObjectCall, named: &Named<'_>) -> Result<Peer, Status> {
    let service = get(call, call.stored(), named.name)?;
    let ports = json::list_at(&service, "/spec/ports");
    let port = match named.port.parse::<i64>() {
        Ok(number) => ports
            .iter()
            .find(|port| json::int_at(port, "/port") == Some(number))
            .map(|port| json::str_at(port, "/name"))
            .ok_or_else(|| {
                Status::unavailable(format!(
                    "no service port {number} found for service {:?}",
                    named.name
                ))
            })?,
        Err(_) => named.port,
    };
    let found = endpoints(&call.app.world, call.namespace(), named.name, port)?;
    let (host, port) = any_of(found).ok_or_else(|| {
        Status::unavailable(format!(
            "no endpoints available for service {:?}",
            call.name()
        ))
    })?;
    Ok(Peer {
        host: allowed(&host)?,
        port: port_number(port)?,
        tls: named.tls()?,
    })
}

/// One of several, by chance.
fn any_of<T>(found: Vec<T>) -> Option<T> {
    let mut at = [0; 8];
    // Any of them will do if there is no randomness.
    let _ = getrandom::fill(&mut at);
    let pick = (u64::from_le_bytes(at) as usize).checked_rem(found.len())?;
    found.into_iter().nth(pick)
}

/// A ready address behind a Service's port, for the server's own requests.
///
/// # Errors
/// There is no such Service, port or address, in upstream's words.
pub fn service_endpoint(
    world: &World,
    namespace: &str,
    name: &str,
    port: i64,
) -> Result<(String, u16), String> {
    let services = find("services").map_err(|status| status.message)?;
    let service = world.get(services, namespace, name);
    let service = service
        .ok_or_else(|| format!("service {name:?} not found"))?
        .value();
    if json::str_at(&service, "/spec/type") == "ExternalName" {
        let host = json::str_at(&service, "/spec/externalName");
        let port = port_number(port).map_err(|status| status.message)?;
        return Ok((host.to_owned(), port));
    }
    let named = json::list_at(&service, "/spec/ports")
        .iter()
        .find(|candidate| json::int_at(candidate, "/port") == Some(port))
        .map(|port| json::str_at(port, "/name"))
        .ok_or_else(|| format!("no service port {port} found for service {name:?}"))?;
    let found = endpoints(world, namespace, name, named).map_err(|status| status.message)?;
    let (host, port) =
        any_of(found).ok_or_else(|| format!("no endpoints available for service {name:?}"))?;
    let port = port_number(port).map_err(|status| status.message)?;
    Ok((host, port))
}

/// Ready addresses behind a port of a Service, by the port's name: from its Endpoints, or
/// where there are none from its EndpointSlices.
fn endpoints(
    world: &World,
    namespace: &str,
    service: &str,
    port: &str,
) -> Result<Vec<(String, i64)>, Status> {
    let mut found = Vec::new();
    if let Some(endpoints) = world.get(find("endpoints")?, namespace, service) {
        let value = endpoints.value();
        for subset in json::list_at(&value, "/subsets") {
            let addresses = json::list_at(subset, "/addresses").iter();
            let addresses = addresses.map(|address| json::str_at(address, "/ip"));
            collect(subset, port, addresses, &mut found);
        }
    }
    if !found.is_empty() {
        return Ok(found);
    }
    for slice in slices(world, namespace, service)? {
        let ready = json::list_at(&slice, "/endpoints")
            .iter()
            .filter(|endpoint| {
                // Absent means ready (KEP-752).
                endpoint.pointer("/conditions/ready") != Some(&Value::Bool(false))
            });
        let addresses = ready
            .flat_map(|endpoint| json::list_at(endpoint, "/addresses"))
            .filter_map(Value::as_str);
        collect(&slice, port, addresses, &mut found);
    }
    Ok(found)
}

fn collect<'a>(
    holder: &Value,
    port: &str,
    addresses: impl Iterator<Item = &'a str>,
    found: &mut Vec<(String, i64)>,
) {
    let number = json::list_at(holder, "/ports")
        .iter()
        .find(|candidate| json::str_at(candidate, "/name") == port)
        .and_then(|port| json::int_at(port, "/port"));
    if let Some(number) = number {
        found.extend(addresses.map(|address| (address.to_owned(), number)));
    }
}

fn node(call: &ObjectCall, named: &Named<'_>) -> Result<Peer, Status> {
    let (host, port) = kubelet::address_of(&call.app, named.name)?;
    if named.port.is_empty() || named.port == port.to_string() {
        return kubelet::peer(&call.app, named.name);
    }
    let port = named
        .port
        .parse::<i64>()
        .map_err(|_| Status::bad_request(format!("invalid node request {:?}", call.name())))?;
    Ok(Peer {
        host: allowed(&host)?,
        port: port_number(port)?,
        tls: named.tls()?,
    })
}

fn port_number(port: i64) -> Result<u16, Status> {
    u16::try_from(port)
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| Status::bad_request(format!("invalid port {port}")))
}

/// Refuses addresses by which a client could reach the server's own machine from inside.
fn allowed(address: &str) -> Result<String, Status> {
    let refused = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => {
            ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || ip.is_multicast()
        }
        Ok(IpAddr::V6(ip)) => {
            ip.is_loopback()
                || ip.is_unicast_link_local()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.to_ipv4_mapped().is_some()
        }
        Err(_) => true,
    };
    if refused {
        return Err(Status::bad_request("address not allowed"));
    }
    Ok(address.to_owned())
}

/// The EndpointSlices of a Service.
fn slices(world: &World, namespace: &str, service: &str) -> Result<Vec<Value>, Status> {
    let Some(resource) = resource::find("discovery.k8s.io", "v1", "endpointslices") else {
        return Ok(Vec::new());
    };
    let all = world.list(resource, Some(namespace)).objects;
    let values = all.iter().map(|object| object.value());
    Ok(values
        .filter(|slice| {
            let owner = slice.pointer("/metadata/labels/kubernetes.io~1service-name");
            owner.and_then(Value::as_str) == Some(service)
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_an_optional_scheme_and_port() {
        let named = |https, name, port| Some(Named { https, name, port });
        assert_eq!(Named::parse("web"), named(false, "web", ""));
        assert_eq!(Named::parse("web:http"), named(false, "web", "http"));
        assert_eq!(Named::parse("https:web:"), named(true, "web", ""));
        assert_eq!(Named::parse("https:web:443"), named(true, "web", "443"));
        for bad in ["", ":80", "ftp:web:1", "a:b:c:d"] {
            assert_eq!(Named::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_servers_own_machine_is_out_of_reach() {
        for bad in [
            "127.0.0.1",
            "169.254.169.254",
            "::1",
            "0.0.0.0",
            "::ffff:127.0.0.1",
            "",
            "x",
        ] {
            assert!(allowed(bad).is_err(), "{bad}");
        }
        assert!(allowed("10.244.0.5").is_ok());
    }
}
