use super::*;
use serde_json::{Value, json};

fn storage(claims: Vec<Value>, volumes: Vec<Value>) -> Storage {
    let mut all = Storage::default();
    for claim in claims {
        all.apply_claim(Event::Apply(serde_json::from_value(claim).unwrap()));
    }
    for volume in volumes {
        all.apply_volume(Event::Apply(serde_json::from_value(volume).unwrap()));
    }
    all
}

fn claim(name: &str, size: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "d", "uid": name}, "spec": {
        "accessModes": ["ReadWriteOnce"], "storageClassName": "local",
        "resources": {"requests": {"storage": size}}}})
}

fn volume(name: &str, size: &str, node: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"capacity": {"storage": size},
        "accessModes": ["ReadWriteOnce", "ReadOnlyMany"], "storageClassName": "local",
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
            {"key": "host", "operator": "In", "values": [node]}]}]}}}})
}

#[test]
fn the_smallest_volume_on_the_node_is_found_and_kept() {
    let mut s = storage(
        vec![claim("a", "2Gi"), claim("b", "1Gi")],
        vec![
            volume("big", "9Gi", "n"),
            volume("fit", "2Gi", "n"),
            volume("small", "1Gi", "n"),
            volume("away", "2Gi", "m"),
        ],
    );
    let labels = Labels::from([("host".into(), "n".into())]);
    let a = s.claims.get("d/a").unwrap().clone();
    let b = s.claims.get("d/b").unwrap().clone();
    let find = |s: &Storage, claim: &Claim, taken: &[&str]| {
        let taken = taken.iter().map(|t| (*t).to_owned()).collect();
        s.find(claim, ("n", &labels), &taken)
            .map(|v| v.name.clone())
    };
    assert_eq!(find(&s, &a, &[]).as_deref(), Some("fit"));
    assert_eq!(find(&s, &b, &[]).as_deref(), Some("small"));
    assert_eq!(find(&s, &b, &["small"]).as_deref(), Some("fit"));
    s.promise("fit", &b);
    assert_eq!(find(&s, &a, &[]).as_deref(), Some("big"));
    s.withdraw("d/b");
    assert_eq!(find(&s, &a, &[]).as_deref(), Some("fit"));
    assert!(s.find(&a, ("x", &Labels::new()), &HashSet::new()).is_none());
}

#[test]
fn a_volume_claimed_beforehand_goes_to_its_claim_only() {
    let mut kept = volume("kept", "5Gi", "n");
    kept["spec"]["claimRef"] = json!({"namespace": "d", "name": "a"});
    let s = storage(
        vec![claim("a", "1Gi"), claim("b", "1Gi")],
        vec![kept, volume("free", "1Gi", "n")],
    );
    let labels = Labels::from([("host".into(), "n".into())]);
    let found = |name: &str| {
        let claim = s.claims.get(name).unwrap();
        let found = s.find(claim, ("n", &labels), &HashSet::new());
        found.map(|v| v.name.clone()).unwrap_or_default()
    };
    assert_eq!(
        (found("d/a").as_str(), found("d/b").as_str()),
        ("kept", "free")
    );
}

#[test]
fn a_claim_is_bound_when_the_api_says_so() {
    let mut c = claim("a", "1Gi");
    c["spec"]["volumeName"] = json!("v");
    let s = storage(vec![c.clone()], vec![]);
    assert!(!s.claims.get("d/a").unwrap().is_bound);
    c["status"] = json!({"phase": "Bound"});
    let s = storage(vec![c], vec![]);
    assert!(s.claims.get("d/a").unwrap().is_bound);
}

#[test]
fn a_class_serves_the_places_it_names() {
    let class = |v: Value| Class::of(serde_json::from_value(v).unwrap());
    let zone = |z: &str| Labels::from([("zone".into(), z.into())]);
    let c = class(
        json!({"provisioner": "p", "volumeBindingMode": "WaitForFirstConsumer",
        "allowedTopologies": [{"matchLabelExpressions": [{"key": "zone", "values": ["a"]}]}]}),
    );
    assert!(c.waits_for_pod && c.serves(&zone("a")) && !c.serves(&zone("b")));
    assert!(!class(json!({"provisioner": "kubernetes.io/no-provisioner"})).serves(&zone("a")));
}
