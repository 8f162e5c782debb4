//! Who containers run as and what the kernel lets them do.

use serde_json::{Value, json};

use crate::cluster::{Cluster, WAIT, last_words, phase, play, shell, state, status};
use crate::engine::PLAIN_USER;

fn once(line: &str, context: Value) -> Value {
    let mut app = shell("app", line);
    app["securityContext"] = context;
    json!({"restartPolicy": "Never", "containers": [app]})
}

#[test]
fn users_groups_and_rights_reach_the_process() {
    play(|| async {
        let cluster = Cluster::start().await;
        let who = "(id -u; id -g; id -G) > /dev/termination-log";
        let mut spec = once(who, json!({"runAsUser": 1000, "runAsGroup": 3000}));
        spec["securityContext"] = json!({"fsGroup": 2000, "supplementalGroups": [4000]});
        let words = cluster.says("who", spec).await;
        // The kernel keeps them in order.
        assert_eq!(words, "1000\n3000\n3000 2000 4000");

        let caps = "grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status | tr -d ' \\t' \
                    > /dev/termination-log";
        let drop = json!({"capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
            "allowPrivilegeEscalation": false, "seccompProfile": {"type": "RuntimeDefault"}});
        let words = cluster.says("caps", once(caps, drop)).await;
        assert_eq!(words, "CapEff:0000000000001000\nNoNewPrivs:1\nSeccomp:2");
        let words = cluster.says("plain", once(caps, json!({}))).await;
        assert!(words.ends_with("NoNewPrivs:0\nSeccomp:0"), "{words}");

        let write = "touch /x 2> /dev/termination-log";
        let read_only = json!({"readOnlyRootFilesystem": true});
        let words = cluster.says("ro", once(write, read_only)).await;
        assert!(words.ends_with("Read-only file system"), "{words}");

        let mut spec = once(
            "sysctl -n net.ipv4.tcp_syncookies > /dev/termination-log",
            json!({}),
        );
        spec["securityContext"] = json!({"sysctls": [
            {"name": "net.ipv4.tcp_syncookies", "value": "0"}]});
        assert_eq!(cluster.says("safe", spec).await, "0");
        let mut spec = once(WAIT, json!({}));
        spec["securityContext"] = json!({"sysctls": [{"name": "kernel.msgmax", "value": "1"}]});
        cluster.pod("unsafe", spec).await;
        let pod = cluster.until("unsafe", |pod| phase(pod) == "Failed").await;
        let reason = pod.status.and_then(|status| status.reason);
        assert_eq!(reason.as_deref(), Some("SysctlForbidden"));
    });
}

#[test]
fn root_is_refused_where_it_must_not_be() {
    play(|| async {
        let cluster = Cluster::start().await;
        let non_root = json!({"runAsNonRoot": true});
        cluster.pod("root", once(WAIT, non_root.clone())).await;
        let refused = |pod: &_| state(pod, 0) == "CreateContainerConfigError";
        let pod = cluster.until("root", refused).await;
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let words = format!(
            "container has runAsNonRoot and image will run as root \
                             (pod: \"root_default({uid})\", container: app)"
        );
        assert_eq!(status(&pod, 0)["state"]["waiting"]["message"], words);
        let mut spec = once("id -u > /dev/termination-log", non_root);
        spec["containers"][0]["image"] = json!(PLAIN_USER);
        assert_eq!(cluster.says("plain", spec).await, "1234");
    });
}

#[test]
fn limits_are_the_kernels_and_too_much_memory_is_the_end() {
    play(|| async {
        let cluster = Cluster::start().await;
        let mut spec = once("tail /dev/zero", json!({}));
        spec["containers"][0]["resources"] = json!({"limits": {"memory": "16Mi"}});
        cluster.pod("greedy", spec).await;
        let pod = cluster.until("greedy", |pod| phase(pod) == "Failed").await;
        assert_eq!(state(&pod, 0), "OOMKilled");
        assert_eq!(status(&pod, 0)["state"]["terminated"]["exitCode"], 137);

        let score = "cat /proc/self/oom_score_adj > /dev/termination-log";
        assert_eq!(cluster.says("effort", once(score, json!({}))).await, "1000");

        let mut spec = once("echo out; echo err >&2; exit 1", json!({}));
        spec["containers"][0]["terminationMessagePolicy"] = json!("FallbackToLogsOnError");
        cluster.pod("talks", spec).await;
        let pod = cluster.until("talks", |pod| phase(pod) == "Failed").await;
        let words = last_words(&pod, 0);
        assert!(words.contains("out") && words.contains("err"), "{words}");
    });
}
