//! Admission webhooks: real HTTPS servers that change, refuse, dawdle and are not there.

use crate::streams::closed_port;
use crate::support::{Client, PODS, admin, app, bind, config_map, pod};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use base64::Engine;
use cadet_apiserver::{App, User};
use http::{StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn encode(bytes: impl AsRef<[u8]>) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// A server of webhooks; what it does stands in the path.
#[derive(Clone)]
struct Hooks {
    address: SocketAddr,
    bundle: String,
    seen: Arc<Mutex<Vec<Value>>>,
}

impl Hooks {
    async fn start(on: IpAddr) -> Hooks {
        let listener = TcpListener::bind((on, 0)).await.expect("bind");
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().expect("key"));
        let ca = ca.expect("authority");
        let names = vec!["127.0.0.1".to_owned(), "hook.default.svc".to_owned()];
        let key = KeyPair::generate().expect("key");
        let server = CertificateParams::new(names).expect("names");
        let server = server.signed_by(&key, &ca).expect("certificate");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![server.der().clone()], key)
            .expect("tls");
        let hooks = Hooks {
            address: listener.local_addr().expect("address"),
            bundle: encode(ca.pem()),
            seen: Arc::default(),
        };
        let router = Router::new().fallback(answer).with_state(hooks.clone());
        tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(tls)), router));
        hooks
    }

    fn client(&self, path: &str) -> Value {
        json!({"url": format!("https://{}{path}", self.address), "caBundle": self.bundle})
    }

    /// What was asked at a path since this was last called.
    fn take(&self, path: &str) -> Vec<Value> {
        let mut seen = self.seen.lock().expect("lock");
        let (of_path, others) = seen.drain(..).partition(|review| review["at"] == path);
        *seen = others;
        of_path
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, router: Router) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, router) = (acceptor.clone(), router.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let service = TowerToHyperService::new(router);
            let builder = auto::Builder::new(TokioExecutor::new());
            let _ = builder
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(State(hooks): State<Hooks>, uri: Uri, body: Bytes) -> Response {
    let mut review: Value = serde_json::from_slice(&body).expect("review");
    let uid = review["request"]["uid"].clone();
    let object = review["request"]["object"].clone();
    review["at"] = json!(uri.path());
    review["query"] = json!(uri.query());
    hooks.seen.lock().expect("lock").push(review);
    let patch = |patch: Value| {
        json!({"uid": uid, "allowed": true, "patchType": "JSONPatch",
            "patch": encode(patch.to_string())})
    };
    let mark = |name: &str| {
        let labels = object["metadata"]["labels"].as_object();
        let count = labels.map_or(0, |labels| labels.len());
        match labels {
            Some(labels) if labels.contains_key(name) => json!({"uid": uid, "allowed": true}),
            Some(_) => patch(
                json!([{"op": "add", "path": format!("/metadata/labels/{name}"), "value": count.to_string()}]),
            ),
            None => patch(json!([{"op": "add", "path": "/metadata/labels", "value": {name: "0"}}])),
        }
    };
    let response = match uri.path() {
        "/allow" => json!({"uid": uid, "allowed": true, "warnings": ["be careful"]}),
        "/first" => mark("first"),
        "/second" => mark("second"),
        "/deny" => json!({"uid": uid, "allowed": false,
            "status": {"code": 403, "reason": "Forbidden", "message": "not today"}}),
        "/rename" => patch(json!([{"op": "replace", "path": "/metadata/namespace", "value": "x"}])),
        "/nonsense" => json!({"uid": "another", "allowed": true}),
        // So slow that nobody has ever heard its answer.
        "/slow" => std::future::pending().await,
        _ => {
            let mut response = Response::new(Body::from("no such hook"));
            *response.status_mut() = StatusCode::NOT_FOUND;
            return response;
        }
    };
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "response": response});
    Response::new(Body::from(review.to_string()))
}

/// One webhook for new and changed ConfigMaps and Pods.
fn hook(name: &str, client: &Value, more: Value) -> Value {
    let mut hook = json!({"name": format!("{name}.hooks.example"), "clientConfig": client,
        "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "rules": [{"operations": ["CREATE", "UPDATE"], "apiGroups": ["*"], "apiVersions": ["v1"],
            "resources": ["configmaps", "pods"]}]});
    for (key, value) in more.as_object().into_iter().flatten() {
        hook[key] = value.clone();
    }
    hook
}

async fn register(client: &Client, kind: &str, name: &str, hooks: &[Value]) {
    let plural = format!("{kind}webhookconfigurations");
    let object = json!({"metadata": {"name": name}, "webhooks": hooks});
    client
        .post(&format!("{GROUP}/{plural}"), &object)
        .await
        .expect(201);
}

async fn start() -> (App, Client, Hooks) {
    let app = app().await;
    let client = Client::new(&app, admin());
    let hooks = Hooks::start(IpAddr::from([127, 0, 0, 1])).await;
    (app, client, hooks)
}

#[tokio::test]
async fn a_mutating_webhook_changes_what_is_stored_and_is_told_everything() {
    let (app, _, hooks) = start().await;
    let mut user = User::new("ada", &["system:masters", "system:authenticated"]);
    user.extra.insert("k".into(), vec!["v".into()]);
    let client = Client::new(&app, user);
    let first = hook("first", &hooks.client("/first"), json!({}));
    register(&client, "mutating", "a", &[first]).await;
    let path = format!("{MAPS}?fieldManager=me");
    let made = client.post(&path, &config_map("a", "1")).await.expect(201);
    assert_eq!(made["metadata"]["labels"], json!({"first": "0"}));
    // What a webhook adds is nobody's.
    let record = made["metadata"]["managedFields"].to_string();
    assert!(!record.contains("f:labels"), "{record}");
    let seen = hooks.take("/first");
    assert_eq!(seen.len(), 1);
    let asked = &seen[0]["request"];
    assert_eq!(seen[0]["query"], "timeout=10s");
    assert_eq!(seen[0]["apiVersion"], "admission.k8s.io/v1");
    for (pointer, wanted) in [
        (
            "/kind",
            json!({"group": "", "version": "v1", "kind": "ConfigMap"}),
        ),
        (
            "/resource",
            json!({"group": "", "version": "v1", "resource": "configmaps"}),
        ),
        ("/requestKind/kind", json!("ConfigMap")),
        ("/name", json!("a")),
        ("/namespace", json!("default")),
        ("/operation", json!("CREATE")),
        ("/userInfo/username", json!("ada")),
        ("/userInfo/extra", json!({"k": ["v"]})),
        ("/object/data", json!({"key": "1"})),
        ("/object/kind", json!("ConfigMap")),
        ("/oldObject", Value::Null),
        ("/dryRun", json!(false)),
        (
            "/options",
            json!({"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "me"}),
        ),
    ] {
        assert_eq!(asked.pointer(pointer), Some(&wanted), "{pointer}");
    }
    let patch = json!({"data": {"key": "2"}, "metadata": {"labels": null}});
    let path = format!("{MAPS}/a");
    let changed = client.patch(&path, "merge", &patch).await.expect(200);
    assert_eq!(changed["metadata"]["labels"], json!({"first": "0"}));
    let asked = &hooks.take("/first")[0]["request"];
    assert_eq!(asked["operation"], "UPDATE");
    assert_eq!(asked["oldObject"]["data"], json!({"key": "1"}));
    assert_eq!(asked["options"]["kind"], "UpdateOptions");
    let read = client.get(&path).await.expect(200);
    assert_eq!(read["metadata"]["labels"], json!({"first": "0"}));
    client.delete(&path, &json!({})).await.expect(200);
    assert_eq!(hooks.take("/first"), Vec::<Value>::new());
}

#[tokio::test]
async fn a_validating_webhook_refuses_in_its_own_words_and_warns() {
    let (_, client, hooks) = start().await;
    let labelled = json!({"objectSelector": {"matchLabels": {"bad": "true"}}});
    let more = [
        hook("warn", &hooks.client("/allow"), json!({})),
        hook("deny", &hooks.client("/deny"), labelled),
    ];
    register(&client, "validating", "a", &more).await;
    let answer = client.post(MAPS, &config_map("a", "1")).await;
    assert_eq!(answer.warnings(), ["299 - \"be careful\""]);
    answer.expect(201);
    let mut bad = config_map("b", "1");
    bad["metadata"]["labels"] = json!({"bad": "true"});
    let status = client.post(MAPS, &bad).await.expect(403);
    assert_eq!(status["reason"], "Forbidden");
    assert_eq!(
        status["message"],
        "admission webhook \"deny.hooks.example\" denied the request: not today"
    );
    assert_eq!(client.get(&format!("{MAPS}/b")).await.code, 404);
    // Either the old or the new labels make an object the webhook's business.
    let label = json!({"metadata": {"labels": {"bad": "true"}}});
    let path = format!("{MAPS}/a");
    client.patch(&path, "merge", &label).await.refused(403);
}

#[tokio::test]
async fn a_webhook_that_cannot_be_asked_is_passed_over_or_not() {
    let (_, client, hooks) = start().await;
    let (_held, dead) = closed_port();
    let dead = json!({"url": format!("https://127.0.0.1:{dead}/x"), "caBundle": hooks.bundle});
    let mut stranger = hooks.client("/allow");
    stranger["caBundle"] = json!(Hooks::start(IpAddr::from([127, 0, 0, 1])).await.bundle);
    let at = hooks.address;
    for (client_config, patience, why) in [
        (dead, 30, "dial tcp 127.0.0.1:".to_owned()),
        (
            stranger,
            30,
            format!(
                "Post \"https://{at}/allow?timeout=30s\": tls: failed to verify certificate: x509: certificate signed by unknown authority"
            ),
        ),
        (
            hooks.client("/slow"),
            1,
            format!("Post \"https://{at}/slow?timeout=1s\": context deadline exceeded"),
        ),
        (
            hooks.client("/nowhere"),
            30,
            "the server could not find the requested resource".to_owned(),
        ),
        (
            json!({"service": {"name": "none", "namespace": "default"}}),
            30,
            "Post \"https://none.default.svc:443/?timeout=30s\": service \"none\" not found"
                .to_owned(),
        ),
    ] {
        for kind in ["mutating", "validating"] {
            for (policy, code) in [("Ignore", 201), ("Fail", 500)] {
                let more = json!({"failurePolicy": policy, "timeoutSeconds": patience});
                let only = [hook("it", &client_config, more)];
                register(&client, kind, "it", &only).await;
                let answer = client.post(MAPS, &config_map("a", "1")).await;
                let status = answer.expect(code);
                if policy == "Fail" {
                    let message = status["message"].as_str().expect("message");
                    let start = "Internal error occurred: failed calling webhook \"it.hooks.example\": failed to call webhook: ";
                    assert!(message.starts_with(start), "{message}");
                    assert!(message.contains(&why), "{message}");
                    assert_eq!(status["reason"], "InternalError");
                } else {
                    client
                        .delete(&format!("{MAPS}/a"), &json!({}))
                        .await
                        .expect(200);
                }
                // Whatever is broken can be taken away.
                let path = format!("{GROUP}/{kind}webhookconfigurations/it");
                client.delete(&path, &json!({})).await.expect(200);
            }
        }
    }
    register(
        &client,
        "validating",
        "it",
        &[hook("it", &hooks.client("/nonsense"), json!({}))],
    )
    .await;
    let why = client.post(MAPS, &config_map("a", "1")).await.refused(500);
    assert!(
        why.contains("received invalid webhook response: expected response.uid="),
        "{why}"
    );
}

#[tokio::test]
async fn namespaces_conditions_scopes_and_parts_say_what_a_webhook_is_for() {
    let (_, client, hooks) = start().await;
    let deny = |name: &str, more: Value| hook(name, &hooks.client("/deny"), more);
    let rule = |resource: &str, scope: &str| {
        json!([{"operations": ["*"], "apiGroups": [""], "apiVersions": ["*"],
            "resources": [resource], "scope": scope}])
    };
    let more = [
        deny(
            "space",
            json!({"namespaceSelector": {"matchLabels": {"guarded": "yes"}},
                "rules": rule("*", "Namespaced")}),
        ),
        deny(
            "when",
            json!({"rules": rule("secrets", "*"), "matchConditions": [
                {"name": "big", "expression": "size(object.data) > 1 && request.userInfo.username == 'cadet-admin'"}]}),
        ),
        deny("status", json!({"rules": rule("namespaces/status", "*")})),
        deny(
            "cluster",
            json!({"rules": rule("persistentvolumes", "Namespaced")}),
        ),
    ];
    register(&client, "validating", "a", &more).await;
    let spaces = "/api/v1/namespaces";
    let guarded = json!({"metadata": {"name": "guarded", "labels": {"guarded": "yes"}}});
    client.post(spaces, &guarded).await.expect(201);
    let map = config_map("a", "1");
    client.post(MAPS, &map).await.expect(201);
    let inside = "/api/v1/namespaces/guarded/configmaps";
    let why = client.post(inside, &map).await.refused(403);
    assert!(why.contains("\"space.hooks.example\" denied"), "{why}");

    let secret =
        |data: Value| json!({"metadata": {"generateName": "s-"}, "stringData": {}, "data": data});
    let secrets = "/api/v1/namespaces/default/secrets";
    client
        .post(secrets, &secret(json!({"a": "YQ=="})))
        .await
        .expect(201);
    let two = secret(json!({"a": "YQ==", "b": "YQ=="}));
    let why = client.post(secrets, &two).await.refused(403);
    assert!(why.contains("\"when.hooks.example\" denied"), "{why}");

    let label = json!({"metadata": {"labels": {"x": "y"}}});
    let space = format!("{spaces}/guarded");
    client.patch(&space, "merge", &label).await.expect(200);
    let status = format!("{space}/status");
    client.patch(&status, "merge", &label).await.refused(403);
}

#[tokio::test]
async fn a_condition_that_cannot_be_told_decides_by_the_failure_policy() {
    let (_, client, hooks) = start().await;
    let conditions = json!([{"name": "c", "expression": "object.spec.nothing == 1"}]);
    for (policy, code) in [("Ignore", 201), ("Fail", 403)] {
        let more = json!({"failurePolicy": policy, "matchConditions": conditions});
        register(
            &client,
            "validating",
            "a",
            &[hook("a", &hooks.client("/deny"), more)],
        )
        .await;
        let map = config_map(&policy.to_lowercase(), "1");
        let status = client.post(MAPS, &map).await.expect(code);
        if code == 403 {
            let why = status["message"].as_str().expect("message");
            assert!(
                why.contains("configmaps \"fail\" is forbidden: expression 'object.spec.nothing == 1' resulted in error: "),
                "{why}"
            );
        }
        let path = format!("{GROUP}/validatingwebhookconfigurations/a");
        client.delete(&path, &json!({})).await.expect(200);
    }
}

#[tokio::test]
async fn a_webhook_is_asked_again_when_others_changed_the_object_after_it() {
    let (_, client, hooks) = start().await;
    let again = json!({"reinvocationPolicy": "IfNeeded"});
    let both = [
        hook("first", &hooks.client("/first"), again),
        hook("second", &hooks.client("/second"), json!({})),
    ];
    register(&client, "mutating", "a", &both).await;
    let mut object = config_map("a", "1");
    object["metadata"]["labels"] = json!({"own": "x"});
    let made = client.post(MAPS, &object).await.expect(201);
    assert_eq!(
        made["metadata"]["labels"],
        json!({"own": "x", "first": "1", "second": "2"})
    );
    let first = hooks.take("/first");
    assert_eq!((first.len(), hooks.take("/second").len()), (2, 1));
    assert_eq!(
        first[1]["request"]["object"]["metadata"]["labels"]["second"],
        "2"
    );
    // Nobody changed it: once is enough.
    object["metadata"]["name"] = json!("b");
    object["metadata"]["labels"] = json!({"first": "x", "second": "x"});
    client.post(MAPS, &object).await.expect(201);
    assert_eq!(hooks.take("/first").len(), 1);
}

#[tokio::test]
async fn a_dry_run_reaches_only_webhooks_without_side_effects() {
    let (_, client, hooks) = start().await;
    let first = hook(
        "first",
        &hooks.client("/first"),
        json!({"sideEffects": "NoneOnDryRun"}),
    );
    register(&client, "mutating", "a", &[first]).await;
    let path = format!("{MAPS}?dryRun=All");
    let made = client.post(&path, &config_map("a", "1")).await.expect(201);
    assert_eq!(made["metadata"]["labels"], json!({"first": "0"}));
    let asked = &hooks.take("/first")[0]["request"];
    assert_eq!(asked["dryRun"], true);
    assert_eq!(asked["options"]["dryRun"], json!(["All"]));
    assert_eq!(client.get(&format!("{MAPS}/a")).await.code, 404);
}

#[tokio::test]
async fn deletions_are_asked_about_one_by_one() {
    let (_, client, hooks) = start().await;
    let on_delete = json!({"rules": [{"operations": ["DELETE"], "apiGroups": [""],
        "apiVersions": ["v1"], "resources": ["*"]}],
        "objectSelector": {"matchLabels": {"kept": "yes"}}});
    register(
        &client,
        "validating",
        "a",
        &[hook("keep", &hooks.client("/deny"), on_delete)],
    )
    .await;
    let mut kept = config_map("kept", "1");
    kept["metadata"]["labels"] = json!({"kept": "yes"});
    client.post(MAPS, &kept).await.expect(201);
    client.post(MAPS, &config_map("a", "1")).await.expect(201);
    let options = json!({"kind": "DeleteOptions", "propagationPolicy": "Background"});
    let path = format!("{MAPS}/kept");
    let why = client.delete(&path, &options).await.refused(403);
    assert!(why.contains("denied the request: not today"), "{why}");
    let asked = &hooks.take("/deny")[0]["request"];
    assert_eq!(asked["object"], Value::Null);
    assert_eq!(asked["oldObject"]["data"], json!({"key": "1"}));
    assert_eq!(asked["name"], "kept");
    assert_eq!(asked["options"]["propagationPolicy"], "Background");
    client.delete(MAPS, &json!({})).await.refused(403);
    assert_eq!(client.get(&path).await.code, 200);
    assert_eq!(client.get(&format!("{MAPS}/a")).await.code, 404);
}

#[tokio::test]
async fn streams_scales_and_bindings_are_asked_about_as_what_they_are() {
    let (_, client, hooks) = start().await;
    let rules = json!({"rules": [{"operations": ["*"], "apiGroups": ["", "apps"],
        "apiVersions": ["v1"], "resources": ["pods/exec", "pods/binding", "*/scale", "pods/proxy",
            "serviceaccounts/token"]}]});
    let deny = hook("a", &hooks.client("/deny"), rules);
    register(&client, "validating", "a", &[deny]).await;
    client.post(PODS, &pod("a")).await.expect(201);
    let asked = |hooks: &Hooks| hooks.take("/deny").remove(0)["request"].clone();

    let exec = format!("{PODS}/a/exec?container=c&stdout=true&command=ls&command=-l");
    client.get(&exec).await.refused(403);
    let request = asked(&hooks);
    assert_eq!(request["operation"], "CONNECT");
    assert_eq!(request["subResource"], "exec");
    assert_eq!(
        request["object"],
        json!({"kind": "PodExecOptions", "apiVersion": "v1", "stdout": true,
            "container": "c", "command": ["ls", "-l"]})
    );
    assert_eq!(request["options"], Value::Null);

    client.get(&format!("{PODS}/a/proxy/x")).await.refused(403);
    let request = asked(&hooks);
    assert_eq!(request["kind"]["kind"], "PodProxyOptions");
    assert_eq!(request["object"]["path"], "x");

    bind(&client, "a", "n").await.refused(403);
    let request = asked(&hooks);
    assert_eq!(request["kind"]["kind"], "Binding");
    assert_eq!(request["object"]["target"]["name"], "n");

    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    client.post(path, &json!({"spec": {}})).await.refused(403);
    let request = asked(&hooks);
    assert_eq!(request["kind"]["kind"], "TokenRequest");

    let set = json!({"metadata": {"name": "a"}, "spec": {"selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}}});
    let sets = "/apis/apps/v1/namespaces/default/replicasets";
    client.post(sets, &set).await.expect(201);
    let patch = json!({"spec": {"replicas": 3}});
    let path = format!("{sets}/a/scale");
    client.patch(&path, "merge", &patch).await.refused(403);
    let request = asked(&hooks);
    assert_eq!(
        request["kind"],
        json!({"group": "autoscaling", "version": "v1", "kind": "Scale"})
    );
    assert_eq!(request["object"]["spec"]["replicas"], 3);
    assert_eq!(request["oldObject"]["spec"]["replicas"], 1);
}

#[tokio::test]
async fn what_a_webhook_makes_of_an_object_must_still_be_that_object() {
    let (_, client, hooks) = start().await;
    register(
        &client,
        "mutating",
        "a",
        &[hook("a", &hooks.client("/rename"), json!({}))],
    )
    .await;
    let why = client.post(MAPS, &config_map("a", "1")).await.refused(400);
    assert_eq!(
        why,
        "the namespace of the provided object does not match the namespace sent on the request"
    );
}

#[tokio::test]
async fn other_versions_of_a_kind_are_shown_in_the_version_the_rules_name() {
    let (_, client, hooks) = start().await;
    let rules = json!({"rules": [{"operations": ["CREATE"], "apiGroups": ["autoscaling"],
        "apiVersions": ["v1"], "resources": ["horizontalpodautoscalers"]}]});
    let mut exact = rules.clone();
    exact["matchPolicy"] = json!("Exact");
    let both = [
        hook("any", &hooks.client("/allow"), rules),
        hook("exact", &hooks.client("/deny"), exact),
    ];
    register(&client, "validating", "a", &both).await;
    let scaler = json!({"metadata": {"name": "a"}, "spec": {"maxReplicas": 3,
        "scaleTargetRef": {"kind": "Deployment", "name": "x", "apiVersion": "apps/v1"},
        "metrics": [{"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": 70}}}]}});
    let path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    client.post(path, &scaler).await.expect(201);
    let asked = &hooks.take("/allow")[0]["request"];
    assert_eq!(asked["kind"]["version"], "v1");
    assert_eq!(asked["requestKind"]["version"], "v2");
    assert_eq!(asked["object"]["apiVersion"], "autoscaling/v1");
    assert_eq!(
        asked["object"]["spec"]["targetCPUUtilizationPercentage"],
        70
    );
}

#[tokio::test]
async fn a_service_leads_to_its_ready_endpoints() {
    let app = app().await;
    let client = Client::new(&app, admin());
    let socket = UdpSocket::bind("0.0.0.0:0").expect("socket");
    socket
        .connect("192.0.2.1:9")
        .expect("this test needs a route");
    let hooks = Hooks::start(socket.local_addr().expect("address").ip()).await;
    let service = json!({"metadata": {"name": "hook"},
        "spec": {"ports": [{"port": 443, "targetPort": 8443}]}});
    let services = "/api/v1/namespaces/default/services";
    client.post(services, &service).await.expect(201);
    let config = json!({"service": {"name": "hook", "namespace": "default", "path": "/first"},
        "caBundle": hooks.bundle});
    let mine = hook("first", &config, json!({}));
    register(&client, "mutating", "a", &[mine]).await;
    let why = client.post(PODS, &pod("a")).await.refused(500);
    assert!(
        why.ends_with(
            "Post \"https://hook.default.svc:443/first?timeout=10s\": no endpoints available for service \"hook\""
        ),
        "{why}"
    );
    let slice = json!({"metadata": {"name": "hook-1", "labels": {"kubernetes.io/service-name": "hook"}},
        "addressType": "IPv4", "endpoints": [{"addresses": [hooks.address.ip().to_string()]}],
        "ports": [{"name": "", "port": hooks.address.port()}]});
    let slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
    client.post(slices, &slice).await.expect(201);
    let made = client.post(PODS, &pod("a")).await.expect(201);
    assert_eq!(made["metadata"]["labels"]["first"], "1");
    let asked = &hooks.take("/first")[0]["request"];
    // It sees what the plugins before it have made.
    assert_eq!(asked["object"]["spec"]["serviceAccountName"], "default");
}
