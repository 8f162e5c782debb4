//! The kinds that are asked about or looked at, their names and where the API has them.

use std::fmt;

/// A kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Pod,
    Deployment,
    ReplicaSet,
    ReplicationController,
    StatefulSet,
    DaemonSet,
    Job,
    CronJob,
    Service,
    Ingress,
    Claim,
    Node,
    Autoscaler,
    Event,
    EndpointSlice,
    Volume,
    StorageClass,
    NetworkPolicy,
    IngressClass,
}

struct Row {
    kind: Kind,
    /// As users write it, and further names that kubectl knows.
    names: &'static [&'static str],
    /// As owner references and events write it.
    word: &'static str,
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    is_namespaced: bool,
    /// Whether `cadet why` answers for it.
    can_ask: bool,
}

const fn row(
    kind: Kind,
    names: &'static [&'static str],
    word: &'static str,
    (group, version): (&'static str, &'static str),
    plural: &'static str,
) -> Row {
    Row {
        kind,
        names,
        word,
        group,
        version,
        plural,
        is_namespaced: true,
        can_ask: true,
    }
}

const fn of_cluster(row: Row) -> Row {
    Row {
        is_namespaced: false,
        ..row
    }
}

const fn looked_at(row: Row) -> Row {
    Row {
        can_ask: false,
        ..row
    }
}

const CORE: (&str, &str) = ("", "v1");
const APPS: (&str, &str) = ("apps", "v1");
const BATCH: (&str, &str) = ("batch", "v1");
const NET: (&str, &str) = ("networking.k8s.io", "v1");

#[rustfmt::skip]
const ROWS: &[Row] = &[
    row(Kind::Pod, &["pod", "po"], "Pod", CORE, "pods"),
    row(Kind::Deployment, &["deployment", "deploy"], "Deployment", APPS, "deployments"),
    row(Kind::ReplicaSet, &["replicaset", "rs"], "ReplicaSet", APPS, "replicasets"),
    row(Kind::ReplicationController, &["replicationcontroller", "rc"], "ReplicationController", CORE, "replicationcontrollers"),
    row(Kind::StatefulSet, &["statefulset", "sts"], "StatefulSet", APPS, "statefulsets"),
    row(Kind::DaemonSet, &["daemonset", "ds"], "DaemonSet", APPS, "daemonsets"),
    row(Kind::Job, &["job"], "Job", BATCH, "jobs"),
    row(Kind::CronJob, &["cronjob", "cj"], "CronJob", BATCH, "cronjobs"),
    row(Kind::Service, &["service", "svc"], "Service", CORE, "services"),
    row(Kind::Ingress, &["ingress", "ing"], "Ingress", NET, "ingresses"),
    row(Kind::Claim, &["pvc", "persistentvolumeclaim"], "PersistentVolumeClaim", CORE, "persistentvolumeclaims"),
    of_cluster(row(Kind::Node, &["node", "no"], "Node", CORE, "nodes")),
    row(Kind::Autoscaler, &["hpa", "horizontalpodautoscaler"], "HorizontalPodAutoscaler", ("autoscaling", "v2"), "horizontalpodautoscalers"),
    looked_at(row(Kind::Event, &["event", "ev"], "Event", CORE, "events")),
    looked_at(row(Kind::EndpointSlice, &["endpointslice"], "EndpointSlice", ("discovery.k8s.io", "v1"), "endpointslices")),
    looked_at(of_cluster(row(Kind::Volume, &["pv", "persistentvolume"], "PersistentVolume", CORE, "persistentvolumes"))),
    looked_at(of_cluster(row(Kind::StorageClass, &["sc", "storageclass"], "StorageClass", ("storage.k8s.io", "v1"), "storageclasses"))),
    looked_at(row(Kind::NetworkPolicy, &["netpol", "networkpolicy"], "NetworkPolicy", NET, "networkpolicies")),
    looked_at(of_cluster(row(Kind::IngressClass, &["ingressclass"], "IngressClass", NET, "ingressclasses"))),
];

impl Kind {
    fn row(self) -> &'static Row {
        ROWS.iter()
            .find(|row| row.kind == self)
            .expect("every kind has a row; a test looks")
    }

    /// By any name that kubectl takes: `po`, `pods`, `deployments.apps`, `Deployment`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Kind> {
        let lower = text.to_ascii_lowercase();
        let (name, group) = lower.split_once('.').unwrap_or((&lower, ""));
        let row = ROWS.iter().find(|row| {
            row.plural == name
                || row
                    .names
                    .iter()
                    .any(|known| *known == name || name.strip_suffix('s') == Some(*known))
        })?;
        // `deployments.v1.apps` names the version as well.
        let fits = match row.group {
            "" => matches!(group, "" | "v1"),
            known => group.is_empty() || group == known || group.ends_with(&format!(".{known}")),
        };
        fits.then_some(row.kind)
    }

    /// The kind that an owner reference or an event calls so.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Kind> {
        ROWS.iter().find(|row| row.word == word).map(|row| row.kind)
    }

    /// As users write it: `pod`, `pvc`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().names[0]
    }

    /// As manifests write it.
    #[must_use]
    pub fn word(self) -> &'static str {
        self.row().word
    }

    /// `pods`, as commands have it.
    #[must_use]
    pub fn plural(self) -> &'static str {
        self.row().plural
    }

    #[must_use]
    pub fn is_namespaced(self) -> bool {
        self.row().is_namespaced
    }

    /// Whether `cadet why` answers for it.
    #[must_use]
    pub fn can_be_asked(self) -> bool {
        self.row().can_ask
    }

    /// Names of all kinds that can be asked about, for a message.
    pub fn askable() -> impl Iterator<Item = &'static str> {
        ROWS.iter()
            .filter(|row| row.can_ask)
            .map(|row| row.names[0])
    }

    /// Path of the list of a namespace; "" is all namespaces.
    #[must_use]
    pub fn path(self, namespace: &str) -> String {
        let row = self.row();
        let root = match row.group {
            "" => format!("/api/{}", row.version),
            group => format!("/apis/{group}/{}", row.version),
        };
        match namespace {
            "" => format!("{root}/{}", row.plural),
            _ if !row.is_namespaced => format!("{root}/{}", row.plural),
            _ => format!("{root}/namespaces/{namespace}/{}", row.plural),
        }
    }
}

/// One object that is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub kind: Kind,
    /// "" for kinds without.
    pub namespace: String,
    pub name: String,
}

/// Why words name no target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadTarget {
    /// No such kind, or none that can be explained.
    Kind(String),
    /// Not of the form KIND/NAME or KIND NAME.
    Form(String),
}

impl fmt::Display for BadTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadTarget::Kind(kind) => write!(f, "{kind:?} is no kind that can be explained"),
            BadTarget::Form(text) => write!(f, "{text:?} names no object"),
        }
    }
}

impl std::error::Error for BadTarget {}

impl Target {
    #[must_use]
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Target {
        let namespace = if kind.is_namespaced() { namespace } else { "" };
        Target {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// Reads `pod/web`, `pod web`, or `web`, which is a pod.
    ///
    /// # Errors
    /// [`BadTarget`].
    pub fn parse(words: &[String], namespace: &str) -> Result<Target, BadTarget> {
        let whole = || BadTarget::Form(words.join(" "));
        let (kind, name) = match words {
            [one] => one.split_once('/').unwrap_or(("pod", one)),
            [kind, name] => (kind.as_str(), name.as_str()),
            _ => return Err(whole()),
        };
        if name.is_empty() || name.contains(['/', '?', '#', '%', ' ']) {
            return Err(whole());
        }
        let known = Kind::parse(kind).filter(|kind| kind.can_be_asked());
        let known = known.ok_or_else(|| BadTarget::Kind(kind.to_owned()))?;
        Ok(Target::new(known, namespace, name))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.name(), self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn every_name_of_kubectl_is_understood() {
        for (text, kind) in [
            ("po", Kind::Pod),
            ("pods", Kind::Pod),
            ("Pod", Kind::Pod),
            ("deploy", Kind::Deployment),
            ("deployments.apps", Kind::Deployment),
            ("deployment.v1.apps", Kind::Deployment),
            ("rs", Kind::ReplicaSet),
            ("rc", Kind::ReplicationController),
            ("sts", Kind::StatefulSet),
            ("ds", Kind::DaemonSet),
            ("jobs", Kind::Job),
            ("cj", Kind::CronJob),
            ("svc", Kind::Service),
            ("ing", Kind::Ingress),
            ("ingresses", Kind::Ingress),
            ("pvc", Kind::Claim),
            ("persistentvolumeclaims", Kind::Claim),
            ("no", Kind::Node),
            ("hpa", Kind::Autoscaler),
        ] {
            assert_eq!(Kind::parse(text), Some(kind), "{text}");
        }
        assert_eq!(Kind::parse("deployments.example.com"), None);
        assert_eq!(Kind::parse("secret"), None);
    }

    #[test]
    fn targets_are_read_in_both_forms_or_refused() {
        let pod = Target::new(Kind::Pod, "shop", "web");
        for text in ["web", "pod/web", "pod web", "po/web"] {
            assert_eq!(
                Target::parse(&words(text), "shop"),
                Ok(pod.clone()),
                "{text}"
            );
        }
        let node = Target::parse(&words("node/n1"), "shop").unwrap();
        assert_eq!(
            (node.namespace.as_str(), node.to_string().as_str()),
            ("", "node/n1")
        );
        for text in ["pod/", "pod a b", "pod/a/b", "a b c", "pod/a?x"] {
            let read = Target::parse(&words(text), "shop");
            assert!(matches!(read, Err(BadTarget::Form(_))), "{text}");
        }
        for text in ["secret/a", "events/a", "rose/a"] {
            let read = Target::parse(&words(text), "shop");
            assert!(matches!(read, Err(BadTarget::Kind(_))), "{text}");
        }
    }

    #[test]
    fn paths_are_those_of_the_api() {
        assert_eq!(Kind::Pod.path("a"), "/api/v1/namespaces/a/pods");
        assert_eq!(Kind::Pod.path(""), "/api/v1/pods");
        assert_eq!(Kind::Node.path("a"), "/api/v1/nodes");
        assert_eq!(
            Kind::Ingress.path("a"),
            "/apis/networking.k8s.io/v1/namespaces/a/ingresses"
        );
        for row in ROWS {
            assert_eq!(Kind::of_word(row.word), Some(row.kind));
            assert_eq!(row.kind.row().word, row.word);
        }
    }
}
