//! The faults that `why` plants: what is created, what is asked, what must be said.

use serde_json::{Value, json};

use super::why_registry::{self, REGISTRY};
use super::{WAIT, shell};

/// Namespace of the faults.
pub const NS: &str = "why";
/// One whose quota is used up.
pub const SMALL: &str = "why-small";

/// One planted fault.
pub struct Fault {
    pub objects: Vec<Value>,
    pub namespace: &'static str,
    /// What is asked about.
    pub object: String,
    pub cause: &'static str,
    pub words: &'static [&'static str],
    pub confident: bool,
    /// Other causes that are true before this one shows.
    pub before: &'static [&'static str],
}

impl Fault {
    /// Of an object that is there already.
    pub fn of(object: &str, cause: &'static str, words: &'static [&'static str]) -> Fault {
        Fault {
            objects: Vec::new(),
            namespace: NS,
            object: object.to_owned(),
            cause,
            words,
            confident: true,
            before: &[],
        }
    }

    fn with(mut self, objects: impl IntoIterator<Item = Value>) -> Fault {
        self.objects.extend(objects);
        self
    }

    fn after(mut self, causes: &'static [&'static str]) -> Fault {
        self.before = causes;
        self
    }
}

fn meta(name: &str) -> Value {
    json!({"name": name, "namespace": NS, "labels": {"app": name}})
}

fn object(version: &str, kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": version, "kind": kind, "metadata": meta(name), "spec": spec})
}

fn pod(name: &str, mut spec: Value) -> Value {
    spec["terminationGracePeriodSeconds"] = json!(1);
    object("v1", "Pod", name, spec)
}

/// A pod of one container that waits for ever.
pub fn shy(name: &str) -> Value {
    pod(name, json!({"containers": [shell("app", WAIT)]}))
}

/// A pod of one container with more fields, and more fields of the pod.
fn odd(name: &str, container: &Value, spec: &Value) -> Value {
    let mut app = shell("app", WAIT);
    let mut whole = spec.clone();
    for (key, value) in container.as_object().into_iter().flatten() {
        app[key] = value.clone();
    }
    whole["containers"] = json!([app]);
    pod(name, whole)
}

fn running(name: &str, line: &str) -> Value {
    odd(name, &json!({"command": ["sh", "-c", line]}), &json!({}))
}

fn image(name: &str, image: &str, policy: &str) -> Value {
    let fields = json!({"image": image, "imagePullPolicy": policy, "command": null});
    odd(name, &fields, &json!({}))
}

fn deployment(name: &str, more: &Value, template: &Value) -> Value {
    let mut spec = json!({"replicas": 1, "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": template}});
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    object("apps/v1", "Deployment", name, spec)
}

fn waiting_template() -> Value {
    json!({"terminationGracePeriodSeconds": 1, "containers": [shell("app", WAIT)]})
}

fn service(name: &str, app: &str, port: Value) -> Value {
    object(
        "v1",
        "Service",
        name,
        json!({"selector": {"app": app}, "ports": [port]}),
    )
}

fn claim(name: &str, class: &str) -> Value {
    let spec = json!({"storageClassName": class, "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Mi"}}});
    object("v1", "PersistentVolumeClaim", name, spec)
}

fn mounting(name: &str, volume: Value) -> Value {
    let mut volume = volume;
    volume["name"] = json!("data");
    let mounts = json!({"volumeMounts": [{"name": "data", "mountPath": "/data"}]});
    odd(name, &mounts, &json!({"volumes": [volume]}))
}

/// Serves a page at port 8080 and nothing else.
const SERVE: &str = "mkdir /www; echo ok > /www/index.html; trap 'exit 0' TERM; \
                     httpd -f -p 8080 -h /www & wait";

/// What registries say, said on the node itself.
fn registry() -> Value {
    let command = json!({"command": ["sh", "-c", why_registry::script()]});
    odd("registry", &command, &json!({"hostNetwork": true}))
}

fn serving(name: &str, probe: &Value) -> Value {
    let mut fields = json!({"command": ["sh", "-c", SERVE],
        "ports": [{"name": "page", "containerPort": 8080}]});
    if !probe.is_null() {
        fields["readinessProbe"] = probe.clone();
    }
    odd(name, &fields, &json!({}))
}

fn probe(check: Value) -> Value {
    let mut check = check;
    check["periodSeconds"] = json!(1);
    check["timeoutSeconds"] = json!(20);
    check["failureThreshold"] = json!(1);
    check
}

/// All of them.
pub fn all(node: &str) -> Vec<Fault> {
    let mut all = placing();
    all.extend(images());
    all.extend(beginnings());
    all.extend(ends());
    all.extend(probes());
    all.extend(services());
    all.extend(names_and_rights());
    all.extend(controllers());
    // What is well is told as well.
    all.push(Fault::of(
        "pod/web",
        "NOTHING_WRONG",
        &["Running and ready"],
    ));
    all.push(Fault::of(
        "service/web",
        "NOTHING_WRONG",
        &["somebody answers"],
    ));
    all.push(Fault::of(
        &format!("node/{node}"),
        "NOTHING_WRONG",
        &["is Ready"],
    ));
    all
}

fn placing() -> Vec<Fault> {
    let cpu = json!({"resources": {"requests": {"cpu": "1000"}}});
    let near = json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname",
            "labelSelector": {"matchLabels": {"app": "nobody"}}}]}}});
    let port = json!({"ports": [{"containerPort": 80, "hostPort": 18099}]});
    let sysctl =
        json!({"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "9000"}]}});
    vec![
        Fault::of("pod/huge", "NO_ROOM", &["asks for 1000 CPU", "of which"]).with([odd(
            "huge",
            &cpu,
            &json!({}),
        )]),
        Fault::of(
            "pod/picky",
            "NODE_SELECTOR",
            &["disk=ssd", "has no label disk"],
        )
        .with([odd(
            "picky",
            &json!({}),
            &json!({"nodeSelector": {"disk": "ssd"}}),
        )]),
        Fault::of("pod/lonely", "POD_AFFINITY", &["app=nobody"]).with([odd(
            "lonely",
            &json!({}),
            &near,
        )]),
        Fault::of("pod/gated", "SCHEDULING_GATED", &["example.com/paid"]).with([odd(
            "gated",
            &json!({}),
            &json!({"schedulingGates": [{"name": "example.com/paid"}]}),
        )]),
        Fault::of("pod/elsewhere", "SCHEDULER_ABSENT", &["nobodys-scheduler"]).with([odd(
            "elsewhere",
            &json!({}),
            &json!({"schedulerName": "nobodys-scheduler"}),
        )]),
        // Either of the two may be the first.
        Fault::of("deployment/doors", "PORT_IN_USE", &["18099"]).with([deployment(
            "doors",
            &json!({"replicas": 2}),
            &odd("doors", &port, &json!({}))["spec"],
        )]),
        Fault::of("pod/tuned", "SYSCTL_FORBIDDEN", &["kernel.msgmax"]).with([odd(
            "tuned",
            &json!({}),
            &sysctl,
        )]),
        Fault::of("pod/claimless", "CLAIM_MISSING", &["nothing-there"]).with([mounting(
            "claimless",
            json!({"persistentVolumeClaim": {"claimName": "nothing-there"}}),
        )]),
        Fault::of(
            "pvc/classless",
            "STORAGE_CLASS_MISSING",
            &["standart", "there is a StorageClass standard"],
        )
        .with([claim("classless", "standart")]),
        Fault::of(
            "pod/of-classless",
            "STORAGE_CLASS_MISSING",
            &["pvc/classless"],
        )
        .with([mounting(
            "of-classless",
            json!({"persistentVolumeClaim": {"claimName": "classless"}}),
        )]),
        Fault::of("pvc/patient", "CLAIM_WAITS_FOR_POD", &["as it should"])
            .with([claim("patient", "standard")]),
    ]
}

fn images() -> Vec<Fault> {
    let absent = format!("{REGISTRY}/absent:1");
    let locked = format!("{REGISTRY}/locked/app:1");
    let foreign = format!("{REGISTRY}/foreign/app:1");
    vec![
        Fault::of(
            "pod/never",
            "IMAGE_NEVER_PULLED",
            &["imagePullPolicy is Never"],
        )
        .with([image("never", "absent:test", "Never")]),
        Fault::of("pod/shouted", "IMAGE_NAME", &["no name an image can have"]).with([image(
            "shouted",
            "Absent:Test",
            "IfNotPresent",
        )]),
        // Nobody listens at this port of the node.
        Fault::of("pod/nowhere", "IMAGE_REGISTRY", &["127.0.0.1:1"]).with([image(
            "nowhere",
            "127.0.0.1:1/absent:test",
            "IfNotPresent",
        )]),
        // Before it runs, nobody listens at that of the registry either.
        Fault::of(
            "pod/absent",
            "IMAGE_NAME",
            &["its name or tag is wrong", "set image pod/absent"],
        )
        .with([registry(), image("absent", &absent, "IfNotPresent")])
        .after(&["IMAGE_REGISTRY"]),
        Fault::of("pod/locked", "IMAGE_DENIED", &["no imagePullSecrets"])
            .with([image("locked", &locked, "IfNotPresent")])
            .after(&["IMAGE_REGISTRY"]),
        Fault::of(
            "pod/foreign",
            "IMAGE_ARCHITECTURE",
            &["is not made for linux/"],
        )
        .with([image("foreign", &foreign, "IfNotPresent")])
        .after(&["IMAGE_REGISTRY"]),
    ]
}

fn beginnings() -> Vec<Fault> {
    let from = |kind: &str, name: &str, key: &str| json!({"env": [{"name": "COLOR", "valueFrom": {kind: {"name": name, "key": key}}}]});
    let settings = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("settings"),
        "data": {"color": "red"}});
    vec![
        Fault::of(
            "pod/unset",
            "CONFIGMAP_MISSING",
            &["no-settings", "variable COLOR"],
        )
        .with([odd(
            "unset",
            &from("configMapKeyRef", "no-settings", "color"),
            &json!({}),
        )]),
        Fault::of(
            "pod/keyless",
            "KEY_MISSING",
            &["colour", "ConfigMap settings"],
        )
        .with([
            settings,
            odd(
                "keyless",
                &from("configMapKeyRef", "settings", "colour"),
                &json!({}),
            ),
        ]),
        Fault::of(
            "pod/secretive",
            "SECRET_MISSING",
            &["Secret door does not exist"],
        )
        .with([mounting(
            "secretive",
            json!({"secret": {"secretName": "door"}}),
        )]),
        Fault::of("pod/rootless", "RUN_AS_ROOT", &["runAsNonRoot"]).with([odd(
            "rootless",
            &json!({}),
            &json!({"securityContext": {"runAsNonRoot": true}}),
        )]),
        Fault::of("pod/grounded", "HOST_PATH", &["/no/such/folder"]).with([mounting(
            "grounded",
            json!({"hostPath": {"path": "/no/such/folder", "type": "Directory"}}),
        )]),
        Fault::of(
            "pod/programless",
            "COMMAND_NOT_FOUND",
            &["/no/such/program"],
        )
        .with([odd(
            "programless",
            &json!({"command": ["/no/such/program"]}),
            &json!({}),
        )]),
        Fault::of("pod/hooked", "HOOK_FAILED", &["postStart"]).with([odd(
            "hooked",
            &json!({"lifecycle": {"postStart": {"exec": {"command": ["false"]}}}}),
            &json!({}),
        )]),
        Fault::of(
            "pod/unprepared",
            "INIT_FAILED",
            &["init container setup", "exit code 5", "no schema"],
        )
        .with([odd(
            "unprepared",
            &json!({}),
            &json!({"initContainers": [shell("setup", "echo no schema; exit 5")]}),
        )]),
    ]
}

fn ends() -> Vec<Fault> {
    // The first process itself, so that the engine is told.
    let greedy =
        json!({"command": ["tail", "/dev/zero"], "resources": {"limits": {"memory": "16Mi"}}});
    let mut held = shy("held");
    held["metadata"]["finalizers"] = json!(["example.com/backup"]);
    vec![
        Fault::of("pod/crash", "CRASH", &["exit code 3", "no database here"])
            .with([running("crash", "echo no database here; exit 3")]),
        Fault::of("pod/misspelt", "COMMAND_NOT_FOUND", &["pyhton"])
            .with([running("misspelt", "pyhton main.py")]),
        Fault::of("pod/aborted", "KILLED_BY_SIGNAL", &["SIGABRT"])
            .with([running("aborted", "exit 134")]),
        Fault::of("pod/greedy", "OUT_OF_MEMORY", &["its limit of 16Mi"]).with([odd(
            "greedy",
            &greedy,
            &json!({}),
        )]),
        Fault::of("pod/done", "ENDS_AT_ONCE", &["does its work and ends"])
            .with([running("done", "echo done")]),
        Fault::of("pod/hurried", "DEADLINE", &["1 s"]).with([odd(
            "hurried",
            &json!({}),
            &json!({"activeDeadlineSeconds": 1}),
        )]),
        Fault::of("pod/held", "STUCK_FINALIZER", &["example.com/backup"]).with([held]),
    ]
}

fn probes() -> Vec<Fault> {
    let alive = json!({"livenessProbe": probe(json!({"exec": {"command": ["false"]}}))});
    vec![
        Fault::of("pod/pathless", "PROBE_PATH", &["/helth", "404"])
            .with([serving(
                "pathless",
                &probe(json!({"httpGet": {"port": 8080, "path": "/helth"}})),
            )])
            // The server takes a moment to come up.
            .after(&["READINESS_PROBE"]),
        Fault::of(
            "pod/portless",
            "PROBE_PORT",
            &["port 9090", "declares port 8080"],
        )
        .with([serving(
            "portless",
            &probe(json!({"tcpSocket": {"port": 9090}})),
        )]),
        Fault::of(
            "pod/unready",
            "READINESS_PROBE",
            &["the command of its readiness probe fails"],
        )
        .with([serving(
            "unready",
            &probe(json!({"exec": {"command": ["test", "-e", "/no"]}})),
        )]),
        Fault::of("pod/killed", "LIVENESS_PROBE", &["its liveness probe"]).with([odd(
            "killed",
            &alive,
            &json!({}),
        )]),
    ]
}

fn services() -> Vec<Fault> {
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

fn names_and_rights() -> Vec<Fault> {
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

fn controllers() -> Vec<Fault> {
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
