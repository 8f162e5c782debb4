//! What `port-forward` understands, and to which pod it leads.

use serde_json::json;

use super::super::follow::Change;
use super::super::pods::{Pods, goal};
use super::*;

fn target(text: &str) -> Target {
    Target::parse(text, "shop").unwrap()
}

fn wishes(texts: &[&str]) -> Vec<Wish> {
    texts
        .iter()
        .map(|text| Wish::parse(text).unwrap())
        .collect()
}

fn service(ip: &str) -> Value {
    json!({"spec": {"clusterIP": ip, "selector": {"app": "web", "tier": "a"}, "ports": [
        {"name": "http", "port": 80, "targetPort": "web"},
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "admin", "port": 81, "targetPort": 9000}]}})
}

fn pod(name: &str, ip: &str, ready: bool) -> Value {
    json!({"metadata": {"name": name},
        "spec": {"containers": [{"ports": [{"name": "web", "containerPort": 8080}]}]},
        "status": {"phase": "Running", "podIP": ip,
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]}})
}

#[test]
fn objects_are_named_as_kubectl_has_it() {
    for (text, path) in [
        ("web-0", "/api/v1/namespaces/shop/pods/web-0"),
        ("svc/web", "/api/v1/namespaces/shop/services/web"),
        (
            "deploy/web",
            "/apis/apps/v1/namespaces/shop/deployments/web",
        ),
        ("sts/web", "/apis/apps/v1/namespaces/shop/statefulsets/web"),
    ] {
        assert_eq!(target(text).path(), path);
    }
    assert_eq!(target("svc/web").to_string(), "service/web");
    for bad in ["node/a", "pod/", "a/b/c", "", "svc/"] {
        let error = Target::parse(bad, "shop").unwrap_err();
        assert_eq!(error.topic.id, "PROGRAM_USAGE", "{bad}");
    }
    assert_eq!(
        Target::parse("../x", "shop").unwrap_err().topic.id,
        "PROGRAM_USAGE"
    );
}

#[test]
fn ports_are_read_or_refused() {
    let wish = |text: &str| Wish::parse(text).map(|w| (w.local, w.remote));
    assert_eq!(wish("8080:80"), Ok((Some(8080), Remote::Number(80))));
    assert_eq!(wish("80"), Ok((None, Remote::Number(80))));
    assert_eq!(wish(":80"), Ok((Some(0), Remote::Number(80))));
    let http = || Remote::Named("http".into());
    assert_eq!(wish("8080:http"), Ok((Some(8080), http())));
    assert_eq!(wish("http"), Ok((None, http())));
    for bad in [
        "", ":", "80:", "0", "8080:0", "x:80", "70000", "80:70000", "-1", "a b",
    ] {
        assert!(Wish::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_service_leads_to_its_own_address() {
    let plan = |wanted: &[&str]| target("svc/web").plan(&service("10.96.0.7"), &wishes(wanted));
    let all = plan(&[]).unwrap();
    assert_eq!(all.pods, None, "the Service chooses");
    let seen: Vec<_> = all.lanes.iter().map(|l| (l.local, l.port)).collect();
    assert_eq!(seen, [(80, 80), (81, 81)], "UDP does not fit through");
    let goal = Goal {
        host: "10.96.0.7".into(),
        port: 80,
    };
    let named = plan(&["8080:http", ":81"]).unwrap();
    assert_eq!((named.lanes[0].local, named.lanes[1].local), (8080, 0));
    assert_eq!(named.lanes[0].way, Way::Fixed(goal));
    let error = plan(&["82"]).unwrap_err();
    assert_eq!(error.topic.id, "CLUSTER_NOT_FOUND");
    assert_eq!(error.why.unwrap(), "it has 80 (http), 81 (admin)");
}

#[test]
fn a_headless_service_leads_to_the_ports_of_its_pods() {
    let plan = target("svc/web").plan(&service("None"), &wishes(&["http", "81"]));
    let plan = plan.unwrap();
    let web = pod("a", "10.244.0.2", true);
    let goals: Vec<_> = plan.lanes.iter().map(|l| goal(&l.way, &web)).collect();
    let at = |port| {
        Some(Goal {
            host: "10.244.0.2".into(),
            port,
        })
    };
    assert_eq!(goals, [at(8080), at(9000)]);
    assert_eq!(
        plan.pods.unwrap(),
        "/api/v1/namespaces/shop/pods?labelSelector=app%3Dweb%2Ctier%3Da"
    );
    let mut nobody = service("None");
    nobody["spec"]["selector"] = json!({});
    let error = target("svc/web").plan(&nobody, &[]).unwrap_err();
    assert_eq!(error.topic.id, "CLUSTER_NOT_READY");
}

#[test]
fn a_workload_leads_to_its_pods_and_a_pod_to_itself() {
    let deployment = json!({"spec": {
        "selector": {"matchLabels": {"app": "web"}, "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["a", "b"]},
            {"key": "old", "operator": "DoesNotExist"}]},
        "template": {"spec": {"containers": [{"ports": [{"name": "web", "containerPort": 8080}]}]}}}});
    let plan = target("deploy/web").plan(&deployment, &[]).unwrap();
    assert_eq!((plan.lanes[0].local, plan.lanes[0].port), (8080, 8080));
    assert_eq!(
        selector(&deployment["spec"]["selector"]).unwrap(),
        "app=web,tier in (a,b),!old"
    );
    // What is not declared may be listened at all the same.
    let one = pod("web-0", "10.244.0.3", false);
    let plan = target("web-0").plan(&one, &wishes(&["5000:5001"])).unwrap();
    assert_eq!(plan.lanes[0].way, Way::Pod(Remote::Number(5001)));
    assert_eq!(
        plan.pods.unwrap(),
        "/api/v1/namespaces/shop/pods?fieldSelector=metadata.name%3Dweb-0"
    );
    let bare = json!({"spec": {"containers": [{"name": "a"}]}});
    let error = target("web-0").plan(&bare, &[]).unwrap_err();
    assert!(error.fix.unwrap().contains("pod/web-0 8080:PORT"));
}

#[test]
fn the_chosen_pod_stays_until_it_will_not_do() {
    let mut pods = Pods::of(&target("deploy/web"));
    assert_eq!(pods.choose(), None);
    let (a, b) = (pod("a", "10.244.0.2", false), pod("b", "10.244.0.3", true));
    pods.take(Change::All(vec![a, b]));
    let chosen = |pods: &mut Pods| pods.choose().map(|(name, _)| name.to_owned());
    assert_eq!(chosen(&mut pods).as_deref(), Some("b"));
    pods.take(Change::Set(pod("a", "10.244.0.2", true)));
    assert_eq!(chosen(&mut pods).as_deref(), Some("b"), "nothing moves");
    pods.take(Change::Away("no answer".into()));
    assert_eq!(chosen(&mut pods).as_deref(), Some("b"));
    let mut going = pod("b", "10.244.0.3", true);
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    pods.take(Change::Set(going.clone()));
    assert_eq!(chosen(&mut pods).as_deref(), Some("a"));
    pods.take(Change::Gone(going));
    pods.take(Change::Gone(pod("a", "", true)));
    assert_eq!(chosen(&mut pods), None);
    // A pod that is named need not be ready: it may be what one wants to look at.
    let mut named = Pods::of(&target("pod/a"));
    named.take(Change::Set(pod("a", "10.244.0.2", false)));
    assert_eq!(chosen(&mut named).as_deref(), Some("a"));
}
