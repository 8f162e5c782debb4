//! Doors into parts of objects: containers for debugging, resizing, verdicts on
//! certificates.

use crate::program::{Kubectl, has, kubectls};
use crate::support::{Client, PODS, admin, app, pod};
use crate::tls::Served;
use base64::Engine;
use cadet_apiserver::User;
use serde_json::{Value, json};

#[tokio::test]
async fn containers_for_debugging_have_a_door_of_their_own() {
    let client = Client::new(&app().await, admin());
    let mut born = pod("p");
    born["spec"]["ephemeralContainers"] = json!([{"name": "d", "image": "x"}]);
    let why = client.post(PODS, &born).await.refused(422);
    assert!(
        why.contains("spec.ephemeralContainers: Forbidden: cannot be set on create"),
        "{why}"
    );
    client.post(PODS, &pod("p")).await.expect(201);
    let door = format!("{PODS}/p/ephemeralcontainers");
    let add = |name: &str| json!({"spec": {"ephemeralContainers": [{"name": name, "image": "busybox", "targetContainerName": "c"}]}});
    client
        .patch(&door, "strategic-merge", &add("d1"))
        .await
        .expect(200);
    let twice = client
        .patch(&door, "strategic-merge", &add("d2"))
        .await
        .expect(200);
    assert_eq!(
        twice["spec"]["ephemeralContainers"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );
    assert_eq!(
        twice["spec"]["ephemeralContainers"][0]["terminationMessagePolicy"],
        "File"
    );
    assert_eq!(twice["metadata"]["generation"], 3);
    let why = client.patch(&door, "merge", &add("d2")).await.refused(422);
    assert!(
        why.contains("existing ephemeral containers \"d1\" may not be removed"),
        "{why}"
    );
    let why = client
        .patch(&format!("{PODS}/p"), "strategic-merge", &add("d3"))
        .await
        .refused(422);
    assert!(
        why.contains("pod updates may not change fields other than"),
        "{why}"
    );
    let mut whole = client.get(&door).await.expect(200);
    whole["spec"]["containers"][0]["image"] = json!("other");
    let kept = client.put(&door, &whole).await.expect(200);
    assert_eq!(
        kept["spec"]["containers"], twice["spec"]["containers"],
        "only its own part"
    );
}

#[tokio::test]
async fn a_pod_is_resized_by_its_own_door() {
    let client = Client::new(&app().await, admin());
    let mut born = pod("p");
    born["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "100m"}});
    client.post(PODS, &born).await.expect(201);
    let resize =
        |resources: Value| json!({"spec": {"containers": [{"name": "c", "resources": resources}]}});
    let more = resize(json!({"requests": {"cpu": "200m"}}));
    let why = client
        .patch(&format!("{PODS}/p"), "strategic-merge", &more)
        .await
        .refused(422);
    assert!(
        why.contains("pod updates may not change fields other than"),
        "{why}"
    );
    let door = format!("{PODS}/p/resize");
    let now = client
        .patch(&door, "strategic-merge", &more)
        .await
        .expect(200);
    assert_eq!(
        now["spec"]["containers"][0]["resources"]["requests"]["cpu"],
        "200m"
    );
    assert_eq!(now["metadata"]["generation"], 2);
    let disk = resize(json!({"requests": {"ephemeral-storage": "1Gi"}}));
    let why = client
        .patch(&door, "strategic-merge", &disk)
        .await
        .refused(422);
    assert!(
        why.contains("spec: Forbidden: only cpu and memory resources are mutable"),
        "{why}"
    );
}

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

/// A request for a client certificate, in PEM as base64.
fn wanted(name: &str, organization: Option<&str>) -> String {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    if let Some(organization) = organization {
        params
            .distinguished_name
            .push(rcgen::DnType::OrganizationName, organization);
    }
    let key = rcgen::KeyPair::generate().expect("key");
    let request = params.serialize_request(&key).expect("request");
    let pem = request.pem().expect("pem");
    base64::engine::general_purpose::STANDARD.encode(pem)
}

fn request(name: &str, organization: Option<&str>) -> Value {
    json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": {"name": name}, "spec": {"request": wanted(name, organization),
            "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"], "username": "liar"}})
}

#[tokio::test]
async fn a_verdict_needs_the_right_to_give_it() {
    let app = app().await;
    let root = Client::new(&app, admin());
    let jo = Client::new(&app, User::new("jo", &["system:authenticated"]));
    let rule = |resource: &str, verbs: Value| json!({"apiGroups": ["certificates.k8s.io"], "resources": [resource], "verbs": verbs});
    let role = json!({"metadata": {"name": "r"}, "rules": [
        rule("certificatesigningrequests", json!(["create", "get"])),
        rule("certificatesigningrequests/approval", json!(["update", "patch"]))]});
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    root.post(&format!("{rbac}/clusterroles"), &role)
        .await
        .expect(201);
    let binding = json!({"metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "r"},
        "subjects": [{"kind": "User", "name": "jo"}]});
    root.post(&format!("{rbac}/clusterrolebindings"), &binding)
        .await
        .expect(201);

    let why = jo
        .post(REQUESTS, &request("m", Some("system:masters")))
        .await
        .refused(403);
    assert!(why.ends_with("use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"), "{why}");
    let born = jo.post(REQUESTS, &request("jo", None)).await.expect(201);
    assert_eq!(born["spec"]["username"], "jo", "not what it says itself");
    let door = format!("{REQUESTS}/jo/approval");
    let verdict = |kind: &str| json!({"status": {"conditions": [{"type": kind, "status": "True", "reason": "R"}]}});
    let why = jo
        .patch(&door, "merge", &verdict("Approved"))
        .await
        .refused(403);
    assert_eq!(
        why,
        "certificatesigningrequests.certificates.k8s.io \"jo\" is forbidden: user not permitted to approve requests with signerName \"kubernetes.io/kube-apiserver-client\""
    );
    let role = json!({"metadata": {"name": "s"}, "rules": [{"apiGroups": ["certificates.k8s.io"],
        "resources": ["signers"], "resourceNames": ["kubernetes.io/*"], "verbs": ["approve"]}]});
    root.post(&format!("{rbac}/clusterroles"), &role)
        .await
        .expect(201);
    let binding = json!({"metadata": {"name": "c"}, "roleRef": {"kind": "ClusterRole", "name": "s"},
        "subjects": [{"kind": "User", "name": "jo"}]});
    root.post(&format!("{rbac}/clusterrolebindings"), &binding)
        .await
        .expect(201);
    let judged = jo
        .patch(&door, "merge", &verdict("Approved"))
        .await
        .expect(200);
    let condition = &judged["status"]["conditions"][0];
    assert!(condition["lastUpdateTime"].is_string() && condition["lastTransitionTime"].is_string());
    let why = root
        .patch(&door, "merge", &verdict("Denied"))
        .await
        .refused(422);
    assert!(
        why.contains("updates may not remove a condition of type \"Approved\""),
        "{why}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_debugs_a_pod_and_approves_a_certificate_in_every_version() {
    let app = app().await;
    let served = Served::start(app.clone()).await;
    let kubeconfig = served.kubeconfig(&served.identity("cadet-admin", "system:masters"));
    let client = Client::new(&app, admin());
    for (n, program) in kubectls().iter().enumerate() {
        let kubectl = Kubectl::new(program, &kubeconfig);
        let name = format!("p{n}");
        client.post(PODS, &pod(&name)).await.expect(201);
        kubectl
            .run(&format!(
                "debug {name} --image=busybox --target=c -c probe --attach=false"
            ))
            .await;
        let debugged = client.get(&format!("{PODS}/{name}")).await.expect(200);
        assert_eq!(debugged["spec"]["ephemeralContainers"][0]["name"], "probe");

        let name = format!("r{n}");
        client
            .post(REQUESTS, &request(&name, None))
            .await
            .expect(201);
        let said = kubectl.run(&format!("get csr {name}")).await;
        has(
            &said,
            &["cadet", "Pending", "kubernetes.io/kube-apiserver-client"],
        );
        let said = kubectl.run(&format!("certificate approve {name}")).await;
        has(
            &said,
            &["certificatesigningrequest.certificates.k8s.io/", "approved"],
        );
        let said = kubectl.run(&format!("get csr {name}")).await;
        has(&said, &["Approved"]);
    }
}
