//! Lists, Tables, discovery, health: everything that only reads.

use std::sync::Arc;

use crate::support::{Client, PODS, admin, app, config_map, pod};
use cadet_store::{LocalStore, MemoryDisk, Options};
use http::Method;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn with_maps(number: usize) -> Client {
    let client = Client::new(&app().await, admin());
    for n in 0..number {
        client
            .post(MAPS, &config_map(&format!("m{n:03}"), "1"))
            .await
            .expect(201);
    }
    client
}

fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().expect("items");
    items
        .iter()
        .map(|i| i["metadata"]["name"].as_str().expect("name").to_owned())
        .collect()
}

#[tokio::test]
async fn pages_of_one_list_show_one_moment() {
    let client = with_maps(10).await;
    let first = client.get(&format!("{MAPS}?limit=4")).await.expect(200);
    assert_eq!(first["metadata"]["remainingItemCount"], 6);
    let mut seen = names(&first);
    // The world moves on between the pages.
    client
        .delete(&format!("{MAPS}/m005"), &json!({}))
        .await
        .expect(200);
    client
        .post(MAPS, &config_map("m0055", "1"))
        .await
        .expect(201);
    let mut token = first["metadata"]["continue"].clone();
    while let Some(text) = token.as_str() {
        let page = client
            .get(&format!("{MAPS}?limit=4&continue={text}"))
            .await
            .expect(200);
        assert_eq!(
            page["metadata"]["resourceVersion"],
            first["metadata"]["resourceVersion"]
        );
        seen.extend(names(&page));
        token = page["metadata"]["continue"].clone();
    }
    let expected: Vec<_> = (0..10).map(|n| format!("m{n:03}")).collect();
    assert_eq!(seen, expected);
    // What is no limit, and a list of any moment, come whole.
    for query in ["limit=-1", "limit=4&resourceVersion=0"] {
        let all = client.get(&format!("{MAPS}?{query}")).await.expect(200);
        assert_eq!(names(&all).len(), 10, "{query}");
        assert!(all["metadata"].get("continue").is_none(), "{query}");
    }
    assert_eq!(
        client
            .get(&format!("{MAPS}?limit=4&continue=AAAA"))
            .await
            .code,
        400
    );
}

#[tokio::test]
async fn lists_at_a_revision_are_exact_expired_or_too_early() {
    let store = LocalStore::open(
        MemoryDisk,
        Options {
            history: 5,
            ..Options::default()
        },
    );
    let app = crate::support::app_on(Arc::new(store.expect("store"))).await;
    let client = Client::new(&app, admin());
    let mut versions = vec![];
    for n in 0..10 {
        let born = client
            .post(MAPS, &config_map(&format!("m{n}"), "1"))
            .await
            .expect(201);
        versions.push(
            born["metadata"]["resourceVersion"]
                .as_str()
                .expect("version")
                .to_owned(),
        );
    }
    let exact =
        |version: &str| format!("{MAPS}?resourceVersion={version}&resourceVersionMatch=Exact");
    assert_eq!(
        names(&client.get(&exact(&versions[7])).await.expect(200)).len(),
        8
    );
    let status = client.get(&exact(&versions[0])).await.expect(410);
    assert_eq!(status["reason"], "Expired");
    assert_eq!(
        status["message"],
        "The resourceVersion for the provided list is too old."
    );
    // A list whose revision is forgotten goes on with what there is, if the client wishes.
    let first = client.get(&format!("{MAPS}?limit=4")).await.expect(200);
    let token = |list: &Value| {
        let token = list["metadata"]["continue"].as_str();
        token.expect("a token").to_owned()
    };
    let next = |token: &str| format!("{MAPS}?limit=4&continue={token}");
    let old = token(&first);
    let both = client
        .get(&format!("{}&resourceVersion=5", next(&old)))
        .await;
    assert_eq!(
        both.refused(400),
        "specifying resource version is not allowed when using continue"
    );
    for n in 0..10 {
        let more = config_map(&format!("n{n}"), "1");
        client.post(MAPS, &more).await.expect(201);
    }
    let status = client.get(&next(&old)).await.expect(410);
    assert_eq!(status["reason"], "Expired");
    let said = status["message"].as_str().unwrap_or_default();
    assert!(
        said.contains("or use the continue token in this response"),
        "{said}"
    );
    let rest = client.get(&next(&token(&status))).await.expect(200);
    let last = names(&first).pop().expect("a name");
    let found = names(&rest);
    assert_eq!(found.len(), 4);
    assert!(
        found.iter().all(|name| *name > last),
        "{found:?} after {last}"
    );
    client.get(&next(&token(&rest))).await.expect(200);
    let early = client.get(&format!("{MAPS}?resourceVersion=99999")).await;
    assert_eq!(early.headers["retry-after"], "1");
    let status = early.expect(504);
    assert_eq!(
        status["details"]["causes"][0]["reason"],
        "ResourceVersionTooLarge"
    );
    assert_eq!(
        names(
            &client
                .get(&format!("{MAPS}?resourceVersion=0"))
                .await
                .expect(200)
        )
        .len(),
        20
    );
    assert_eq!(
        client
            .get(&format!("{MAPS}/m0?resourceVersion=99999"))
            .await
            .code,
        504
    );
}

#[tokio::test]
async fn selectors_choose_by_label_and_field() {
    let client = Client::new(&app().await, admin());
    for name in ["a", "b", "c"] {
        client.post(PODS, &pod(name)).await.expect(201);
    }
    let chosen = async |query: &str| {
        names(
            &client
                .get(&format!("/api/v1/pods?{query}"))
                .await
                .expect(200),
        )
        .join("")
    };
    assert_eq!(chosen("labelSelector=app!%3Db").await, "ac");
    assert_eq!(chosen("fieldSelector=metadata.name%3Db").await, "b");
    assert_eq!(
        chosen("fieldSelector=status.phase%3DPending,spec.nodeName%3D").await,
        "abc"
    );
    assert_eq!(chosen("fieldSelector=status.phase!%3DPending").await, "");
    assert_eq!(
        client
            .get("/api/v1/pods?fieldSelector=spec.x%3D1")
            .await
            .code,
        400
    );
}

#[tokio::test]
async fn tables_and_bare_metadata_come_to_those_who_ask() {
    let client = with_maps(2).await;
    let ask = async |path: &str, accept: &str| {
        client
            .send(Method::GET, path, &[("accept", accept)], "")
            .await
    };
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let list = ask(MAPS, table).await.expect(200);
    assert_eq!(
        (&list["kind"], &list["apiVersion"]),
        (&json!("Table"), &json!("meta.k8s.io/v1"))
    );
    assert_eq!(list["columnDefinitions"][0]["name"], "Name");
    assert_eq!(list["rows"][1]["cells"][0], "m001");
    assert_eq!(list["rows"][1]["object"]["kind"], "PartialObjectMetadata");
    let whole = ask(&format!("{MAPS}/m000?includeObject=Object"), table)
        .await
        .expect(200);
    assert_eq!(whole["rows"][0]["object"]["data"]["key"], "1");
    let bare = ask(&format!("{MAPS}?includeObject=None"), table)
        .await
        .expect(200);
    assert_eq!(bare["rows"][0].get("object"), None);
    let metadata = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let list = ask(MAPS, metadata).await.expect(200);
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(list["items"][0].get("data"), None);
    assert_eq!(ask(MAPS, "application/xml").await.code, 406);
}

#[tokio::test]
async fn discovery_is_told_in_every_dialect() {
    let client = Client::new(&app().await, admin());
    let accept =
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let answer = client
        .send(Method::GET, "/api", &[("accept", accept)], "")
        .await;
    assert_eq!(
        answer.headers["content-type"],
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    );
    assert_eq!(answer.headers["vary"], "Accept");
    let tag = answer.headers["etag"].to_str().expect("ascii").to_owned();
    assert_eq!(answer.expect(200)["kind"], "APIGroupDiscoveryList");
    let headers = [("accept", accept), ("if-none-match", tag.as_str())];
    assert_eq!(
        client.send(Method::GET, "/api", &headers, "").await.code,
        304
    );
    assert_eq!(client.get("/api").await.expect(200)["kind"], "APIVersions");
    assert_eq!(
        client.get("/apis").await.expect(200)["kind"],
        "APIGroupList"
    );
    assert_eq!(
        client.get("/api/v1").await.expect(200)["kind"],
        "APIResourceList"
    );
    assert_eq!(
        client.get("/apis/coordination.k8s.io").await.expect(200)["kind"],
        "APIGroup"
    );
    assert_eq!(client.get("/apis/apps/v9").await.code, 404);
    let index = client.get("/openapi/v3").await.expect(200);
    for (path, entry) in index["paths"].as_object().expect("paths") {
        let url = entry["serverRelativeURL"].as_str().expect("url");
        assert!(
            client.get(url).await.expect(200)["openapi"].is_string(),
            "{path}"
        );
    }
    let v2 = client.get("/openapi/v2").await;
    assert_eq!((v2.code.as_u16(), v2.text.as_str()), (200, ""));
}

#[tokio::test]
async fn health_version_and_metrics_answer() {
    let client = Client::new(&app().await, admin());
    for path in [
        "/healthz",
        "/livez",
        "/readyz",
        "/readyz/etcd",
        "/livez/ping",
        "/livez?exclude=etcd",
    ] {
        assert_eq!(client.get(path).await.text, "ok", "{path}");
    }
    assert_eq!(
        client.get("/readyz?verbose").await.text,
        "[+]ping ok\n[+]log ok\n[+]etcd ok\n[+]informer-sync ok\n[+]shutdown ok\nreadyz check passed\n"
    );
    assert_eq!(
        client
            .get("/livez?verbose&exclude=etcd&exclude=x")
            .await
            .text,
        "[+]ping ok\n[+]log ok\n[+]etcd excluded: ok\nwarn: some health checks cannot be excluded: no matches for \"x\"\nlivez check passed\n"
    );
    for path in ["/version", "/version/"] {
        let version = client.get(path).await.expect(200);
        assert!(
            version["gitVersion"]
                .as_str()
                .is_some_and(|v| v.starts_with("v1.36.0+cadet."))
        );
    }
    let metrics = client.get("/metrics").await.text;
    assert!(
        metrics.contains("apiserver_storage_objects{resource=\"namespaces\"} 4"),
        "{metrics}"
    );
    assert!(metrics.contains("verb=\"GET\""), "{metrics}");
    client
        .get("/api/v1/namespaces/default/pods")
        .await
        .expect(200);
    let metrics = client.get("/metrics").await.text;
    let labels = "component=\"apiserver\",group=\"\",resource=\"pods\",scope=\"namespace\",subresource=\"\",verb=\"LIST\",version=\"v1\"";
    for line in [
        format!("apiserver_request_total{{code=\"200\",dry_run=\"\",{labels}}} 1"),
        format!("apiserver_request_duration_seconds_count{{dry_run=\"\",{labels}}} 1"),
        format!("apiserver_request_duration_seconds_bucket{{dry_run=\"\",{labels},le=\"+Inf\"}} 1"),
    ] {
        assert!(metrics.lines().any(|l| l == line), "no {line} in {metrics}");
    }
    for name in [
        "process_cpu_seconds_total ",
        "process_resident_memory_bytes ",
        "process_open_fds ",
    ] {
        assert!(
            metrics.lines().any(|l| l.starts_with(name)),
            "no {name} in {metrics}"
        );
    }
}
