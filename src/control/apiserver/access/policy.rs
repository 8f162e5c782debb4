//! The roles and bindings every cluster has, as upstream's bootstrap policy has them.

use serde_json::{Value, json};

fn rule(verbs: &[&str], groups: &[&str], resources: &[&str]) -> Value {
    json!({"verbs": verbs, "apiGroups": groups, "resources": resources})
}

fn role(name: &str, rules: Vec<Value>) -> Value {
    json!({
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
            "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
        },
        "rules": rules,
    })
}

/// A role for people, to which others add rules by a label.
fn aggregated(name: &str, label: &str, rules: Vec<Value>) -> Value {
    let mut role = role(name, rules);
    let key = format!("rbac.authorization.k8s.io/{label}");
    role["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {key: "true"}}]});
    role
}

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "delete", "deletecollection", "patch", "update"];

/// What `view` reads: everything in a namespace but secrets and roles.
fn viewing(verbs: &[&str]) -> Vec<Value> {
    vec![
        rule(
            verbs,
            &[""],
            &[
                "bindings",
                "configmaps",
                "endpoints",
                "events",
                "limitranges",
                "namespaces",
                "namespaces/status",
                "persistentvolumeclaims",
                "persistentvolumeclaims/status",
                "pods",
                "pods/log",
                "pods/status",
                "replicationcontrollers",
                "replicationcontrollers/scale",
                "replicationcontrollers/status",
                "resourcequotas",
                "resourcequotas/status",
                "serviceaccounts",
                "services",
                "services/status",
            ],
        ),
        rule(
            verbs,
            &["apps", "extensions"],
            &[
                "controllerrevisions",
                "daemonsets",
                "daemonsets/status",
                "deployments",
                "deployments/scale",
                "deployments/status",
                "ingresses",
                "replicasets",
                "replicasets/scale",
                "replicasets/status",
                "statefulsets",
                "statefulsets/scale",
                "statefulsets/status",
            ],
        ),
        rule(
            verbs,
            &["autoscaling", "batch", "policy"],
            &[
                "cronjobs",
                "cronjobs/status",
                "horizontalpodautoscalers",
                "horizontalpodautoscalers/status",
                "jobs",
                "jobs/status",
                "poddisruptionbudgets",
                "poddisruptionbudgets/status",
            ],
        ),
        rule(
            verbs,
            &["networking.k8s.io", "discovery.k8s.io"],
            &[
                "endpointslices",
                "ingresses",
                "ingresses/status",
                "networkpolicies",
            ],
        ),
    ]
}

/// What `edit` writes beyond what it reads.
fn editing() -> Vec<Value> {
    vec![
        rule(
            READ,
            &[""],
            &[
                "secrets",
                "pods/attach",
                "pods/exec",
                "pods/portforward",
                "pods/proxy",
                "services/proxy",
            ],
        ),
        rule(&["impersonate"], &[""], &["serviceaccounts"]),
        rule(
            WRITE,
            &[""],
            &[
                "configmaps",
                "endpoints",
                "events",
                "persistentvolumeclaims",
                "pods",
                "pods/attach",
                "pods/exec",
                "pods/portforward",
                "pods/proxy",
                "replicationcontrollers",
                "replicationcontrollers/scale",
                "secrets",
                "serviceaccounts",
                "services",
                "services/proxy",
            ],
        ),
        rule(
            &["create"],
            &[""],
            &["pods/eviction", "serviceaccounts/token"],
        ),
        rule(
            WRITE,
            &["apps", "extensions"],
            &[
                "daemonsets",
                "deployments",
                "deployments/rollback",
                "deployments/scale",
                "ingresses",
                "replicasets",
                "replicasets/scale",
                "statefulsets",
                "statefulsets/scale",
            ],
        ),
        rule(
            WRITE,
            &["autoscaling", "batch", "policy"],
            &[
                "cronjobs",
                "horizontalpodautoscalers",
                "jobs",
                "poddisruptionbudgets",
            ],
        ),
        rule(
            WRITE,
            &["networking.k8s.io"],
            &["ingresses", "networkpolicies"],
        ),
        rule(
            &[
                "create",
                "delete",
                "deletecollection",
                "get",
                "list",
                "patch",
                "update",
                "watch",
            ],
            &["coordination.k8s.io"],
            &["leases"],
        ),
    ]
}

/// (plural, object): cluster roles first, then their bindings.
pub fn objects() -> Vec<(&'static str, Value)> {
    let mut edit = viewing(READ);
    edit.extend(editing());
    let mut admin = edit.clone();
    admin.push(rule(
        &["create"],
        &["authorization.k8s.io"],
        &["localsubjectaccessreviews"],
    ));
    admin.push(rule(
        &[
            "create",
            "delete",
            "deletecollection",
            "get",
            "list",
            "patch",
            "update",
            "watch",
        ],
        &["rbac.authorization.k8s.io"],
        &["rolebindings", "roles"],
    ));
    let urls = |urls: &[&str]| json!({"verbs": ["get"], "nonResourceURLs": urls});
    let reviews = [
        rule(
            &["create"],
            &["authorization.k8s.io"],
            &["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
        ),
        rule(
            &["create"],
            &["authentication.k8s.io"],
            &["selfsubjectreviews"],
        ),
    ];
    let roles = vec![
        role(
            "cluster-admin",
            vec![
                rule(&["*"], &["*"], &["*"]),
                json!({"verbs": ["*"], "nonResourceURLs": ["*"]}),
            ],
        ),
        aggregated("admin", "aggregate-to-admin", admin),
        aggregated("edit", "aggregate-to-edit", edit),
        aggregated("view", "aggregate-to-view", viewing(READ)),
        role(
            "system:discovery",
            vec![urls(&[
                "/",
                "/api",
                "/api/*",
                "/apis",
                "/apis/*",
                "/healthz",
                "/livez",
                "/openapi",
                "/openapi/*",
                "/readyz",
                "/version",
                "/version/",
            ])],
        ),
        role("system:basic-user", reviews.to_vec()),
        role(
            "system:public-info-viewer",
            vec![urls(&[
                "/healthz",
                "/livez",
                "/readyz",
                "/version",
                "/version/",
            ])],
        ),
        role(
            "system:monitoring",
            vec![urls(&[
                "/healthz",
                "/healthz/*",
                "/livez",
                "/livez/*",
                "/metrics",
                "/readyz",
                "/readyz/*",
            ])],
        ),
        role(
            "system:auth-delegator",
            vec![
                rule(&["create"], &["authentication.k8s.io"], &["tokenreviews"]),
                rule(
                    &["create"],
                    &["authorization.k8s.io"],
                    &["subjectaccessreviews"],
                ),
            ],
        ),
        role(
            "system:service-account-issuer-discovery",
            vec![urls(&[
                "/.well-known/openid-configuration",
                "/.well-known/openid-configuration/",
                "/openid/v1/jwks",
                "/openid/v1/jwks/",
            ])],
        ),
        role(
            "system:node-proxier",
            vec![
                rule(READ, &[""], &["services", "endpoints", "nodes"]),
                rule(READ, &["discovery.k8s.io"], &["endpointslices"]),
            ],
        ),
        // Not upstream's, whose kube-proxy leaves policies to others; ours enforces them.
        role(
            "cadet:network-policies",
            vec![
                rule(READ, &["networking.k8s.io"], &["networkpolicies"]),
                rule(READ, &[""], &["namespaces", "pods"]),
            ],
        ),
        role("system:cadet-ingress", ingress_controller()),
    ];
    let roles = roles.into_iter().chain(certificates()).chain([usage()]);
    let group = |name: &str| json!({"kind": "Group", "name": name, "apiGroup": "rbac.authorization.k8s.io"});
    let proxy = || json!({"kind": "User", "name": "system:kube-proxy", "apiGroup": "rbac.authorization.k8s.io"});
    let bindings = [
        ("system:node-proxier", vec![proxy()]),
        ("cadet:network-policies", vec![proxy()]),
        ("cluster-admin", vec![group("system:masters")]),
        ("system:discovery", vec![group("system:authenticated")]),
        ("system:basic-user", vec![group("system:authenticated")]),
        (
            "system:public-info-viewer",
            vec![
                group("system:authenticated"),
                group("system:unauthenticated"),
            ],
        ),
        ("system:monitoring", vec![group("system:monitoring")]),
        (
            "system:service-account-issuer-discovery",
            vec![group("system:serviceaccounts")],
        ),
        (
            "system:cadet-ingress",
            vec![
                json!({"kind": "User", "name": "system:cadet-ingress", "apiGroup": "rbac.authorization.k8s.io"}),
            ],
        ),
    ];
    let bindings = bindings.into_iter().map(|(name, subjects)| {
        let mut binding = role(name, vec![]);
        if let Some(members) = binding.as_object_mut() {
            members.remove("rules");
        }
        binding["roleRef"] =
            json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name});
        binding["subjects"] = json!(subjects);
        ("clusterrolebindings", binding)
    });
    let roles = roles.map(|role| ("clusterroles", role));
    roles.chain(bindings).collect()
}

/// Who may see what nodes and pods use: whoever may view, as metrics-server has it.
fn usage() -> Value {
    let mut role = role(
        "system:aggregated-metrics-reader",
        vec![rule(READ, &["metrics.k8s.io"], &["pods", "nodes"])],
    );
    for who in ["admin", "edit", "view"] {
        let label = format!("rbac.authorization.k8s.io/aggregate-to-{who}");
        role["metadata"]["labels"][label] = json!("true");
    }
    role
}

/// What the built-in Ingress controller reads (private keys among it) and writes.
fn ingress_controller() -> Vec<Value> {
    const GROUP: &str = "networking.k8s.io";
    vec![
        rule(READ, &[""], &["services", "endpoints", "secrets"]),
        rule(READ, &["discovery.k8s.io"], &["endpointslices"]),
        rule(READ, &[GROUP], &["ingresses", "ingressclasses"]),
        rule(&["create"], &[GROUP], &["ingressclasses"]),
        rule(&["patch", "update"], &[GROUP], &["ingresses/status"]),
    ]
}

/// Who may ask for certificates, have them approved without being asked, and approve them.
fn certificates() -> Vec<Value> {
    const GROUP: &str = "certificates.k8s.io";
    const NAME: &str = "system:certificates.k8s.io";
    let mut roles = vec![role(
        "system:node-bootstrapper",
        vec![rule(
            &["create", "get", "list", "watch"],
            &[GROUP],
            &["certificatesigningrequests"],
        )],
    )];
    for subresource in ["nodeclient", "selfnodeclient"] {
        let resource = format!("certificatesigningrequests/{subresource}");
        let name = format!("{NAME}:certificatesigningrequests:{subresource}");
        roles.push(role(&name, vec![rule(&["create"], &[GROUP], &[&resource])]));
    }
    for signer in [
        "kube-apiserver-client",
        "kube-apiserver-client-kubelet",
        "kubelet-serving",
        "legacy-unknown",
    ] {
        let mut approve = rule(&["approve"], &[GROUP], &["signers"]);
        approve["resourceNames"] = json!([format!("kubernetes.io/{signer}")]);
        roles.push(role(&format!("{NAME}:{signer}-approver"), vec![approve]));
    }
    roles
}
