//! `kubectl get`: the columns of each kind and the cells of each object.

mod cluster;
mod core;
mod pod;
mod usage;
mod workloads;

use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::clock;
use crate::crd::Custom;
use crate::json::{map_at, str_at};
use crate::resource::Resource;

/// One column of a Table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    /// `string` or `integer`.
    pub kind: &'static str,
    /// `name` for the column that identifies the row, else "".
    pub format: &'static str,
    pub description: &'static str,
    /// 0 always, 1 with `-o wide`.
    pub priority: u8,
}

/// How much of the object a row carries along (`includeObject`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Include {
    None,
    #[default]
    Metadata,
    Object,
}

/// Shown where there is nothing to show.
const NONE: &str = "<none>";

const fn column(name: &'static str, description: &'static str) -> Column {
    Column {
        name,
        kind: "string",
        format: "",
        description,
        priority: 0,
    }
}

const fn number(name: &'static str, description: &'static str) -> Column {
    Column {
        kind: "integer",
        ..column(name, description)
    }
}

const fn wide(name: &'static str, description: &'static str) -> Column {
    Column {
        priority: 1,
        ..column(name, description)
    }
}

const NAME: Column = Column {
    format: "name",
    ..column("Name", "Unique among objects of its kind in its namespace.")
};
pub(crate) const AGE: Column = column("Age", "Time since the object was created.");
/// Columns of a kind without any of its own, as upstream shows them.
const PLAIN: &[Column] = &[NAME, column("Created At", "When the object was created.")];

/// The columns of a kind.
pub fn definitions(res: &Resource) -> Vec<Column> {
    if let Some(custom) = res.custom {
        return std::iter::once(NAME)
            .chain(custom.columns.iter().copied())
            .collect();
    }
    built_in(res).to_vec()
}

fn built_in(res: &Resource) -> &'static [Column] {
    match res.id() {
        ("", "Pod") => pod::COLUMNS,
        ("", "Node") => core::NODE,
        ("", "Namespace") => core::NAMESPACE,
        ("", "Service") => core::SERVICE,
        ("", "Endpoints") => core::ENDPOINTS,
        ("", "ConfigMap") => core::CONFIG_MAP,
        ("", "Secret") => core::SECRET,
        ("", "Event") => core::EVENT,
        ("", "ServiceAccount") => core::SERVICE_ACCOUNT,
        ("coordination.k8s.io", "Lease") => core::LEASE,
        ("", "PodTemplate") => workloads::POD_TEMPLATE,
        ("", "ReplicationController") | ("apps", "ReplicaSet") => workloads::REPLICA_SET,
        ("apps", "Deployment") => workloads::DEPLOYMENT,
        ("apps", "StatefulSet") => workloads::STATEFUL_SET,
        ("apps", "DaemonSet") => workloads::DAEMON_SET,
        ("apps", "ControllerRevision") => workloads::REVISION,
        ("batch", "Job") => workloads::JOB,
        ("batch", "CronJob") => workloads::CRON_JOB,
        ("autoscaling", "HorizontalPodAutoscaler") => workloads::AUTOSCALER,
        ("policy", "PodDisruptionBudget") => workloads::BUDGET,
        ("networking.k8s.io", "Ingress") => cluster::INGRESS,
        ("networking.k8s.io", "IngressClass") => cluster::INGRESS_CLASS,
        ("networking.k8s.io", "NetworkPolicy") => cluster::NETWORK_POLICY,
        ("discovery.k8s.io", "EndpointSlice") => cluster::SLICE,
        ("", "PersistentVolumeClaim") => cluster::CLAIM,
        ("", "PersistentVolume") => cluster::VOLUME,
        ("storage.k8s.io", "StorageClass") => cluster::STORAGE_CLASS,
        ("storage.k8s.io", "CSIDriver") => cluster::DRIVER,
        ("storage.k8s.io", "CSINode") => cluster::CSI_NODE,
        ("storage.k8s.io", "VolumeAttachment") => cluster::ATTACHMENT,
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => cluster::BINDING,
        ("", "ResourceQuota") => cluster::QUOTA,
        ("scheduling.k8s.io", "PriorityClass") => cluster::PRIORITY,
        ("node.k8s.io", "RuntimeClass") => cluster::RUNTIME_CLASS,
        ("admissionregistration.k8s.io", _) => cluster::WEBHOOKS,
        ("certificates.k8s.io", "CertificateSigningRequest") => cluster::REQUEST,
        ("", "ComponentStatus") => cluster::COMPONENT,
        ("apiregistration.k8s.io", "APIService") => cluster::API_SERVICE,
        ("metrics.k8s.io", _) => usage::COLUMNS,
        _ => PLAIN,
    }
}

/// The cells of one object; as many as there are columns.
pub fn cells(res: &Resource, object: &Value, now: OffsetDateTime) -> Vec<Value> {
    if let Some(custom) = res.custom {
        return custom_cells(custom, object, now);
    }
    match res.id() {
        ("", "Pod") => pod::cells(object, now),
        ("", "Node") => core::node(object, now),
        ("", "Namespace") => core::namespace(object, now),
        ("", "Service") => core::service(object, now),
        ("", "Endpoints") => core::endpoints(object, now),
        ("", "ConfigMap") => core::config_map(object, now),
        ("", "Secret") => core::secret(object, now),
        ("", "Event") => core::event(object, now),
        ("", "ServiceAccount") => core::service_account(object, now),
        ("coordination.k8s.io", "Lease") => core::lease(object, now),
        ("", "PodTemplate") => workloads::pod_template(object),
        ("", "ReplicationController") | ("apps", "ReplicaSet") => {
            workloads::replica_set(object, now)
        }
        ("apps", "Deployment") => workloads::deployment(object, now),
        ("apps", "StatefulSet") => workloads::stateful_set(object, now),
        ("apps", "DaemonSet") => workloads::daemon_set(object, now),
        ("apps", "ControllerRevision") => workloads::revision(object, now),
        ("batch", "Job") => workloads::job(object, now),
        ("batch", "CronJob") => workloads::cron_job(object, now),
        ("autoscaling", "HorizontalPodAutoscaler") => workloads::autoscaler(object, now),
        ("policy", "PodDisruptionBudget") => workloads::budget(object, now),
        ("networking.k8s.io", "Ingress") => cluster::ingress(object, now),
        ("networking.k8s.io", "IngressClass") => cluster::ingress_class(object, now),
        ("networking.k8s.io", "NetworkPolicy") => cluster::network_policy(object, now),
        ("discovery.k8s.io", "EndpointSlice") => cluster::slice(object, now),
        ("", "PersistentVolumeClaim") => cluster::claim(object, now),
        ("", "PersistentVolume") => cluster::volume(object, now),
        ("storage.k8s.io", "StorageClass") => cluster::storage_class(object, now),
        ("storage.k8s.io", "CSIDriver") => cluster::driver(object, now),
        ("storage.k8s.io", "CSINode") => cluster::csi_node(object, now),
        ("storage.k8s.io", "VolumeAttachment") => cluster::attachment(object, now),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            cluster::binding(object, now)
        }
        ("", "ResourceQuota") => cluster::quota(object, now),
        ("scheduling.k8s.io", "PriorityClass") => cluster::priority(object, now),
        ("node.k8s.io", "RuntimeClass") => cluster::runtime_class(object, now),
        ("admissionregistration.k8s.io", _) => cluster::webhooks(object, now),
        ("certificates.k8s.io", "CertificateSigningRequest") => cluster::request(object, now),
        ("", "ComponentStatus") => cluster::component(object),
        ("apiregistration.k8s.io", "APIService") => cluster::api_service(object, now),
        ("metrics.k8s.io", _) => usage::cells(object),
        _ => vec![
            name(object),
            json!(str_at(object, "/metadata/creationTimestamp")),
        ],
    }
}

fn custom_cells(custom: &Custom, object: &Value, now: OffsetDateTime) -> Vec<Value> {
    let mut cells = vec![name(object)];
    for cell in &custom.cells {
        let found = cell.path.find(object);
        cells.push(match found.as_slice() {
            [] => Value::Null,
            [Value::String(text)] if cell.date => json!(clock::age(text, now)),
            [one @ (Value::Object(_) | Value::Array(_))] => json!(one.to_string()),
            [one] => (*one).clone(),
            many => {
                let texts: Vec<String> = many
                    .iter()
                    .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
                    .collect();
                json!(texts.join(","))
            }
        });
    }
    cells
}

/// One row of a Table.
pub fn row(res: &Resource, object: &Value, now: OffsetDateTime, include: Include) -> Value {
    let mut out = json!({"cells": cells(res, object, now)});
    if res.is("", "Pod")
        && let Some(condition) = pod::condition(object)
    {
        out["conditions"] = json!([condition]);
    }
    match include {
        Include::None => {}
        Include::Metadata => out["object"] = partial(object),
        Include::Object => out["object"] = object.clone(),
    }
    out
}

/// Only the metadata of an object, as `meta.k8s.io/v1` PartialObjectMetadata.
pub fn partial(object: &Value) -> Value {
    let metadata = object.get("metadata").cloned().unwrap_or(json!({}));
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}

/// What frames the rows of a Table.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    pub resource_version: String,
    /// Token for the next page, or "".
    pub continue_token: String,
    /// How many items come after this page, if known.
    pub remaining: Option<u64>,
    /// False for watch events after the first, which leave the columns out.
    pub without_columns: bool,
}

/// A whole Table; `version` is `v1` or, for old clients, `v1beta1`.
pub fn table(res: &Resource, version: &str, rows: Vec<Value>, frame: &Frame) -> Value {
    let mut metadata = json!({"resourceVersion": frame.resource_version});
    if !frame.continue_token.is_empty() {
        metadata["continue"] = json!(frame.continue_token);
    }
    if let Some(n) = frame.remaining {
        metadata["remainingItemCount"] = json!(n);
    }
    let columns = if frame.without_columns {
        Value::Null
    } else {
        definitions(res)
            .iter()
            .map(|c| {
                json!({"name": c.name, "type": c.kind, "format": c.format,
                    "description": c.description, "priority": c.priority})
            })
            .collect()
    };
    json!({"kind": "Table", "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": metadata, "columnDefinitions": columns, "rows": rows})
}

fn name(object: &Value) -> Value {
    json!(str_at(object, "/metadata/name"))
}

fn age(object: &Value, now: OffsetDateTime) -> Value {
    json!(clock::age(
        str_at(object, "/metadata/creationTimestamp"),
        now
    ))
}

/// `a=b,c=d`, or what stands for none.
fn pairs(o: &Value, pointer: &str) -> Value {
    let mut all: Vec<String> = map_at(o, pointer)
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    all.sort_unstable();
    json!(or(&all.join(","), NONE))
}

fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource;
    use time::macros::datetime;

    #[test]
    fn every_kind_fills_every_column_even_of_an_empty_object() {
        for r in resource::all() {
            let got = cells(r, &json!({}), datetime!(2026-01-01 0:00 UTC));
            assert_eq!(got.len(), definitions(r).len(), "{}", r.plural);
            assert!(
                got.iter().all(|c| c.is_string() || c.is_number()),
                "{}",
                r.plural
            );
        }
    }

    #[test]
    fn columns_are_upstreams() {
        let names = |plural: &str| -> String {
            definitions(resource::find("", "v1", plural).unwrap())
                .iter()
                .map(|c| format!("{}{}", c.name, if c.priority > 0 { "*" } else { "" }))
                .collect::<Vec<_>>()
                .join(", ")
        };
        assert_eq!(
            names("pods"),
            "Name, Ready, Status, Restarts, Age, IP*, Node*, Nominated Node*, Readiness Gates*"
        );
        assert_eq!(
            names("nodes"),
            "Name, Status, Roles, Age, Version, Internal-IP*, External-IP*, OS-Image*, Kernel-Version*, Container-Runtime*"
        );
        assert_eq!(
            names("events"),
            "Last Seen, Type, Reason, Object, Subobject*, Source*, Message, First Seen*, Count*, Name*"
        );
        assert_eq!(
            names("services"),
            "Name, Type, Cluster-IP, External-IP, Port(s), Age, Selector*"
        );
        assert_eq!(names("secrets"), "Name, Type, Data, Age");
        assert_eq!(names("serviceaccounts"), "Name, Age");
    }

    #[test]
    fn tables_have_their_frame() {
        let pods = resource::find("", "v1", "pods").unwrap();
        let now = datetime!(2026-01-01 0:00 UTC);
        let object = json!({"metadata": {"name": "a"}, "status": {"phase": "Succeeded"}});
        let t = table(
            pods,
            "v1",
            vec![row(pods, &object, now, Include::Metadata)],
            &Frame {
                resource_version: "7".into(),
                continue_token: "c".into(),
                remaining: Some(3),
                without_columns: false,
            },
        );
        assert_eq!(
            t["metadata"],
            json!({"resourceVersion": "7", "continue": "c", "remainingItemCount": 3})
        );
        assert_eq!(t["columnDefinitions"][0]["format"], "name");
        assert_eq!(t["rows"][0]["object"]["kind"], "PartialObjectMetadata");
        assert_eq!(t["rows"][0]["conditions"][0]["reason"], "Succeeded");
        assert!(
            row(pods, &object, now, Include::None)
                .get("object")
                .is_none()
        );
        let bare = Frame {
            without_columns: true,
            ..Frame::default()
        };
        assert!(table(pods, "v1", vec![], &bare)["columnDefinitions"].is_null());
    }
}
