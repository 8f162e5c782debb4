//! Every door that takes a body, with every sort of nonsense: refused by name, never a
//! defect of the server's own, and nothing gets in.

use http::Method;
use serde_json::{Value, json};

use super::Ground;

const POD: &str = "/api/v1/namespaces/default/pods/good";

fn nonsense() -> Vec<Vec<u8>> {
    let mut bodies: Vec<Vec<u8>> = [
        &b"\0"[..],
        b"{",
        b"[]",
        b"null",
        b"1",
        b"\"a\"",
        b"\xff",
        b"- a\n- b",
        b"a: b: c",
        b"k8s\0\x0a",
        b"{}}",
    ]
    .map(<[u8]>::to_vec)
    .into();
    let odd = [
        json!(null),
        json!(1),
        json!("x"),
        json!([1]),
        json!({"a": {"b": []}}),
        json!(true),
    ];
    for part in ["apiVersion", "kind", "metadata", "spec", "status", "data"] {
        for value in &odd {
            bodies.push(json!({part: value}).to_string().into_bytes());
        }
    }
    for part in [
        "name",
        "namespace",
        "labels",
        "annotations",
        "finalizers",
        "ownerReferences",
        "managedFields",
        "deletionTimestamp",
        "uid",
        "resourceVersion",
        "generateName",
        "creationTimestamp",
    ] {
        for value in &odd[1..] {
            let object: Value = json!({"metadata": {part: value}, "spec": {"replicas": -1}});
            bodies.push(object.to_string().into_bytes());
        }
    }
    bodies
}

#[tokio::test]
async fn nonsense_gets_in_nowhere() {
    let ground = Ground::new().await;
    let forms = [
        "application/json",
        "application/yaml",
        "application/vnd.kubernetes.protobuf",
    ];
    let patches = [
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
        "application/apply-patch+yaml",
    ];
    // Each tried as if in earnest, so that what is accepted is not written.
    let dry = "dryRun=All&fieldManager=me&force=false";
    for body in nonsense() {
        for (method, path) in [
            (Method::POST, "/api/v1/namespaces/default/pods".to_owned()),
            (
                Method::POST,
                "/apis/apps/v1/namespaces/default/deployments".to_owned(),
            ),
            (
                Method::POST,
                "/apis/apiextensions.k8s.io/v1/customresourcedefinitions".to_owned(),
            ),
            (
                Method::POST,
                "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews".to_owned(),
            ),
            (
                Method::POST,
                "/api/v1/namespaces/default/serviceaccounts/default/token".to_owned(),
            ),
            (Method::POST, format!("{POD}/binding")),
            (Method::POST, format!("{POD}/eviction")),
            (Method::PUT, POD.to_owned()),
            (Method::PUT, format!("{POD}/status")),
            (Method::DELETE, POD.to_owned()),
        ] {
            for media in forms {
                let path = format!("{path}?{}", dry.replace("&force=false", ""));
                let answer = ground
                    .send(method.clone(), &path, media, body.clone())
                    .await;
                let code = answer.code.as_u16();
                assert!(
                    code < 500,
                    "{method} {path} {media} {}: {}",
                    String::from_utf8_lossy(&body),
                    answer.text
                );
            }
        }
        for media in patches {
            for path in [
                POD.to_owned(),
                format!("{POD}/status"),
                super::MAP.to_owned(),
            ] {
                let answer = ground
                    .send(
                        Method::PATCH,
                        &format!("{path}?dryRun=All&fieldManager=me"),
                        media,
                        body.clone(),
                    )
                    .await;
                let code = answer.code.as_u16();
                // Upstream has no code for a strategic merge patch that does not fit a kind's
                // lists, nor for an applied object that does not fit its fields; its own
                // faults have a reason.
                let status = answer.json();
                let words = status["message"].as_str().unwrap_or_default();
                let codeless = match media {
                    "application/strategic-merge-patch+json" => true,
                    "application/apply-patch+yaml" => {
                        words.starts_with("failed to create typed patch object (")
                    }
                    _ => false,
                };
                let nameless = codeless && code == 500 && status["reason"].is_null();
                assert!(
                    code < 500 || nameless,
                    "{path} {media} {}: {}",
                    String::from_utf8_lossy(&body),
                    answer.text
                );
            }
        }
    }
    ground.unharmed().await;
}

/// What anybody may nest in a custom object is kept beside the record of who owns it, and
/// the server must be able to read all of that again.
#[tokio::test]
async fn the_deepest_object_taken_can_be_read_after_a_restart() {
    let store: std::sync::Arc<dyn cadet_store::Store> = std::sync::Arc::new(
        cadet_store::LocalStore::open(cadet_store::MemoryDisk, cadet_store::Options::default())
            .expect("store"),
    );
    let app = crate::support::app_on(store.clone()).await;
    let client = crate::support::Client::new(&app, crate::support::admin());
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.e.io"}, "spec": {"group": "e.io", "scope": "Namespaced",
        "names": {"plural": "things", "kind": "Thing"}, "versions": [{"name": "v1", "served": true, "storage": true,
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}});
    client
        .post(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            &definition,
        )
        .await
        .expect(201);
    let things = "/apis/e.io/v1/namespaces/default/things";
    let thing = |levels: usize| {
        let deep = (0..levels).fold(json!("x"), |inner, n| {
            if n % 2 == 0 {
                json!({"a": inner})
            } else {
                json!([inner])
            }
        });
        json!({"apiVersion": "e.io/v1", "kind": "Thing", "metadata": {"name": "deep"}, "spec": deep})
    };
    assert!(
        client
            .post(things, &thing(100))
            .await
            .refused(400)
            .contains("exceeded max depth")
    );
    client.post(things, &thing(99)).await.expect(201);
    let path = format!("{things}/deep");
    let more = json!([{"op": "add", "path": format!("/spec{}", "/a/0".repeat(49)), "value": {"b": {"c": 1}}}]);
    assert_eq!(client.patch(&path, "json", &more).await.code, 400);
    client
        .patch(&path, "merge", &json!({"metadata": {"labels": {"a": "b"}}}))
        .await
        .expect(200);
    let before = client.get(&path).await.expect(200);
    app.stop();
    let again = crate::support::app_on(store).await;
    let client = crate::support::Client::new(&again, crate::support::admin());
    assert_eq!(client.get(&path).await.expect(200), before);
}
