//! Whether a pod that was bound here may start: room, node, sysctls. The scheduler has
//! asked most of this already, but a manifest may name its node itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use cadet_api::quantity::Quantity;
use cadet_network::HostPort;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use crate::eviction::CRITICAL;
use crate::lost;
use crate::manifest::{host_ports, is_sidecar};
use crate::memory::Pending;
use crate::resources;
use crate::static_pods::is_static;
use crate::verdict::{Over, REJECTED};

/// Kernel settings any pod may change for itself (documentation of sysctls, "safe set").
const SAFE: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

/// Taint of a node that is short of memory.
const MEMORY_TAINT: &str = "node.kubernetes.io/memory-pressure";

/// What the node has to give and what it is called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Room {
    /// Thousandths of a CPU.
    pub cpu_millis: i64,
    /// Bytes.
    pub memory: i64,
    pub pods: usize,
    /// Labels every node of ours has; a selector on others cannot be judged here.
    pub labels: BTreeMap<String, String>,
}

/// Decides about a pod that has nothing on this node yet. `others` may hold it, too.
///
/// # Errors
/// Reason and message for the failed pod's status, upstream's.
pub fn admit(pod: &Pod, others: &[Arc<Pod>], room: &Room) -> Result<(), Over> {
    let Some(spec) = &pod.spec else {
        return Ok(());
    };
    sysctls(spec)?;
    groups(spec)?;
    selector(spec, room)?;
    let wanted = host_ports(pod);
    let mut count = 0;
    for other in before(pod, others) {
        count += 1;
        if host_ports(other)
            .iter()
            .any(|has| wanted.iter().any(|one| collide(has, one)))
        {
            let why = "Predicate NodePorts failed: node(s) didn't have free ports for the \
                       requested pod ports";
            return Err(Over::rejected("NodePorts", why));
        }
    }
    if count + 1 > room.pods {
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        return Err(short(
            "OutOfpods",
            "pods",
            1,
            number(count),
            number(room.pods),
        ));
    }
    enough(pod, spec, others, room)
}

/// Those of `others` that have their place before `pod`.
fn before<'a>(pod: &'a Pod, others: &'a [Arc<Pod>]) -> impl Iterator<Item = &'a Arc<Pod>> {
    others.iter().filter(move |other| {
        let phase = other.status.as_ref().and_then(|s| s.phase.as_deref());
        let over = matches!(phase, Some("Succeeded" | "Failed"));
        !over && other.metadata.uid != pod.metadata.uid && comes_first(other, pod)
    })
}

/// Whether the others leave a pod what it asks for.
fn enough(pod: &Pod, spec: &PodSpec, others: &[Arc<Pod>], room: &Room) -> Result<(), Over> {
    let mut used = (0, 0);
    for other in before(pod, others) {
        used.0 += held(other, "cpu");
        used.1 += held(other, "memory");
    }
    let cpu = request(spec, "cpu");
    if cpu > 0 && used.0 + cpu > room.cpu_millis {
        return Err(short("OutOfcpu", "cpu", cpu, used.0, room.cpu_millis));
    }
    let memory = request(spec, "memory");
    if memory > 0 && used.1 + memory > room.memory {
        return Err(short("OutOfmemory", "memory", memory, used.1, room.memory));
    }
    Ok(())
}

fn short(reason: &'static str, name: &str, asked: i64, used: i64, capacity: i64) -> Over {
    Over::rejected(
        reason,
        &format!(
            "Node didn't have enough resource: {name}, requested: {asked}, used: {used}, \
             capacity: {capacity}"
        ),
    )
}

/// Whether a pod that runs may have the resources its manifest asks for now.
///
/// # Errors
/// Reason and message of its condition `PodResizePending`, upstream's.
pub fn resize(pod: &Pod, others: &[Arc<Pod>], room: &Room) -> Result<(), Pending> {
    let Some(spec) = &pod.spec else { return Ok(()) };
    for (name, capacity) in [("memory", room.memory), ("cpu", room.cpu_millis)] {
        let requested = request(spec, name);
        if requested > capacity {
            return Err(Pending {
                reason: "Infeasible",
                message: format!(
                    "Node didn't have enough capacity: {name}, requested: {requested}, capacity: \
                     {capacity}"
                ),
            });
        }
    }
    // It runs: what else may keep a pod from starting has nothing to do with its size.
    enough(pod, spec, others, room).map_err(|over| Pending {
        reason: "Deferred",
        message: over.message.trim_start_matches(REJECTED).to_owned(),
    })
}

/// Whether a pod may start although the machine is short of something: `conditions` are the
/// Node's that hold. Those the cluster lives on always may, and while only memory is short
/// those that have asked for theirs, or tolerate it.
///
/// # Errors
/// Reason and message for the failed pod's status, upstream's.
pub fn withstands(pod: &Pod, conditions: &[&str]) -> Result<(), Over> {
    let Some(spec) = pod.spec.as_ref().filter(|_| !conditions.is_empty()) else {
        return Ok(());
    };
    let critical = is_static(pod) || spec.priority.is_some_and(|priority| priority >= CRITICAL);
    let only_memory = *conditions == ["MemoryPressure"];
    let enough = || resources::class_name(spec) != "BestEffort" || tolerates_short_memory(spec);
    if critical || (only_memory && enough()) {
        return Ok(());
    }
    let why = format!("The node had condition: [{}]. ", conditions.join(" "));
    Err(Over::rejected("Evicted", &why))
}

fn tolerates_short_memory(spec: &PodSpec) -> bool {
    spec.tolerations.iter().flatten().any(|toleration| {
        let names = toleration.key.as_deref().unwrap_or_default();
        let effect = toleration.effect.as_deref().unwrap_or_default();
        let exists = toleration.operator.as_deref() == Some("Exists");
        let named = names == MEMORY_TAINT || (names.is_empty() && exists);
        // The taint has no value.
        let worth = exists || toleration.value.as_deref().unwrap_or_default().is_empty();
        named && worth && matches!(effect, "" | "NoSchedule")
    })
}

/// Of two pods that came together the older one has its place first; one that has begun
/// keeps it.
fn comes_first(other: &Pod, pod: &Pod) -> bool {
    let begun = other.status.as_ref().and_then(|s| s.start_time.as_ref());
    let age = |pod: &Pod| {
        let meta = &pod.metadata;
        let at = meta.creation_timestamp.as_ref().map(|at| at.0);
        (at, meta.uid.clone())
    };
    begun.is_some() || age(other) < age(pod)
}

fn collide(a: &HostPort, b: &HostPort) -> bool {
    let addresses = a.host_ip.is_none() || b.host_ip.is_none() || a.host_ip == b.host_ip;
    addresses && a.protocol == b.protocol && a.host_port == b.host_port
}

/// Docker gives a user the groups that the image's `/etc/group` names for it, always.
fn groups(spec: &PodSpec) -> Result<(), Over> {
    let context = spec.security_context.as_ref();
    let policy = context.and_then(|context| context.supplemental_groups_policy.as_deref());
    if policy == Some("Strict") {
        let why = "SupplementalGroupsPolicy=Strict is not supported in this node";
        return Err(Over::rejected("SupplementalGroupsPolicyNotSupported", why));
    }
    Ok(())
}

fn sysctls(spec: &PodSpec) -> Result<(), Over> {
    let context = spec.security_context.as_ref();
    let asked = context.and_then(|context| context.sysctls.as_ref());
    for sysctl in asked.into_iter().flatten() {
        let name = sysctl.name.replace('/', ".");
        let hosts = spec.host_network == Some(true) && name.starts_with("net.");
        if !SAFE.contains(&name.as_str()) || hosts {
            let why = format!("forbidden sysctl: \"{name}\" not allowlisted");
            return Err(Over::rejected("SysctlForbidden", &why));
        }
    }
    Ok(())
}

fn selector(spec: &PodSpec, room: &Room) -> Result<(), Over> {
    let wanted = spec.node_selector.iter().flatten();
    let mut known = wanted.filter_map(|(key, value)| Some((room.labels.get(key)?, value)));
    if known.any(|(has, wanted)| has != wanted) {
        let why = "Predicate NodeAffinity failed: node(s) didn't match Pod's node \
                   affinity/selector";
        return Err(Over::rejected("NodeAffinity", why));
    }
    Ok(())
}

/// What a pod asks for: its containers and sidecars together, or its greediest init
/// container with the sidecars before it (KEP-753). CPU in thousandths.
#[must_use]
pub fn request(spec: &PodSpec, name: &str) -> i64 {
    total(spec, name, &|container| asked(container, name))
}

/// What a pod of this node has been given: not yet what it asks for since.
fn held(pod: &Pod, name: &str) -> i64 {
    let given = |container: &Container| {
        let status = lost::old_status(pod, &container.name);
        let given = status.and_then(|status| status.allocated_resources.as_ref());
        given.map_or_else(
            || asked(container, name),
            |given| amount(Some(given), name).unwrap_or(0),
        )
    };
    let spec = pod.spec.as_ref();
    spec.map_or(0, |spec| total(spec, name, &given))
}

fn asked(container: &Container, name: &str) -> i64 {
    let resources = container.resources.as_ref();
    amount(resources.and_then(|r| r.requests.as_ref()), name).unwrap_or(0)
}

fn amount(amounts: Option<&BTreeMap<String, Text>>, name: &str) -> Option<i64> {
    let quantity: Quantity = amounts?.get(name)?.0.parse().ok()?;
    Some(if name == "cpu" {
        quantity.millis()
    } else {
        quantity.value()
    })
}

fn total(spec: &PodSpec, name: &str, of: &dyn Fn(&Container) -> i64) -> i64 {
    let mut sidecars = 0;
    let mut greediest = 0;
    for container in spec.init_containers.iter().flatten() {
        if is_sidecar(container) {
            sidecars += of(container);
            greediest = greediest.max(sidecars);
        } else {
            greediest = greediest.max(sidecars + of(container));
        }
    }
    let together: i64 = spec.containers.iter().map(of).sum();
    let whole = spec.resources.as_ref().and_then(|r| r.requests.as_ref());
    let whole = amount(whole, name);
    let overhead = amount(spec.overhead.as_ref(), name).unwrap_or(0);
    whole.unwrap_or_else(|| greediest.max(together + sidecars)) + overhead
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::pod;

    fn room() -> Room {
        Room {
            cpu_millis: 2000,
            memory: 1 << 30,
            pods: 2,
            labels: BTreeMap::from([("kubernetes.io/os".into(), "linux".into())]),
        }
    }

    fn refusal(spec: serde_json::Value, others: &[Arc<Pod>]) -> (String, String) {
        let over = admit(&pod(spec), others, &room()).unwrap_err();
        (over.reason.into(), over.message)
    }

    #[test]
    fn what_does_not_fit_is_refused_in_upstreams_words() {
        let cpu = |amount: &str| {
            json!({"containers": [
            {"name": "a", "resources": {"requests": {"cpu": amount}}}]})
        };
        let mut other = pod(cpu("500m"));
        other.metadata.uid = Some("u-0".into());
        let other = Arc::new(other);
        assert_eq!(
            refusal(cpu("1600m"), std::slice::from_ref(&other)),
            (
                "OutOfcpu".into(),
                "Pod was rejected: Node didn't have enough resource: cpu, requested: 1600, \
                 used: 500, capacity: 2000"
                    .into()
            )
        );
        assert_eq!(
            admit(&pod(cpu("1500m")), std::slice::from_ref(&other), &room()),
            Ok(())
        );
        let full = [other.clone(), other];
        assert_eq!(refusal(json!({"containers": []}), &full).0, "OutOfpods");
    }

    #[test]
    fn other_systems_and_unsafe_settings_are_refused() {
        let windows = json!({"containers": [], "nodeSelector": {"kubernetes.io/os": "windows"}});
        assert_eq!(refusal(windows, &[]).0, "NodeAffinity");
        let unsafe_one = json!({"containers": [], "securityContext": {"sysctls": [
            {"name": "kernel.msgmax", "value": "1"}]}});
        assert_eq!(
            refusal(unsafe_one, &[]),
            (
                "SysctlForbidden".into(),
                "Pod was rejected: forbidden sysctl: \"kernel.msgmax\" not allowlisted".into()
            )
        );
    }

    #[test]
    fn a_machine_that_is_short_of_something_takes_few_pods() {
        let refused =
            |spec: serde_json::Value, conditions: &[&str]| withstands(&pod(spec), conditions).err();
        let effort = || json!({"containers": [{"name": "a"}]});
        let asking = || {
            json!({"containers": [
            {"name": "a", "resources": {"requests": {"memory": "1Mi"}}}]})
        };
        let memory = ["MemoryPressure"];
        assert_eq!(refused(effort(), &[]), None);
        assert_eq!(
            refused(effort(), &memory).map(|over| (over.reason, over.message)),
            Some((
                "Evicted",
                "Pod was rejected: The node had condition: [MemoryPressure]. ".into()
            ))
        );
        assert_eq!(refused(asking(), &memory), None);
        assert!(refused(asking(), &["DiskPressure"]).is_some());
        assert!(refused(asking(), &["MemoryPressure", "PIDPressure"]).is_some());
        let mut tolerant = effort();
        tolerant["tolerations"] = json!([{"key": MEMORY_TAINT, "operator": "Exists"}]);
        assert_eq!(refused(tolerant, &memory), None);
        let mut critical = effort();
        critical["priority"] = json!(CRITICAL);
        assert_eq!(refused(critical, &["DiskPressure"]), None);
    }

    #[test]
    fn a_pod_that_runs_may_have_more_if_there_is_more() {
        let asks = |cpu: &str, memory: &str| {
            pod(json!({"containers": [{"name": "a", "resources":
                {"requests": {"cpu": cpu, "memory": memory}}}]}))
        };
        let mut other = asks("500m", "16Mi");
        other.metadata.uid = Some("u-0".into());
        let others = [Arc::new(other)];
        let told = |cpu: &str, memory: &str| {
            let pending = resize(&asks(cpu, memory), &others, &room()).err()?;
            Some((pending.reason, pending.message))
        };
        assert_eq!(told("1500m", "1Mi"), None);
        let words = "Node didn't have enough capacity: cpu, requested: 1000000, capacity: 2000";
        assert_eq!(told("1000", "1Mi"), Some(("Infeasible", words.into())));
        let words = "Node didn't have enough capacity: memory, requested: 2147483648, \
                     capacity: 1073741824";
        assert_eq!(told("1000", "2Gi"), Some(("Infeasible", words.into())));
        let words = "Node didn't have enough resource: cpu, requested: 1600, used: 500, \
                     capacity: 2000";
        assert_eq!(told("1600m", "1Mi"), Some(("Deferred", words.into())));

        // What would keep it from starting now is another matter.
        let mut elsewhere = asks("1500m", "1Mi");
        let labels = json!({"kubernetes.io/os": "windows"});
        elsewhere.spec.as_mut().unwrap().node_selector = serde_json::from_value(labels).unwrap();
        assert_eq!(resize(&elsewhere, &others, &room()), Ok(()));

        // Nor does what others ask for in vain take it away.
        let mut vain = (*others[0]).clone();
        let resources = &mut vain.spec.as_mut().unwrap().containers[0].resources;
        let requests = json!({"requests": {"cpu": "1000"}});
        *resources = serde_json::from_value(requests).unwrap();
        vain.status = serde_json::from_value(json!({"containerStatuses": [
            {"name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                "allocatedResources": {"cpu": "500m"}}]}))
        .unwrap();
        assert_eq!(
            resize(&asks("1500m", "1Mi"), &[Arc::new(vain)], &room()),
            Ok(())
        );
    }

    #[test]
    fn what_the_engine_cannot_promise_is_refused() {
        let strict = json!({"containers": [],
            "securityContext": {"supplementalGroupsPolicy": "Strict"}});
        assert_eq!(
            refusal(strict, &[]),
            (
                "SupplementalGroupsPolicyNotSupported".into(),
                "Pod was rejected: SupplementalGroupsPolicy=Strict is not supported in this node"
                    .into()
            )
        );
        let merge = json!({"containers": [],
            "securityContext": {"supplementalGroupsPolicy": "Merge"}});
        assert_eq!(admit(&pod(merge), &[], &room()), Ok(()));
    }

    #[test]
    fn a_port_of_the_machine_is_given_once() {
        let web = || {
            json!({"containers": [
            {"name": "a", "ports": [{"containerPort": 80, "hostPort": 8080}]}]})
        };
        let mut other = pod(web());
        other.metadata.uid = Some("u-2".into());
        let (web, later) = (web(), [Arc::new(other.clone())]);
        assert_eq!(
            admit(&pod(web.clone()), &later, &room()),
            Ok(()),
            "first come"
        );
        other.status =
            serde_json::from_value(json!({"startTime": "2026-11-20T20:00:00Z"})).unwrap();
        assert_eq!(refusal(web, &[Arc::new(other)]).0, "NodePorts");
    }

    #[test]
    fn sidecars_count_with_those_they_serve() {
        let spec: PodSpec = serde_json::from_value(json!({
            "initContainers": [
                {"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "1"}}},
                {"name": "i", "resources": {"requests": {"cpu": "2"}}},
            ],
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "500m"}}}],
        }))
        .unwrap();
        assert_eq!(request(&spec, "cpu"), 3000);
        assert_eq!(request(&spec, "memory"), 0);
    }
}
