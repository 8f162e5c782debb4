//! The table of served kinds. Serving another kind starts with a row here.

use std::sync::LazyLock;

use super::{Field, Gv, Resource, Subresource};

const CORE: Gv = gv("", "v1");
const APPS: Gv = gv("apps", "v1");
const BATCH: Gv = gv("batch", "v1");
const AUTOSCALING: Gv = gv("autoscaling", "v2");
const POLICY: Gv = gv("policy", "v1");
const NETWORKING: Gv = gv("networking.k8s.io", "v1");
const DISCOVERY: Gv = gv("discovery.k8s.io", "v1");
const STORAGE: Gv = gv("storage.k8s.io", "v1");
const SCHEDULING: Gv = gv("scheduling.k8s.io", "v1");
const COORDINATION: Gv = gv("coordination.k8s.io", "v1");
const RBAC: Gv = gv("rbac.authorization.k8s.io", "v1");
const AUTHENTICATION: Gv = gv("authentication.k8s.io", "v1");
const AUTHORIZATION: Gv = gv("authorization.k8s.io", "v1");
const EVENTS: Gv = gv("events.k8s.io", "v1");
const NODE: Gv = gv("node.k8s.io", "v1");
const CERTIFICATES: Gv = gv("certificates.k8s.io", "v1");
const ADMISSION: Gv = gv("admissionregistration.k8s.io", "v1");
const EXTENSIONS: Gv = gv("apiextensions.k8s.io", "v1");
const REGISTRATION: Gv = gv("apiregistration.k8s.io", "v1");
const METRICS: Gv = gv("metrics.k8s.io", "v1beta1");

const fn gv(group: &'static str, version: &'static str) -> Gv {
    Gv { group, version }
}

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
const READ: &[&str] = &["get", "list", "watch"];
const CREATE: &[&str] = &["create"];
const PART: &[&str] = &["get", "patch", "update"];
/// Streams open with either method: old clients POST, WebSockets can only GET.
const STREAM: &[&str] = &["create", "get"];
const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];

/// A row under construction; leaks its few computed names, once per program.
struct Row(Resource);

/// An ordinary namespaced resource with every verb.
fn row(gv: Gv, kind: &'static str, plural: &'static str) -> Row {
    Row(Resource {
        gv,
        kind,
        list_kind: format!("{kind}List").leak(),
        plural,
        singular: kind.to_lowercase().leak(),
        namespaced: true,
        short_names: &[],
        categories: &[],
        verbs: ALL_VERBS,
        subresources: &[],
        fields: &[],
        storage: gv,
        transient: false,
        stored_row: None,
        custom: None,
        history: "",
    })
}

/// A row for manifests of the past, converted at the edge: no short names, because kubectl
/// would call them ambiguous. `history` says since when it is the past.
fn old(
    gv: Gv,
    kind: &'static str,
    plural: &'static str,
    storage: Gv,
    history: &'static str,
) -> Row {
    let mut row = row(gv, kind, plural).part("status", kind, PART);
    row.0.verbs = NO_DELETE_COLLECTION;
    row.0.storage = storage;
    row.0.history = history;
    row
}

impl Row {
    fn cluster(mut self) -> Row {
        self.0.namespaced = false;
        self
    }

    fn short(mut self, names: &'static [&'static str]) -> Row {
        self.0.short_names = names;
        self
    }

    fn category(mut self, name: &'static str) -> Row {
        self.0.categories = vec![name].leak();
        self
    }

    fn verbs(mut self, verbs: &'static [&'static str]) -> Row {
        self.0.verbs = verbs;
        self
    }

    fn fields(mut self, fields: &[Field]) -> Row {
        self.0.fields = fields.to_vec().leak();
        self
    }

    /// Another version of the same objects, as current as the stored one.
    fn stored_as(mut self, storage: Gv) -> Row {
        self.0.storage = storage;
        self
    }

    /// Answered at once and never stored.
    fn transient(mut self) -> Row {
        self.0.transient = true;
        self.0.verbs = CREATE;
        self
    }

    fn status(self) -> Row {
        let kind = self.0.kind;
        self.part("status", kind, PART)
    }

    fn scale(self) -> Row {
        self.sub("scale", gv("autoscaling", "v1"), "Scale", PART)
    }

    /// A subresource whose body is of the resource's own version.
    fn part(self, name: &'static str, kind: &'static str, verbs: &'static [&'static str]) -> Row {
        let gv = self.0.gv;
        self.sub(name, gv, kind, verbs)
    }

    fn sub(
        mut self,
        name: &'static str,
        gv: Gv,
        kind: &'static str,
        verbs: &'static [&'static str],
    ) -> Row {
        let mut all = self.0.subresources.to_vec();
        all.push(Subresource {
            name,
            gv,
            kind,
            verbs,
        });
        self.0.subresources = all.leak();
        self
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

const fn count(name: &'static str, paths: &'static [&'static str]) -> Field {
    Field {
        name,
        paths,
        absent: "0",
    }
}

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

/// The paths are those of the stored form: by them a name is found that is the same thing.
const NEW_EVENT_FIELDS: &[Field] = &[
    field("regarding.kind", &["/involvedObject/kind"]),
    field("regarding.namespace", &["/involvedObject/namespace"]),
    field("regarding.name", &["/involvedObject/name"]),
    field("regarding.uid", &["/involvedObject/uid"]),
    field("regarding.apiVersion", &["/involvedObject/apiVersion"]),
    field(
        "regarding.resourceVersion",
        &["/involvedObject/resourceVersion"],
    ),
    field("regarding.fieldPath", &["/involvedObject/fieldPath"]),
    field("reason", &["/reason"]),
    field("reportingController", &["/reportingComponent"]),
    field("type", &["/type"]),
];

/// All rows, in discovery order. Versions of one group stand in order of preference, and
/// groups of the past behind those of today, because kubectl takes the first that fits.
pub static ALL: LazyLock<Vec<Resource>> = LazyLock::new(|| {
    let rows = core()
        .into_iter()
        .chain(workloads())
        .chain(cluster())
        .chain(access())
        .chain(past());
    rows.map(|row| row.0).collect()
});

fn core() -> Vec<Row> {
    vec![
        row(CORE, "Binding", "bindings").transient(),
        row(CORE, "ComponentStatus", "componentstatuses")
            .cluster()
            .short(&["cs"])
            .verbs(&["get", "list"]),
        row(CORE, "ConfigMap", "configmaps").short(&["cm"]),
        row(CORE, "Endpoints", "endpoints").short(&["ep"]),
        row(CORE, "Event", "events")
            .short(&["ev"])
            .fields(EVENT_FIELDS),
        row(CORE, "LimitRange", "limitranges").short(&["limits"]),
        row(CORE, "Namespace", "namespaces")
            .cluster()
            .short(&["ns"])
            .verbs(NO_DELETE_COLLECTION)
            .fields(&[field("status.phase", &["/status/phase"])])
            .part("finalize", "Namespace", &["update"])
            .status(),
        row(CORE, "Node", "nodes")
            .cluster()
            .short(&["no"])
            .fields(&[flag("spec.unschedulable", &["/spec/unschedulable"])])
            .part("proxy", "NodeProxyOptions", PROXY)
            .status(),
        row(CORE, "PersistentVolumeClaim", "persistentvolumeclaims")
            .short(&["pvc"])
            .status(),
        row(CORE, "PersistentVolume", "persistentvolumes")
            .cluster()
            .short(&["pv"])
            .status(),
        row(CORE, "Pod", "pods")
            .short(&["po"])
            .category("all")
            .fields(POD_FIELDS)
            .part("attach", "PodAttachOptions", STREAM)
            .part("binding", "Binding", CREATE)
            .part("ephemeralcontainers", "Pod", PART)
            .sub("eviction", POLICY, "Eviction", CREATE)
            .part("exec", "PodExecOptions", STREAM)
            .part("log", "Pod", &["get"])
            .part("portforward", "PodPortForwardOptions", STREAM)
            .part("proxy", "PodProxyOptions", PROXY)
            .part("resize", "Pod", PART)
            .status(),
        row(CORE, "PodTemplate", "podtemplates"),
        row(CORE, "ReplicationController", "replicationcontrollers")
            .short(&["rc"])
            .category("all")
            .fields(&[count("status.replicas", &["/status/replicas"])])
            .scale()
            .status(),
        row(CORE, "ResourceQuota", "resourcequotas")
            .short(&["quota"])
            .status(),
        row(CORE, "Secret", "secrets").fields(&[field("type", &["/type"])]),
        row(CORE, "ServiceAccount", "serviceaccounts")
            .short(&["sa"])
            .sub("token", AUTHENTICATION, "TokenRequest", CREATE),
        row(CORE, "Service", "services")
            .short(&["svc"])
            .category("all")
            .fields(&[
                field("spec.clusterIP", &["/spec/clusterIP"]),
                field("spec.type", &["/spec/type"]),
            ])
            .part("proxy", "ServiceProxyOptions", PROXY)
            .status(),
    ]
}

fn workloads() -> Vec<Row> {
    const REPLICAS: &[Field] = &[count("status.replicas", &["/status/replicas"])];
    const SUCCESS: &[Field] = &[count("status.successful", &["/status/succeeded"])];
    vec![
        row(APPS, "ControllerRevision", "controllerrevisions"),
        row(APPS, "DaemonSet", "daemonsets")
            .short(&["ds"])
            .category("all")
            .status(),
        row(APPS, "Deployment", "deployments")
            .short(&["deploy"])
            .category("all")
            .scale()
            .status(),
        row(APPS, "ReplicaSet", "replicasets")
            .short(&["rs"])
            .category("all")
            .fields(REPLICAS)
            .scale()
            .status(),
        row(APPS, "StatefulSet", "statefulsets")
            .short(&["sts"])
            .category("all")
            .scale()
            .status(),
        row(BATCH, "CronJob", "cronjobs")
            .short(&["cj"])
            .category("all")
            .status(),
        row(BATCH, "Job", "jobs")
            .category("all")
            .fields(SUCCESS)
            .status(),
        row(
            AUTOSCALING,
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
        )
        .short(&["hpa"])
        .category("all")
        .status(),
        row(
            gv("autoscaling", "v1"),
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
        )
        .short(&["hpa"])
        .category("all")
        .stored_as(AUTOSCALING)
        .status(),
        row(POLICY, "PodDisruptionBudget", "poddisruptionbudgets")
            .short(&["pdb"])
            .status(),
    ]
}

fn cluster() -> Vec<Row> {
    const SIGNER: &[Field] = &[field("spec.signerName", &["/spec/signerName"])];
    vec![
        row(NETWORKING, "IngressClass", "ingressclasses").cluster(),
        row(NETWORKING, "Ingress", "ingresses")
            .short(&["ing"])
            .status(),
        row(NETWORKING, "NetworkPolicy", "networkpolicies").short(&["netpol"]),
        row(DISCOVERY, "EndpointSlice", "endpointslices"),
        row(STORAGE, "CSIDriver", "csidrivers").cluster(),
        row(STORAGE, "CSINode", "csinodes").cluster(),
        row(STORAGE, "StorageClass", "storageclasses")
            .cluster()
            .short(&["sc"]),
        row(STORAGE, "VolumeAttachment", "volumeattachments")
            .cluster()
            .status(),
        row(SCHEDULING, "PriorityClass", "priorityclasses")
            .cluster()
            .short(&["pc"]),
        row(COORDINATION, "Lease", "leases"),
        row(EVENTS, "Event", "events")
            .short(&["ev"])
            .fields(NEW_EVENT_FIELDS)
            .stored_as(CORE),
        row(NODE, "RuntimeClass", "runtimeclasses").cluster(),
        row(
            CERTIFICATES,
            "CertificateSigningRequest",
            "certificatesigningrequests",
        )
        .cluster()
        .short(&["csr"])
        .fields(SIGNER)
        .part("approval", "CertificateSigningRequest", PART)
        .status(),
        row(
            ADMISSION,
            "MutatingWebhookConfiguration",
            "mutatingwebhookconfigurations",
        )
        .cluster()
        .category("api-extensions"),
        row(
            ADMISSION,
            "ValidatingWebhookConfiguration",
            "validatingwebhookconfigurations",
        )
        .cluster()
        .category("api-extensions"),
        row(
            EXTENSIONS,
            "CustomResourceDefinition",
            "customresourcedefinitions",
        )
        .cluster()
        .short(&["crd", "crds"])
        .category("api-extensions")
        .status(),
        row(REGISTRATION, "APIService", "apiservices")
            .cluster()
            .category("api-extensions")
            .verbs(READ)
            .part("status", "APIService", &["get"]),
        row(METRICS, "NodeMetrics", "nodes")
            .cluster()
            .verbs(&["get", "list"]),
        row(METRICS, "PodMetrics", "pods").verbs(&["get", "list"]),
    ]
}

fn access() -> Vec<Row> {
    vec![
        row(RBAC, "ClusterRoleBinding", "clusterrolebindings").cluster(),
        row(RBAC, "ClusterRole", "clusterroles").cluster(),
        row(RBAC, "RoleBinding", "rolebindings"),
        row(RBAC, "Role", "roles"),
        row(AUTHENTICATION, "SelfSubjectReview", "selfsubjectreviews")
            .cluster()
            .transient(),
        // kubectl 1.27 knows no newer form for `auth whoami`.
        row(
            gv("authentication.k8s.io", "v1beta1"),
            "SelfSubjectReview",
            "selfsubjectreviews",
        )
        .cluster()
        .transient()
        .stored_as(AUTHENTICATION),
        row(AUTHENTICATION, "TokenReview", "tokenreviews")
            .cluster()
            .transient(),
        row(
            AUTHORIZATION,
            "LocalSubjectAccessReview",
            "localsubjectaccessreviews",
        )
        .transient(),
        row(
            AUTHORIZATION,
            "SelfSubjectAccessReview",
            "selfsubjectaccessreviews",
        )
        .cluster()
        .transient(),
        row(
            AUTHORIZATION,
            "SelfSubjectRulesReview",
            "selfsubjectrulesreviews",
        )
        .cluster()
        .transient(),
        row(AUTHORIZATION, "SubjectAccessReview", "subjectaccessreviews")
            .cluster()
            .transient(),
    ]
}

/// Versions of old blog posts and books. The years are those of the release that stopped
/// serving them.
fn past() -> Vec<Row> {
    const BETA3: Gv = gv("", "v1beta3");
    const EXT: Gv = gv("extensions", "v1beta1");
    const APPS2: Gv = gv("apps", "v1beta2");
    const APPS1: Gv = gv("apps", "v1beta1");
    const RBAC1: Gv = gv("rbac.authorization.k8s.io", "v1beta1");
    const YEAR_2015: &str = "deprecated since Kubernetes 1.0 (2015)";
    const V1_16: &str = "deprecated since Kubernetes 1.9 and gone since 1.16 (2019)";
    const V1_22: &str = "deprecated since Kubernetes 1.19 and gone since 1.22 (2021)";
    const RBAC_PAST: &str = "deprecated since Kubernetes 1.17 and gone since 1.22 (2021)";
    const V1_25: &str = "deprecated since Kubernetes 1.21 and gone since 1.25 (2022)";
    const V1_26: &str = "deprecated since Kubernetes 1.23 and gone since 1.26 (2022)";
    const HPA: &str = "HorizontalPodAutoscaler";
    vec![
        old(BETA3, "Pod", "pods", CORE, YEAR_2015).fields(POD_FIELDS),
        old(
            BETA3,
            "ReplicationController",
            "replicationcontrollers",
            CORE,
            YEAR_2015,
        )
        .scale(),
        old(BETA3, "Service", "services", CORE, YEAR_2015),
        old(EXT, "DaemonSet", "daemonsets", APPS, V1_16),
        old(EXT, "Deployment", "deployments", APPS, V1_16).scale(),
        old(EXT, "Ingress", "ingresses", NETWORKING, V1_22),
        old(EXT, "ReplicaSet", "replicasets", APPS, V1_16).scale(),
        old(APPS2, "DaemonSet", "daemonsets", APPS, V1_16),
        old(APPS2, "Deployment", "deployments", APPS, V1_16).scale(),
        old(APPS2, "ReplicaSet", "replicasets", APPS, V1_16).scale(),
        old(APPS2, "StatefulSet", "statefulsets", APPS, V1_16).scale(),
        old(APPS1, "Deployment", "deployments", APPS, V1_16).scale(),
        old(APPS1, "StatefulSet", "statefulsets", APPS, V1_16).scale(),
        old(gv("batch", "v1beta1"), "CronJob", "cronjobs", BATCH, V1_25),
        old(
            gv("networking.k8s.io", "v1beta1"),
            "Ingress",
            "ingresses",
            NETWORKING,
            V1_22,
        ),
        old(
            gv("policy", "v1beta1"),
            "PodDisruptionBudget",
            "poddisruptionbudgets",
            POLICY,
            V1_25,
        ),
        old(
            gv("autoscaling", "v2beta2"),
            HPA,
            "horizontalpodautoscalers",
            AUTOSCALING,
            V1_26,
        ),
        old(
            RBAC1,
            "ClusterRoleBinding",
            "clusterrolebindings",
            RBAC,
            RBAC_PAST,
        )
        .cluster(),
        old(RBAC1, "ClusterRole", "clusterroles", RBAC, RBAC_PAST).cluster(),
        old(RBAC1, "RoleBinding", "rolebindings", RBAC, RBAC_PAST),
        old(RBAC1, "Role", "roles", RBAC, RBAC_PAST),
    ]
}
