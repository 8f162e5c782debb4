//! Volumes: files from the node, from memory, from objects, and data that outlive their pods.

use serde_json::{Value, json};

use super::patience::{once, told};
use super::{Cluster, Said, WAIT, shell};

/// Folder on the node for this area.
const ROOT: &str = "/var/tmp/cadet-areas-volumes";

pub fn play(cluster: &dyn Cluster) {
    cluster.node_says(&format!(
        "rm -rf {ROOT} && mkdir -p {ROOT}/dir && echo hi > {ROOT}/dir/file"
    ));
    cluster.create(&json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "colors"}, "data": {"color": "red", "shape": "round"}}));
    cluster.create(&json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "door"}, "stringData": {"key": "s3same"}}));
    // All begin at once; each is then looked at in turn.
    files_pod(cluster);
    refused_pod(cluster);
    late_pod(cluster);
    greedy_pods(cluster);
    claim_waits(cluster);

    mounts_are_what_they_should_be(cluster);
    paths_of_the_node(cluster);
    tokens_are_for_somebody(cluster);
    objects_are_followed(cluster);
    what_is_wrong_is_said(cluster);
    what_was_missing_comes(cluster);
    data_outlive_their_pod(cluster);
    a_retained_volume_stays(cluster);
    who_takes_too_much_must_go(cluster);
    cluster.forget(&["pod/files", "pod/refused", "pod/late"]);
    cluster.forget(&["pod/hoarder", "pod/writer"]);
    cluster.forget(&["configmap/colors", "configmap/afterwards", "secret/door"]);
    cluster.until_gone(&["pod/files"]);
    cluster.node_says(&format!("rm -rf {ROOT}"));
}

/// Two containers and volumes of every type.
fn files_pod(cluster: &dyn Cluster) {
    let host = |path: &str, type_: &str| json!({"path": format!("{ROOT}/{path}"), "type": type_});
    let mut app = shell("app", WAIT);
    app["resources"] = json!({"limits": {"cpu": "200m", "memory": "64Mi"}});
    app["env"] =
        json!([{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]);
    app["volumeMounts"] = json!([
        {"name": "disk", "mountPath": "/disk"},
        {"name": "disk", "mountPath": "/ro", "readOnly": true},
        {"name": "disk", "mountPath": "/part", "subPath": "a/b"},
        {"name": "disk", "mountPath": "/mine", "subPathExpr": "of-$(POD)"},
        {"name": "memory", "mountPath": "/memory"},
        {"name": "dir", "mountPath": "/dir"},
        {"name": "made", "mountPath": "/made"},
        {"name": "file", "mountPath": "/file"},
        {"name": "new", "mountPath": "/new"},
        {"name": "full", "mountPath": "/full"},
        {"name": "colors", "mountPath": "/colors"},
        {"name": "colors", "mountPath": "/one", "subPath": "color"},
        {"name": "chosen", "mountPath": "/chosen"},
        {"name": "optional", "mountPath": "/optional"},
        {"name": "door", "mountPath": "/door"},
        {"name": "down", "mountPath": "/down"},
        {"name": "all", "mountPath": "/all"},
    ]);
    let limit = |resource: &str, divisor: &str| {
        json!({"path": resource, "resourceFieldRef":
            {"containerName": "app", "resource": resource, "divisor": divisor}})
    };
    let field = |path: &str, field: &str| json!({"path": path, "fieldRef": {"fieldPath": field}});
    let mut side = shell("side", WAIT);
    side["volumeMounts"] = json!([{"name": "disk", "mountPath": "/shared"}]);
    let volumes = json!([
        {"name": "disk", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "4Mi"}},
        {"name": "dir", "hostPath": host("dir", "Directory")},
        {"name": "made", "hostPath": host("made/deep", "DirectoryOrCreate")},
        {"name": "file", "hostPath": host("dir/file", "File")},
        {"name": "new", "hostPath": host("dir/new", "FileOrCreate")},
        {"name": "full", "hostPath": {"path": "/dev/full", "type": "CharDevice"}},
        {"name": "colors", "configMap": {"name": "colors"}},
        {"name": "chosen", "configMap": {"name": "colors", "defaultMode": 0o400,
            "items": [{"key": "color", "path": "deep/paint"},
                {"key": "shape", "path": "form", "mode": 0o440}]}},
        {"name": "optional", "configMap": {"name": "no-such-map", "optional": true}},
        {"name": "door", "secret": {"secretName": "door", "defaultMode": 0o600}},
        {"name": "down", "downwardAPI": {"items": [
            field("labels", "metadata.labels"), field("annotations", "metadata.annotations"),
            field("name", "metadata.name"), limit("limits.cpu", "1m"),
            limit("limits.memory", "1Mi")]}},
        {"name": "all", "projected": {"sources": [
            {"configMap": {"name": "colors", "items": [{"key": "color", "path": "map/color"}]}},
            {"secret": {"name": "door"}},
            {"downwardAPI": {"items": [field("namespace", "metadata.namespace")]}},
            {"serviceAccountToken":
                {"path": "token", "audience": "vault", "expirationSeconds": 3600}}]}},
    ]);
    cluster.create(&json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "files", "labels": {"app": "files", "tier": "back"},
            "annotations": {"note": "two \"words\""}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [app, side],
            "volumes": volumes}}));
}

fn mounts_are_what_they_should_be(cluster: &dyn Cluster) {
    cluster.ready("files");
    let told = cluster.inside(
        "files",
        "echo shared > /disk/x; echo sub > /part/y; cat /disk/a/b/y; \
         echo own > /mine/z; cat /disk/of-files/z; cat /ro/x; stat -c %a /disk; \
         touch /ro/no 2>&1; touch /colors/no 2>&1; touch /door/no 2>&1; \
         df -k /memory | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2; \
         for at in /memory /door /var/run/secrets/kubernetes.io/serviceaccount; do \
         grep \" $(readlink -f $at) \" /proc/mounts | cut -d ' ' -f 3; done",
    );
    assert_eq!(
        told.lines().collect::<Vec<_>>(),
        [
            "sub",
            "own",
            "shared",
            "777",
            "touch: /ro/no: Read-only file system",
            "touch: /colors/no: Read-only file system",
            "touch: /door/no: Read-only file system",
            "4096",
            "tmpfs",
            "tmpfs",
            "tmpfs",
        ]
    );
    let told = cluster.inside("files -c side", "cat /shared/x");
    assert_eq!(told, "shared");
    // Told is what is mounted, and how.
    let pod = cluster.object("pod/files");
    let told = &pod["status"]["containerStatuses"][0]["volumeMounts"][1];
    let wanted = json!({"name": "disk", "mountPath": "/ro", "readOnly": true,
        "recursiveReadOnly": "Disabled"});
    assert_eq!(*told, wanted);

    let told = cluster.inside(
        "files",
        "cd /colors; cat color; echo; cat shape; echo; stat -L -c %a color; readlink color; \
         cat /one; echo; \
         cd /chosen; ls; cat deep/paint; echo; stat -L -c %a deep/paint form; ls /optional | wc -l; \
         cat /door/key; echo; stat -L -c %a /door/key",
    );
    assert_eq!(
        told.lines().collect::<Vec<_>>(),
        [
            "red",
            "round",
            "644",
            "..data/color",
            "red",
            "deep",
            "form",
            "red",
            "400",
            "440",
            "0",
            "s3same",
            "600",
        ]
    );

    let told = cluster.inside(
        "files",
        "cd /down; cat labels; echo; grep note annotations; cat name; echo; \
         cat limits.cpu; echo; cat limits.memory; echo; \
         cd /all; cat map/color; echo; cat key; echo; cat namespace; echo; ls",
    );
    assert_eq!(
        told.lines().collect::<Vec<_>>(),
        [
            "app=\"files\"",
            "tier=\"back\"",
            "note=\"two \\\"words\\\"\"",
            "files",
            "200",
            "64",
            "red",
            "s3same",
            "default",
            "key",
            "map",
            "namespace",
            "token",
        ]
    );
}

fn paths_of_the_node(cluster: &dyn Cluster) {
    let told = cluster.inside(
        "files",
        "cat /file; echo from the pod > /made/x; echo more >> /new; cat /dir/new; \
         [ -c /full ] && echo a device",
    );
    assert_eq!(told, "hi\nmore\na device");
    let told = cluster.node_says(&format!(
        "cat {ROOT}/made/deep/x {ROOT}/dir/new; stat -c %a {ROOT}/made/deep {ROOT}/dir/new"
    ));
    assert_eq!(told, "from the pod\nmore\n755\n644");
}

fn tokens_are_for_somebody(cluster: &dyn Cluster) {
    // The middle of a JWT (RFC 7519) is JSON in base64url without padding.
    let payload = cluster.inside(
        "files",
        "text=$(cut -d . -f 2 /all/token | tr '_-' '/+'); \
         while [ $((${#text} % 4)) != 0 ]; do text=$text=; done; echo $text | base64 -d",
    );
    let claims: Value = serde_json::from_str(&payload).expect("claims");
    assert_eq!(claims["aud"], json!(["vault"]), "{claims}");
    assert_eq!(claims["sub"], "system:serviceaccount:default:default");
    let whose = &claims["kubernetes.io"];
    assert_eq!(whose["pod"]["name"], "files", "{claims}");
    assert_eq!(whose["namespace"], "default", "{claims}");
    let at = |name: &str| claims[name].as_i64().expect("seconds");
    assert_eq!(at("exp") - at("iat"), 3600, "{claims}");

    let folder = "/var/run/secrets/kubernetes.io/serviceaccount";
    let look = format!("cd {folder}; ls; cat namespace; echo; head -n 1 ca.crt");
    let told = cluster.inside("files", &look);
    assert_eq!(
        told,
        "ca.crt\nnamespace\ntoken\ndefault\n-----BEGIN CERTIFICATE-----"
    );

    // Whoever has the pod's token is the pod's account, and no more than that.
    let mine = cluster.inside("files", &format!("cat {folder}/token"));
    let name = [
        "auth",
        "whoami",
        "-o",
        "jsonpath={.status.userInfo.username}",
    ];
    let who = with_token(cluster, &mine, &name);
    assert_eq!(who.out, "system:serviceaccount:default:default", "{who}");
    let pods = with_token(cluster, &mine, &["get", "pods"]);
    let refused = "Error from server (Forbidden): pods is forbidden: User \
                   \"system:serviceaccount:default:default\" cannot list resource \"pods\" in \
                   API group \"\" in the namespace \"default\"";
    assert!(pods.err.contains(refused), "{pods}");
    // The other is for somebody else.
    let other = cluster.inside("files", "cat /all/token");
    let who = with_token(cluster, &other, &name);
    assert!(who.code != 0 && who.err.contains("Unauthorized"), "{who}");
}

/// kubectl with nothing but a token.
fn with_token(cluster: &dyn Cluster, token: &str, words: &[&str]) -> Said {
    let path = "jsonpath={.clusters[0].cluster.server}";
    let server = cluster.kubectl(&["config", "view", "--minify", "-o", path]);
    let mut command = cluster.kubectl_command(words);
    command.args(["--insecure-skip-tls-verify", "--server", &server]);
    command
        .args(["--token", token])
        .env("KUBECONFIG", "/dev/null");
    Said::of(&mut command)
}

fn objects_are_followed(cluster: &dyn Cluster) {
    let blue = r#"{"data": {"color": "blue", "size": "big"}}"#;
    cluster.kubectl(&["patch", "configmap", "colors", "-p", blue]);
    let key = r#"{"stringData": {"key": "changed"}}"#;
    cluster.kubectl(&["patch", "secret", "door", "-p", key]);
    cluster.kubectl(&["label", "pod", "files", "tier=front", "--overwrite"]);
    let seen = "grep -q blue /colors/color && grep -q changed /door/key && \
                grep -q front /down/labels && grep -q blue /all/map/color && \
                grep -q changed /all/key && grep -q blue /chosen/deep/paint";
    let line = once(
        seen,
        "for file in /colors/color /colors/size /door/key /all/key /all/map/color \
         /chosen/deep/paint /one; do cat $file; echo; done; ls /chosen",
    );
    let told = cluster.inside("files", &line);
    // A file mounted by its subPath stays as it was; so does a choice of keys.
    let expected = [
        "blue", "big", "changed", "changed", "blue", "blue", "red", "deep", "form",
    ];
    assert_eq!(told.lines().collect::<Vec<_>>(), expected);
}

/// Volumes that cannot be made.
fn refused_pod(cluster: &dyn Cluster) {
    let mut volumes = vec![json!({"name": "map", "configMap": {"name": "no-such-map"}})];
    for (name, path, type_) in [
        ("no-dir", "none", "Directory"),
        ("no-file", "dir", "File"),
        ("no-socket", "dir/file", "Socket"),
    ] {
        let host = json!({"path": format!("{ROOT}/{path}"), "type": type_});
        volumes.push(json!({"name": name, "hostPath": host}));
    }
    cluster.pod(
        "refused",
        json!({"containers": [shell("app", WAIT)], "volumes": volumes}),
    );
}

fn what_is_wrong_is_said(cluster: &dyn Cluster) {
    for (name, words) in [
        ("map", "configmap \"no-such-map\" not found".to_owned()),
        (
            "no-dir",
            format!("hostPath type check failed: {ROOT}/none is not a directory"),
        ),
        (
            "no-file",
            format!("hostPath type check failed: {ROOT}/dir is not a file"),
        ),
        (
            "no-socket",
            format!("hostPath type check failed: {ROOT}/dir/file is not a socket file"),
        ),
    ] {
        let words = format!("MountVolume.SetUp failed for volume \"{name}\" : {words}");
        told(cluster, "refused", "FailedMount", &words);
    }
    let row = cluster.row("pod/refused");
    assert!(row.starts_with("refused 0/1 ContainerCreating 0 "), "{row}");
}

/// They hold more on the node's disk than they may.
fn greedy_pods(cluster: &dyn Cluster) {
    let line = |path: &str| format!("dd if=/dev/zero of={path} bs=1024 count=1024; {WAIT}");
    let mut app = shell("app", &line("/scratch/much"));
    app["volumeMounts"] = json!([{"name": "scratch", "mountPath": "/scratch"}]);
    cluster.pod(
        "hoarder",
        json!({"containers": [app],
            "volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": "64Ki"}}]}),
    );
    let mut app = shell("app", &line("/tmp/much"));
    app["resources"] = json!({"limits": {"ephemeral-storage": "64Ki"}});
    cluster.pod("writer", json!({"containers": [app]}));
}

/// The agent looks with every heartbeat, and ten seconds have passed meanwhile.
fn who_takes_too_much_must_go(cluster: &dyn Cluster) {
    for (pod, words) in [
        (
            "hoarder",
            "Usage of EmptyDir volume \"scratch\" exceeds the limit \"64Ki\". ",
        ),
        (
            "writer",
            "Pod ephemeral local storage usage exceeds the total limit of containers 64Ki. ",
        ),
    ] {
        cluster.until(&format!("pod/{pod}"), ".status.phase", "Failed");
        let seen = cluster.object(&format!("pod/{pod}"));
        let status = &seen["status"];
        assert_eq!(status["reason"], "Evicted", "{status}");
        assert_eq!(status["message"], words, "{status}");
        told(cluster, pod, "Evicted", words.trim_end());
    }
}

/// A map that is not there yet, and a volume that lives as long as its pod.
fn late_pod(cluster: &dyn Cluster) {
    let mut app = shell("app", WAIT);
    app["volumeMounts"] = json!([{"name": "map", "mountPath": "/map"},
        {"name": "scratch", "mountPath": "/scratch"}]);
    let template = json!({"spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Mi"}}}});
    cluster.pod(
        "late",
        json!({"containers": [app], "volumes": [
            {"name": "map", "configMap": {"name": "afterwards"}},
            {"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}]}),
    );
}

fn what_was_missing_comes(cluster: &dyn Cluster) {
    let words = "MountVolume.SetUp failed for volume \"map\" : configmap \"afterwards\" not found";
    told(cluster, "late", "FailedMount", words);
    let create = ["create", "configmap", "afterwards", "--from-literal=a=1"];
    cluster.kubectl(&create);
    cluster.ready("late");
    let told = cluster.inside("late", "cat /map/a; echo; touch /scratch/x && ls /scratch");
    assert_eq!(told, "1\nx");
    let claim = "persistentvolumeclaim/late-scratch";
    assert_eq!(cluster.field(claim, ".status.phase"), "Bound");
    assert_eq!(
        cluster.field(claim, ".metadata.ownerReferences[0].name"),
        "late"
    );
    cluster.forget(&["pod/late"]);
    cluster.until_gone(&[claim]);
}

/// A claim of the default class, which waits for its first pod.
fn claim_waits(cluster: &dyn Cluster) {
    let class = cluster.row("storageclass/standard");
    let wanted = "standard (default) cadet.dev/local-path Delete WaitForFirstConsumer false ";
    assert!(class.starts_with(wanted), "{class}");
    cluster.create(&json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "diary"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "2Mi"}}}}));
    let words = cluster.event("diary", "WaitForFirstConsumer");
    assert_eq!(
        words,
        "waiting for first consumer to be created before binding"
    );
    let row = cluster.row("persistentvolumeclaim/diary");
    assert!(row.starts_with("diary Pending standard "), "{row}");
}

fn data_outlive_their_pod(cluster: &dyn Cluster) {
    let writer = |after: &str, policy: &str| {
        let line = format!("echo $ME >> /data/log; cat /data/log; {after}");
        let mut app = shell("app", &line);
        app["env"] = json!([{"name": "ME",
            "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]);
        app["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"},
            {"name": "archive", "mountPath": "/archive"}]);
        let claim = |name: &str, read_only: bool| {
            json!({"name": name, "persistentVolumeClaim":
                {"claimName": "diary", "readOnly": read_only}})
        };
        json!({"restartPolicy": policy, "containers": [app],
            "volumes": [claim("data", false), claim("archive", true)]})
    };
    let claim = "persistentvolumeclaim/diary";
    cluster.pod("diarist-1", writer("true", "Never"));
    cluster.until("pod/diarist-1", ".status.phase", "Succeeded");
    assert_eq!(cluster.kubectl(&["logs", "diarist-1"]), "diarist-1");
    cluster.until(claim, ".status.phase", "Bound");
    let volume = cluster.field(claim, ".spec.volumeName");
    let row = cluster.row(claim);
    let wanted = format!("diary Bound {volume} 2Mi RWO standard ");
    assert!(row.starts_with(&wanted), "{row}");
    cluster.kubectl(&["delete", "pod", "diarist-1"]);

    cluster.pod("diarist-2", writer(WAIT, "Always"));
    cluster.ready("diarist-2");
    let logs = ["logs", "diarist-2"];
    let told = cluster.until_said(&logs, &|told| told.lines().count() == 2);
    assert_eq!(told, "diarist-1\ndiarist-2");
    let told = cluster.inside(
        "diarist-2",
        "cat /archive/log; touch /archive/no 2>&1; true",
    );
    let wanted = "diarist-1\ndiarist-2\ntouch: /archive/no: Read-only file system";
    assert_eq!(told, wanted);

    // It is in use, and goes when it no longer is; its volume goes with it.
    cluster.forget(&[claim]);
    let row = cluster.row(claim);
    assert!(row.starts_with("diary Terminating "), "{row}");
    let volume = format!("persistentvolume/{volume}");
    assert_eq!(cluster.field(&volume, ".status.phase"), "Bound");
    let path = cluster.field(&volume, ".spec.hostPath.path");
    cluster.node_says(&format!("test -s {path}/log"));
    cluster.forget(&["pod/diarist-2"]);
    cluster.until_gone(&[claim]);
    cluster.until_gone(&[&volume]);
    cluster.node_says(&format!("test ! -e {path}"));
}

fn a_retained_volume_stays(cluster: &dyn Cluster) {
    cluster.create(&json!({"apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": "chest"}, "spec": {"capacity": {"storage": "5Mi"},
            "accessModes": ["ReadWriteOnce"], "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": "by-hand", "hostPath": {"path": format!("{ROOT}/chest")}}}));
    cluster.until("persistentvolume/chest", ".status.phase", "Available");
    cluster.create(&json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "gold"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "storageClassName": "by-hand", "resources": {"requests": {"storage": "1Mi"}}}}));
    let claim = "persistentvolumeclaim/gold";
    cluster.until(claim, ".status.phase", "Bound");
    // It gets all of what it is given.
    let row = cluster.row(claim);
    assert!(
        row.starts_with("gold Bound chest 5Mi RWO by-hand "),
        "{row}"
    );
    cluster.forget(&[claim]);
    cluster.until("persistentvolume/chest", ".status.phase", "Released");
    let row = cluster.row("persistentvolume/chest");
    let wanted = "chest 5Mi RWO Retain Released default/gold by-hand ";
    assert!(row.starts_with(wanted), "{row}");
    let free = r#"{"spec": {"claimRef": null}}"#;
    cluster.kubectl(&["patch", "persistentvolume", "chest", "-p", free]);
    cluster.until("persistentvolume/chest", ".status.phase", "Available");
    cluster.forget(&["persistentvolume/chest"]);
}
