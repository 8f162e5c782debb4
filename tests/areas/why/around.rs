//! Faults around pods: Services, names, rights, policies and controllers.

use serde_json::{Value, json};

use super::super::{WAIT, shell};
use super::SMALL;
use super::objects::{
    Fault, deployment, object, odd, running, service, serving, shy, waiting_template,
};

pub fn services() -> Vec<Fault> {
    let up = json!({"tcpSocket": {"port": 8080}, "periodSeconds": 1});
    let backend = |name: &str, port: u16| {
        json!({"ingressClassName": "cadet", "rules": [{"host": "why.example", "http": {"paths": [
            {"path": "/", "pathType": "Prefix",
                "backend": {"service": {"name": name, "port": {"number": port}}}}]}}]})
    };
    let ingress = |name: &str, spec: Value| object("networking.k8s.io/v1", "Ingress", name, spec);
    // Until they are ready something else is to be said of the Services before them.
    let early: &[&str] = &["READINESS_PROBE", "PODS_NOT_READY"];
    vec![
        Fault::of(
            "service/slip",
            "SELECTOR_MISMATCH",
            &["app=wbe", "pod/web has app=web"],
        )
        .with([
            serving("web", &up),
            service("web", "web", json!({"port": 80, "targetPort": 8080})),
            service("slip", "wbe", json!({"port": 80})),
        ]),
        Fault::of(
            "service/nameless",
            "PORT_NAME",
            &["\\\"http\\\"", "8080 (page)"],
        )
        .with([service(
            "nameless",
            "web",
            json!({"port": 80, "targetPort": "http"}),
        )])
        .after(early),
        Fault::of(
            "service/deaf",
            "TARGET_PORT",
            &["nobody listens there", "declares port 8080"],
        )
        .with([service("deaf", "web", json!({"port": 80}))])
        .after(early),
        Fault::of(
            "service/behind",
            "CRASH",
            &["service/behind leads nowhere", "exit code 3"],
        )
        .with([service("behind", "crash", json!({"port": 80}))]),
        Fault::of(
            "ingress/lost",
            "BACKEND_MISSING",
            &["Service wbe does not exist"],
        )
        .with([ingress("lost", backend("wbe", 80))]),
        Fault::of("ingress/doorless", "BACKEND_PORT", &["has no port 8080"])
            .with([ingress("doorless", backend("web", 8080))]),
    ]
}

pub fn names_and_rights() -> Vec<Fault> {
    let ask = |name: &str| format!("while true; do wget -qO- http://{name}:8080; sleep 1; done");
    let denied = r#"pods is forbidden: User "system:serviceaccount:why:default" cannot list resource "pods" in API group "" in the namespace "why""#;
    // What a program prints that was refused; whether it is refused is asked of the API server.
    let rights = format!("echo '{denied}'; {WAIT}");
    let closed =
        json!({"podSelector": {"matchLabels": {"app": "closed"}}, "policyTypes": ["Ingress"]});
    vec![
        Fault::of(
            "pod/asker",
            "DNS_NAME",
            &["databse", "there is a Service database"],
        )
        .with([
            service("database", "web", json!({"port": 8080})),
            running("asker", &ask("databse")),
        ]),
        Fault::of("pod/outsider", "DNS_POLICY", &["dnsPolicy is Default"]).with([odd(
            "outsider",
            &json!({"command": ["sh", "-c", ask("database.why.svc.cluster.local")]}),
            &json!({"dnsPolicy": "Default"}),
        )]),
        Fault::of(
            "pod/rightless",
            "RBAC",
            &["may not list pods in namespace why", "still says no"],
        )
        .with([running("rightless", &rights)]),
        Fault::of("pod/closed", "NETWORK_POLICY", &["lets nobody in"]).with([
            object("networking.k8s.io/v1", "NetworkPolicy", "closed", closed),
            shy("closed"),
        ]),
    ]
}

pub fn controllers() -> Vec<Fault> {
    let mut crowded = deployment("crowded", &json!({}), &waiting_template());
    crowded["metadata"]["namespace"] = json!(SMALL);
    let mut nobody = waiting_template();
    nobody["serviceAccountName"] = json!("builder");
    let crash =
        json!({"restartPolicy": "Never", "containers": [shell("app", "echo no input; exit 9")]});
    let job = json!({"backoffLimit": 0, "template": {"spec": crash}});
    let tick = json!({"schedule": "*/5 * * * *", "suspend": true, "jobTemplate": {"spec": job}});
    let scaled = |target: &str| {
        json!({"minReplicas": 1, "maxReplicas": 2,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
            "metrics": [{"type": "Resource", "resource":
                {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]})
    };
    let autoscaler = |name: &str, target: &str| {
        object(
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            name,
            scaled(target),
        )
    };
    let mut full =
        Fault::of("deployment/crowded", "QUOTA", &["ResourceQuota small"]).with([crowded]);
    full.namespace = SMALL;
    vec![
        full,
        Fault::of(
            "deployment/nobodys",
            "SERVICE_ACCOUNT_MISSING",
            &["create serviceaccount builder"],
        )
        .with([deployment("nobodys", &json!({}), &nobody)]),
        Fault::of(
            "deployment/crashing",
            "CRASH",
            &["deployment/crashing has", "pod/crashing-", "exit code 4"],
        )
        .with([deployment(
            "crashing",
            &json!({}),
            &json!({"terminationGracePeriodSeconds": 1, "containers": [shell("app", "exit 4")]}),
        )]),
        Fault::of("deployment/paused", "PAUSED", &["rollout resume"]).with([deployment(
            "paused",
            &json!({"paused": true}),
            &waiting_template(),
        )]),
        Fault::of(
            "deployment/zero",
            "SCALED_TO_ZERO",
            &["scale deployment/zero"],
        )
        .with([deployment(
            "zero",
            &json!({"replicas": 0}),
            &waiting_template(),
        )]),
        Fault::of("job/work", "JOB_BACKOFF", &["exit code 9", "no input"])
            .with([object("batch/v1", "Job", "work", job)])
            // Its pod has failed a moment before the Job gives up.
            .after(&["CRASH"]),
        Fault::of("cronjob/tick", "SUSPENDED", &["is suspended"])
            .with([object("batch/v1", "CronJob", "tick", tick)]),
        Fault::of(
            "hpa/aimless",
            "HPA_TARGET",
            &["deployment/nothing does not exist"],
        )
        .with([autoscaler("aimless", "nothing")]),
        Fault::of("hpa/blind", "HPA_NO_REQUEST", &["how much cpu it asks for"])
            .with([
                deployment("plain", &json!({}), &waiting_template()),
                autoscaler("blind", "plain"),
            ])
            // What is used is known after half a minute.
            .after(&["HPA_NO_METRICS"]),
    ]
}
