//! Stories of objects, as `cadet trace` asks for them.

use cadet_apiserver::User;
use serde_json::{Value, json};

use crate::support::{Client, PODS, admin, app, bind, config_map, pod};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn brief(line: &Value) -> String {
    let text = |name: &str| line[name].as_str().unwrap_or("?").to_owned();
    format!("{} {}: {}", text("who"), text("act"), text("text"))
}

async fn story(client: &Client, kind: &str, name: &str) -> Value {
    let path = format!("/debug/story?kind={kind}&name={name}");
    client.get(&path).await.expect(200)
}

fn lines(story: &Value) -> Vec<String> {
    let items = story["items"].as_array().expect("items");
    items.iter().map(brief).collect()
}

#[tokio::test]
async fn a_story_goes_on_after_its_hero_is_gone_and_begins_anew_with_the_next() {
    let client = Client::new(&app().await, admin());
    let path = format!("{MAPS}/m");
    client.post(MAPS, &config_map("m", "1")).await.expect(201);
    client
        .patch(&path, "merge", &json!({"data": {"key": "2"}}))
        .await
        .expect(200);
    let now = story(&client, "cm", "m").await;
    let begun = [
        "you created: created config map m",
        "you changed: changed config map m",
    ];
    assert_eq!(lines(&now), begun);
    assert_eq!(now["alive"], true);
    client.delete(&path, &json!({})).await.expect(200);
    let now = story(&client, "ConfigMap", "m").await;
    assert_eq!(now["alive"], false);
    assert_eq!(lines(&now)[..2], begun);
    assert_eq!(lines(&now)[2..], ["you gone: deleted config map m"]);
    let items = now["items"].as_array().expect("items");
    for line in items {
        let time = line["time"].as_str().expect("time");
        assert!(time.len() == 27 && line["exact"] == true, "{line}");
        assert!(line["revision"].as_u64().is_some_and(|r| r > 0), "{line}");
    }
    client.post(MAPS, &config_map("m", "3")).await.expect(201);
    let now = story(&client, "configmaps", "m").await;
    assert_eq!(lines(&now), ["you created: created config map m"]);
}

#[tokio::test]
async fn a_follower_hears_each_line_as_it_happens_until_the_end() {
    let app = app().await;
    let client = Client::new(&app, admin());
    let scheduler = Client::new(&app, User::new("system:kube-scheduler", &[]));
    client.post(PODS, &pod("x")).await.expect(201);
    let follow = "/debug/story?kind=po&name=x&watch=1";
    let mut live = client.watch(follow).await;
    let first = live.next().await.expect("a line");
    assert_eq!(brief(&first), "you created: created pod x");
    bind(&scheduler, "x", "n1").await.expect(201);
    let status = json!({"status": {"phase": "Running", "podIP": "10.244.0.7"}});
    let path = format!("{PODS}/x/status");
    client.patch(&path, "merge", &status).await.expect(200);
    let second = live.next().await.expect("a line");
    assert_eq!(brief(&second), "scheduler scheduled: → node n1");
    let third = live.next().await.expect("a line");
    assert_eq!(brief(&third), "you running: Running, ip 10.244.0.7");
    client
        .delete(&format!("{PODS}/x"), &json!({"gracePeriodSeconds": 0}))
        .await
        .expect(200);
    let mut last = live.next().await.expect("a line");
    while let Some(line) = live.next().await {
        last = line;
    }
    assert_eq!(brief(&last), "you gone: gone");
    // Who comes later is told the same, at once.
    let mut late = client.watch(follow).await;
    assert_eq!(late.next().await, Some(first));
}

#[tokio::test]
async fn what_cannot_be_told_is_refused_in_words() {
    let app = app().await;
    let client = Client::new(&app, admin());
    let why = client.get("/debug/story?kind=cm&name=none").await;
    assert_eq!(why.refused(404), "configmaps \"none\" not found");
    let why = client.get("/debug/story?kind=dragon&name=x").await;
    assert_eq!(why.refused(400), "kind: there is no \"dragon\"");
    let why = client.get("/debug/story?kind=pod").await;
    assert_eq!(why.refused(400), "name: a story needs one");
    let lee = Client::new(&app, User::new("lee", &["system:authenticated"]));
    lee.get("/debug/story?kind=pod&name=x").await.refused(403);
}
