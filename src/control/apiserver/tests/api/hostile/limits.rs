//! Too much of everything: bytes, characters, clauses, digits.

use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use http::Method;
use serde_json::json;

use super::{Ground, MAP, MAPS, resident};
use crate::support::config_map;

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
            "field label not supported: spec.colour",
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
