//! Lists, watches, Tables, discovery, health: everything that only reads.

mod support;

use std::sync::Arc;

use cadet_apiserver::{App, Config};
use cadet_store::{LocalStore, MemoryDisk, Options};
use http::Method;
use serde_json::{Value, json};
use support::{Client, PODS, admin, app, config, config_map, pod};

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
    let app = support::app_on(Arc::new(store.expect("store"))).await;
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
        10
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
async fn a_watch_tells_every_change_in_order_and_resumes() {
    let client = with_maps(1).await;
    let list = client.get(MAPS).await.expect(200);
    let version = list["metadata"]["resourceVersion"]
        .as_str()
        .expect("version");
    let path = format!("{MAPS}?watch=1&resourceVersion={version}");
    let mut live = client.watch(&path).await;
    client.post(MAPS, &config_map("new", "1")).await.expect(201);
    client
        .patch(
            &format!("{MAPS}/new"),
            "merge",
            &json!({"data": {"key": "2"}}),
        )
        .await
        .expect(200);
    // Elsewhere: not for this watch.
    let elsewhere = "/api/v1/namespaces/kube-system/configmaps";
    client
        .post(elsewhere, &config_map("other", "1"))
        .await
        .expect(201);
    client
        .delete(&format!("{MAPS}/new"), &json!({}))
        .await
        .expect(200);
    for events in [&mut live, &mut client.watch(&path).await] {
        assert_eq!(events.brief().await, "ADDED new");
        let modified = events.next().await.expect("event");
        assert_eq!(
            (&modified["type"], &modified["object"]["data"]["key"]),
            (&json!("MODIFIED"), &json!("2"))
        );
        let deleted = events.next().await.expect("event");
        assert_eq!(deleted["type"], "DELETED");
        let version = |event: &Value| {
            event["object"]["metadata"]["resourceVersion"]
                .as_str()
                .and_then(|v| v.parse::<u64>().ok())
                .expect("version")
        };
        assert!(
            version(&deleted) > version(&modified),
            "the deletion has a version of its own"
        );
    }
}

#[tokio::test]
async fn a_watch_without_version_begins_with_what_is_there() {
    let client = with_maps(2).await;
    for path in [
        format!("{MAPS}?watch=true"),
        format!("{MAPS}?watch=true&resourceVersion=0"),
    ] {
        let mut events = client.watch(&path).await;
        assert_eq!(events.brief().await, "ADDED m000");
        assert_eq!(events.brief().await, "ADDED m001");
        let name = format!("later-{}", path.len());
        client.post(MAPS, &config_map(&name, "1")).await.expect(201);
        assert_eq!(events.brief().await, format!("ADDED {name}"));
        client
            .delete(&format!("{MAPS}/{name}"), &json!({}))
            .await
            .expect(200);
    }
}

#[tokio::test]
async fn a_streamed_list_ends_with_its_bookmark() {
    let client = with_maps(2).await;
    let mut events = client
        .watch(&format!("{MAPS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"))
        .await;
    assert_eq!(events.brief().await, "ADDED m000");
    assert_eq!(events.brief().await, "ADDED m001");
    let bookmark = events.next().await.expect("bookmark");
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["kind"], "ConfigMap");
    assert_eq!(
        bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
    let version = bookmark["object"]["metadata"]["resourceVersion"]
        .as_str()
        .expect("version");
    client.post(MAPS, &config_map("new", "1")).await.expect(201);
    assert_eq!(events.brief().await, "ADDED new");
    let mut resumed = client
        .watch(&format!("{MAPS}?watch=true&resourceVersion={version}"))
        .await;
    assert_eq!(resumed.brief().await, "ADDED new");
    assert_eq!(
        client
            .get(&format!("{MAPS}?watch=true&sendInitialEvents=true"))
            .await
            .code,
        422
    );
}

#[tokio::test]
async fn objects_come_and_go_for_a_watch_with_a_selector() {
    let client = Client::new(&app().await, admin());
    client.post(PODS, &pod("a")).await.expect(201);
    let version = client.get(PODS).await.expect(200)["metadata"]["resourceVersion"].clone();
    let version = version.as_str().expect("version");
    let mut red = client
        .watch(&format!(
            "{PODS}?watch=true&resourceVersion={version}&labelSelector=colour%3Dred"
        ))
        .await;
    let mut mine = client
        .watch(&format!(
            "/api/v1/pods?watch=true&resourceVersion={version}&fieldSelector=spec.nodeName%3Dn1"
        ))
        .await;
    let colour = async |colour: Value| {
        let patch = json!({"metadata": {"labels": {"colour": colour}}});
        client
            .patch(&format!("{PODS}/a"), "merge", &patch)
            .await
            .expect(200);
    };
    colour(json!("blue")).await;
    colour(json!("red")).await;
    let binding = json!({"metadata": {"name": "a"}, "target": {"name": "n1"}});
    client
        .post(&format!("{PODS}/a/binding"), &binding)
        .await
        .expect(201);
    colour(Value::Null).await;
    assert_eq!(red.brief().await, "ADDED a");
    assert_eq!(red.brief().await, "MODIFIED a");
    let left = red.next().await.expect("event");
    assert_eq!(left["type"], "DELETED");
    assert_eq!(
        left["object"]["metadata"]["labels"]["colour"], "red",
        "as it was when it left"
    );
    assert_eq!(mine.brief().await, "ADDED a");
    assert_eq!(mine.brief().await, "MODIFIED a");
}

#[tokio::test]
async fn a_watch_from_too_far_back_says_expired_and_ends() {
    let store = LocalStore::open(MemoryDisk, Options::default()).expect("store");
    let config = Config {
        watch_window: 3,
        ..config()
    };
    let app = App::start(config, Arc::new(store)).await.expect("start");
    let client = Client::new(&app, admin());
    let mut events = client
        .watch(&format!("{MAPS}?watch=true&resourceVersion=1"))
        .await;
    let error = events.next().await.expect("event");
    assert_eq!(error["type"], "ERROR");
    assert_eq!(
        (&error["object"]["code"], &error["object"]["reason"]),
        (&json!(410), &json!("Expired"))
    );
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn a_watcher_that_does_not_read_is_cut_and_can_resume() {
    let store = LocalStore::open(MemoryDisk, Options::default()).expect("store");
    let config = Config {
        watch_buffer: 4,
        ..config()
    };
    let app = App::start(config, Arc::new(store)).await.expect("start");
    let client = Client::new(&app, admin());
    let list = client.get(MAPS).await.expect(200);
    let version = list["metadata"]["resourceVersion"]
        .as_str()
        .expect("version")
        .to_owned();
    let mut slow = client
        .watch(&format!("{MAPS}?watch=true&resourceVersion={version}"))
        .await;
    for n in 0..10 {
        client
            .post(MAPS, &config_map(&format!("m{n}"), "1"))
            .await
            .expect(201);
    }
    let mut seen = vec![];
    while let Some(event) = slow.next().await {
        seen.push(
            event["object"]["metadata"]["resourceVersion"]
                .as_str()
                .expect("v")
                .to_owned(),
        );
    }
    assert_eq!(seen.len(), 4);
    let last = &seen[3];
    let mut again = client
        .watch(&format!("{MAPS}?watch=true&resourceVersion={last}"))
        .await;
    assert_eq!(again.brief().await, "ADDED m4");
}

#[tokio::test]
async fn bookmarks_come_by_the_clock_and_the_timeout_ends_a_watch() {
    let store = LocalStore::open(MemoryDisk, Options::default()).expect("store");
    let bookmark_every = std::time::Duration::from_millis(20);
    let app = App::start(
        Config {
            bookmark_every,
            ..config()
        },
        Arc::new(store),
    )
    .await;
    let client = Client::new(&app.expect("start"), admin());
    let list = client.get(MAPS).await.expect(200);
    let version = list["metadata"]["resourceVersion"]
        .as_str()
        .expect("version");
    // Something this watch does not see moves the version on.
    let path = format!(
        "{MAPS}?watch=true&resourceVersion={version}&allowWatchBookmarks=true&timeoutSeconds=1"
    );
    let mut events = client.watch(&path).await;
    let elsewhere = "/api/v1/namespaces/kube-system/configmaps";
    let born = client
        .post(elsewhere, &config_map("other", "1"))
        .await
        .expect(201);
    let newest = &born["metadata"]["resourceVersion"];
    let mut last = Value::Null;
    while let Some(event) = events.next().await {
        assert_eq!(event["type"], "BOOKMARK");
        last = event["object"]["metadata"]["resourceVersion"].clone();
    }
    assert_eq!(&last, newest, "a quiet watch can still resume from here");
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
    assert_eq!(client.get("/apis/apps/v1").await.code, 404);
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
    for path in ["/healthz", "/livez", "/readyz", "/readyz/store"] {
        assert_eq!(client.get(path).await.text, "ok", "{path}");
    }
    assert!(
        client
            .get("/readyz?verbose")
            .await
            .text
            .contains("[+]store ok")
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
}
