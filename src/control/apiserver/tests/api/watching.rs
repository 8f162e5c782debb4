//! Watches: every change once and in order, resumed, bookmarked, cut.

use std::sync::Arc;

use crate::support::{Client, PODS, admin, app, config, config_map, pod};
use cadet_apiserver::{App, Config};
use cadet_store::{LocalStore, MemoryDisk, Options};
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
    let path = format!("{MAPS}?watch=true&resourceVersion={version}&allowWatchBookmarks=true");
    let mut events = client.watch(&path).await;
    let elsewhere = "/api/v1/namespaces/kube-system/configmaps";
    let born = client
        .post(elsewhere, &config_map("other", "1"))
        .await
        .expect(201);
    let newest = &born["metadata"]["resourceVersion"];
    // A quiet watch can still resume from there.
    let mut last = Value::Null;
    while &last != newest {
        let event = events.next().await.expect("a bookmark");
        assert_eq!(event["type"], "BOOKMARK");
        last = event["object"]["metadata"]["resourceVersion"].clone();
    }
    let mut short = client.watch(&format!("{path}&timeoutSeconds=1")).await;
    while let Some(event) = short.next().await {
        assert_eq!(event["type"], "BOOKMARK");
    }
}
