//! What objects take of a ResourceQuota: which names they count under, which scopes they
//! are in, and whether a quota has room for one more. Used by admission, which refuses,
//! and by the controller, which writes `status.used`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use time::{Duration, OffsetDateTime};

use crate::json::{int_at, list_at, map_at, str_at};
use crate::pod_resources::{self, Resources};
use crate::quantity::{Amount, Quantity};
use crate::resource::Resource;
use crate::{clock, defaults};

/// Kinds that are counted under their plain name as well as under `count/…`.
const PLAIN: &[&str] = &[
    "configmaps",
    "persistentvolumeclaims",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
];
const CLASS: &str = ".storageclass.storage.k8s.io/";
const CLASS_ANNOTATION: &str = "/metadata/annotations/volume.beta.kubernetes.io~1storage-class";
/// Names a container must set itself as soon as a quota limits them.
const DEMANDED: &[&str] = &[
    "cpu",
    "limits.cpu",
    "limits.memory",
    "memory",
    "requests.cpu",
    "requests.memory",
];

/// What one object takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    usage: Resources,
    /// `None` for what is no pod: only pods have scopes.
    pod: Option<PodScopes>,
    /// From then on the pod counts as gone, though nobody has confirmed it.
    gone_after: Option<OffsetDateTime>,
}

#[derive(Debug, Clone, PartialEq)]
struct PodScopes {
    terminating: bool,
    best_effort: bool,
    crosses_namespaces: bool,
    priority_class: String,
}

impl Taken {
    /// What an object of this kind takes, after defaults.
    pub fn of(res: &Resource, object: &Value) -> Taken {
        Taken::by_name(res.storage.group, res.plural, object)
    }

    /// As [`Taken::of`], for a kind known by group and plural.
    pub fn by_name(group: &str, plural: &str, object: &Value) -> Taken {
        let mut usage = Resources::new();
        let one = Amount::units(1);
        usage.insert(count_name(group, plural), one);
        if group.is_empty() && PLAIN.contains(&plural) {
            usage.insert(plural.to_owned(), one);
        }
        let mut taken = Taken {
            usage,
            pod: None,
            gone_after: None,
        };
        match (group, plural) {
            ("", "pods") => taken.add_pod(object),
            ("", "services") => taken.add_service(object),
            ("", "persistentvolumeclaims") => taken.add_claim(object),
            _ => {}
        }
        taken
    }

    /// What it takes now.
    pub fn usage(&self, now: OffsetDateTime) -> Resources {
        match self.gone_after {
            Some(after) if now > after => {
                let only = |(name, _): &(&String, &Amount)| name.starts_with("count/");
                self.usage
                    .iter()
                    .filter(only)
                    .map(|(name, amount)| (name.clone(), *amount))
                    .collect()
            }
            _ => self.usage.clone(),
        }
    }

    fn add_pod(&mut self, pod: &Value) {
        self.pod = Some(PodScopes {
            terminating: int_at(pod, "/spec/activeDeadlineSeconds").is_some_and(|s| s >= 0),
            best_effort: defaults::pod::qos_class(pod) == "BestEffort",
            crosses_namespaces: crosses_namespaces(pod),
            priority_class: str_at(pod, "/spec/priorityClassName").to_owned(),
        });
        if matches!(str_at(pod, "/status/phase"), "Succeeded" | "Failed") {
            return;
        }
        let deleted = clock::parse(str_at(pod, "/metadata/deletionTimestamp"));
        let grace = int_at(pod, "/metadata/deletionGracePeriodSeconds");
        self.gone_after = deleted
            .zip(grace)
            .and_then(|(at, grace)| at.checked_add(Duration::seconds(grace)));
        self.usage.insert("pods".into(), Amount::units(1));
        for (name, amount) in pod_resources::requests(pod) {
            if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage")
                || name.starts_with("hugepages-")
            {
                self.usage.insert(name.clone(), amount);
            }
            self.usage.insert(format!("requests.{name}"), amount);
        }
        for (name, amount) in pod_resources::limits(pod) {
            if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
                self.usage.insert(format!("limits.{name}"), amount);
            }
        }
    }

    fn add_service(&mut self, service: &Value) {
        let ports = list_at(service, "/spec/ports");
        let allocates = service
            .pointer("/spec/allocateLoadBalancerNodePorts")
            .and_then(Value::as_bool)
            .unwrap_or(true);
        let balanced = str_at(service, "/spec/type") == "LoadBalancer";
        let nodes = match str_at(service, "/spec/type") {
            "NodePort" => ports.len(),
            "LoadBalancer" if allocates => ports.len(),
            "LoadBalancer" => ports
                .iter()
                .filter(|port| int_at(port, "/nodePort").is_some_and(|n| n != 0))
                .count(),
            _ => 0,
        };
        let count = |n: usize| Amount::units(i64::try_from(n).unwrap_or(i64::MAX));
        self.usage.insert("services.nodeports".into(), count(nodes));
        self.usage
            .insert("services.loadbalancers".into(), count(balanced.into()));
    }

    fn add_claim(&mut self, claim: &Value) {
        let class = match str_at(claim, CLASS_ANNOTATION) {
            "" => str_at(claim, "/spec/storageClassName"),
            class => class,
        };
        let size = claim
            .pointer("/spec/resources/requests/storage")
            .and_then(Amount::of);
        if !class.is_empty() {
            let name = format!("{class}{CLASS}persistentvolumeclaims");
            self.usage.insert(name, Amount::units(1));
        }
        if let Some(size) = size {
            self.usage.insert("requests.storage".into(), size);
            if !class.is_empty() {
                self.usage
                    .insert(format!("{class}{CLASS}requests.storage"), size);
            }
        }
    }
}

/// Whether a term of the pod's affinities looks into other namespaces.
fn crosses_namespaces(pod: &Value) -> bool {
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let at = |list: &str| list_at(pod, &format!("/spec/affinity/{kind}/{list}"));
        let required = at("requiredDuringSchedulingIgnoredDuringExecution").iter();
        let preferred = at("preferredDuringSchedulingIgnoredDuringExecution")
            .iter()
            .filter_map(|weighted| weighted.get("podAffinityTerm"));
        required.chain(preferred).any(|term| {
            !list_at(term, "/namespaces").is_empty() || term.get("namespaceSelector").is_some()
        })
    })
}

/// `count/pods`, `count/deployments.apps`.
pub fn count_name(group: &str, plural: &str) -> String {
    match group {
        "" => format!("count/{plural}"),
        group => format!("count/{plural}.{group}"),
    }
}

/// Which kind a name of `spec.hard` counts: group and plural; `None` for a name that
/// nothing counts under.
pub fn counts(name: &str) -> Option<(&str, &str)> {
    if let Some(kind) = name.strip_prefix("count/") {
        let (plural, group) = kind.split_once('.').unwrap_or((kind, ""));
        return Some((group, plural));
    }
    if name.contains(CLASS) || matches!(name, "requests.storage" | "persistentvolumeclaims") {
        return Some(("", "persistentvolumeclaims"));
    }
    if name == "services" || name.starts_with("services.") {
        return Some(("", "services"));
    }
    if PLAIN.contains(&name) {
        return Some(("", name));
    }
    let of_pods = ["requests.", "limits.", "hugepages-"];
    (matches!(name, "pods" | "cpu" | "memory" | "ephemeral-storage")
        || of_pods.iter().any(|prefix| name.starts_with(prefix)))
    .then_some(("", "pods"))
}

/// A quota, read once.
#[derive(Debug, Clone)]
pub struct Quota {
    pub name: String,
    pub hard: Resources,
    scopes: Vec<Scope>,
}

#[derive(Debug, Clone)]
struct Scope {
    name: String,
    operator: String,
    values: Vec<String>,
}

impl Quota {
    /// Reads a ResourceQuota.
    pub fn of(object: &Value) -> Quota {
        let plain = list_at(object, "/spec/scopes").iter().map(|scope| Scope {
            name: scope.as_str().unwrap_or_default().to_owned(),
            operator: "Exists".to_owned(),
            values: vec![],
        });
        let selected = list_at(object, "/spec/scopeSelector/matchExpressions")
            .iter()
            .map(|term| Scope {
                name: str_at(term, "/scopeName").to_owned(),
                operator: str_at(term, "/operator").to_owned(),
                values: list_at(term, "/values")
                    .iter()
                    .filter_map(|value| value.as_str().map(str::to_owned))
                    .collect(),
            });
        Quota {
            name: str_at(object, "/metadata/name").to_owned(),
            hard: pod_resources::list(map_at(object, "/spec/hard")),
            scopes: plain.chain(selected).collect(),
        }
    }

    /// Whether the quota is about such an object at all: it limits something the object
    /// takes, and the object is in all its scopes.
    pub fn covers(&self, taken: &Taken) -> bool {
        let limited = taken.usage.keys().any(|name| self.hard.contains_key(name));
        // A pod that says nothing about what is demanded takes nothing of it either.
        (limited || taken.pod.is_some() && DEMANDED.iter().any(|name| self.demands(name)))
            && self.in_scope(taken)
    }

    fn demands(&self, name: &str) -> bool {
        DEMANDED.contains(&name) && self.hard.contains_key(name)
    }

    fn in_scope(&self, taken: &Taken) -> bool {
        let inside = |scope: &Scope| taken.pod.as_ref().is_some_and(|pod| scope.holds(pod));
        self.scopes.iter().all(inside)
    }

    /// Why a pod is refused that leaves open what this quota limits:
    /// `must specify limits.cpu for: c`.
    pub fn missing(&self, pod: &Value) -> Option<String> {
        let mut lacking: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let containers = list_at(pod, "/spec/containers").iter();
        for container in containers.chain(list_at(pod, "/spec/initContainers")) {
            for name in DEMANDED.iter().filter(|name| self.demands(name)) {
                let (part, resource) = match name.split_once('.') {
                    Some((part, resource)) => (part, resource),
                    None => ("requests", *name),
                };
                let set = container.pointer(&format!("/resources/{part}/{resource}"));
                let at_pod = pod.pointer(&format!("/spec/resources/{part}/{resource}"));
                if set.or(at_pod).is_none() {
                    lacking
                        .entry(name)
                        .or_default()
                        .push(str_at(container, "/name"));
                }
            }
        }
        if lacking.is_empty() {
            return None;
        }
        let all: Vec<String> = lacking
            .into_iter()
            .map(|(name, mut containers)| {
                containers.sort_unstable();
                format!("{name} for: {}", containers.join(","))
            })
            .collect();
        Some(format!("must specify {}", all.join("; ")))
    }

    /// What all of `objects` take of this quota: every hard name, zero where there is
    /// nothing.
    pub fn used<'a>(
        &self,
        objects: impl IntoIterator<Item = &'a Taken>,
        now: OffsetDateTime,
    ) -> Resources {
        let mut used: Resources = self
            .hard
            .keys()
            .map(|name| (name.clone(), Amount::default()))
            .collect();
        for taken in objects.into_iter().filter(|taken| self.in_scope(taken)) {
            for (name, amount) in taken.usage(now) {
                if let Some(slot) = used.get_mut(&name) {
                    *slot = *slot + amount;
                }
            }
        }
        used
    }

    /// Refuses what does not fit; amounts that do not grow always fit.
    ///
    /// # Errors
    /// The sentence upstream says: `exceeded quota: q, requested: pods=1, used: pods=2,
    /// limited: pods=2`.
    pub fn check(&self, used: &Resources, asked: &Resources) -> Result<(), String> {
        let zero = Quantity::default();
        let none = Amount::default();
        let exceeded: Vec<(&String, &Amount, &Amount)> = self
            .hard
            .iter()
            .filter_map(|(name, hard)| Some((name, hard, asked.get(name)?)))
            .filter(|(name, hard, more)| {
                let used = used.get(*name).unwrap_or(&none);
                more.quantity > zero && used.quantity + more.quantity > hard.quantity
            })
            .collect();
        if exceeded.is_empty() {
            return Ok(());
        }
        let join = |of: &dyn Fn(&(&String, &Amount, &Amount)) -> Amount| {
            let all: Vec<String> = exceeded
                .iter()
                .map(|one| format!("{}={}", one.0, of(one)))
                .collect();
            all.join(",")
        };
        Err(format!(
            "exceeded quota: {}, requested: {}, used: {}, limited: {}",
            self.name,
            join(&|(_, _, more)| **more),
            join(&|(name, _, _)| used.get(*name).copied().unwrap_or_default()),
            join(&|(_, hard, _)| **hard),
        ))
    }
}

impl Scope {
    fn holds(&self, pod: &PodScopes) -> bool {
        match self.name.as_str() {
            "Terminating" => pod.terminating,
            "NotTerminating" => !pod.terminating,
            "BestEffort" => pod.best_effort,
            "NotBestEffort" => !pod.best_effort,
            "CrossNamespacePodAffinity" => pod.crosses_namespaces,
            "PriorityClass" => {
                let (has, listed) = (
                    !pod.priority_class.is_empty(),
                    self.values.contains(&pod.priority_class),
                );
                match self.operator.as_str() {
                    "In" => has && listed,
                    "NotIn" => !listed,
                    "DoesNotExist" => !has,
                    _ => has,
                }
            }
            _ => false,
        }
    }
}

/// The change from `old` to `new`, name by name.
pub fn difference(new: &Resources, old: &Resources) -> Resources {
    let mut out = new.clone();
    for (name, amount) in old {
        let slot = out.entry(name.clone()).or_default();
        *slot = *slot - *amount;
    }
    out
}

/// A resource list as it stands in an object.
pub fn to_value(resources: &Resources) -> Value {
    let members: Map<String, Value> = resources
        .iter()
        .map(|(name, amount)| (name.clone(), json!(amount.to_string())))
        .collect();
    Value::Object(members)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::find;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn quota(spec: Value) -> Quota {
        Quota::of(&json!({"metadata": {"name": "q"}, "spec": spec}))
    }

    fn taken(plural: &str, object: &Value) -> Taken {
        Taken::of(find("", "v1", plural).unwrap(), object)
    }

    fn pod(resources: Value) -> Value {
        json!({"metadata": {"name": "p"},
            "spec": {"containers": [{"name": "c", "resources": resources}]}})
    }

    #[test]
    fn pods_count_by_number_and_by_size_until_they_end() {
        let p = pod(
            json!({"requests": {"cpu": "250m", "memory": "64Mi", "example.com/gpu": "1"},
            "limits": {"memory": "128Mi"}}),
        );
        let usage = taken("pods", &p).usage(NOW);
        let shown: Vec<String> = usage.iter().map(|(n, a)| format!("{n}={a}")).collect();
        assert_eq!(
            shown,
            [
                "count/pods=1",
                "cpu=250m",
                "limits.memory=128Mi",
                "memory=64Mi",
                "pods=1",
                "requests.cpu=250m",
                "requests.example.com/gpu=1",
                "requests.memory=64Mi"
            ]
        );
        let mut ended = p.clone();
        ended["status"] = json!({"phase": "Succeeded"});
        let usage = taken("pods", &ended).usage(NOW);
        assert_eq!(usage.keys().collect::<Vec<_>>(), ["count/pods"]);
        let mut lost = p;
        lost["metadata"]["deletionTimestamp"] = json!("1970-01-01T00:01:00Z");
        lost["metadata"]["deletionGracePeriodSeconds"] = json!(30);
        let lost = taken("pods", &lost);
        assert!(lost.usage(NOW).contains_key("pods"));
        let later = NOW + Duration::seconds(91);
        assert!(!lost.usage(later).contains_key("pods"));
    }

    #[test]
    fn services_and_claims_count_by_what_they_occupy() {
        let service = json!({"spec": {"type": "LoadBalancer", "ports": [{}, {}]}});
        let usage = taken("services", &service).usage(NOW);
        assert_eq!(usage["services.nodeports"], Amount::units(2));
        assert_eq!(usage["services.loadbalancers"], Amount::units(1));
        let claim = json!({"spec": {"storageClassName": "gold",
            "resources": {"requests": {"storage": "5Gi"}}}});
        let usage = taken("persistentvolumeclaims", &claim).usage(NOW);
        assert_eq!(usage["requests.storage"].to_string(), "5Gi");
        let name = "gold.storageclass.storage.k8s.io/requests.storage";
        assert_eq!(usage[name].to_string(), "5Gi");
    }

    #[test]
    fn every_name_leads_to_the_kind_it_counts() {
        for (name, kind) in [
            ("pods", Some(("", "pods"))),
            ("limits.cpu", Some(("", "pods"))),
            ("requests.storage", Some(("", "persistentvolumeclaims"))),
            ("requests.nvidia.com/gpu", Some(("", "pods"))),
            ("services.nodeports", Some(("", "services"))),
            ("configmaps", Some(("", "configmaps"))),
            ("count/jobs.batch", Some(("batch", "jobs"))),
            ("count/secrets", Some(("", "secrets"))),
            (
                "a.storageclass.storage.k8s.io/persistentvolumeclaims",
                Some(("", "persistentvolumeclaims")),
            ),
            ("example.com/thing", None),
        ] {
            assert_eq!(counts(name), kind, "{name}");
        }
    }

    #[test]
    fn the_refusal_names_only_what_is_exceeded() {
        let q = quota(json!({"hard": {"pods": "2", "requests.memory": "1Gi", "cpu": "9"}}));
        let asked = taken(
            "pods",
            &pod(json!({"requests": {"memory": "768Mi", "cpu": "1"}})),
        );
        let used = q.used([&asked], NOW);
        let refusal = q.check(&used, &asked.usage(NOW)).unwrap_err();
        assert_eq!(
            refusal,
            "exceeded quota: q, requested: requests.memory=768Mi, used: requests.memory=768Mi, limited: requests.memory=1Gi"
        );
        assert_eq!(q.check(&Resources::new(), &asked.usage(NOW)), Ok(()));
        // Smaller than before fits, however full the quota is.
        let less = difference(&Resources::new(), &asked.usage(NOW));
        assert_eq!(q.check(&used, &less), Ok(()));
    }

    #[test]
    fn a_pod_must_say_what_the_quota_limits() {
        let q = quota(json!({"hard": {"limits.cpu": "1", "cpu": "1", "pods": "5"}}));
        let p = pod(json!({"requests": {"cpu": "1"}}));
        assert!(q.covers(&taken("pods", &p)));
        assert_eq!(
            q.missing(&p).as_deref(),
            Some("must specify limits.cpu for: c")
        );
        assert_eq!(
            q.missing(&pod(json!({}))).as_deref(),
            Some("must specify cpu for: c; limits.cpu for: c")
        );
        let only = quota(json!({"hard": {"limits.cpu": "1"}}));
        assert!(only.covers(&taken("pods", &pod(json!({})))));
        assert!(!only.covers(&taken("secrets", &json!({}))));
    }

    #[test]
    fn scopes_choose_among_pods() {
        let best_effort = taken("pods", &pod(json!({})));
        let sized = taken("pods", &pod(json!({"requests": {"cpu": "1"}})));
        let mut timed = pod(json!({}));
        timed["spec"]["activeDeadlineSeconds"] = json!(60);
        timed["spec"]["priorityClassName"] = json!("high");
        let timed = taken("pods", &timed);
        let hard = json!({"pods": "1"});
        for (scopes, expected) in [
            (json!({"scopes": ["BestEffort"]}), [true, false, true]),
            (json!({"scopes": ["NotBestEffort"]}), [false, true, false]),
            (json!({"scopes": ["Terminating"]}), [false, false, true]),
            (
                json!({"scopes": ["NotTerminating", "BestEffort"]}),
                [true, false, false],
            ),
            (
                json!({"scopeSelector": {"matchExpressions": [
                    {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}}),
                [false, false, true],
            ),
        ] {
            let mut spec = scopes;
            spec["hard"] = hard.clone();
            let q = quota(spec.clone());
            let found = [&best_effort, &sized, &timed].map(|t| q.covers(t));
            assert_eq!(found, expected, "{spec}");
        }
        let scoped = quota(json!({"hard": {"secrets": "1"}, "scopes": ["BestEffort"]}));
        assert!(!scoped.covers(&taken("secrets", &json!({}))));
    }
}
