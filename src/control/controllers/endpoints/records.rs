//! How Services, slices, Endpoints and nodes are read from the API and written to it.

use serde::Deserialize;
use serde_json::{Value, json};

use super::model::{Endpoint, Family, Labels, Port, Service, Slice, or_default};
use super::subsets::{Endpoints, Subset};
use crate::shared::{Meta, Record, version};

impl Record for Service {
    type Wire = Service;

    fn path() -> String {
        "/api/v1/services".to_owned()
    }

    fn of(wire: Service) -> Service {
        wire
    }

    fn meta(&self) -> Meta<'_> {
        let meta = &self.metadata;
        Meta {
            namespace: &meta.namespace,
            name: &meta.name,
            uid: &meta.uid,
            version: version(Some(&meta.resource_version)),
            controller: None,
        }
    }

    fn deleting(&self) -> Service {
        let mut copy = self.clone();
        copy.metadata.deletion_timestamp.get_or_insert_default();
        copy
    }

    fn is_deleting(&self) -> bool {
        self.metadata.is_deleting()
    }
}

/// Metadata with what cadet's own reading of it leaves out.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WireMeta {
    namespace: String,
    name: String,
    uid: String,
    resource_version: String,
    #[serde(deserialize_with = "or_default")]
    labels: Labels,
    #[serde(deserialize_with = "or_default")]
    annotations: Labels,
    owner_references: Value,
    deletion_timestamp: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SliceWire {
    metadata: WireMeta,
    address_type: String,
    #[serde(deserialize_with = "or_default")]
    endpoints: Vec<Endpoint>,
    #[serde(deserialize_with = "or_default")]
    ports: Vec<Port>,
}

impl Record for Slice {
    type Wire = SliceWire;

    fn path() -> String {
        "/apis/discovery.k8s.io/v1/endpointslices".to_owned()
    }

    fn of(wire: SliceWire) -> Slice {
        let meta = wire.metadata;
        let owners = meta.owner_references.as_array();
        let controls = |owner: &&Value| owner.get("controller") == Some(&Value::Bool(true));
        let owner = owners.into_iter().flatten().find(controls);
        let owner = owner
            .and_then(|owner| owner.get("uid"))
            .and_then(Value::as_str);
        Slice {
            owner: owner.unwrap_or_default().to_owned(),
            namespace: meta.namespace,
            name: meta.name,
            uid: meta.uid,
            resource_version: meta.resource_version,
            terminating: meta.deletion_timestamp.is_some(),
            labels: meta.labels,
            annotations: meta.annotations,
            owners: meta.owner_references,
            family: match wire.address_type.as_str() {
                "IPv6" => Family::IPv6,
                _ => Family::IPv4,
            },
            ports: wire.ports,
            endpoints: wire.endpoints,
        }
    }

    fn meta(&self) -> Meta<'_> {
        Meta {
            namespace: &self.namespace,
            name: &self.name,
            uid: &self.uid,
            version: version(Some(&self.resource_version)),
            controller: Some(self.owner.as_str()).filter(|owner| !owner.is_empty()),
        }
    }

    fn deleting(&self) -> Slice {
        Slice {
            terminating: true,
            ..self.clone()
        }
    }

    fn is_deleting(&self) -> bool {
        self.terminating
    }
}

/// Who a new slice belongs to: kind and name of its controller.
pub struct Maker<'a> {
    pub kind: &'static str,
    pub name: &'a str,
}

/// The slice as the API takes it.
pub fn slice_body(slice: &Slice, maker: &Maker<'_>) -> Value {
    let mut metadata = json!({
        "namespace": slice.namespace,
        "labels": slice.labels,
        "annotations": slice.annotations,
    });
    if slice.name.is_empty() {
        metadata["generateName"] = json!(format!("{}-", maker.name));
    } else {
        metadata["name"] = json!(slice.name);
        metadata["resourceVersion"] = json!(slice.resource_version);
    }
    metadata["ownerReferences"] = match slice.owners.is_array() {
        true => slice.owners.clone(),
        false => json!([{
            "apiVersion": "v1",
            "kind": maker.kind,
            "name": maker.name,
            "uid": slice.owner,
            "controller": true,
            "blockOwnerDeletion": true,
        }]),
    };
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata,
        "addressType": slice.family.name(),
        "endpoints": slice.endpoints,
        "ports": slice.ports,
    })
}

/// An Endpoints object.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointsRecord {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    pub terminating: bool,
    pub said: Endpoints,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointsWire {
    metadata: WireMeta,
    #[serde(deserialize_with = "or_default")]
    subsets: Vec<Subset>,
}

impl Record for EndpointsRecord {
    type Wire = EndpointsWire;

    fn path() -> String {
        "/api/v1/endpoints".to_owned()
    }

    fn of(wire: EndpointsWire) -> EndpointsRecord {
        let meta = wire.metadata;
        EndpointsRecord {
            namespace: meta.namespace,
            name: meta.name,
            uid: meta.uid,
            resource_version: meta.resource_version,
            terminating: meta.deletion_timestamp.is_some(),
            said: Endpoints {
                labels: meta.labels,
                annotations: meta.annotations,
                subsets: wire.subsets,
            },
        }
    }

    fn meta(&self) -> Meta<'_> {
        Meta {
            namespace: &self.namespace,
            name: &self.name,
            uid: &self.uid,
            version: version(Some(&self.resource_version)),
            controller: None,
        }
    }

    fn deleting(&self) -> EndpointsRecord {
        EndpointsRecord {
            terminating: true,
            ..self.clone()
        }
    }

    fn is_deleting(&self) -> bool {
        self.terminating
    }
}

/// The Endpoints as the API takes them; `version` is that of the object to replace.
pub fn endpoints_body(
    namespace: &str,
    name: &str,
    version: Option<&str>,
    said: &Endpoints,
) -> Value {
    let mut metadata = json!({
        "namespace": namespace,
        "name": name,
        "labels": said.labels,
        "annotations": said.annotations,
    });
    if let Some(version) = version {
        metadata["resourceVersion"] = json!(version);
    }
    json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": metadata,
        "subsets": said.subsets,
    })
}
