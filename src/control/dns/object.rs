//! Services, EndpointSlices and Namespaces as a watch brings them, read no further than names
//! need: of a slice of a hundred endpoints the full types would keep twenty times as much.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::Resource;
use kube::api::ObjectMeta;
use serde::{Deserialize, Deserializer};

use crate::records::{self, Endpoint, Port, Protocol, Service, Slice};

/// The label by which a slice names its Service.
const SERVICE: &str = "kubernetes.io/service-name";

/// A Service of the core group.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct ServiceObject {
    #[serde(default, deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
    #[serde(default)]
    spec: ServiceSpec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ServiceSpec {
    #[serde(rename = "type")]
    type_: Option<String>,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Option<Vec<String>>,
    external_name: Option<String>,
    ports: Option<Vec<PortObject>>,
    publish_not_ready_addresses: Option<bool>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct PortObject {
    name: Option<String>,
    protocol: Option<String>,
    port: Option<i64>,
}

/// An EndpointSlice of discovery.k8s.io.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SliceObject {
    #[serde(default, deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
    #[serde(default)]
    endpoints: Option<Vec<EndpointObject>>,
    #[serde(default)]
    ports: Option<Vec<PortObject>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct EndpointObject {
    addresses: Vec<String>,
    conditions: Option<Conditions>,
    hostname: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Conditions {
    ready: Option<bool>,
}

/// A Namespace: that it is there is all that names need.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct NamespaceObject {
    #[serde(default, deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
}

/// Name, namespace, version and labels; who wrote which field is skipped.
fn metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Kept {
        name: Option<String>,
        namespace: Option<String>,
        resource_version: Option<String>,
        labels: Option<BTreeMap<String, String>>,
    }
    let kept = Kept::deserialize(deserializer)?;
    Ok(ObjectMeta {
        name: kept.name,
        namespace: kept.namespace,
        resource_version: kept.resource_version,
        labels: kept.labels,
        ..ObjectMeta::default()
    })
}

impl ServiceObject {
    /// What names need of it.
    pub fn service(self) -> Service {
        let spec = self.spec;
        let external = spec.type_.as_deref() == Some("ExternalName");
        let addresses = spec
            .cluster_ips
            .filter(|list| !list.is_empty())
            .unwrap_or_else(|| spec.cluster_ip.into_iter().collect());
        let kind = if external {
            records::Kind::External(spec.external_name.unwrap_or_default().into())
        } else if addresses.iter().any(|address| address == "None") {
            records::Kind::Headless
        } else {
            // Not yet allocated reads as no address: the name exists, without records.
            records::Kind::ClusterIp(addresses.iter().filter_map(|a| a.parse().ok()).collect())
        };
        Service {
            kind,
            ports: ports(spec.ports),
            publish_not_ready: spec.publish_not_ready_addresses.unwrap_or_default(),
        }
    }
}

impl SliceObject {
    /// The Service it belongs to, and what names need of it; `None` if it names none.
    pub fn slice(self) -> Option<(String, Slice)> {
        let service = self.metadata.labels?.remove(SERVICE)?;
        let endpoints = self.endpoints.into_iter().flatten().filter_map(|endpoint| {
            // All addresses of one endpoint are interchangeable; consumers use the first.
            let address: IpAddr = endpoint.addresses.first()?.parse().ok()?;
            Some(Endpoint {
                address,
                hostname: endpoint.hostname.filter(|h| !h.is_empty()).map(Into::into),
                // Unknown counts as ready (the field's own documentation).
                ready: endpoint.conditions.and_then(|c| c.ready).unwrap_or(true),
            })
        });
        Some((service, Slice::new(endpoints.collect(), ports(self.ports))))
    }
}

fn ports(ports: Option<Vec<PortObject>>) -> Box<[Port]> {
    let known = ports.into_iter().flatten().filter_map(|port| {
        Some(Port {
            name: port.name.unwrap_or_default().into(),
            protocol: match port.protocol.as_deref() {
                None | Some("TCP") => Protocol::Tcp,
                Some("UDP") => Protocol::Udp,
                Some("SCTP") => Protocol::Sctp,
                Some(_) => return None,
            },
            // A slice's port without a number means all ports, which no record can say.
            number: port.port.and_then(|number| u16::try_from(number).ok())?,
        })
    });
    known.collect()
}

macro_rules! resource {
    ($type:ty, $scope:ty, $kind:literal, $group:literal, $plural:literal) => {
        impl Resource for $type {
            type DynamicType = ();
            type Scope = $scope;

            fn kind(_: &()) -> Cow<'_, str> {
                $kind.into()
            }

            fn group(_: &()) -> Cow<'_, str> {
                $group.into()
            }

            fn version(_: &()) -> Cow<'_, str> {
                "v1".into()
            }

            fn plural(_: &()) -> Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

resource!(
    ServiceObject,
    NamespaceResourceScope,
    "Service",
    "",
    "services"
);
resource!(
    SliceObject,
    NamespaceResourceScope,
    "EndpointSlice",
    "discovery.k8s.io",
    "endpointslices"
);
resource!(
    NamespaceObject,
    ClusterResourceScope,
    "Namespace",
    "",
    "namespaces"
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Kind;
    use serde_json::{Value, json};

    fn service(spec: Value) -> Service {
        let object = json!({"metadata": {"name": "a", "managedFields": [{"x": 1}]}, "spec": spec});
        serde_json::from_value::<ServiceObject>(object)
            .unwrap()
            .service()
    }

    #[test]
    fn services_are_told_apart() {
        let plain = service(
            json!({"clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5", "fd00::5"],
            "ports": [{"name": "http", "port": 80}, {"port": 53, "protocol": "UDP"}]}),
        );
        assert_eq!(
            plain.kind,
            Kind::ClusterIp(vec![
                "10.96.0.5".parse().unwrap(),
                "fd00::5".parse().unwrap()
            ])
        );
        assert_eq!(plain.ports.len(), 2);
        assert_eq!(plain.ports[1].protocol, Protocol::Udp);
        assert_eq!(service(json!({"clusterIP": "None"})).kind, Kind::Headless);
        assert_eq!(
            service(json!({"type": "ExternalName", "externalName": "a.b"})).kind,
            Kind::External("a.b".into())
        );
        assert_eq!(service(json!({})).kind, Kind::ClusterIp(vec![]));
    }

    #[test]
    fn a_slice_without_a_service_says_nothing() {
        let slice = |labels: Value| {
            serde_json::from_value::<SliceObject>(json!({
                "metadata": {"name": "a-1", "labels": labels}, "addressType": "IPv4",
                "endpoints": [
                    {"addresses": ["10.244.0.9"], "hostname": "web-0"},
                    {"addresses": ["10.244.0.7"], "conditions": {"ready": false}},
                    {"addresses": ["not-an-address"]},
                ],
                "ports": null,
            }))
            .unwrap()
            .slice()
        };
        assert!(slice(json!({})).is_none());
        let (service, slice) = slice(json!({"kubernetes.io/service-name": "a"})).unwrap();
        assert_eq!(service, "a");
        let seen: Vec<_> = slice
            .endpoints()
            .iter()
            .map(|e| (e.address.to_string(), e.ready))
            .collect();
        assert_eq!(
            seen,
            [
                ("10.244.0.7".to_owned(), false),
                ("10.244.0.9".to_owned(), true)
            ]
        );
    }
}
