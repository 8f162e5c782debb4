//! What only NetworkPolicies need: the pods and namespaces of the whole cluster.

use k8s_openapi::api::core::v1::{Namespace, Pod as ApiPod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::core::{ApiResource, PartialObjectMeta};
use kube::runtime::watcher;
use kube::runtime::watcher::Event;
use kube::{Api, ResourceExt as _};
use tokio_util::sync::CancellationToken;

use super::listing::{Listing, Step};
use super::{Change, Proxy, name_of};
use crate::policy::{Pod, PodObject, Policy};
use crate::services::{ObjectName, Service};

/// The cluster's DNS, wherever it runs, is this Service.
const DNS_SERVICE: (&str, &str) = ("kube-system", "kube-dns");
/// Under which policies know it: no name a pod could have.
const DNS_POD: &str = "kube-dns/";

impl Proxy {
    /// A node may answer for the cluster's DNS itself. Policies name the pods that do so
    /// elsewhere, and mean it.
    pub(super) fn note_dns(&mut self, name: &ObjectName, service: Option<&Service>) {
        if (&*name.0, &*name.1) == DNS_SERVICE {
            let server = service.map(|service| Pod::dns(service.cluster_ip));
            let name = (name.0.clone(), DNS_POD.into());
            self.policies.set_pod(&name, server, &mut self.table);
        }
    }

    pub(super) fn take_policy(&mut self, event: Event<NetworkPolicy>) {
        match self.listed_policies.step(event, name_of) {
            Step::Set(object) => {
                let policy = Policy::read(&object);
                self.policies.set_policy(&name_of(&object), policy);
            }
            Step::Gone(object) => self.policies.set_policy(&name_of(&object), None),
            Step::Rest => {
                let known = self.policies.policy_names().cloned();
                for name in self.listed_policies.rest(known) {
                    self.policies.set_policy(&name, None);
                }
            }
            Step::Nothing => {}
        }
    }

    /// Pods and namespaces of the whole cluster are watched only for policies. Called once for
    /// many changes: a policy that follows the last one at once finds everything in place.
    pub(super) fn follow_peers(&mut self) {
        match (&self.peers, self.policies.is_empty()) {
            (None, false) => {
                let token = CancellationToken::new();
                let namespaces = Api::<PartialObjectMeta<Namespace>>::all(self.client.clone());
                let namespaces = watcher(namespaces, watcher::Config::default());
                self.watch(namespaces, Change::Namespace, Some(&token));
                // Only a few fields of each are read.
                let kind = ApiResource::erase::<ApiPod>(&());
                let pods = Api::<PodObject>::all_with(self.client.clone(), &kind);
                let pods = watcher(pods, watcher::Config::default());
                self.watch(pods, Change::Pod, Some(&token));
                self.peers = Some(token);
            }
            (Some(token), true) => {
                token.cancel();
                self.peers = None;
                self.listed_namespaces = Listing::default();
                self.listed_pods = Listing::default();
                let pods: Vec<ObjectName> = real(self.policies.pod_names()).collect();
                for name in pods {
                    self.policies.set_pod(&name, None, &mut self.table);
                }
                let namespaces: Vec<Box<str>> =
                    self.policies.namespace_names().map(Box::from).collect();
                for name in namespaces {
                    self.policies.set_namespace(&name, None, &mut self.table);
                }
            }
            _ => {}
        }
    }

    pub(super) fn take_namespace(&mut self, event: Event<PartialObjectMeta<Namespace>>) {
        if self.peers.is_none() {
            return;
        }
        let name = |object: &PartialObjectMeta<Namespace>| Box::from(object.name_any());
        match self.listed_namespaces.step(event, name) {
            Step::Set(object) => {
                let labels = Some(object.labels().clone());
                let table = &mut self.table;
                self.policies.set_namespace(&name(&object), labels, table);
            }
            Step::Gone(object) => {
                let table = &mut self.table;
                self.policies.set_namespace(&name(&object), None, table);
            }
            Step::Rest => {
                let known = self.policies.namespace_names().map(Box::from);
                for name in self.listed_namespaces.rest(known) {
                    self.policies.set_namespace(&name, None, &mut self.table);
                }
            }
            Step::Nothing => {}
        }
    }

    pub(super) fn take_pod(&mut self, event: Event<PodObject>) {
        if self.peers.is_none() {
            return;
        }
        let table = &mut self.table;
        match self.listed_pods.step(event, name_of) {
            Step::Set(object) => {
                let pod = Pod::read(&object, &self.place.node);
                self.policies.set_pod(&name_of(&object), pod, table);
            }
            Step::Gone(object) => self.policies.set_pod(&name_of(&object), None, table),
            Step::Rest => {
                let known = real(self.policies.pod_names());
                for name in self.listed_pods.rest(known) {
                    self.policies.set_pod(&name, None, table);
                }
            }
            Step::Nothing => {}
        }
    }
}

/// Without the one that stands for the cluster's DNS.
fn real<'a>(pods: impl Iterator<Item = &'a ObjectName>) -> impl Iterator<Item = ObjectName> {
    pods.filter(|(_, name)| **name != *DNS_POD).cloned()
}
