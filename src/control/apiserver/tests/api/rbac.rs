//! Roles, bindings, tokens, reviews and acting as somebody else.

use crate::support::{Client, PODS, admin, app, pod};
use cadet_apiserver::{App, User};
use http::Method;
use serde_json::{Value, json};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const REVIEWS: &str = "/apis/authorization.k8s.io/v1";

fn user(app: &App, name: &str) -> Client {
    Client::new(app, User::new(name, &["system:authenticated"]))
}

async fn grant(client: &Client, role: &str, subject: Value) {
    let binding = json!({"metadata": {"generateName": "test-"}, "subjects": [subject],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}});
    client
        .post(&format!("{RBAC}/namespaces/default/rolebindings"), &binding)
        .await
        .expect(201);
}

/// What a bearer of the token gets.
async fn bearing(app: &App, token: &str, path: &str) -> crate::support::Answer {
    let value = format!("Bearer {token}");
    let headers = [("authorization", value.as_str())];
    Client::new(app, User::anonymous())
        .send(Method::GET, path, &headers, "")
        .await
}

#[tokio::test]
async fn a_binding_gives_what_its_role_says_and_taking_it_away_takes_it() {
    let app = app().await;
    let (root, jo) = (Client::new(&app, admin()), user(&app, "jo"));
    assert_eq!(
        jo.get(PODS).await.refused(403),
        "pods is forbidden: User \"jo\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
    );
    let subject = json!({"kind": "User", "name": "jo"});
    grant(&root, "view", subject.clone()).await;
    jo.get(PODS).await.expect(200);
    assert_eq!(jo.get("/api/v1/pods").await.code, 403, "one namespace only");
    assert_eq!(
        jo.post(PODS, &pod("a")).await.code,
        403,
        "view does not write"
    );
    assert_eq!(jo.get("/api/v1/namespaces/default/secrets").await.code, 403);
    grant(&root, "edit", subject).await;
    jo.post(PODS, &pod("a")).await.expect(201);

    let role = json!({"metadata": {"name": "more", "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}},
        "rules": [{"verbs": ["get", "list"], "apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}]});
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let lee = user(&app, "lee");
    grant(&root, "view", json!({"kind": "User", "name": "lee"})).await;
    assert_eq!(lee.get(leases).await.code, 403);
    root.post(&format!("{RBAC}/clusterroles"), &role)
        .await
        .expect(201);
    lee.get(leases).await.expect(200);
    root.delete(&format!("{RBAC}/clusterroles/more"), &json!({}))
        .await
        .expect(200);
    assert_eq!(lee.get(leases).await.code, 403);
}

#[tokio::test]
async fn nobody_grants_what_they_do_not_hold() {
    let app = app().await;
    let (root, jo) = (Client::new(&app, admin()), user(&app, "jo"));
    grant(&root, "admin", json!({"kind": "User", "name": "jo"})).await;
    let roles = format!("{RBAC}/namespaces/default/roles");
    let role = |verbs: &[&str], resource: &str| json!({"metadata": {"name": resource}, "rules": [{"verbs": verbs, "apiGroups": [""], "resources": [resource]}]});
    jo.post(&roles, &role(&["get"], "pods")).await.expect(201);
    let message = jo.post(&roles, &role(&["get"], "nodes")).await.refused(403);
    assert!(
        message.contains("user \"jo\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"nodes\"], Verbs:[\"get\"]}"),
        "{message}"
    );
    let binding = json!({"metadata": {"name": "b"}, "subjects": [{"kind": "User", "name": "jo"}],
        "roleRef": {"kind": "ClusterRole", "name": "cluster-admin"}});
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    assert_eq!(jo.post(&bindings, &binding).await.code, 403);
    let mut changed = binding.clone();
    root.post(&bindings, &binding).await.expect(201);
    changed["roleRef"]["name"] = json!("view");
    let message = root
        .put(&format!("{bindings}/b"), &changed)
        .await
        .refused(422);
    assert!(message.contains("cannot change roleRef"), "{message}");
}

#[tokio::test]
async fn a_token_speaks_for_its_account_as_long_as_that_lives() {
    let app = app().await;
    let root = Client::new(&app, admin());
    root.post(ACCOUNTS, &json!({"metadata": {"name": "robot"}}))
        .await
        .expect(201);
    grant(
        &root,
        "view",
        json!({"kind": "ServiceAccount", "name": "robot", "namespace": "default"}),
    )
    .await;
    let path = format!("{ACCOUNTS}/robot/token");
    let request = json!({"spec": {"expirationSeconds": 600}});
    let answer = root.post(&path, &request).await.expect(201);
    let token = answer["status"]["token"]
        .as_str()
        .expect("token")
        .to_owned();
    bearing(&app, &token, PODS).await.expect(200);
    let message = bearing(&app, &token, "/api/v1/nodes").await.refused(403);
    assert!(
        message.contains("User \"system:serviceaccount:default:robot\""),
        "{message}"
    );
    let short = json!({"spec": {"expirationSeconds": 10}});
    let message = root.post(&path, &short).await.refused(422);
    assert!(
        message.contains("may not specify a duration less than 10 minutes"),
        "{message}"
    );

    let other = json!({"spec": {"audiences": ["vault"]}});
    let foreign = root.post(&path, &other).await.expect(201)["status"]["token"].take();
    assert_eq!(
        bearing(&app, foreign.as_str().expect("token"), PODS)
            .await
            .code,
        401
    );
    let review = json!({"spec": {"token": foreign, "audiences": ["vault"]}});
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let status = root.post(reviews, &review).await.expect(201)["status"].take();
    assert_eq!(
        (&status["authenticated"], &status["audiences"]),
        (&json!(true), &json!(["vault"]))
    );

    let mut runs = pod("p");
    runs["spec"]["serviceAccountName"] = json!("robot");
    root.post(PODS, &runs).await.expect(201);
    root.post(PODS, &pod("q")).await.expect(201);
    root.post("/api/v1/nodes", &json!({"metadata": {"name": "n"}}))
        .await
        .expect(201);
    for (reference, code, words) in [
        (
            json!({"apiVersion": "v1", "kind": "Pod", "name": "q"}),
            400,
            "cannot bind token for serviceaccount \"robot\" to pod running with different serviceaccount name.",
        ),
        (
            json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "q"}),
            400,
            "cannot bind token to object of type /v1, Kind=ConfigMap",
        ),
        (
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "q"}),
            400,
            "cannot bind token to object of type apps/v1, Kind=Deployment",
        ),
        (
            json!({"apiVersion": "v1", "kind": "Secret", "name": "none"}),
            404,
            "secrets \"none\" not found",
        ),
        (
            json!({"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "x"}),
            409,
            "Operation cannot be fulfilled on Node \"n\": the UID in the bound object reference (x) does not match the UID in record. The object might have been deleted and then recreated",
        ),
    ] {
        let wanted = json!({"spec": {"boundObjectRef": reference}});
        assert_eq!(root.post(&path, &wanted).await.refused(code), words);
    }
    let bound =
        json!({"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p"}}});
    let for_pod = root.post(&path, &bound).await.expect(201)["status"]["token"].take();
    let for_pod = for_pod.as_str().expect("token");
    bearing(&app, for_pod, PODS).await.expect(200);
    root.delete(&format!("{PODS}/p"), &json!({"gracePeriodSeconds": 0}))
        .await
        .expect(200);
    assert_eq!(
        bearing(&app, for_pod, PODS).await.code,
        401,
        "its pod is gone"
    );

    let secret = json!({"metadata": {"name": "old", "annotations": {"kubernetes.io/service-account.name": "robot"}},
        "type": "kubernetes.io/service-account-token"});
    let secret = root
        .post("/api/v1/namespaces/default/secrets", &secret)
        .await
        .expect(201);
    let text = secret["data"]["token"].as_str().expect("filled");
    let legacy = cadet_api::json::base64_decode(text).expect("base64");
    let legacy = String::from_utf8(legacy).expect("text");
    bearing(&app, &legacy, PODS).await.expect(200);
    assert_eq!(secret["data"]["namespace"], "ZGVmYXVsdA==");

    root.delete(&format!("{ACCOUNTS}/robot"), &json!({}))
        .await
        .expect(200);
    for gone in [&token, &legacy] {
        assert_eq!(bearing(&app, gone, PODS).await.refused(401), "Unauthorized");
    }
    for junk in ["", "x", "a.b.c", "Bearer"] {
        assert_eq!(bearing(&app, junk, PODS).await.code, 401);
    }
}

#[tokio::test]
async fn reviews_answer_who_and_whether() {
    let app = app().await;
    let (root, jo) = (Client::new(&app, admin()), user(&app, "jo"));
    grant(&root, "view", json!({"kind": "User", "name": "jo"})).await;
    let may = |verb: &str| json!({"spec": {"resourceAttributes": {"namespace": "default", "verb": verb, "resource": "pods"}}});
    let path = format!("{REVIEWS}/selfsubjectaccessreviews");
    for (verb, allowed) in [("list", true), ("delete", false)] {
        let status = jo.post(&path, &may(verb)).await.expect(201)["status"].take();
        assert_eq!(status["allowed"], allowed, "{verb}");
        let reason = status["reason"].as_str().unwrap_or_default();
        // The binding's name is made up by the server.
        let by = reason.starts_with("RBAC: allowed by RoleBinding \"test-")
            && reason.ends_with("/default\" of ClusterRole \"view\" to User \"jo\"");
        assert_eq!((by, reason.is_empty()), (allowed, !allowed), "{reason}");
    }
    // Who may do everything needs no binding.
    let status = root.post(&path, &may("delete")).await.expect(201)["status"].take();
    assert_eq!(status, json!({"allowed": true}));
    let mut about = may("list");
    about["spec"]["user"] = json!("jo");
    let path = format!("{REVIEWS}/subjectaccessreviews");
    assert_eq!(
        root.post(&path, &about).await.expect(201)["status"]["allowed"],
        true
    );
    assert_eq!(jo.post(&path, &about).await.code, 403);
    let rules = json!({"spec": {"namespace": "default"}});
    let path = format!("{REVIEWS}/selfsubjectrulesreviews");
    let status = jo.post(&path, &rules).await.expect(201)["status"].take();
    assert!(
        !status["resourceRules"]
            .as_array()
            .expect("rules")
            .is_empty()
    );
    let me = jo
        .post(
            "/apis/authentication.k8s.io/v1/selfsubjectreviews",
            &json!({}),
        )
        .await;
    assert_eq!(me.expect(201)["status"]["userInfo"]["username"], "jo");
}

#[tokio::test]
async fn acting_as_somebody_else_needs_leave() {
    let app = app().await;
    let (root, jo) = (Client::new(&app, admin()), user(&app, "jo"));
    let headers = [
        ("impersonate-user", "lee"),
        ("impersonate-group", "system:masters"),
    ];
    assert_eq!(root.send(Method::GET, PODS, &headers, "").await.code, 200);
    let plain = [("impersonate-user", "lee")];
    let message = root.send(Method::GET, PODS, &plain, "").await.refused(403);
    assert!(message.contains("User \"lee\" cannot list"), "{message}");
    let message = jo.send(Method::GET, PODS, &headers, "").await.refused(403);
    assert!(
        message.contains("User \"jo\" cannot impersonate resource \"users\""),
        "{message}"
    );
    for (header, value, said, kind) in [
        (
            "impersonate-uid",
            "7",
            "uids.authentication.k8s.io \"7\" is forbidden: User \"jo\" cannot impersonate resource \"uids\" in API group \"authentication.k8s.io\" at the cluster scope",
            "uids",
        ),
        (
            "impersonate-extra-scopes",
            "all",
            "userextras.authentication.k8s.io \"all\" is forbidden: User \"jo\" cannot impersonate resource \"userextras/scopes\" in API group \"authentication.k8s.io\" at the cluster scope",
            "userextras",
        ),
    ] {
        let role = json!({"metadata": {"name": format!("as-{kind}")}, "rules": [
            {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["amy"]}]});
        root.post(&format!("{RBAC}/clusterroles"), &role)
            .await
            .expect(201);
        let binding = json!({"metadata": {"name": format!("as-{kind}")}, "subjects": [{"kind": "User", "name": "jo"}],
            "roleRef": {"kind": "ClusterRole", "name": format!("as-{kind}")}});
        root.post(&format!("{RBAC}/clusterrolebindings"), &binding)
            .await
            .expect(201);
        let headers = [("impersonate-user", "amy"), (header, value)];
        let status = jo.send(Method::GET, PODS, &headers, "").await.expect(403);
        assert_eq!(status["message"], said);
        assert_eq!(status["details"]["kind"], kind);
        assert_eq!(status["details"]["name"], value);
    }
    let role = json!({"metadata": {"name": "actor"}, "rules": [
        {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"]}]});
    let roles = format!("{RBAC}/clusterroles");
    root.post(&roles, &role).await.expect(201);
    let binding = json!({"metadata": {"name": "actor"}, "subjects": [{"kind": "User", "name": "jo"}],
        "roleRef": {"kind": "ClusterRole", "name": "actor"}});
    let bindings = format!("{RBAC}/clusterrolebindings");
    root.post(&bindings, &binding).await.expect(201);
    for (name, code) in [("lee", 403), ("system:kube-controller-manager", 403)] {
        let headers = [("impersonate-user", name)];
        let message = jo.send(Method::GET, PODS, &headers, "").await.refused(code);
        let as_lee = message.contains("User \"lee\" cannot list");
        assert_eq!(as_lee, name == "lee", "{message}");
    }
    let nobody = [("impersonate-group", "system:masters")];
    assert_eq!(root.send(Method::GET, PODS, &nobody, "").await.code, 400);
}

#[tokio::test]
async fn a_token_from_a_secret_dies_with_it_though_the_name_comes_back() {
    let app = app().await;
    let root = Client::new(&app, admin());
    let account = json!({"metadata": {"name": "robot"}});
    root.post(ACCOUNTS, &account).await.expect(201);
    let subject = json!({"kind": "ServiceAccount", "name": "robot", "namespace": "default"});
    grant(&root, "view", subject).await;
    let secrets = "/api/v1/namespaces/default/secrets";
    let secret = json!({"metadata": {"name": "old",
            "annotations": {"kubernetes.io/service-account.name": "robot"}},
        "type": "kubernetes.io/service-account-token"});
    let secret = root.post(secrets, &secret).await.expect(201);
    let text = secret["data"]["token"].as_str().expect("filled");
    let token = cadet_api::json::base64_decode(text).expect("base64");
    let token = String::from_utf8(token).expect("text");
    bearing(&app, &token, PODS).await.expect(200);
    let old = format!("{secrets}/old");
    root.delete(&old, &json!({})).await.expect(200);
    assert_eq!(bearing(&app, &token, PODS).await.code, 401);
    let other = json!({"metadata": {"name": "old"}});
    root.post(secrets, &other).await.expect(201);
    assert_eq!(bearing(&app, &token, PODS).await.code, 401);
}

#[tokio::test]
async fn reading_exec_is_not_leave_to_run_commands() {
    let app = app().await;
    let (root, jo) = (Client::new(&app, admin()), user(&app, "jo"));
    root.post(PODS, &pod("a")).await.expect(201);
    let role = json!({"metadata": {"name": "reader"},
        "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods/exec"]}]});
    root.post(&format!("{RBAC}/clusterroles"), &role)
        .await
        .expect(201);
    grant(&root, "reader", json!({"kind": "User", "name": "jo"})).await;
    let path = format!("{PODS}/a/exec?command=ls&stdout=true");
    let why = jo.get(&path).await.refused(403);
    assert!(
        why.contains("User \"jo\" cannot create resource \"pods/exec\""),
        "{why}"
    );
}

#[tokio::test]
async fn accounts_find_out_who_signs_their_tokens() {
    let app = app().await;
    let name = "system:serviceaccount:default:default";
    let account = Client::new(&app, User::new(name, &["system:serviceaccounts"]));
    let path = "/.well-known/openid-configuration";
    let found = account.get(path).await.expect(200);
    assert_eq!(
        found["issuer"],
        "https://kubernetes.default.svc.cluster.local"
    );
    let keys = account.get("/openid/v1/jwks").await.expect(200);
    assert_eq!(keys["keys"][0]["alg"], "ES256");
    assert_eq!(user(&app, "jo").get(path).await.code, 403);
}

#[tokio::test]
async fn who_may_only_patch_makes_nothing_by_applying() {
    let app = app().await;
    let (root, jo) = (Client::new(&app, admin()), user(&app, "jo"));
    let role = json!({"metadata": {"name": "patcher"}, "rules": [
        {"verbs": ["get", "patch"], "apiGroups": [""], "resources": ["configmaps"]}]});
    root.post(&format!("{RBAC}/clusterroles"), &role)
        .await
        .expect(201);
    grant(&root, "patcher", json!({"kind": "User", "name": "jo"})).await;
    let path = "/api/v1/namespaces/default/configmaps/m?fieldManager=jo";
    let headers = [("content-type", "application/apply-patch+yaml")];
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "1"}});
    let apply = async |client: &Client| {
        let body = map.to_string();
        client.send(Method::PATCH, path, &headers, body).await
    };
    let said = apply(&jo).await.refused(403);
    assert!(
        said.contains("User \"jo\" cannot create resource \"configmaps\""),
        "{said}"
    );
    apply(&root).await.expect(201);
    apply(&jo).await.expect(200);
}
