//! Requests for certificates, from the asking to the handshake.

use std::process::Command;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cadet_apiserver::{App, User};
use cadet_controllers::Authority as Signer;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::program::{Kubectl, has, kubectls};
use crate::support::{Client, admin, app};
use crate::tls::{Authority, Identity, Served};

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// A server whose loops sign with the authority that its TLS trusts.
async fn served() -> (App, Served, CancellationToken) {
    let app = app().await;
    let authority = Authority::new();
    let pair = authority.pair();
    let signer = Arc::new(Signer::new(pair.certificate, &pair.key).expect("authority"));
    let user = User::new("system:kube-controller-manager", &["system:authenticated"]);
    let client = kube::Client::new(app.service(user), "default");
    let stop = CancellationToken::new();
    tokio::spawn(cadet_controllers::run(client, signer, stop.clone()));
    let served = Served::start_under(authority, app.clone()).await;
    (app, served, stop)
}

/// Key and request in PEM, as a person makes them.
fn openssl(subject: &str, names: &str) -> (String, String) {
    let home = tempfile::tempdir().expect("folder");
    let mut command = Command::new("openssl");
    command.current_dir(home.path()).args([
        "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", "key", "-out", "request",
        "-subj", subject,
    ]);
    if !names.is_empty() {
        command.args(["-addext", &format!("subjectAltName={names}")]);
    }
    let output = command.output().expect("openssl is there");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let read = |name| std::fs::read_to_string(home.path().join(name)).expect("written");
    (read("key"), read("request"))
}

fn request(name: &str, signer: &str, pem: &str, usages: &[&str]) -> Value {
    json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": {"name": name}, "spec": {"request": STANDARD.encode(pem),
            "signerName": format!("kubernetes.io/{signer}"), "usages": usages, "expirationSeconds": 3600}})
}

/// The request once its status says `wanted`.
async fn settled(client: &Client, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let path = format!("{REQUESTS}?watch=true&fieldSelector=metadata.name={name}");
    let mut events = client.watch(&path).await;
    loop {
        let event = events.next().await.expect("an event");
        if wanted(&event["object"]["status"]) {
            return event["object"].clone();
        }
    }
}

fn approved() -> Value {
    json!({"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "Test", "message": "m"}]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approved_request_becomes_a_user() {
    let (app, served, stop) = served().await;
    let root = Client::new(&app, admin());
    let kubeconfig = served.kubeconfig(&served.identity("cadet-admin", "system:masters"));
    let role = json!({"metadata": {"name": "r"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]});
    root.post(&format!("{RBAC}/clusterroles"), &role)
        .await
        .expect(201);
    // Rights come by the second of two groups.
    let binding = json!({"metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "r"},
        "subjects": [{"kind": "Group", "name": "testers"}]});
    root.post(&format!("{RBAC}/clusterrolebindings"), &binding)
        .await
        .expect(201);
    let (key, pem) = openssl("/O=devs/O=testers/CN=jo", "");
    for (n, program) in kubectls().iter().enumerate() {
        let name = format!("jo{n}");
        let asked = request(&name, "kube-apiserver-client", &pem, &["client auth"]);
        root.post(REQUESTS, &asked).await.expect(201);
        let kubectl = Kubectl::new(program, &kubeconfig);
        kubectl.run(&format!("certificate approve {name}")).await;
        let done = settled(&root, &name, |s| s["certificate"].is_string()).await;
        has(
            &kubectl.run(&format!("get csr {name}")).await,
            &["Approved,Issued", "60m"],
        );
        let text = done["status"]["certificate"].as_str().unwrap_or_default();
        let certificate = STANDARD.decode(text).expect("base64");
        let identity = Identity {
            certificate: String::from_utf8(certificate).expect("pem"),
            key: key.clone(),
        };
        let jo = Kubectl::new(program, &served.kubeconfig(&identity));
        has(&jo.run("get pods").await, &["No resources found"]);
        let said = jo.fail("get secrets").await;
        has(&said, &["User \"jo\" cannot list resource \"secrets\""]);
    }
    stop.cancel();
    served.stop().await;
}

#[tokio::test]
async fn what_a_signer_does_not_sign_fails_and_strangers_wait() {
    let (app, served, stop) = served().await;
    let root = Client::new(&app, admin());
    let (_, pem) = openssl("/O=system:nodes/CN=system:node:a", "DNS:a,IP:10.0.0.1");
    let (_, person) = openssl("/CN=jo", "");
    let serving = &["digital signature", "key encipherment", "server auth"][..];
    let client = &["digital signature", "key encipherment", "client auth"][..];
    for (name, signer, pem, usages, want) in [
        ("good", "kubelet-serving", &pem, serving, ""),
        (
            "names",
            "kube-apiserver-client-kubelet",
            &pem,
            client,
            "DNS subjectAltNames are not allowed",
        ),
        (
            "group",
            "kubelet-serving",
            &person,
            serving,
            "subject organization is not system:nodes",
        ),
        (
            "usage",
            "kube-apiserver-client",
            &person,
            serving,
            "invalid usage for client certificate: server auth",
        ),
    ] {
        root.post(REQUESTS, &request(name, signer, pem, usages))
            .await
            .expect(201);
        let door = format!("{REQUESTS}/{name}/approval");
        root.patch(&door, "merge", &approved()).await.expect(200);
        let done = settled(&root, name, |s| {
            s["certificate"].is_string() || s["conditions"].as_array().is_some_and(|c| c.len() > 1)
        })
        .await;
        match want {
            "" => assert!(done["status"]["certificate"].is_string(), "{done}"),
            want => {
                let failed = &done["status"]["conditions"][1];
                assert_eq!(failed["type"], "Failed", "{done}");
                assert_eq!(failed["reason"], "SignerValidationFailure");
                assert_eq!(failed["message"], want);
                assert!(done["status"].get("certificate").is_none());
            }
        }
    }
    stop.cancel();
    served.stop().await;
}

#[tokio::test]
async fn a_node_gets_its_certificate_by_role() {
    let (app, served, stop) = served().await;
    let root = Client::new(&app, admin());
    let (_, pem) = openssl("/O=system:nodes/CN=system:node:a", "");
    let usages = &["digital signature", "client auth"];
    let asked = |name: &str| request(name, "kube-apiserver-client-kubelet", &pem, usages);
    let bind = |name: &str, role: &str, group: &str| {
        json!({"metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "Group", "name": group}]})
    };
    for (role, group, user, words) in [
        (
            "nodeclient",
            "system:bootstrappers",
            "system:bootstrap:abcdef",
            "Auto approving kubelet client certificate after SubjectAccessReview.",
        ),
        (
            "selfnodeclient",
            "system:nodes",
            "system:node:a",
            "Auto approving self kubelet client certificate after SubjectAccessReview.",
        ),
    ] {
        let named = format!("system:certificates.k8s.io:certificatesigningrequests:{role}");
        root.post(
            &format!("{RBAC}/clusterrolebindings"),
            &bind(role, &named, group),
        )
        .await
        .expect(201);
        root.post(
            &format!("{RBAC}/clusterrolebindings"),
            &bind(&format!("{role}-asks"), "system:node-bootstrapper", group),
        )
        .await
        .expect(201);
        let node = Client::new(&app, User::new(user, &[group, "system:authenticated"]));
        node.post(REQUESTS, &asked(role)).await.expect(201);
        let done = settled(&root, role, |s| s["certificate"].is_string()).await;
        let condition = &done["status"]["conditions"][0];
        assert_eq!(condition["reason"], "AutoApproved");
        assert_eq!(condition["message"], words);
    }
    stop.cancel();
    served.stop().await;
}
