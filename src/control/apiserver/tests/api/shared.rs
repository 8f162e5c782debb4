//! Two servers on one etcd are one cluster: nobody can tell which one answers.

use std::collections::HashSet;
use std::sync::Arc;

use cadet_apiserver::{App, User};
use cadet_store::{EtcdOptions, EtcdStore};
use http::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::etcd::Etcd;
use crate::etcd::door::Door;
use crate::support::{Client, admin, config, config_map};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SERVICES: &str = "/api/v1/namespaces/default/services";

async fn server_with(options: EtcdOptions, address: &str) -> App {
    let store = EtcdStore::open(options).await.expect("etcd");
    let mut config = config();
    config.advertise = address.parse().expect("address");
    App::start(config, Arc::new(store)).await.expect("start")
}

async fn server(etcd: &Etcd, number: u8) -> App {
    server_with(etcd.options(), &format!("10.0.2.{number}:6443")).await
}

/// Two servers and their administrators.
async fn pair(etcd: &Etcd) -> (Client, Client) {
    let (a, b) = (server(etcd, 1).await, server(etcd, 2).await);
    (Client::new(&a, admin()), Client::new(&b, admin()))
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value
        .pointer(path)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

#[tokio::test]
async fn servers_that_start_at_once_on_nothing_all_start() {
    let etcd = Etcd::start();
    let (a, b, c) = tokio::join!(server(&etcd, 1), server(&etcd, 2), server(&etcd, 3));
    let mut seen = vec![];
    for app in [&a, &b, &c] {
        let client = Client::new(app, admin());
        let namespaces = client.get("/api/v1/namespaces").await.expect(200);
        assert_eq!(namespaces["items"].as_array().map(Vec::len), Some(4));
        let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
        let roles = client.get(roles).await.expect(200);
        let service = client.get(&format!("{SERVICES}/kubernetes")).await;
        seen.push((
            roles,
            text(&service.expect(200), "/metadata/uid").to_owned(),
        ));
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
}

#[tokio::test]
async fn what_one_server_answers_for_every_other_shows_at_once() {
    let etcd = Etcd::start();
    let (a, b) = pair(&etcd).await;
    let mut watch = b.watch(&format!("{CONFIG_MAPS}?watch=1")).await;
    for n in 0..100 {
        let (writer, reader) = if n % 2 == 0 { (&a, &b) } else { (&b, &a) };
        let name = format!("m{n}");
        let made = writer.post(CONFIG_MAPS, &config_map(&name, "x")).await;
        let made = made.expect(201);
        let path = format!("{CONFIG_MAPS}/{name}");
        assert_eq!(reader.get(&path).await.expect(200), made);
        // A version of one server is known to the other, for lists and for watches.
        let version = text(&made, "/metadata/resourceVersion");
        let list = format!("{CONFIG_MAPS}?resourceVersion={version}");
        let items = reader.get(&list).await.expect(200);
        assert_eq!(items["items"].as_array().map(Vec::len), Some(n + 1));
        assert_eq!(watch.brief().await, format!("ADDED {name}"));
        let other = format!("{name}-later");
        let mut resumed = reader
            .watch(&format!(
                "{CONFIG_MAPS}?watch=1&resourceVersion={version}&fieldSelector=metadata.name={other}"
            ))
            .await;
        if n % 25 == 0 {
            let later = writer.post(CONFIG_MAPS, &config_map(&other, "x")).await;
            later.expect(201);
            assert_eq!(resumed.brief().await, format!("ADDED {other}"));
            assert_eq!(watch.brief().await, format!("ADDED {other}"));
            let gone = reader
                .delete(&format!("{CONFIG_MAPS}/{other}"), &json!({}))
                .await;
            gone.expect(200);
            assert_eq!(
                writer.get(&format!("{CONFIG_MAPS}/{other}")).await.code,
                404
            );
            assert_eq!(watch.brief().await, format!("DELETED {other}"));
        }
    }
}

#[tokio::test]
async fn changes_through_two_servers_conflict_where_they_must_and_none_is_lost() {
    let etcd = Etcd::start();
    let (a, b) = pair(&etcd).await;
    let made = a.post(CONFIG_MAPS, &config_map("m", "0")).await.expect(201);
    let path = format!("{CONFIG_MAPS}/m");
    let mut changed = made.clone();
    changed["data"]["key"] = json!("1");
    b.put(&path, &changed).await.expect(200);
    changed["data"]["key"] = json!("2");
    let why = a.put(&path, &changed).await.refused(409);
    assert!(why.contains("the object has been modified"), "{why}");
    // Patches name no version: each is applied to whatever the object is by then.
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let client = if writer % 2 == 0 {
                a.clone()
            } else {
                b.clone()
            };
            let path = path.clone();
            tokio::spawn(async move {
                for n in 0..10 {
                    let key = format!("w{writer}-{n}");
                    let patch = json!({"data": {key: "x"}});
                    client.patch(&path, "merge", &patch).await.expect(200);
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("writer");
    }
    for client in [&a, &b] {
        let found = client.get(&path).await.expect(200);
        assert_eq!(found["data"].as_object().map(|data| data.len()), Some(81));
    }
}

#[tokio::test]
async fn two_servers_never_give_the_same_address_or_port() {
    let etcd = Etcd::start();
    let (a, b) = pair(&etcd).await;
    let service = |name: &str, address: Option<&str>| {
        json!({"metadata": {"name": name}, "spec": {"type": "NodePort", "clusterIP": address,
            "selector": {"app": "x"}, "ports": [{"port": 80}]}})
    };
    let makers: Vec<_> = (0..8)
        .map(|maker| {
            let client = if maker % 2 == 0 { a.clone() } else { b.clone() };
            let bodies: Vec<Value> = (0..6)
                .map(|n| service(&format!("s{maker}-{n}"), None))
                .collect();
            tokio::spawn(async move {
                for body in bodies {
                    client.post(SERVICES, &body).await.expect(201);
                }
            })
        })
        .collect();
    for maker in makers {
        maker.await.expect("maker");
    }
    let services = a.get(SERVICES).await.expect(200);
    let services = services["items"].as_array().expect("items");
    let distinct = |path: &str| {
        let values = services.iter().filter_map(|s| s.pointer(path));
        values.map(Value::to_string).collect::<HashSet<_>>().len()
    };
    // With the Service `kubernetes`, which has no node port.
    assert_eq!(distinct("/spec/clusterIP"), 49);
    assert_eq!(distinct("/spec/ports/0/nodePort"), 48);

    // The very same one, asked for at both at once: one gets it, the other is told so.
    for n in 0..10 {
        let address = format!("10.96.7.{}", n + 1);
        let (one, two) = (
            service(&format!("one{n}"), Some(&address)),
            service(&format!("two{n}"), Some(&address)),
        );
        let (one, two) = tokio::join!(a.post(SERVICES, &one), b.post(SERVICES, &two));
        let mut codes = [one.code.as_u16(), two.code.as_u16()];
        codes.sort_unstable();
        assert_eq!(codes, [201, 422], "{} {}", one.text, two.text);
        assert!(format!("{}{}", one.text, two.text).contains("provided IP is already allocated"));
    }
}

#[tokio::test]
async fn a_quota_holds_whichever_server_is_asked() {
    let etcd = Etcd::start();
    let (a, b) = pair(&etcd).await;
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"count/configmaps": "10"}}});
    let quotas = "/api/v1/namespaces/default/resourcequotas";
    a.post(quotas, &quota).await.expect(201);
    let makers: Vec<_> = (0..8)
        .map(|maker| {
            let client = if maker % 2 == 0 { a.clone() } else { b.clone() };
            tokio::spawn(async move {
                let mut made = 0;
                for n in 0..5 {
                    let body = config_map(&format!("m{maker}-{n}"), "x");
                    let answer = client.post(CONFIG_MAPS, &body).await;
                    match answer.code.as_u16() {
                        201 => made += 1,
                        code => {
                            assert_eq!(code, 403, "{}", answer.text);
                            assert!(answer.text.contains("exceeded quota: q"), "{}", answer.text);
                        }
                    }
                }
                made
            })
        })
        .collect();
    let mut made = 0;
    for maker in makers {
        made += maker.await.expect("maker");
    }
    assert_eq!(made, 10);
    let found = b.get(CONFIG_MAPS).await.expect(200);
    assert_eq!(found["items"].as_array().map(Vec::len), Some(10));
}

#[tokio::test]
async fn kinds_and_roles_made_at_one_server_hold_at_the_other_at_once() {
    let etcd = Etcd::start();
    let (app_a, app_b) = (server(&etcd, 1).await, server(&etcd, 2).await);
    let a = Client::new(&app_a, admin());
    let b = Client::new(&app_b, admin());
    let lee = Client::new(&app_b, User::new("lee", &["system:authenticated"]));
    for n in 0..10 {
        let plural = format!("gadgets{n}");
        let definition = json!({"metadata": {"name": format!("{plural}.example.com")},
            "spec": {"group": "example.com", "scope": "Namespaced",
                "names": {"plural": plural, "singular": format!("gadget{n}"), "kind": format!("Gadget{n}")},
                "versions": [{"name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
        let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        a.post(definitions, &definition).await.expect(201);
        let gadgets = format!("/apis/example.com/v1/namespaces/default/{plural}");
        let gadget = json!({"apiVersion": "example.com/v1", "kind": format!("Gadget{n}"),
            "metadata": {"name": "g"}});
        b.post(&gadgets, &gadget).await.expect(201);

        assert_eq!(lee.get(&gadgets).await.code, 403);
        let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
        let role = json!({"metadata": {"name": plural}, "rules": [{"verbs": ["list"],
            "apiGroups": ["example.com"], "resources": [plural]}]});
        a.post(roles, &role).await.expect(201);
        let bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
        let binding = json!({"metadata": {"name": plural},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": plural},
            "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "lee"}]});
        a.post(bindings, &binding).await.expect(201);
        lee.get(&gadgets).await.expect(200);
    }
}

#[tokio::test]
async fn without_etcd_reads_go_on_writes_are_refused_and_health_says_why() {
    let mut etcd = Etcd::start();
    let app = server(&etcd, 1).await;
    let client = Client::new(&app, admin());
    let path = format!("{CONFIG_MAPS}/m");
    client
        .post(CONFIG_MAPS, &config_map("m", "x"))
        .await
        .expect(201);
    let ready = client.get("/readyz?verbose").await;
    assert!(ready.text.contains("[+]etcd ok"), "{}", ready.text);
    etcd.kill();
    // The server notices by itself, without being asked.
    while client.get("/readyz").await.code == 200 {
        tokio::task::yield_now().await;
    }
    let ready = client.get("/readyz").await;
    assert_eq!(ready.code, 500);
    assert!(ready.text.contains("[-]etcd failed"), "{}", ready.text);
    let old = client.get(&path).await;
    assert!(old.warnings()[0].contains("may be out of date"), "{old:?}");
    old.expect(200);
    // Who says that any version will do need not be told.
    let any = client.get(&format!("{path}?resourceVersion=0")).await;
    assert!(any.warnings().is_empty());
    let refused = client.post(CONFIG_MAPS, &config_map("n", "x")).await;
    assert_eq!(refused.headers["retry-after"], "1");
    let why = refused.refused(503);
    assert!(why.starts_with("etcd cannot be reached: "), "{why}");
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}});
    client.post(SERVICES, &service).await.refused(503);
    let mut watch = client
        .watch(&format!("{CONFIG_MAPS}?watch=1&resourceVersion=0"))
        .await;
    assert_eq!(watch.brief().await, "ADDED m");
    etcd.run();
    while client.get("/readyz").await.code != 200 {
        tokio::task::yield_now().await;
    }
    client
        .post(CONFIG_MAPS, &config_map("n", "x"))
        .await
        .expect(201);
    assert_eq!(watch.brief().await, "ADDED n");
    assert!(client.get(&path).await.warnings().is_empty());
}

#[tokio::test]
async fn who_watched_while_changes_were_lost_is_cut_and_told_to_list_again() {
    let (mut one, other) = (Etcd::start(), Etcd::start());
    let mut door = Door::to(&one).await;
    let options = EtcdOptions {
        endpoints: vec![door.endpoint()],
        ..one.options()
    };
    let app = server_with(options, "10.0.2.1:6443").await;
    let client = Client::new(&app, admin());
    let made = client.post(CONFIG_MAPS, &config_map("m", "x")).await;
    let version = text(&made.expect(201), "/metadata/resourceVersion").to_owned();
    let mut watch = client.watch(&format!("{CONFIG_MAPS}?watch=1")).await;
    assert_eq!(watch.brief().await, "ADDED m");
    // The same address now leads to an etcd with another past: as after a backup was put
    // back.
    let elsewhere = Client::new(&server(&other, 2).await, admin());
    for n in 0..80 {
        let name = format!("n{n}");
        elsewhere
            .post(CONFIG_MAPS, &config_map(&name, "x"))
            .await
            .expect(201);
    }
    door.shut().await;
    one.kill();
    door.target = other.endpoint();
    door.open();
    assert_eq!(watch.brief().await, "END");
    let items = client.get(CONFIG_MAPS).await.expect(200);
    assert_eq!(items["items"].as_array().map(Vec::len), Some(80));
    let resume = format!("{CONFIG_MAPS}?watch=1&resourceVersion={version}");
    let event = client.watch(&resume).await.next().await.expect("event");
    assert_eq!(
        (text(&event, "/type"), &event["object"]["code"]),
        ("ERROR", &json!(410))
    );
    client
        .post(CONFIG_MAPS, &config_map("new", "x"))
        .await
        .expect(201);
}

#[tokio::test]
async fn the_service_kubernetes_leads_to_all_servers_that_live() {
    let etcd = Etcd::start();
    let (app_a, app_b) = (server(&etcd, 1).await, server(&etcd, 2).await);
    let a = Client::new(&app_a, admin());
    let stop = CancellationToken::new();
    let (stop_b, of_b) = (stop.clone(), app_b.clone());
    let announcing = tokio::spawn(async move { of_b.keep_among_endpoints(stop_b).await });
    let addresses = |endpoints: &Value| {
        let all = endpoints["subsets"][0]["addresses"].as_array().cloned();
        let all = all.unwrap_or_default();
        all.iter()
            .map(|a| text(a, "/ip").to_owned())
            .collect::<Vec<_>>()
    };
    let path = "/api/v1/namespaces/default/endpoints/kubernetes";
    let both = a.get(path).await.expect(200);
    assert_eq!(addresses(&both), ["10.0.2.1", "10.0.2.2"]);
    let slice = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
    let slice = a.get(slice).await.expect(200);
    assert_eq!(slice["endpoints"].as_array().map(Vec::len), Some(2));
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
    let found = a.get(leases).await.expect(200);
    assert_eq!(found["items"].as_array().map(Vec::len), Some(2));
    stop.cancel();
    announcing.await.expect("announcing");
    let one = a.get(path).await.expect(200);
    assert_eq!(addresses(&one), ["10.0.2.1"]);
    let answer = a.send(Method::GET, leases, &[], "").await.expect(200);
    assert_eq!(answer["items"].as_array().map(Vec::len), Some(1));
}
