//! The table of served kinds. Serving another kind starts with a row here.

use super::{Field, Gv, Resource, Subresource};

const CORE_V1: Gv = Gv {
    group: "",
    version: "v1",
};
const CORE_V1BETA3: Gv = Gv {
    group: "",
    version: "v1beta3",
};
const COORDINATION_V1: Gv = Gv {
    group: "coordination.k8s.io",
    version: "v1",
};

/// Every verb of an ordinary resource, in the order discovery lists them.
const ALL_VERBS: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];
const NO_DELETE_COLLECTION: &[&str] = &[
    "create", "delete", "get", "list", "patch", "update", "watch",
];
const OLD_VERBS: &[&str] = &[
    "create", "delete", "get", "list", "patch", "update", "watch",
];
const STATUS_VERBS: &[&str] = &["get", "patch", "update"];

const fn status(kind: &'static str) -> Subresource {
    Subresource {
        name: "status",
        gv: CORE_V1,
        kind,
        verbs: STATUS_VERBS,
    }
}

const fn field(name: &'static str, paths: &'static [&'static str]) -> Field {
    Field {
        name,
        paths,
        absent: "",
    }
}

const fn flag(name: &'static str, paths: &'static [&'static str]) -> Field {
    Field {
        name,
        paths,
        absent: "false",
    }
}

const POD_SUBRESOURCES: &[Subresource] = &[
    Subresource {
        name: "binding",
        gv: CORE_V1,
        kind: "Binding",
        verbs: &["create"],
    },
    Subresource {
        name: "log",
        gv: CORE_V1,
        kind: "Pod",
        verbs: &["get"],
    },
    status("Pod"),
];

const POD_FIELDS: &[Field] = &[
    field("spec.nodeName", &["/spec/nodeName"]),
    field("spec.restartPolicy", &["/spec/restartPolicy"]),
    field("spec.schedulerName", &["/spec/schedulerName"]),
    field("spec.serviceAccountName", &["/spec/serviceAccountName"]),
    flag("spec.hostNetwork", &["/spec/hostNetwork"]),
    field("status.phase", &["/status/phase"]),
    field("status.podIP", &["/status/podIP"]),
    field("status.nominatedNodeName", &["/status/nominatedNodeName"]),
];

const EVENT_FIELDS: &[Field] = &[
    field("involvedObject.kind", &["/involvedObject/kind"]),
    field("involvedObject.namespace", &["/involvedObject/namespace"]),
    field("involvedObject.name", &["/involvedObject/name"]),
    field("involvedObject.uid", &["/involvedObject/uid"]),
    field("involvedObject.apiVersion", &["/involvedObject/apiVersion"]),
    field(
        "involvedObject.resourceVersion",
        &["/involvedObject/resourceVersion"],
    ),
    field("involvedObject.fieldPath", &["/involvedObject/fieldPath"]),
    field("reason", &["/reason"]),
    field("reportingComponent", &["/reportingComponent"]),
    field("source", &["/source/component", "/reportingComponent"]),
    field("type", &["/type"]),
];

/// A core v1 row with every usual verb; the rows below override what differs.
const fn core(
    kind: &'static str,
    list_kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    short_names: &'static [&'static str],
) -> Resource {
    Resource {
        gv: CORE_V1,
        kind,
        list_kind,
        plural,
        singular,
        namespaced: true,
        short_names,
        categories: &[],
        verbs: ALL_VERBS,
        subresources: &[],
        fields: &[],
        storage: CORE_V1,
    }
}

/// All rows. Versions of one group stand in order of preference.
pub static ALL: &[Resource] = &[
    core(
        "ConfigMap",
        "ConfigMapList",
        "configmaps",
        "configmap",
        &["cm"],
    ),
    core(
        "Endpoints",
        "EndpointsList",
        "endpoints",
        "endpoints",
        &["ep"],
    ),
    Resource {
        fields: EVENT_FIELDS,
        ..core("Event", "EventList", "events", "event", &["ev"])
    },
    Resource {
        namespaced: false,
        verbs: NO_DELETE_COLLECTION,
        subresources: &[
            Subresource {
                name: "finalize",
                gv: CORE_V1,
                kind: "Namespace",
                verbs: &["update"],
            },
            status("Namespace"),
        ],
        fields: &[field("status.phase", &["/status/phase"])],
        ..core(
            "Namespace",
            "NamespaceList",
            "namespaces",
            "namespace",
            &["ns"],
        )
    },
    Resource {
        namespaced: false,
        subresources: &[status("Node")],
        fields: &[flag("spec.unschedulable", &["/spec/unschedulable"])],
        ..core("Node", "NodeList", "nodes", "node", &["no"])
    },
    Resource {
        categories: &["all"],
        subresources: POD_SUBRESOURCES,
        fields: POD_FIELDS,
        ..core("Pod", "PodList", "pods", "pod", &["po"])
    },
    Resource {
        fields: &[field("type", &["/type"])],
        ..core("Secret", "SecretList", "secrets", "secret", &[])
    },
    core(
        "ServiceAccount",
        "ServiceAccountList",
        "serviceaccounts",
        "serviceaccount",
        &["sa"],
    ),
    Resource {
        categories: &["all"],
        subresources: &[status("Service")],
        fields: &[
            field("spec.clusterIP", &["/spec/clusterIP"]),
            field("spec.type", &["/spec/type"]),
        ],
        ..core("Service", "ServiceList", "services", "service", &["svc"])
    },
    Resource {
        gv: CORE_V1BETA3,
        verbs: OLD_VERBS,
        fields: POD_FIELDS,
        ..core("Pod", "PodList", "pods", "pod", &[])
    },
    Resource {
        gv: COORDINATION_V1,
        storage: COORDINATION_V1,
        ..core("Lease", "LeaseList", "leases", "lease", &[])
    },
];

/// Kinds of Kubernetes 1.36 that this cluster knows of but does not serve yet, so that an
/// error can say "not yet" instead of "no such thing": (group, plural).
pub static CATALOG: &[(&str, &str)] = &[
    ("", "limitranges"),
    ("", "persistentvolumeclaims"),
    ("", "persistentvolumes"),
    ("", "podtemplates"),
    ("", "replicationcontrollers"),
    ("", "resourcequotas"),
    ("apps", "controllerrevisions"),
    ("apps", "daemonsets"),
    ("apps", "deployments"),
    ("apps", "replicasets"),
    ("apps", "statefulsets"),
    ("autoscaling", "horizontalpodautoscalers"),
    ("batch", "cronjobs"),
    ("batch", "jobs"),
    ("discovery.k8s.io", "endpointslices"),
    ("networking.k8s.io", "ingresses"),
    ("networking.k8s.io", "networkpolicies"),
    ("policy", "poddisruptionbudgets"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "rolebindings"),
    ("rbac.authorization.k8s.io", "roles"),
    ("storage.k8s.io", "storageclasses"),
];
