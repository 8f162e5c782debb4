//! How pods begin, fail, come back and end.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use crate::cluster::{Cluster, WAIT, condition, last_words, phase, play, shell, state, status};

#[test]
fn a_pod_runs_crashes_backs_off_and_ends() {
    play(|| async {
        let cluster = Cluster::start().await;
        cluster
            .pod("web", json!({"containers": [shell("app", WAIT)]}))
            .await;
        let pod = cluster.ready("web").await;
        let address = pod
            .status
            .as_ref()
            .and_then(|s| s.pod_ip.clone())
            .expect("address");
        assert!(address.starts_with("10.244.7."), "{address}");
        cluster.event("web", "Started: ").await;

        cluster
            .pod("crash", json!({"containers": [shell("app", "exit 3")]}))
            .await;
        let pod = cluster
            .until("crash", |pod| state(pod, 0) == "CrashLoopBackOff")
            .await;
        let seen = status(&pod, 0);
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        assert_eq!(
            seen["state"]["waiting"]["message"],
            format!("back-off 10s restarting failed container=app pod=crash_default({uid})")
        );
        assert_eq!(seen["lastState"]["terminated"]["exitCode"], 3);
        assert_eq!(phase(&pod), "Running");
        let words = format!(
            "BackOff: Back-off restarting failed container app in pod crash_default({uid})"
        );
        cluster.event("crash", &words).await;

        let missing = json!({"name": "app", "command": ["/no/such/program"]});
        cluster
            .pod("missing", json!({"containers": [missing]}))
            .await;
        cluster
            .until("missing", |pod| state(pod, 0) == "RunContainerError")
            .await;
        let pod = cluster
            .until("missing", |pod| state(pod, 0) == "CrashLoopBackOff")
            .await;
        let ended = &status(&pod, 0)["lastState"]["terminated"];
        assert_eq!(
            (&ended["reason"], &ended["exitCode"]),
            (&json!("StartError"), &json!(128))
        );

        let job = json!({"restartPolicy": "Never", "containers": [shell("app", "exit 0")]});
        cluster.pod("job", job).await;
        let pod = cluster.until("job", |pod| phase(pod) == "Succeeded").await;
        assert_eq!(state(&pod, 0), "Completed");

        let slow = json!({"activeDeadlineSeconds": 1, "containers": [shell("app", WAIT)]});
        cluster.pod("slow", slow).await;
        let pod = cluster.until("slow", |pod| phase(pod) == "Failed").await;
        let reason = pod.status.and_then(|s| s.reason);
        assert_eq!(reason.as_deref(), Some("DeadlineExceeded"));
    });
}

#[test]
fn init_containers_sidecars_and_debuggers_keep_their_order() {
    play(|| async {
        let cluster = Cluster::start().await;
        let log = "/log/order";
        let mut sidecar = shell(
            "sidecar",
            &format!(
                "trap 'echo sidecar down >> {log}; exit 0' TERM; echo sidecar up >> {log}; \
                      sleep 1; touch /up; while true; do sleep 0.1; done"
            ),
        );
        sidecar["restartPolicy"] = json!("Always");
        sidecar["startupProbe"] = json!({"periodSeconds": 1, "failureThreshold": 300,
            "timeoutSeconds": 20,
            "exec": {"command": ["test", "-e", "/up"]}});
        let app = format!(
            "trap 'sleep 0.5; echo app down >> {log}; exit 0' TERM; \
                           echo app up >> {log}; while true; do sleep 0.1; done"
        );
        let folder = cluster.engine.folder().join("log");
        let mut spec = json!({
            "terminationGracePeriodSeconds": 60,
            "volumes": [{"name": "log", "hostPath":
                {"path": folder.display().to_string(), "type": "DirectoryOrCreate"}}],
            "initContainers": [shell("setup", &format!("echo setup >> {log}")), sidecar],
            "containers": [shell("app", &app)],
        });
        for list in ["initContainers", "containers"] {
            for container in spec[list].as_array_mut().expect("list") {
                container["volumeMounts"] = json!([{"name": "log", "mountPath": "/log"}]);
            }
        }
        cluster.pod("web", spec).await;
        let pod = cluster.ready("web").await;
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let order = || std::fs::read_to_string(folder.join("order")).expect("read");
        // Without a probe a container is ready before its first line has run.
        while !order().ends_with("app up\n") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(order(), "setup\nsidecar up\napp up\n");

        // kubectl debug, without its terminal.
        let debugger = json!({"spec": {"ephemeralContainers": [{"name": "debug",
            "image": crate::engine::BUSYBOX, "targetContainerName": "app",
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "command": ["sh", "-c", "ps | grep 'trap .slee[p]' > /dev/null && echo 1; exit 1"]}]}});
        let pods = cluster.api::<Pod>();
        let patch = kube::api::Patch::Strategic(debugger);
        pods.patch_subresource("ephemeralcontainers", "web", &Default::default(), &patch)
            .await
            .expect("patch");
        let ended = |pod: &Pod| {
            let all = pod
                .status
                .as_ref()
                .and_then(|s| s.ephemeral_container_statuses.as_ref());
            let first = all.and_then(|all| all.first());
            let state = first.and_then(|first| first.state.clone());
            state.and_then(|state| state.terminated)
        };
        let pod = cluster.until("web", |pod| ended(pod).is_some()).await;
        let words = ended(&pod)
            .and_then(|ended| ended.message)
            .unwrap_or_default();
        assert_eq!(words.trim(), "1", "it sees the app's process");
        assert_eq!(condition(&pod, "Ready"), "True", "a debugger harms nobody");

        cluster.delete("web").await;
        cluster.gone("web", &uid).await;
        let end = "app down\nsidecar down\n";
        assert!(order().ends_with(end), "{}", order());
    });
}

#[test]
fn hooks_run_and_a_failing_one_kills() {
    play(|| async {
        let cluster = Cluster::start().await;
        let folder = cluster.engine.folder().join("log");
        let mut app = shell("app", WAIT);
        app["volumeMounts"] = json!([{"name": "log", "mountPath": "/log"}]);
        app["lifecycle"] = json!({
            "postStart": {"exec": {"command": ["sh", "-c", "echo hello > /log/words"]}},
            "preStop": {"exec": {"command": ["sh", "-c", "echo goodbye >> /log/words"]}}});
        let pod = cluster.pod(
            "polite",
            json!({"containers": [app], "terminationGracePeriodSeconds": 60,
            "volumes": [{"name": "log",
            "hostPath": {"path": folder.display().to_string(), "type": "DirectoryOrCreate"}}]}),
        );
        let uid = pod.await.metadata.uid.unwrap_or_default();
        cluster.ready("polite").await;
        let words = || std::fs::read_to_string(folder.join("words")).expect("read");
        assert_eq!(words(), "hello\n");
        cluster.delete("polite").await;
        cluster.gone("polite", &uid).await;
        assert_eq!(words(), "hello\ngoodbye\n");

        let mut app = shell("app", WAIT);
        app["lifecycle"] = json!({"postStart": {"exec": {"command": ["false"]}}});
        cluster.pod("rude", json!({"containers": [app]})).await;
        cluster
            .until("rude", |pod| state(pod, 0) == "PostStartHookError")
            .await;
        cluster
            .event("rude", "FailedPostStartHook: PostStartHook failed")
            .await;
        cluster
            .until("rude", |pod| state(pod, 0) == "CrashLoopBackOff")
            .await;
    });
}

#[test]
fn containers_of_a_pod_share_what_they_should() {
    play(|| async {
        let cluster = Cluster::start().await;
        let look = "until wget -qO- http://127.0.0.1:8080/ > /dev/termination-log; \
                    do sleep 0.1; done; \
                    ps | grep -q 'http[d]' && echo seen >> /dev/termination-log; exit 0";
        let serve = "mkdir -p /www; echo from the neighbour > /www/index.html; \
                     exec httpd -f -p 8080 -h /www";
        let spec = json!({"restartPolicy": "OnFailure", "shareProcessNamespace": true,
            "containers": [shell("look", look), shell("serve", serve)]});
        cluster.pod("shared", spec).await;
        let pod = cluster
            .until("shared", |pod| state(pod, 0) == "Completed")
            .await;
        assert_eq!(last_words(&pod, 0), "from the neighbour\nseen");

        let alone = json!({"restartPolicy": "Never",
            "containers": [shell("look", "ps | wc -l > /dev/termination-log")]});
        let seen: u32 = cluster.says("alone", alone).await.parse().expect("number");
        assert!(seen <= 4, "its own processes only: {seen}");
    });
}
