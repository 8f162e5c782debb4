//! NetworkPolicies, and the pods of this node they are for.
//!
//! While there is any policy, connections of this node's pods meet the hooks. The policy
//! itself costs something only while it selects one of those pods: then the groups of pods
//! its rules name become sets, which change by the pod.

mod group;
mod model;
mod rules;
#[cfg(test)]
#[path = "tests.rs"]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;
use std::ops::Bound;
use std::sync::Arc;

pub use model::{Labels, Pod, PodObject, Policy};

use group::Group;
use rules::{Allowed, Direction, isolate};

use crate::services::ObjectName;
use crate::table::{Fragment, Item, Table};

/// A policy and its rules.
#[derive(Debug)]
struct Known {
    policy: Policy,
    ingress: Option<Allowed>,
    egress: Option<Allowed>,
}

/// A pod of this node with policies.
#[derive(Debug, Default)]
struct Isolated {
    fragment: Fragment,
    groups: Vec<Group>,
}

/// See the file's head.
#[derive(Debug, Default)]
pub struct Policies {
    /// All pods of the cluster, sorted by namespace.
    pods: BTreeMap<ObjectName, Pod>,
    /// Labels many pods have in common, once.
    labels: HashSet<Arc<Labels>>,
    namespaces: HashMap<Box<str>, Labels>,
    policies: BTreeMap<ObjectName, Known>,
    isolated: HashMap<ObjectName, Isolated>,
    /// In force while there are policies.
    hooks: Fragment,
    /// The pod of this node that has an address: the one heard of last.
    addresses: HashMap<Ipv4Addr, ObjectName>,
    /// Groups in use by their texts, and by how many pods.
    groups: BTreeMap<String, (Group, usize)>,
    /// Pods of this node to look at again.
    dirty: BTreeSet<ObjectName>,
}

impl Policies {
    /// Whether there is any policy in the cluster; without one, pods need not be watched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// A policy is so now, or is gone.
    pub fn set_policy(&mut self, name: &ObjectName, policy: Option<Policy>) {
        let known = self.policies.get(name).map(|known| &known.policy);
        if known == policy.as_ref() {
            return;
        }
        match policy {
            None => {
                self.policies.remove(name);
            }
            Some(policy) => {
                let known = Known {
                    ingress: Allowed::by(&policy, Direction::Ingress),
                    egress: Allowed::by(&policy, Direction::Egress),
                    policy,
                };
                self.policies.insert(name.clone(), known);
            }
        }
        let local: Vec<ObjectName> = self
            .in_namespace(&name.0)
            .filter(|(_, pod)| pod.local)
            .map(|(name, _)| name.clone())
            .collect();
        self.dirty.extend(local);
    }

    /// The labels of a namespace are so now, or it is gone.
    pub fn set_namespace(&mut self, name: &str, labels: Option<Labels>, table: &mut Table) {
        let before = self.namespaces.get(name);
        if before == labels.as_ref() {
            return;
        }
        for (group, _) in self.groups.values().filter(|(g, _)| g.reads_namespaces()) {
            let pods = in_namespace(&self.pods, name);
            for (_, pod) in pods {
                let old = members(group, name, before, pod);
                let new = members(group, name, labels.as_ref(), pod);
                exchange(table, &old, new);
            }
        }
        match labels {
            Some(labels) => self.namespaces.insert(name.into(), labels),
            None => self.namespaces.remove(name),
        };
    }

    /// A pod is so now, or is gone or of no concern.
    pub fn set_pod(&mut self, name: &ObjectName, pod: Option<Pod>, table: &mut Table) {
        let pod = pod.map(|mut pod| {
            pod.labels = self.share(&pod.labels);
            pod
        });
        let before = self.pods.get(name);
        if before == pod.as_ref() {
            return;
        }
        let labels = self.namespaces.get(&name.0);
        for (group, _) in self.groups.values() {
            let of = |pod: Option<&Pod>| {
                pod.map(|pod| members(group, &name.0, labels, pod))
                    .unwrap_or_default()
            };
            exchange(table, &of(before), of(pod.as_ref()));
        }
        let before = match pod {
            Some(pod) => {
                if pod.local {
                    if let Some(other) = self.addresses.insert(pod.ip, name.clone()) {
                        self.dirty.insert(other);
                    }
                    self.dirty.insert(name.clone());
                }
                self.pods.insert(name.clone(), pod)
            }
            None => self.pods.remove(name),
        };
        if let Some(before) = before {
            let now = self.pods.get(name).map(|pod| pod.ip);
            if now != Some(before.ip) && self.addresses.get(&before.ip) == Some(name) {
                self.addresses.remove(&before.ip);
            }
            if before.local {
                self.dirty.insert(name.clone());
            }
            self.forget(before.labels);
        }
    }

    /// Names of all pods.
    pub fn pod_names(&self) -> impl Iterator<Item = &ObjectName> {
        self.pods.keys()
    }

    /// Names of all policies.
    pub fn policy_names(&self) -> impl Iterator<Item = &ObjectName> {
        self.policies.keys()
    }

    /// Names of all namespaces.
    pub fn namespace_names(&self) -> impl Iterator<Item = &str> {
        self.namespaces.keys().map(|name| &**name)
    }

    /// Brings the table up to date with all that was set.
    pub fn refresh(&mut self, table: &mut Table) {
        let hooks = match self.is_empty() {
            true => Fragment::default(),
            false => rules::hooks(),
        };
        if hooks != self.hooks {
            table.replace(&self.hooks, &hooks);
            self.hooks = hooks;
            match self.is_empty() {
                true => self.leave_group(&Group::HERE, table),
                false => self.use_group(&Group::HERE, table),
            }
        }
        for name in std::mem::take(&mut self.dirty) {
            let new = self.isolation(&name);
            let old = self.isolated.remove(&name).unwrap_or_default();
            table.replace(&old.fragment, &new.fragment);
            for group in &new.groups {
                self.use_group(group, table);
            }
            for group in &old.groups {
                self.leave_group(group, table);
            }
            if new.fragment != Fragment::default() {
                self.isolated.insert(name, new);
            }
        }
    }

    /// What a pod's policies make of it.
    fn isolation(&self, name: &ObjectName) -> Isolated {
        let mut new = Isolated::default();
        let Some(pod) = self.pods.get(name).filter(|pod| pod.local) else {
            return new;
        };
        if self.addresses.get(&pod.ip) != Some(name) {
            return new;
        }
        let own: Vec<&Known> = in_namespace(&self.policies, &name.0)
            .map(|(_, known)| known)
            .filter(|known| known.policy.pods.matches(&pod.labels))
            .collect();
        for direction in Direction::ALL {
            let by: Vec<&Allowed> = own
                .iter()
                .filter_map(|known| match direction {
                    Direction::Ingress => known.ingress.as_ref(),
                    Direction::Egress => known.egress.as_ref(),
                })
                .collect();
            if by.is_empty() {
                continue;
            }
            isolate(&mut new.fragment, pod.ip, direction, &by);
            for group in by.iter().flat_map(|allowed| &allowed.groups) {
                if !new.groups.contains(group) {
                    new.groups.push(group.clone());
                }
            }
        }
        new
    }

    fn use_group(&mut self, group: &Group, table: &mut Table) {
        let entry = self.groups.entry(group.to_string());
        let (_, uses) = entry.or_insert_with(|| (group.clone(), 0));
        *uses += 1;
        if *uses == 1 {
            for item in self.all_members(group) {
                table.add(item);
            }
        }
    }

    fn leave_group(&mut self, group: &Group, table: &mut Table) {
        let text = group.to_string();
        let Some((_, uses)) = self.groups.get_mut(&text) else {
            return;
        };
        *uses -= 1;
        if *uses == 0 {
            self.groups.remove(&text);
            for item in self.all_members(group) {
                table.remove(&item);
            }
        }
    }

    fn all_members(&self, group: &Group) -> Vec<Item> {
        let pods = self.pods.iter();
        pods.flat_map(|((namespace, _), pod)| {
            members(group, namespace, self.namespaces.get(namespace), pod)
        })
        .collect()
    }

    fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = (&ObjectName, &Pod)> {
        in_namespace(&self.pods, namespace)
    }

    fn share(&mut self, labels: &Arc<Labels>) -> Arc<Labels> {
        if let Some(known) = self.labels.get(labels) {
            return known.clone();
        }
        self.labels.insert(labels.clone());
        labels.clone()
    }

    fn forget(&mut self, labels: Arc<Labels>) {
        // Ours and the table's own.
        if Arc::strong_count(&labels) == 2 {
            self.labels.remove(&labels);
        }
    }
}

fn in_namespace<'a, V>(
    all: &'a BTreeMap<ObjectName, V>,
    namespace: &str,
) -> impl Iterator<Item = (&'a ObjectName, &'a V)> {
    let start: ObjectName = (namespace.into(), "".into());
    let namespace = namespace.to_owned();
    all.range((Bound::Included(start), Bound::Unbounded))
        .take_while(move |((own, _), _)| **own == *namespace)
}

fn members(group: &Group, namespace: &str, labels: Option<&Labels>, pod: &Pod) -> Vec<Item> {
    let keys = group.keys(namespace, labels, pod);
    let set = if keys.is_empty() {
        String::new()
    } else {
        group.set()
    };
    keys.into_iter()
        .map(|key| Item::member(&set, key))
        .collect()
}

/// The new ones first: what stays is not touched.
fn exchange(table: &mut Table, old: &[Item], new: Vec<Item>) {
    if old == new {
        return;
    }
    for item in new {
        table.add(item);
    }
    for item in old {
        table.remove(item);
    }
}
