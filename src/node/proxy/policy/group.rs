//! Groups of pods that rules name: each is one set of addresses in the table, kept while a
//! rule needs it and changed by the pod.

use std::fmt;

use super::model::{Labels, NamespaceMatch, Pod, PodMatch};
use crate::services::short_hash;
use crate::table::{Item, Key, Protocol};

/// Which pods, and by what they stand in the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Absent: all pods.
    pub pods: Option<PodMatch>,
    /// With a named port: address, protocol and number, for pods that have it.
    pub port: Option<(Box<str>, Protocol)>,
    /// Only pods of this node.
    pub local: bool,
}

/// The same text for the same group, which is also what its set is named by.
impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(PodMatch { namespaces, pods }) = &self.pods {
            match namespaces {
                NamespaceMatch::Is(name) => write!(f, "in {name}: {pods}")?,
                NamespaceMatch::Labels(labels) => write!(f, "in [{labels}]: {pods}")?,
            }
        }
        if let Some((name, protocol)) = &self.port {
            write!(f, " port {name}/{protocol}")?;
        }
        f.write_str(if self.local { " here" } else { "" })
    }
}

impl Group {
    /// All pods of this node.
    pub const HERE: Self = Self {
        pods: None,
        port: None,
        local: true,
    };

    /// Name of its set.
    #[must_use]
    pub fn set(&self) -> String {
        if *self == Self::HERE {
            return "here".into();
        }
        format!("pods-{}", short_hash(&self.to_string()))
    }

    /// The set itself.
    #[must_use]
    pub fn declaration(&self) -> Item {
        let kind = match self.port {
            None => "type ipv4_addr",
            Some(_) => "type ipv4_addr . inet_proto . inet_service",
        };
        Item::set(&self.set(), kind)
    }

    /// By what a pod stands in the set: nothing if it is not in the group.
    #[must_use]
    pub fn keys(&self, namespace: &str, labels: Option<&Labels>, pod: &Pod) -> Vec<Key> {
        if self.local && !pod.local || !self.selects(namespace, labels, &pod.labels) {
            return Vec::new();
        }
        let Some((name, protocol)) = &self.port else {
            return vec![Key::Ip(pod.ip)];
        };
        let ports = pod.ports.iter();
        ports
            .filter(|(own, of, _)| own == name && of == protocol)
            .map(|(_, _, number)| Key::Text(format!("{} . {protocol} . {number}", pod.ip).into()))
            .collect()
    }

    /// Whether it depends on labels of namespaces.
    #[must_use]
    pub fn reads_namespaces(&self) -> bool {
        let pods = self.pods.as_ref();
        pods.is_some_and(|pods| matches!(pods.namespaces, NamespaceMatch::Labels(_)))
    }

    fn selects(&self, namespace: &str, namespace_labels: Option<&Labels>, pod: &Labels) -> bool {
        let Some(PodMatch { namespaces, pods }) = &self.pods else {
            return true;
        };
        let namespace = match namespaces {
            NamespaceMatch::Is(name) => **name == *namespace,
            // A namespace nobody has heard of yet has no labels to be chosen by.
            NamespaceMatch::Labels(labels) => {
                namespace_labels.is_some_and(|have| labels.matches(have))
            }
        };
        namespace && pods.matches(pod)
    }
}
