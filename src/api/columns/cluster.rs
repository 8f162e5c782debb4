//! Rows of networking, storage, access and policy kinds.

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{AGE, Column, NAME, NONE, age, column, name, number, or, wide};
use crate::json::{bool_at, int_at, list_at, map_at, str_at};
use crate::selector::LabelSelector;

const UNSET: &str = "<unset>";

pub(super) const INGRESS: &[Column] = &[
    NAME,
    column("Class", "Which controller serves it."),
    column("Hosts", "Names it answers to."),
    column("Address", "Where it is reached."),
    column("Ports", "80, and 443 if it has certificates."),
    AGE,
];
pub(super) const INGRESS_CLASS: &[Column] = &[
    NAME,
    column("Controller", "Who serves ingresses of this class."),
    column("Parameters", "Settings of the controller."),
    AGE,
];
pub(super) const NETWORK_POLICY: &[Column] =
    &[NAME, column("Pod-Selector", "Which pods it is about."), AGE];
pub(super) const SLICE: &[Column] = &[
    NAME,
    column("AddressType", "IPv4, IPv6 or FQDN."),
    column("Ports", "Ports behind the service."),
    column("Endpoints", "Addresses behind the service."),
    AGE,
];
pub(super) const CLAIM: &[Column] = &[
    NAME,
    column("Status", "Pending, Bound or Lost."),
    column("Volume", "The volume it is bound to."),
    column("Capacity", "Size of the volume."),
    column("Access Modes", "How the volume may be used."),
    column("StorageClass", "Who provides the volume."),
    column("VolumeAttributesClass", "Its quality of service."),
    AGE,
    wide("VolumeMode", "Filesystem or Block."),
];
pub(super) const VOLUME: &[Column] = &[
    NAME,
    column("Capacity", "Its size."),
    column("Access Modes", "How it may be used."),
    column("Reclaim Policy", "What becomes of it when its claim goes."),
    column("Status", "Whether it is free."),
    column("Claim", "The claim it is bound to."),
    column("StorageClass", "Who provided it."),
    column("VolumeAttributesClass", "Its quality of service."),
    column("Reason", "Why it failed."),
    AGE,
    wide("VolumeMode", "Filesystem or Block."),
];
pub(super) const STORAGE_CLASS: &[Column] = &[
    NAME,
    column("Provisioner", "Who provides volumes."),
    column(
        "ReclaimPolicy",
        "What becomes of them when their claims go.",
    ),
    column("VolumeBindingMode", "When they are provided."),
    column("AllowVolumeExpansion", "Whether they may grow."),
    AGE,
];
pub(super) const DRIVER: &[Column] = &[
    NAME,
    column(
        "AttachRequired",
        "Whether volumes are attached to nodes first.",
    ),
    column(
        "PodInfoOnMount",
        "Whether the driver is told about the pod.",
    ),
    column("StorageCapacity", "Whether the driver reports free space."),
    column("TokenRequests", "Audiences of the tokens it is given."),
    column(
        "RequiresRepublish",
        "Whether volumes are published again and again.",
    ),
    column("Modes", "Persistent, Ephemeral."),
    AGE,
];
pub(super) const CSI_NODE: &[Column] = &[NAME, number("Drivers", "How many drivers it has."), AGE];
pub(super) const ATTACHMENT: &[Column] = &[
    NAME,
    column("Attacher", "The driver."),
    column("PV", "The volume."),
    column("Node", "The node."),
    column("Attached", "Whether it is done."),
    AGE,
];
pub(super) const BINDING: &[Column] = &[
    NAME,
    column("Role", "What is granted."),
    AGE,
    wide("Users", "Users it is granted to."),
    wide("Groups", "Groups it is granted to."),
    wide("ServiceAccounts", "Accounts it is granted to."),
];
pub(super) const QUOTA: &[Column] = &[
    NAME,
    column("Request", "Used of what may be requested."),
    column("Limit", "Used of what limits may add up to."),
    AGE,
];
pub(super) const PRIORITY: &[Column] = &[
    NAME,
    number("Value", "The higher, the earlier served."),
    column(
        "Global-Default",
        "Whether pods without a class get this one.",
    ),
    AGE,
    column("PreemptionPolicy", "Whether it may push others out."),
];
pub(super) const RUNTIME_CLASS: &[Column] =
    &[NAME, column("Handler", "What runs the containers."), AGE];
pub(super) const WEBHOOKS: &[Column] = &[NAME, number("Webhooks", "How many there are."), AGE];
pub(super) const REQUEST: &[Column] = &[
    NAME,
    AGE,
    column("SignerName", "Who is asked to sign."),
    column("Requestor", "Who asks."),
    column("RequestedDuration", "For how long."),
    column("Condition", "How it stands."),
];
pub(super) const COMPONENT: &[Column] = &[
    NAME,
    column("Status", "Whether it is healthy."),
    column("Message", "What it says."),
    column("Error", "What is wrong with it."),
];
pub(super) const API_SERVICE: &[Column] = &[
    NAME,
    column("Service", "Who serves it."),
    column("Available", "Whether it is served now."),
    AGE,
];

/// Texts in a list, comma-separated.
fn joined<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    texts.collect::<Vec<_>>().join(",")
}

/// The first few texts, and how many more there are.
fn some(all: &[String], shown: usize) -> String {
    match all.len() {
        0 => NONE.to_owned(),
        n if n > shown => format!("{} + {} more...", all[..shown].join(","), n - shown),
        _ => all.join(","),
    }
}

fn truth(yes: bool) -> Value {
    json!(if yes { "true" } else { "false" })
}

pub(super) fn ingress(o: &Value, now: OffsetDateTime) -> Vec<Value> {
    /// More hosts than these are only counted.
    const SHOWN: usize = 3;
    let class = str_at(o, "/spec/ingressClassName");
    let rules = list_at(o, "/spec/rules");
    let mut hosts: Vec<&str> = vec![];
    let mut more = false;
    for rule in rules {
        more |= hosts.len() == SHOWN;
        let host = str_at(rule, "/host");
        if !more && !host.is_empty() {
            hosts.push(host);
        }
    }
    let shown = hosts.join(",");
    let hosts = match hosts.is_empty() {
        true => "*".to_owned(),
        // What is counted are the rules, whether they name a host or not.
        false if more => format!("{shown} + {} more...", rules.len() - SHOWN),
        false => shown,
    };
    let addresses = joined(super::core::balancers(o).into_iter());
    let ports = match list_at(o, "/spec/tls").is_empty() {
        true => "80",
        false => "80, 443",
    };
    vec![
        name(o),
        json!(or(class, NONE)),
        json!(hosts),
        json!(addresses),
        json!(ports),
        age(o, now),
    ]
}

pub(super) fn ingress_class(o: &Value, now: OffsetDateTime) -> Vec<Value> {
    let parameters = match o.pointer("/spec/parameters") {
        None => NONE.to_owned(),
        Some(p) => {
            let group = str_at(p, "/apiGroup");
            let dot = if group.is_empty() { "" } else { "." };
            format!("{}{dot}{group}/{}", str_at(p, "/kind"), str_at(p, "/name"))
        }
    };
    vec![
        name(o),
        json!(str_at(o, "/spec/controller")),
        json!(parameters),
        age(o, now),
    ]
}

pub(super) fn network_policy(o: &Value, now: OffsetDateTime) -> Vec<Value> {
    let selector = o
        .pointer("/spec/podSelector")
        .map(LabelSelector::from_object);
    let text = match selector {
        Some(Ok(selector)) => selector.to_string(),
        _ => String::new(),
    };
    vec![name(o), json!(or(&text, NONE)), age(o, now)]
}

pub(super) fn slice(o: &Value, now: OffsetDateTime) -> Vec<Value> {
    let ports: Vec<String> = list_at(o, "/ports")
        .iter()
        .map(|p| match int_at(p, "/port") {
            Some(n) => n.to_string(),
            None => str_at(p, "/name").to_owned(),
        })
        .collect();
    let addresses: Vec<String> = list_at(o, "/endpoints")
        .iter()
        .flat_map(|e| list_at(e, "/addresses"))
        .filter_map(|a| a.as_str().map(str::to_owned))
        .collect();
    let unset = |text: String| if text == NONE { UNSET.to_owned() } else { text };
    vec![
        name(o),
        json!(str_at(o, "/addressType")),
        json!(unset(some(&ports, 3))),
        json!(unset(some(&addresses, 3))),
        age(o, now),
    ]
}

/// `RWO,ROX`, in upstream's order.
fn modes(o: &Value, pointer: &str) -> String {
    let list = list_at(o, pointer);
    joined(
        [
            ("ReadWriteOnce", "RWO"),
            ("ReadOnlyMany", "ROX"),
            ("ReadWriteMany", "RWX"),
            ("ReadWriteOncePod", "RWOP"),
        ]
        .into_iter()
        .filter(|(long, _)| list.contains(&json!(long)))
        .map(|(_, short)| short),
    )
}

fn phase(o: &Value) -> String {
    match o.pointer("/metadata/deletionTimestamp") {
        Some(_) => "Terminating".to_owned(),
        None => str_at(o, "/status/phase").to_owned(),
    }
}

pub(super) fn claim(o: &Value, now: OffsetDateTime) -> Vec<Value> {
    let volume = str_at(o, "/spec/volumeName");
    let bound = !volume.is_empty();
    let capacity = if bound {
        str_at(o, "/status/capacity/storage")
    } else {
        ""
    };
    let modes = if bound {
        modes(o, "/status/accessModes")
    } else {
        String::new()
    };
    vec![
        name(o),
        json!(phase(o)),
        json!(volume),
        json!(capacity),
        json!(modes),
        json!(str_at(o, "/spec/storageClassName")),
        json!(or(str_at(o, "/spec/volumeAttributesClassName"), UNSET)),
        age(o, now),
        json!(or(str_at(o, "/spec/volumeMode"), UNSET)),
    ]
}

pub(super) fn volume(o: &Value, now: OffsetDateTime) -> Vec<Value> {
    let claim = match o.pointer("/spec/claimRef") {
        Some(c) => format!("{}/{}", str_at(c, "/namespace"), str_at(c, "/name")),
        None => String::new(),
    };
    vec![
        name(o),
        json!(str_at(o, "/spec/capacity/storage")),
        json!(modes(o, "/spec/accessModes")),
        json!(str_at(o, "/spec/persistentVolumeReclaimPolicy")),
        json!(phase(o)),
        json!(claim),
        json!(str_at(o, "/spec/storageClassName")),
        json!(or(str_at(o, "/spec/volumeAttributesClassName"), UNSET)),
        json!(str_at(o, "/status/reason")),
        age(o, now),
        json!(or(str_at(o, "/spec/volumeMode"), UNSET)),
    ]
}

pub(super) fn storage_class(o: &Value, now: OffsetDateTime) -> Vec<Value> {
    let annotations = map_at(o, "/metadata/annotations");
    let default = [
        "storageclass.kubernetes.io/is-default-class",
        "storageclass.beta.kubernetes.io/is-default-class",
    ]
    .iter()
    .any(|key| {
        annotations
            .and_then(|m| m.get(*key))
            .is_some_and(|v| v == "true")
    });
    let title = format!(
        "{}{}",
        str_at(o, "/metadata/name"),
        if default { " (default)" } else { "" }
    );
    vec![
        json!(title),
        json!(str_at(o, "/provisioner")),
        json!(str_at(o, "/reclaimPolicy")),
        json!(str_at(o, "/volumeBindingMode")),
        truth(bool_at(o, "/allowVolumeExpansion")),
        age(o, now),
    ]
}

pub(super) fn driver(o: &Value, now: OffsetDateTime) -> Vec<Value> {
    let audiences = joined(
        list_at(o, "/spec/tokenRequests")
            .iter()
            .map(|t| str_at(t, "/audience")),
    );
    let modes = joined(
        list_at(o, "/spec/volumeLifecycleModes")
            .iter()
            .filter_map(Value::as_str),
    );
    vec![
        name(o),
        truth(bool_at(o, "/spec/attachRequired")),
        truth(bool_at(o, "/spec/podInfoOnMount")),
        truth(bool_at(o, "/spec/storageCapacity")),
        json!(or(&audiences, UNSET)),
        truth(bool_at(o, "/spec/requiresRepublish")),
        json!(or(&modes, NONE)),
        age(o, now),
    ]
}

pub(super) fn csi_node(o: &Value, now: OffsetDateTime) -> Vec<Value> {
    vec![
        name(o),
        json!(list_at(o, "/spec/drivers").len()),
        age(o, now),
    ]
}

pub(super) fn attachment(o: &Value, now: OffsetDateTime) -> Vec<Value> {
    vec![
        name(o),
        json!(str_at(o, "/spec/attacher")),
        json!(str_at(o, "/spec/source/persistentVolumeName")),
        json!(str_at(o, "/spec/nodeName")),
        truth(bool_at(o, "/status/attached")),
        age(o, now),
    ]
}

pub(super) fn binding(o: &Value, now: OffsetDateTime) -> Vec<Value> {
    let role = format!(
        "{}/{}",
        str_at(o, "/roleRef/kind"),
        str_at(o, "/roleRef/name")
    );
    let subjects = |kind: &str| -> Value {
        let all: Vec<String> = list_at(o, "/subjects")
            .iter()
            .filter(|s| str_at(s, "/kind") == kind)
            .map(|s| match kind {
                "ServiceAccount" => {
                    format!("{}/{}", str_at(s, "/namespace"), str_at(s, "/name"))
                }
                _ => str_at(s, "/name").to_owned(),
            })
            .collect();
        json!(all.join(", "))
    };
    vec![
        name(o),
        json!(role),
        age(o, now),
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}

pub(super) fn quota(o: &Value, now: OffsetDateTime) -> Vec<Value> {
    let (mut requests, mut limits) = (vec![], vec![]);
    let mut hard: Vec<_> = map_at(o, "/status/hard").into_iter().flatten().collect();
    hard.sort_by_key(|(key, _)| (*key).clone());
    let text = |v: Option<&Value>| v.and_then(Value::as_str).unwrap_or("0").to_owned();
    for (key, most) in hard {
        let used = map_at(o, "/status/used").and_then(|m| m.get(key));
        let words = format!("{key}: {}/{}", text(used), text(Some(most)));
        match key.starts_with("limits.") {
            true => limits.push(words),
            false => requests.push(words),
        }
    }
    vec![
        name(o),
        json!(requests.join(", ")),
        json!(limits.join(", ")),
        age(o, now),
    ]
}

pub(super) fn priority(o: &Value, now: OffsetDateTime) -> Vec<Value> {
    vec![
        name(o),
        json!(int_at(o, "/value").unwrap_or(0)),
        truth(bool_at(o, "/globalDefault")),
        age(o, now),
        json!(str_at(o, "/preemptionPolicy")),
    ]
}

pub(super) fn runtime_class(o: &Value, now: OffsetDateTime) -> Vec<Value> {
    vec![name(o), json!(str_at(o, "/handler")), age(o, now)]
}

pub(super) fn webhooks(o: &Value, now: OffsetDateTime) -> Vec<Value> {
    vec![name(o), json!(list_at(o, "/webhooks").len()), age(o, now)]
}

pub(super) fn request(o: &Value, now: OffsetDateTime) -> Vec<Value> {
    let has = |kind: &str| {
        list_at(o, "/status/conditions")
            .iter()
            .any(|c| str_at(c, "/type") == kind)
    };
    let mut words = vec![];
    match (has("Denied"), has("Approved")) {
        (true, _) => words.push("Denied"),
        (_, true) => words.push("Approved"),
        _ => words.push("Pending"),
    }
    if has("Failed") {
        words.push("Failed");
    }
    if !str_at(o, "/status/certificate").is_empty() {
        words.push("Issued");
    }
    let duration = int_at(o, "/spec/expirationSeconds").map(crate::clock::human_duration);
    vec![
        name(o),
        age(o, now),
        json!(or(str_at(o, "/spec/signerName"), NONE)),
        json!(str_at(o, "/spec/username")),
        json!(duration.unwrap_or(NONE.to_owned())),
        json!(words.join(",")),
    ]
}

pub(super) fn component(o: &Value) -> Vec<Value> {
    let condition = list_at(o, "/conditions")
        .iter()
        .find(|c| str_at(c, "/type") == "Healthy");
    let text = |key: &str| condition.map_or("", |c| str_at(c, key));
    let status = match text("/status") {
        "True" => "Healthy",
        "False" => "Unhealthy",
        _ => "Unknown",
    };
    vec![
        name(o),
        json!(status),
        json!(text("/message")),
        json!(text("/error")),
    ]
}

pub(super) fn api_service(o: &Value, now: OffsetDateTime) -> Vec<Value> {
    let available = list_at(o, "/status/conditions")
        .iter()
        .find(|c| str_at(c, "/type") == "Available");
    let service = match o.pointer("/spec/service") {
        Some(Value::Object(_)) => format!(
            "{}/{}",
            str_at(o, "/spec/service/namespace"),
            str_at(o, "/spec/service/name")
        ),
        _ => "Local".to_owned(),
    };
    vec![
        name(o),
        json!(service),
        json!(available.map_or("Unknown", |c| str_at(c, "/status"))),
        age(o, now),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ingresses_show_three_hosts_and_count_rules() {
        let rule = |host: &str| json!({"host": host});
        for (rules, shown) in [
            (vec![], "*"),
            (vec![json!({"http": {}})], "*"),
            (vec![rule("a"), rule("a")], "a,a"),
            (vec![rule("a"), rule("b"), rule("c")], "a,b,c"),
            (
                vec![rule("a"), rule("b"), rule("c"), json!({}), rule("e")],
                "a,b,c + 2 more...",
            ),
        ] {
            let o = json!({"metadata": {"annotations": {"kubernetes.io/ingress.class": "old"}},
                "spec": {"rules": rules},
                "status": {"loadBalancer": {"ingress": [{"hostname": "y"}, {"ip": "1.2.3.4"}]}}});
            let cells = ingress(&o, OffsetDateTime::UNIX_EPOCH);
            assert_eq!(cells[1..4], ["<none>", shown, "1.2.3.4,y"]);
        }
    }
}
