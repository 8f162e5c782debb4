//! Every kind of volume in a real container.

use serde_json::json;

use crate::cluster::{Cluster, WAIT, play, shell};

#[test]
fn files_from_everywhere_are_where_they_should_be() {
    play(|| async {
        let cluster = Cluster::start().await;
        cluster
            .config_map("settings", json!({"color": "red"}))
            .await;
        cluster
            .create(
                json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "door"},
                "stringData": {"key": "s3same"}}),
            )
            .await;
        let print = "(cat /cm/color; echo; cat /secret/key; echo; cat /down/name; echo; \
            cat /all/x/color; echo; cat /one; echo; \
            stat -f -c %T /secret /memory | sort -u; \
            stat -c '%a %g' /disk /cm/..data/color; \
            test -s /var/run/secrets/kubernetes.io/serviceaccount/token && echo token; \
            cat /var/run/secrets/kubernetes.io/serviceaccount/namespace; echo; \
            echo kept > /disk/sub-test; cat /part/sub-test; touch /cm/x || true; \
            df -k /memory | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2) \
            > /dev/termination-log 2>/dev/null";
        let mut app = shell("app", print);
        app["volumeMounts"] = json!([
            {"name": "cm", "mountPath": "/cm"}, {"name": "secret", "mountPath": "/secret"},
            {"name": "down", "mountPath": "/down"}, {"name": "all", "mountPath": "/all"},
            {"name": "cm", "mountPath": "/one", "subPath": "color"},
            {"name": "disk", "mountPath": "/disk"}, {"name": "memory", "mountPath": "/memory"},
            {"name": "disk", "mountPath": "/part/sub-test", "subPath": "sub-test"},
        ]);
        // A subPath is made as a folder; the file must be there first.
        let mut setup = shell("setup", "echo first > /disk/sub-test");
        setup["volumeMounts"] = json!([{"name": "disk", "mountPath": "/disk"}]);
        let spec = json!({"restartPolicy": "Never", "securityContext": {"fsGroup": 4321},
        "initContainers": [setup], "containers": [app],
        "volumes": [
            {"name": "cm", "configMap": {"name": "settings", "defaultMode": 0o400}},
            {"name": "secret", "secret": {"secretName": "door"}},
            {"name": "down", "downwardAPI": {"items": [{"path": "name",
                "fieldRef": {"fieldPath": "metadata.name"}}]}},
            {"name": "all", "projected": {"sources": [{"configMap": {"name": "settings",
                "items": [{"key": "color", "path": "x/color"}]}}]}},
            {"name": "disk", "emptyDir": {}},
            {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "4Mi"}},
        ]});
        let words = cluster.says("files", spec).await;
        let expected = "red\ns3same\nfiles\nred\nred\ntmpfs\n2777 4321\n440 4321\ntoken\ndefault\n\
                        kept\n4096";
        assert_eq!(words, expected);
    });
}

#[test]
fn claims_on_the_node_are_awaited_and_keep_their_data() {
    play(|| async {
        let cluster = Cluster::start().await;
        let path = cluster.engine.folder().join("pv").display().to_string();
        let mut app = shell(
            "app",
            "echo more >> /data/log; cat /data/log > /dev/termination-log",
        );
        app["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
        let spec = json!({"restartPolicy": "Never", "containers": [app],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]});
        cluster.pod("early", spec.clone()).await;
        let words = "FailedMount: Unable to attach or mount volumes: unmounted volumes=[data], \
            unattached volumes=[], failed to process volumes=[data]: error processing PVC \
            default/data: failed to fetch PVC from API server: persistentvolumeclaims \"data\" \
            not found";
        cluster.event("early", words).await;
        let claim = cluster
            .create(json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
                "volumeName": "pv-1", "resources": {"requests": {"storage": "1Mi"}}}}))
            .await;
        cluster.event("early", &words.replace(
            "failed to fetch PVC from API server: persistentvolumeclaims \"data\" not found",
            "PVC is not bound",
        )).await;
        cluster
            .create(json!({"apiVersion": "v1", "kind": "PersistentVolume",
                "metadata": {"name": "pv-1"}, "spec": {"accessModes": ["ReadWriteOnce"],
                "capacity": {"storage": "1Mi"},
                "claimRef": {"namespace": "default", "name": "data",
                    "uid": claim["metadata"]["uid"]},
                "hostPath": {"path": path, "type": "DirectoryOrCreate"}}}))
            .await;
        // What the binder of a whole cluster would say.
        let claims = cluster.api::<k8s_openapi::api::core::v1::PersistentVolumeClaim>();
        let bound = kube::api::Patch::Merge(json!({"status": {"phase": "Bound"}}));
        claims
            .patch_status("data", &Default::default(), &bound)
            .await
            .expect("patch");
        assert_eq!(cluster.words("early").await, "more");
        assert_eq!(cluster.says("again", spec).await, "more\nmore");
    });
}

#[test]
fn paths_of_the_node_are_checked() {
    play(|| async {
        let cluster = Cluster::start().await;
        let spec = |type_: &str| {
            json!({"containers": [shell("app", WAIT)], "volumes": [{"name": "h",
                "hostPath": {"path": "/no/such/path", "type": type_}}]})
        };
        for (name, type_, words) in [
            ("dir", "Directory", "a directory"),
            ("file", "File", "a file"),
            ("sock", "Socket", "a socket file"),
        ] {
            cluster.pod(name, spec(type_)).await;
            let event = "FailedMount: MountVolume.SetUp failed for volume \"h\" : hostPath type \
                         check failed: /no/such/path is not";
            cluster.event(name, &format!("{event} {words}")).await;
        }
    });
}
