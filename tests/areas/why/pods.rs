//! Faults of pods: where they run, their images, their begin, their end, their probes.

use serde_json::json;

use super::super::shell;
use super::objects::{
    Fault, claim, deployment, image, meta, mounting, odd, probe, registry, running, serving, shy,
};
use super::registry::REGISTRY;

pub fn placing() -> Vec<Fault> {
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

pub fn images() -> Vec<Fault> {
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

pub fn beginnings() -> Vec<Fault> {
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

pub fn ends() -> Vec<Fault> {
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

pub fn probes() -> Vec<Fault> {
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
