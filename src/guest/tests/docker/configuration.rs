//! What containers are told: variables, names, files of the node.

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use serde_json::json;

use crate::cluster::{Cluster, WAIT, phase, play, shell, state};

#[test]
fn variables_come_from_everywhere() {
    play(|| async {
        let cluster = Cluster::start().await;
        cluster
            .config_map("settings", json!({"COLOR": "red"}))
            .await;
        cluster
            .create(
                json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "door"},
                "stringData": {"key": "s3same"}}),
            )
            .await;
        cluster
            .create(
                json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "my-db"},
                "spec": {"clusterIP": "10.96.0.77", "ports": [{"port": 5432, "name": "sql"}]}}),
            )
            .await;
        let print = "echo $COLOR $KEY $GREETING $POD $CPU $MEM $MY_DB_SERVICE_HOST \
                     $MY_DB_SERVICE_PORT_SQL $MY_DB_PORT_5432_TCP_ADDR $IP > /dev/termination-log";
        let mut app = shell("app", print);
        app["envFrom"] = json!([{"configMapRef": {"name": "settings"}}]);
        app["resources"] = json!({"limits": {"cpu": "500m", "memory": "64Mi"}});
        app["env"] = json!([
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "door", "key": "key"}}},
            {"name": "GREETING", "value": "hi-$(COLOR)-$$(COLOR)-$(NONE)"},
            {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef":
                {"resource": "limits.cpu", "divisor": "1m"}}},
            {"name": "MEM", "valueFrom": {"resourceFieldRef":
                {"resource": "limits.memory", "divisor": "1Mi"}}},
        ]);
        let spec = json!({"restartPolicy": "Never", "containers": [app]});
        let words = cluster.says("told", spec).await;
        let expected = "red s3same hi-red-$(COLOR)-$(NONE) told 500 64 10.96.0.77 5432 \
                        10.96.0.77 10.244.7.";
        assert!(words.starts_with(expected), "{words}");
    });
}

#[test]
fn what_is_missing_is_named_and_awaited() {
    play(|| async {
        let cluster = Cluster::start().await;
        let mut app = shell("app", WAIT);
        app["envFrom"] = json!([{"configMapRef": {"name": "later"}}]);
        cluster.pod("waits", json!({"containers": [app]})).await;
        let named = |pod: &Pod| state(pod, 0) == "CreateContainerConfigError";
        cluster.until("waits", named).await;
        cluster
            .event("waits", "Failed: Error: configmap \"later\" not found")
            .await;
        cluster.config_map("later", json!({"A": "1"})).await;
        cluster.ready("waits").await;

        let app = shell("app", WAIT);
        cluster
            .pod(
                "mounts",
                json!({"containers": [app],
                "volumes": [{"name": "v", "configMap": {"name": "much-later"}}]}),
            )
            .await;
        let words = "FailedMount: MountVolume.SetUp failed for volume \"v\" : \
                     configmap \"much-later\" not found";
        cluster.event("mounts", words).await;
        let pod = cluster
            .until("mounts", |pod| !state(pod, 0).is_empty())
            .await;
        assert_eq!(
            (state(&pod, 0).as_str(), phase(&pod)),
            ("ContainerCreating", "Pending")
        );
        cluster.config_map("much-later", json!({"A": "1"})).await;
        cluster.ready("mounts").await;
    });
}

#[test]
fn names_and_addresses_are_written_where_programs_look() {
    play(|| async {
        let cluster = Cluster::start().await;
        let print = "hostname > /dev/termination-log; \
                     tail -n 4 /etc/hosts >> /dev/termination-log; \
                     cat /etc/resolv.conf >> /dev/termination-log";
        let spec = json!({"restartPolicy": "Never", "hostname": "busy", "subdomain": "nodes",
            "setHostnameAsFQDN": true,
            "hostAliases": [{"ip": "10.1.2.3", "hostnames": ["foo.local", "bar.local"]}],
            "dnsPolicy": "None", "dnsConfig": {"nameservers": ["192.0.2.1"],
                "searches": ["my.dns.search"], "options": [{"name": "ndots", "value": "2"}]},
            "containers": [shell("app", print)]});
        let words = cluster.says("named", spec).await;
        let long = "busy.nodes.default.svc.cluster.local";
        assert!(words.starts_with(&format!("{long}\n")), "{words}");
        assert!(words.contains(&format!("\t{long}\tbusy\n")), "{words}");
        assert!(
            words.contains("# Entries added by HostAliases.\n10.1.2.3\tfoo.local\tbar.local\n")
        );
        assert!(words.ends_with("nameserver 192.0.2.1\nsearch my.dns.search\noptions ndots:2"));
    });
}

#[test]
fn mounted_maps_follow_changes_in_one_step() {
    play(|| async {
        let cluster = Cluster::start().await;
        cluster
            .config_map("page", json!({"a": "1", "b": "1"}))
            .await;
        let mut app = shell("app", WAIT);
        app["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
        cluster
            .pod(
                "web",
                json!({"containers": [app],
                "volumes": [{"name": "v", "configMap": {"name": "page"}}]}),
            )
            .await;
        cluster.ready("web").await;
        assert_eq!(cluster.exec("web", &["cat", "/v/a", "/v/b"]).await, "11");
        cluster
            .patch::<ConfigMap>("page", json!({"data": {"a": "2", "b": "2"}}))
            .await;
        loop {
            let seen = cluster
                .exec("web", &["sh", "-c", "cd /v/..data; cat a b"])
                .await;
            // The folder may be taken away under the reader's feet: then it sees less, or nothing.
            let mixed = seen.contains('1') && seen.contains('2');
            assert!(!mixed, "never a mixture: {seen}");
            if seen == "22" {
                break;
            }
        }
    });
}

#[test]
fn a_port_of_the_machine_leads_to_its_pod() {
    play(|| async {
        let mut cluster = Cluster::start().await;
        let serve = "mkdir -p /www; echo hello > /www/index.html; exec httpd -f -p 80 -h /www";
        let mut app = shell("app", serve);
        app["ports"] = json!([{"containerPort": 80, "hostPort": 8080}]);
        app["readinessProbe"] = json!({"periodSeconds": 1, "httpGet": {"port": 80}});
        cluster.pod("web", json!({"containers": [app]})).await;
        let uid = cluster.ready("web").await.metadata.uid.unwrap_or_default();
        let curl = |code: &str| {
            let mut curl = std::process::Command::new("curl");
            curl.args(["-s", "-m", "60", "-o", "/dev/null", "-w", "%{http_code}"]);
            curl.arg("http://127.0.0.1:8080/");
            let output = curl.output().expect("curl");
            assert_eq!(String::from_utf8_lossy(&output.stdout), code);
        };
        curl("200");
        cluster.kill_agent();
        curl("200");
        cluster.start_agent();
        cluster.delete("web").await;
        cluster.gone("web", &uid).await;
        curl("000");
    });
}
