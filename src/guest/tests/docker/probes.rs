//! Probes against real servers.

use serde_json::json;

use crate::cluster::{Cluster, condition, play, shell, state, status};

const SERVE: &str = "mkdir -p /www; echo ok > /www/ok; exec httpd -f -p 8080 -h /www";

#[test]
fn readiness_follows_the_server_and_liveness_restarts_it() {
    play(|| async {
        let cluster = Cluster::start().await;
        let mut app = shell("app", SERVE);
        app["ports"] = json!([{"name": "http", "containerPort": 8080}]);
        app["readinessProbe"] = json!({"periodSeconds": 1, "failureThreshold": 1,
            "timeoutSeconds": 20, "httpGet": {"path": "/ok", "port": "http"}});
        cluster.pod("web", json!({"containers": [app]})).await;
        cluster.ready("web").await;
        cluster.exec("web", &["rm", "/www/ok"]).await;
        let pod = cluster
            .until("web", |pod| condition(pod, "Ready") == "False")
            .await;
        assert_eq!(state(&pod, 0), "running");
        let words = "Unhealthy: Readiness probe failed: HTTP probe failed with statuscode: 404";
        cluster.event("web", words).await;
        cluster
            .exec("web", &["sh", "-c", "echo ok > /www/ok"])
            .await;
        cluster.ready("web").await;

        let mut app = shell("app", "touch /tmp/ok; sleep 2; rm /tmp/ok; sleep 1000");
        app["livenessProbe"] = json!({"periodSeconds": 1, "failureThreshold": 1,
            "terminationGracePeriodSeconds": 1, "timeoutSeconds": 20,
            "exec": {"command": ["cat", "/tmp/ok"]}});
        let slow = json!({"containers": [app], "terminationGracePeriodSeconds": 600});
        cluster.pod("sick", slow).await;
        let pod = cluster
            .until("sick", |pod| status(pod, 0)["restartCount"] == 1)
            .await;
        assert_eq!(status(&pod, 0)["lastState"]["terminated"]["exitCode"], 137);
        let words = "Killing: Container app failed liveness probe, will be restarted";
        cluster.event("sick", words).await;
        let words = "Unhealthy: Liveness probe failed: cat: can't open '/tmp/ok'";
        cluster.event("sick", words).await;
    });
}

#[test]
fn a_slow_starter_is_given_time_and_tcp_is_enough() {
    play(|| async {
        let cluster = Cluster::start().await;
        let wait = "until test -e /go; do sleep 0.1; done";
        let mut app = shell("app", &format!("{wait}; {SERVE}"));
        app["startupProbe"] = json!({"periodSeconds": 1, "failureThreshold": 300,
            "timeoutSeconds": 20, "tcpSocket": {"port": 8080}});
        app["livenessProbe"] = json!({"periodSeconds": 1, "failureThreshold": 1,
            "timeoutSeconds": 20, "tcpSocket": {"port": 8080}});
        cluster.pod("slow", json!({"containers": [app]})).await;
        let pod = cluster.running("slow").await;
        assert_eq!(status(&pod, 0)["started"], false);
        let words = "Unhealthy: Startup probe failed: dial tcp 10.244.7.";
        let told = cluster.event("slow", words).await;
        assert!(
            told.ends_with(":8080: connect: connection refused"),
            "{told}"
        );
        cluster.exec("slow", &["touch", "/go"]).await;
        let pod = cluster.ready("slow").await;
        assert_eq!(status(&pod, 0)["restartCount"], 0);
    });
}
