//! The small print of requests: what is refused, how it is called, and what still passes.

use crate::support::{Client, PODS, admin, app, bind, config_map, pod};
use http::Method;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn client() -> Client {
    Client::new(&app().await, admin())
}

/// Kind that a refusal is about, and its causes' fields.
fn about(status: &Value) -> (String, Vec<String>) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let causes = status["details"]["causes"].as_array();
    let fields = causes.into_iter().flatten().map(|c| text(&c["field"]));
    (text(&status["details"]["kind"]), fields.collect())
}

#[tokio::test]
async fn wrong_options_are_named_with_their_kind() {
    let client = client().await;
    client.post(MAPS, &config_map("m", "1")).await.expect(201);
    let long = format!("fieldManager={}", "x".repeat(129));
    let dry = r#"dryRun: Unsupported value: ["No"]: supported values: "All""#;
    let strict = r#"fieldValidation: Unsupported value: "Maybe": supported values: "", "Ignore", "Strict", "Warn""#;
    let managed = "fieldManager: Too long: may not be more than 128 bytes";
    let forced = "force: Forbidden: may not be specified for non-apply patch";
    for (method, query, kind, words, field) in [
        (Method::POST, "dryRun=No", "CreateOptions", dry, "dryRun"),
        (
            Method::POST,
            "fieldValidation=Maybe",
            "CreateOptions",
            strict,
            "fieldValidation",
        ),
        (Method::PUT, "dryRun=No", "UpdateOptions", dry, "dryRun"),
        (Method::PUT, &long, "UpdateOptions", managed, "fieldManager"),
        (Method::PATCH, "force=true", "PatchOptions", forced, "force"),
        (Method::PATCH, "dryRun=No", "PatchOptions", dry, "dryRun"),
        (Method::DELETE, "dryRun=No", "DeleteOptions", dry, "dryRun"),
        (
            Method::GET,
            "resourceVersionMatch=Exact",
            "ListOptions",
            "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
            "resourceVersionMatch",
        ),
        (
            Method::GET,
            "watch=true&sendInitialEvents=true",
            "ListOptions",
            "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            "resourceVersionMatch",
        ),
    ] {
        let path = match method {
            Method::POST | Method::GET => format!("{MAPS}?{query}"),
            _ => format!("{MAPS}/m?{query}"),
        };
        let (media, body) = match method {
            Method::PATCH => ("application/merge-patch+json", "{}".to_owned()),
            Method::DELETE | Method::GET => ("application/json", String::new()),
            _ => ("application/json", config_map("m", "2").to_string()),
        };
        let headers = [("content-type", media)];
        let answer = client.send(method.clone(), &path, &headers, body).await;
        let status = answer.expect(422);
        let want = format!("{kind}.meta.k8s.io \"\" is invalid: {words}");
        assert_eq!(status["message"], want, "{method} {query}");
        let want = (kind.to_owned(), vec![field.to_owned()]);
        assert_eq!(about(&status), want, "{method} {query}");
    }
    let both = json!({"propagationPolicy": "Orphan", "orphanDependents": true});
    assert_eq!(
        client
            .delete(&format!("{MAPS}/m"), &both)
            .await
            .refused(422),
        "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Invalid value: \"Orphan\": orphanDependents and deletionPropagation cannot be both set"
    );
    client.get(&format!("{MAPS}/m")).await.expect(200);
}

#[tokio::test]
async fn some_kinds_are_updated_only_by_who_names_their_version() {
    let client = client().await;
    for (path, object, qualified) in [
        (
            "/apis/coordination.k8s.io/v1/namespaces/default/leases",
            json!({"metadata": {"name": "a"}, "spec": {}}),
            "leases.coordination.k8s.io",
        ),
        (
            "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
            json!({"metadata": {"name": "a"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}}),
            "poddisruptionbudgets.policy",
        ),
        (
            "/apis/node.k8s.io/v1/runtimeclasses",
            json!({"metadata": {"name": "a"}, "handler": "x"}),
            "runtimeclasses.node.k8s.io",
        ),
        (
            "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
            json!({"metadata": {"name": "a"}, "webhooks": []}),
            "validatingwebhookconfigurations.admissionregistration.k8s.io",
        ),
        (MAPS, json!({"metadata": {"name": "a"}}), ""),
        (
            "/apis/scheduling.k8s.io/v1/priorityclasses",
            json!({"metadata": {"name": "a"}, "value": 1}),
            "",
        ),
    ] {
        let born = client.post(path, &object).await.expect(201);
        let one = format!("{path}/a");
        let mut zero = object.clone();
        zero["metadata"]["resourceVersion"] = json!("0");
        for blind in [&object, &zero] {
            let answer = client.put(&one, blind).await;
            if qualified.is_empty() {
                answer.expect(200);
                continue;
            }
            assert_eq!(
                answer.refused(422),
                format!(
                    "{qualified} \"a\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update"
                )
            );
        }
        if !qualified.is_empty() {
            client.put(&one, &born).await.expect(200);
        }
        let marked = json!({"metadata": {"labels": {"c": "d"}}});
        client.patch(&one, "merge", &marked).await.expect(200);
    }
}

#[tokio::test]
async fn some_kinds_are_made_by_an_update() {
    let client = client().await;
    let role = json!({"metadata": {"name": "a"}, "rules": []});
    let lease = json!({"metadata": {"name": "a"}, "spec": {"holderIdentity": "me"}});
    for (path, object, code) in [
        (
            "/apis/rbac.authorization.k8s.io/v1/clusterroles",
            &role,
            201,
        ),
        (
            "/apis/coordination.k8s.io/v1/namespaces/default/leases",
            &lease,
            201,
        ),
        (MAPS, &json!({"metadata": {"name": "a"}}), 404),
    ] {
        let one = format!("{path}/a");
        let answer = client.put(&format!("{one}?dryRun=All"), object).await;
        assert_eq!(answer.code, code, "{}", answer.text);
        client.get(&one).await.refused(404);
        assert_eq!(client.put(&one, object).await.code, code);
        let mut known = object.clone();
        known["metadata"]["uid"] = json!("x");
        let missing = client.put(&format!("{path}/b"), &known).await;
        assert_eq!(missing.code, 400, "another name in the path");
        known["metadata"]["name"] = json!("b");
        let missing = client.put(&format!("{path}/b"), &known).await;
        assert_eq!(missing.code, if code == 201 { 409 } else { 404 });
    }
}

#[tokio::test]
async fn a_name_is_taken_until_its_object_is_gone() {
    let client = client().await;
    let mut held = config_map("m", "1");
    held["metadata"]["finalizers"] = json!(["example.com/wait"]);
    client.post(MAPS, &held).await.expect(201);
    let mut both = config_map("m", "1");
    both["metadata"]["generateName"] = json!("m-");
    let taken = "configmaps \"m\" already exists";
    let unlucky =
        format!("{taken}, the server was not able to generate a unique name for the object");
    for (sent, words) in [(&held, taken), (&both, unlucky.as_str())] {
        assert_eq!(client.post(MAPS, sent).await.refused(409), words);
    }
    client
        .delete(&format!("{MAPS}/m"), &json!({}))
        .await
        .expect(200);
    for (sent, words) in [(&held, taken), (&both, unlucky.as_str())] {
        let said = client.post(MAPS, sent).await.refused(409);
        assert_eq!(said, format!("object is being deleted: {words}"));
    }
}

#[tokio::test]
async fn an_object_is_called_what_its_path_calls_it() {
    let client = client().await;
    client.post(MAPS, &config_map("m", "1")).await.expect(201);
    let path = format!("{MAPS}/m");
    for (metadata, words) in [
        (
            json!({}),
            "the name of the object (m based on URL) was undeterminable: name must be provided",
        ),
        (
            json!({"name": "n"}),
            "the name of the object (n) does not match the name on the URL (m)",
        ),
        (
            json!({"namespace": "kube-system"}),
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
    ] {
        let said = client.put(&path, &json!({"metadata": metadata})).await;
        assert_eq!(said.refused(400), words);
    }
    for (name, words) in [
        (Value::Null, "(m based on URL) was undeterminable"),
        (json!("n"), "(n) does not match"),
    ] {
        let patch = json!({"metadata": {"name": name}});
        let said = client.patch(&path, "merge", &patch).await.refused(400);
        assert!(said.contains(words), "{said}");
    }
}

#[tokio::test]
async fn kinds_that_are_to_go_say_so() {
    let client = client().await;
    let endpoints =
        "299 - \"v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice\"";
    let component = "299 - \"v1 ComponentStatus is deprecated in v1.19+\"";
    for (path, warning) in [
        ("/api/v1/endpoints", Some(endpoints)),
        (
            "/api/v1/namespaces/default/endpoints/kubernetes",
            Some(endpoints),
        ),
        ("/api/v1/componentstatuses", Some(component)),
        ("/apis/discovery.k8s.io/v1/endpointslices", None),
        ("/api/v1/services", None),
    ] {
        let answer = client.get(path).await;
        let told: Vec<&str> = warning.into_iter().collect();
        assert_eq!(answer.warnings(), told, "{path}");
    }
}

#[tokio::test]
async fn a_watch_of_tables_tells_the_columns_once() {
    let client = client().await;
    let headers = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    for name in ["a", "b"] {
        client.post(MAPS, &config_map(name, "1")).await.expect(201);
    }
    let path =
        format!("{MAPS}?watch=true&timeoutSeconds=1&fieldSelector=metadata.name!=kube-root-ca.crt");
    let told = client.send(Method::GET, &path, &headers, "").await;
    let tables: Vec<Value> = told
        .text
        .lines()
        .map(|line| serde_json::from_str(line).expect("an event"))
        .collect();
    let columns: Vec<bool> = tables
        .iter()
        .map(|event| event["object"]["columnDefinitions"].is_array())
        .collect();
    assert_eq!(columns, [true, false], "{tables:?}");
}

#[tokio::test]
async fn methods_that_paths_do_not_have() {
    let client = client().await;
    for (method, path) in [
        (Method::POST, "/api/v1/pods"),
        (Method::PUT, PODS),
        (Method::PATCH, PODS),
        (Method::POST, "/api/v1/namespaces/default/pods/a"),
        (Method::DELETE, "/api/v1/namespaces"),
        (Method::DELETE, "/api/v1/componentstatuses/etcd-0"),
        (Method::GET, "/api/v1/namespaces/default/pods/a/binding"),
    ] {
        let answer = client.send(method.clone(), path, &[], "{}").await;
        let status = answer.expect(405);
        assert_eq!(status["reason"], "MethodNotAllowed");
        assert_eq!(
            status["message"], "the server does not allow this method on the requested resource",
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn deletions_answer_with_what_upstream_answers() {
    let client = client().await;
    let volume = json!({"metadata": {"name": "a"}, "spec": {"capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/a"}}});
    for (path, object, kind) in [
        (MAPS, json!({"metadata": {"name": "a"}}), "Status"),
        ("/api/v1/persistentvolumes", volume, "PersistentVolume"),
        (
            "/apis/storage.k8s.io/v1/storageclasses",
            json!({"metadata": {"name": "a"}, "provisioner": "x"}),
            "StorageClass",
        ),
        (
            "/api/v1/namespaces/default/resourcequotas",
            json!({"metadata": {"name": "a"}, "spec": {"hard": {"pods": "9"}}}),
            "ResourceQuota",
        ),
        (
            "/api/v1/namespaces/default/serviceaccounts",
            json!({"metadata": {"name": "a"}}),
            "ServiceAccount",
        ),
    ] {
        client.post(path, &object).await.expect(201);
        let said = client.delete(&format!("{path}/a"), &json!({})).await;
        assert_eq!(said.expect(200)["kind"], kind, "{path}");
    }
    let mut held = config_map("m", "1");
    held["metadata"]["finalizers"] = json!(["example.com/wait"]);
    let born = client.post(MAPS, &held).await.expect(201);
    let (uid, version) = (
        &born["metadata"]["uid"],
        &born["metadata"]["resourceVersion"],
    );
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let path = format!("{MAPS}/m");
    for (wanted, words) in [
        (
            json!({"uid": "x"}),
            format!(
                "the UID in the precondition (x) does not match the UID in record ({}). The object might have been deleted and then recreated",
                text(uid)
            ),
        ),
        (
            json!({"uid": uid, "resourceVersion": "1"}),
            format!(
                "the ResourceVersion in the precondition (1) does not match the ResourceVersion in record ({}). The object might have been modified",
                text(version)
            ),
        ),
    ] {
        let said = client
            .delete(&path, &json!({"preconditions": wanted}))
            .await
            .refused(409);
        let want = format!("Operation cannot be fulfilled on ConfigMap \"m\": {words}");
        assert_eq!(said, want);
    }
    let begun = client
        .delete(&path, &json!({"orphanDependents": false}))
        .await;
    begun.expect(202);
}

#[tokio::test]
async fn the_grace_of_a_pod_counts_from_the_first_deletion() {
    let client = client().await;
    let path = format!("{PODS}/a");
    let mut slow = pod("a");
    slow["spec"]["terminationGracePeriodSeconds"] = json!(0);
    client.post(PODS, &slow).await.expect(201);
    bind(&client, "a", "n1").await.expect(201);
    let asked = |seconds: i64| json!({"gracePeriodSeconds": seconds});
    let end = |pod: &Value| {
        let text = pod["metadata"]["deletionTimestamp"].as_str();
        let text = text.expect("deletionTimestamp");
        cadet_api::clock::parse(text)
            .expect("time")
            .unix_timestamp()
    };
    let first = client.delete(&path, &asked(500)).await.expect(200);
    for (seconds, left) in [(900, 500), (200, 200), (-1, 1)] {
        let now = client.delete(&path, &asked(seconds)).await.expect(200);
        assert_eq!(now["metadata"]["deletionGracePeriodSeconds"], left);
        assert_eq!(end(&first) - end(&now), 500 - left);
    }
}

#[tokio::test]
async fn pods_are_bound_once_and_not_before_their_gates_open() {
    let client = client().await;
    client.post(PODS, &pod("a")).await.expect(201);
    bind(&client, "a", "n1").await.expect(201);
    let mut gated = pod("b");
    gated["spec"]["schedulingGates"] = json!([{"name": "example.com/wait"}]);
    client.post(PODS, &gated).await.expect(201);
    for (name, why) in [
        ("a", "pod a is already assigned to node \"n1\""),
        ("b", "pod b has non-empty .spec.schedulingGates"),
    ] {
        let status = bind(&client, name, "n2").await.expect(409);
        assert_eq!(
            status["message"],
            format!("Operation cannot be fulfilled on pods/binding {name:?}: {why}")
        );
        assert_eq!(status["details"]["kind"], "pods/binding");
    }
}

#[tokio::test]
async fn generations_count_what_upstream_counts() {
    let client = client().await;
    let class = json!({"metadata": {"name": "a"}, "value": 1});
    let slice = json!({"metadata": {"name": "a", "labels": {"a": "b"}}, "addressType": "IPv4", "endpoints": []});
    for (path, object, patch, generation) in [
        (
            "/apis/scheduling.k8s.io/v1/priorityclasses",
            &class,
            json!({"description": "more"}),
            1,
        ),
        (
            "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
            &slice,
            json!({"metadata": {"labels": {"a": "c"}}}),
            2,
        ),
        (
            "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
            &slice,
            json!({"metadata": {"annotations": {"a": "c"}}}),
            1,
        ),
    ] {
        let born = client.post(path, object).await.expect(201);
        assert_eq!(born["metadata"]["generation"], 1);
        let one = format!("{path}/a");
        let now = client.patch(&one, "merge", &patch).await.expect(200);
        assert_eq!(now["metadata"]["generation"], generation, "{path} {patch}");
        client.delete(&one, &json!({})).await.expect(200);
    }
}
