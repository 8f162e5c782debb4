//! NetworkPolicies: who reaches whom, as the documentation's rules say.

use serde_json::{Value, json};

use super::ask::{self, Check, NOBODY};
use super::{Cluster, SERVE, WAIT, shell};

/// Clients: in the server's namespace, and in one labelled `team=blue`.
const FRIEND: &str = "friend";
const STRANGER: &str = "stranger";
const FAR_FRIEND: &str = "-n elsewhere friend";
const FAR_STRANGER: &str = "-n elsewhere stranger";

pub fn play(cluster: &dyn Cluster) {
    begin(cluster);
    let site = Site::of(cluster);
    site.open_until_somebody_says_otherwise();
    site.nobody_comes_in();
    site.some_come_in();
    site.some_ports_are_open();
    site.some_addresses_are_open();
    site.removed_is_open_again();
    site.nobody_goes_out();
    cluster.forget(&[
        "networkpolicy/door",
        "service/server",
        "pod/server",
        "pod/friend",
        "pod/stranger",
        "namespace/elsewhere",
    ]);
}

fn begin(cluster: &dyn Cluster) {
    cluster.create(&json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "elsewhere", "labels": {"team": "blue"}}}));
    let serve = format!(
        "mkdir -p /admin /more; echo admin > /admin/index.html; echo more > /more/index.html; \
         httpd -p 8081 -h /admin; httpd -p 8082 -h /more; {SERVE}"
    );
    let mut app = shell("app", &serve);
    app["ports"] = json!([{"name": "http", "containerPort": 8080}]);
    app["readinessProbe"] = json!({"httpGet": {"port": 8080}, "periodSeconds": 1,
        "timeoutSeconds": 20});
    app["livenessProbe"] = json!({"tcpSocket": {"port": 8080}, "periodSeconds": 1,
        "initialDelaySeconds": 5, "timeoutSeconds": 20, "failureThreshold": 10});
    cluster.pod("server", json!({"containers": [app]}));
    // Pods wait for their namespace's account; it is a matter of moments.
    let account = ["get", "serviceaccount", "default", "-n", "elsewhere"];
    let there = (0..300).any(|_| cluster.try_kubectl(&account).code == 0);
    assert!(there, "the namespace has no account");
    let client = || json!({"containers": [shell("app", WAIT)]});
    for name in [FRIEND, STRANGER] {
        cluster.pod(name, client());
        let mut far = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "elsewhere", "labels": {"app": name}},
            "spec": client()});
        far["spec"]["terminationGracePeriodSeconds"] = json!(1);
        cluster.create(&far);
    }
    cluster.kubectl(&["expose", "pod/server", "--port=80", "--target-port=8080"]);
    for name in ["server", FRIEND, STRANGER] {
        cluster.ready(name);
    }
    let far = ["pod/friend", "pod/stranger"];
    let ready = ["wait", "-n", "elsewhere", "--for=condition=Ready"];
    cluster.kubectl(&[&ready[..], &[cluster.soon()][..], &far[..]].concat());
}

struct Site<'a> {
    cluster: &'a dyn Cluster,
    /// Of the server's pod and of its Service.
    ip: String,
    service: String,
}

impl<'a> Site<'a> {
    fn of(cluster: &'a dyn Cluster) -> Self {
        Self {
            cluster,
            ip: cluster.field("pod/server", ".status.podIP"),
            service: cluster.field("service/server", ".spec.clusterIP"),
        }
    }

    /// The policy `door`, made or changed.
    #[track_caller]
    fn door(&self, spec: &Value) {
        self.cluster.apply(
            &json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "door"}, "spec": spec}),
        );
    }

    /// A door of the server, for these peers and ports; an empty list is everybody, every port.
    #[track_caller]
    fn server_lets(&self, from: &Value, ports: &Value) {
        self.door(&json!({"podSelector": {"matchLabels": {"app": "server"}},
            "policyTypes": ["Ingress"], "ingress": [{"from": from, "ports": ports}]}));
    }

    /// What a client finds at ports of the server's pod.
    #[track_caller]
    fn finds(&self, client: &str, pages: &[(u16, &str)]) {
        let one = |(port, page): &(u16, &str)| Check::page(&format!("{}:{port}", self.ip), page);
        let checks: Vec<Check> = pages.iter().map(one).collect();
        ask::come_true(self.cluster, client, &checks);
    }

    /// Who comes in at the server's first port, of those that there are. Who does is asked
    /// first: then the rules are in force for the others as well.
    #[track_caller]
    fn let_in(&self, welcome: &[&str]) {
        for client in welcome {
            self.finds(client, &[(8080, "server")]);
        }
        for client in [FRIEND, STRANGER, FAR_FRIEND, FAR_STRANGER] {
            if !welcome.contains(&client) {
                self.finds(client, &[(8080, NOBODY)]);
            }
        }
    }

    fn open_until_somebody_says_otherwise(&self) {
        self.let_in(&[FRIEND, STRANGER, FAR_FRIEND, FAR_STRANGER]);
        self.finds(FRIEND, &[(8081, "admin"), (8082, "more")]);
        let by_service = [Check::page(&self.service, "server")];
        ask::come_true(self.cluster, FAR_STRANGER, &by_service);
    }

    fn nobody_comes_in(&self) {
        self.door(&json!({"podSelector": {}, "policyTypes": ["Ingress"]}));
        let row = self.cluster.row("networkpolicy/door");
        assert!(row.starts_with("door <none> "), "{row}");
        self.let_in(&[]);
        let by_service = [Check::page(&self.service, NOBODY)];
        ask::come_true(self.cluster, FRIEND, &by_service);
        // A pod is never kept from itself, nor its node from it.
        let itself = [
            Check::page(&format!("{}:8080", self.ip), "server"),
            Check::page(&self.service, "server"),
        ];
        ask::come_true(self.cluster, "server", &itself);
        let page = self.cluster.page(&format!("{}:8080", self.ip));
        assert!(page.ends_with("server"), "{page}");
        // So the kubelet's probes pass: a new container becomes ready, and stays alive.
        let (id, restarts) = self.cluster.container("server");
        assert_eq!(restarts, "0");
        self.cluster.kill_container(&id);
        self.cluster.restarted("server");
        self.cluster.ready("server");
        self.finds(STRANGER, &[(8080, NOBODY)]);
    }

    fn some_come_in(&self) {
        let friends = json!({"matchLabels": {"app": FRIEND}});
        let blue = json!({"matchLabels": {"team": "blue"}});
        // Pods of the policy's own namespace.
        self.server_lets(&json!([{"podSelector": friends}]), &json!([]));
        let row = self.cluster.row("networkpolicy/door");
        assert!(row.starts_with("door app=server "), "{row}");
        self.let_in(&[FRIEND]);
        let by_service = |page| [Check::page(&self.service, page)];
        ask::come_true(self.cluster, FRIEND, &by_service("server"));
        ask::come_true(self.cluster, STRANGER, &by_service(NOBODY));
        // Labels decide, at the moment they change.
        let label = |name: &str| {
            let label = format!("app={name}");
            let words = ["label", "pod/stranger", &label, "--overwrite"];
            self.cluster.kubectl(&words);
        };
        label(FRIEND);
        self.finds(STRANGER, &[(8080, "server")]);
        label(STRANGER);
        self.finds(STRANGER, &[(8080, NOBODY)]);

        self.server_lets(&json!([{"namespaceSelector": blue}]), &json!([]));
        self.let_in(&[FAR_FRIEND, FAR_STRANGER]);
        // Both in one element: both must be so. In two: one is enough.
        let both = json!([{"namespaceSelector": blue, "podSelector": friends}]);
        self.server_lets(&both, &json!([]));
        self.let_in(&[FAR_FRIEND]);
        let either = json!([{"namespaceSelector": blue}, {"podSelector": friends}]);
        self.server_lets(&either, &json!([]));
        self.let_in(&[FRIEND, FAR_FRIEND, FAR_STRANGER]);
        // Every namespace has its name as a label.
        let name = json!({"matchLabels": {"kubernetes.io/metadata.name": "default"}});
        self.server_lets(&json!([{"namespaceSelector": name}]), &json!([]));
        self.let_in(&[FRIEND, STRANGER]);
    }

    fn some_ports_are_open(&self) {
        self.server_lets(&json!([]), &json!([{"protocol": "TCP", "port": "http"}]));
        let first = [(8080, "server"), (8081, NOBODY), (8082, NOBODY)];
        self.finds(STRANGER, &first);
        let range = json!([{"protocol": "TCP", "port": 8081, "endPort": 8082}]);
        self.server_lets(&json!([]), &range);
        let others = [(8081, "admin"), (8082, "more"), (8080, NOBODY)];
        self.finds(STRANGER, &others);
        self.server_lets(&json!([]), &json!([{"protocol": "UDP", "port": 8080}]));
        self.finds(STRANGER, &[(8080, NOBODY), (8081, NOBODY)]);
        self.server_lets(&json!([]), &json!([]));
        self.finds(STRANGER, &[(8080, "server"), (8082, "more")]);
    }

    fn some_addresses_are_open(&self) {
        let stranger = self.cluster.field("pod/stranger", ".status.podIP");
        let block = json!({"cidr": "0.0.0.0/0", "except": [format!("{stranger}/32")]});
        self.server_lets(&json!([{"ipBlock": block}]), &json!([]));
        self.let_in(&[FRIEND, FAR_FRIEND, FAR_STRANGER]);
        let block = json!({"cidr": format!("{stranger}/32")});
        self.server_lets(&json!([{"ipBlock": block}]), &json!([]));
        self.let_in(&[STRANGER]);
    }

    fn removed_is_open_again(&self) {
        self.cluster.kubectl(&["delete", "networkpolicy", "door"]);
        self.let_in(&[FRIEND, STRANGER, FAR_FRIEND, FAR_STRANGER]);
    }

    fn nobody_goes_out(&self) {
        let out = |egress: &Value| {
            self.door(&json!({"podSelector": {"matchLabels": {"app": FRIEND}},
                "policyTypes": ["Egress"], "egress": egress}));
        };
        let name = "kubernetes.default.svc.cluster.local";
        let dns = format!(
            "timeout 3 nslookup -type=a {name} >/dev/null 2>&1 && echo known || echo unknown"
        );
        let sees = |names: &str, page: &str| {
            let checks = [
                Check::is(&dns, names),
                Check::page(&format!("{}:8080", self.ip), page),
            ];
            ask::come_true(self.cluster, FRIEND, &checks);
        };
        sees("known", "server");
        out(&json!([]));
        sees("unknown", NOBODY);
        // Only those it is for: others have no such door.
        self.finds(STRANGER, &[(8080, "server")]);
        self.finds(FAR_FRIEND, &[(8080, "server")]);
        // What most people allow then.
        let dns_pods = json!({
            "to": [{"namespaceSelector":
                    {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
                "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}],
            "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]});
        out(&json!([dns_pods]));
        sees("known", NOBODY);
        let server = json!({"to": [{"podSelector": {"matchLabels": {"app": "server"}}}],
            "ports": [{"protocol": "TCP", "port": "http"}]});
        out(&json!([dns_pods, server]));
        sees("known", "server");
        let address = json!({"to": [{"ipBlock": {"cidr": format!("{}/32", self.ip)}}]});
        out(&json!([address]));
        sees("unknown", "server");
        out(&json!([dns_pods, server]));
        self.finds(FRIEND, &[(8081, NOBODY)]);
        // A Service is reached where its pods are.
        let by_service = [Check::page("server.default", "server")];
        ask::come_true(self.cluster, FRIEND, &by_service);
        self.cluster.kubectl(&["delete", "networkpolicy", "door"]);
        self.finds(FRIEND, &[(8081, "admin")]);
    }
}
