//! Too much of everything: bytes, characters, clauses, digits.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use cadet_apiserver::{App, User};
use cadet_store::{MemoryDisk, Options};
use futures::stream;
use http::Method;
use serde_json::json;

use super::{Ground, MAP, MAPS, resident};
use crate::support::{Client, admin, config_map};

const TOO_LARGE: &str = "Request entity too large: limit is 3145728";

/// 64 KiB of spaces, so many times; without a length said beforehand.
fn spaces(times: usize) -> Body {
    let piece = Bytes::from(vec![b' '; 64 * 1024]);
    Body::from_stream(stream::iter(
        (0..times).map(move |_| Ok::<_, std::io::Error>(piece.clone())),
    ))
}

#[tokio::test]
async fn bodies_beyond_3_mib_are_cut_off_wherever_they_go() {
    let ground = Ground::new().await;
    let before = resident();
    for (method, path, media) in [
        (Method::POST, MAPS, "application/json"),
        (Method::POST, MAPS, "application/yaml"),
        (Method::PUT, MAP, "application/vnd.kubernetes.protobuf"),
        (Method::PATCH, MAP, "application/merge-patch+json"),
        (Method::DELETE, MAP, "application/json"),
        (
            Method::POST,
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            "application/json",
        ),
    ] {
        // 50 MB, and more than anybody has.
        for times in [800, usize::MAX] {
            let refusal = ground
                .refusal(method.clone(), path, media, spaces(times))
                .await;
            let expected = (
                413,
                "RequestEntityTooLarge".to_owned(),
                TOO_LARGE.to_owned(),
            );
            assert_eq!(refusal, expected, "{method} {path}");
        }
    }
    let whole = ground
        .refusal(
            Method::POST,
            MAPS,
            "application/json",
            vec![b' '; 50_000_000],
        )
        .await;
    assert_eq!(whole.2, TOO_LARGE);
    ground.unharmed().await;
    assert!(resident() < before + (200 << 20));
}

#[tokio::test]
async fn names_and_annotations_have_upstreams_limits() {
    let ground = Ground::new().await;
    let mut long = config_map(&"a".repeat(254), "v");
    let named = ground.client.post(MAPS, &long).await.refused(422);
    assert!(named.contains("metadata.name: Invalid value: "), "{named}");
    assert!(named.contains("must be no more than 253"), "{named}");
    long["metadata"] = json!({"name": "a", "annotations": {"a": "x".repeat(262_145)}});
    let annotated = ground.client.post(MAPS, &long).await.refused(422);
    assert_eq!(
        annotated,
        "ConfigMap \"a\" is invalid: metadata.annotations: Too long: may not be more than 262144 bytes"
    );
    for name in ["A", "a_b", "-a", "a/b", "é", "\u{0}", "..", "a b"] {
        let refused = ground.client.post(MAPS, &config_map(name, "v")).await;
        assert_eq!(refused.code, 422, "{name:?}: {}", refused.text);
    }
    for path in ["%ff", "%00", "%2e%2e", "%zz", "a%2fb", "%F0%9F%92%A5"] {
        let answer = ground.client.get(&format!("{MAPS}/{path}")).await;
        assert_eq!(answer.code, 404, "{path}: {}", answer.text);
    }
    ground.unharmed().await;
}

#[tokio::test]
async fn bad_queries_are_told_in_upstreams_words() {
    let ground = Ground::new().await;
    for (query, message) in [
        ("limit=x", "strconv.ParseInt: parsing \"x\": invalid syntax"),
        (
            "limit=99999999999999999999",
            "strconv.ParseInt: parsing \"99999999999999999999\": value out of range",
        ),
        (
            "timeoutSeconds=1.5",
            "strconv.ParseInt: parsing \"1.5\": invalid syntax",
        ),
        (
            "resourceVersion=abc",
            "invalid resource version: resourceVersion: Invalid value: \"abc\": strconv.ParseUint: parsing \"abc\": invalid syntax",
        ),
        (
            "continue=%21%21",
            "invalid continue token: continue key is not valid: ",
        ),
        (
            "continue=eyJ2IjoxfQ",
            "invalid continue token: continue key is not valid: ",
        ),
        (
            "labelSelector=a%20b",
            "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
        ),
        ("labelSelector=%ff%3Db", "unable to parse requirement: "),
        ("labelSelector=a%20in%20(", "unable to parse requirement: "),
        ("labelSelector=,", ""),
        (
            "fieldSelector=spec.colour%3Dred",
            "\"spec.colour\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
        ),
        (
            "fieldSelector=a",
            "invalid selector: 'a'; can't understand 'a'",
        ),
    ] {
        let refused = ground
            .client
            .get(&format!("{MAPS}?{query}"))
            .await
            .refused(400);
        assert!(refused.starts_with(message), "{query}: {refused}");
    }
    for query in [
        "resourceVersionMatch=x&resourceVersion=1",
        "sendInitialEvents=true",
        "resourceVersionMatch=Exact",
    ] {
        ground
            .client
            .get(&format!("{MAPS}?{query}"))
            .await
            .refused(422);
    }
    for query in ["dryRun=Some", "fieldValidation=Loose", "dryRun=%ff"] {
        let refused = ground
            .client
            .post(&format!("{MAPS}?{query}"), &config_map("a", "v"))
            .await;
        assert!(
            [400, 422].contains(&refused.code.as_u16()),
            "{query}: {}",
            refused.text
        );
    }
    ground.unharmed().await;
}

#[tokio::test]
async fn ten_thousand_clauses_are_only_many() {
    let ground = Ground::new().await;
    let labels = vec!["a=b"; 10_000].join(",");
    let read = ground
        .client
        .get(&format!("{MAPS}?labelSelector={labels}"))
        .await
        .expect(200);
    assert_eq!(read["items"], json!([]));
    let fields = vec!["metadata.name=a"; 4_000].join(",");
    let read = ground
        .client
        .get(&format!("{MAPS}?fieldSelector={fields}"))
        .await
        .expect(200);
    assert_eq!(read["items"], json!([]));
    let values: Vec<String> = (0..10_000).map(|n| n.to_string()).collect();
    let within = format!("a%20in%20({})", values.join(","));
    ground
        .client
        .get(&format!("{MAPS}?labelSelector={within}"))
        .await
        .expect(200);
    ground.unharmed().await;
}

/// Requests that never end cannot keep more than their share of the server: others wait,
/// are told so in the end, and the administrator gets through.
#[tokio::test]
async fn requests_beyond_the_limit_are_told_to_come_again() {
    let config = cadet_apiserver::Config {
        in_flight: (2, std::time::Duration::from_millis(300)),
        ..crate::support::config()
    };
    let store = cadet_store::LocalStore::open(MemoryDisk, Options::default()).expect("store");
    let app = App::start(config, Arc::new(store)).await.expect("start");
    let boss = Client::new(&app, admin());
    let binding = json!({"metadata": {"name": "crowd"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
            "name": "cluster-admin"},
        "subjects": [{"kind": "User", "name": "crowd", "apiGroup": "rbac.authorization.k8s.io"}]});
    boss.post(
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        &binding,
    )
    .await
    .expect(201);
    let crowd = Client::new(&app, User::new("crowd", &["system:authenticated"]));
    crowd.get(MAPS).await.expect(200);
    let stuck: Vec<_> = (0..2)
        .map(|_| {
            let crowd = crowd.clone();
            let body = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
            tokio::spawn(async move { crowd.send(Method::POST, MAPS, &[], body).await })
        })
        .collect();
    let refused = loop {
        let answer = crowd.get(MAPS).await;
        if answer.code != 200 {
            break answer;
        }
    };
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(
        refused.refused(429),
        "Too many requests, please try again later."
    );
    boss.get(MAPS).await.expect(200);
    // A watch stays, so it takes nobody's place.
    let path = format!("{MAPS}?watch=true");
    let watch = crowd.open(Method::GET, &path, &[], Body::empty()).await;
    assert_eq!(watch.status(), 200);
    for request in stuck {
        request.abort();
        // Its end, whatever it was, frees the place.
        let _ = request.await;
    }
    crowd.get(MAPS).await.expect(200);
}
