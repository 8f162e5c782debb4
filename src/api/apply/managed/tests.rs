//! Who owns what after which write, and who is told of a conflict.

use super::super::entry::MAX_UPDATES;
use super::*;
use crate::resource::find;

fn shape() -> &'static Resource {
    find("apps", "v1", "deployments").expect("known")
}

fn writer(manager: &str) -> Writer<'_> {
    Writer {
        manager,
        api_version: "apps/v1",
        subresource: "",
        now: clock::parse("2026-11-24T10:00:00Z").expect("time"),
    }
}

fn wanted(replicas: Option<i64>, image: &str) -> Value {
    let mut o = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "a", "labels": {"app": "a"}},
        "spec": {"template": {"spec": {"containers": [{"name": "c", "image": image,
            "ports": [{"containerPort": 80}]}]}}}});
    if let Some(n) = replicas {
        o["spec"]["replicas"] = json!(n);
    }
    o
}

fn owners(object: &Value) -> Vec<(String, Vec<String>)> {
    entry::read(object)
        .iter()
        .map(|e| (e.words(), e.set.paths()))
        .collect()
}

#[test]
fn who_applies_owns_and_others_conflict_until_forced() {
    let first = apply(
        shape(),
        None,
        &wanted(Some(3), "x:1"),
        &writer("one"),
        false,
    );
    let live = first.expect("created");
    assert_eq!(
        owners(&live),
        [(
            "\"one\"".to_owned(),
            [
                ".metadata.labels.app",
                ".spec.replicas",
                ".spec.template.spec.containers[name=\"c\"]",
                ".spec.template.spec.containers[name=\"c\"].image",
                ".spec.template.spec.containers[name=\"c\"].name",
                ".spec.template.spec.containers[name=\"c\"].ports[containerPort=80,protocol=\"TCP\"]",
                ".spec.template.spec.containers[name=\"c\"].ports[containerPort=80,protocol=\"TCP\"].containerPort",
            ]
            .map(str::to_owned)
            .to_vec()
        )]
    );
    let again = apply(
        shape(),
        Some(&live),
        &wanted(Some(3), "x:1"),
        &writer("one"),
        false,
    );
    assert_eq!(again.as_ref(), Ok(&live), "nothing new, not even the time");

    let other = wanted(Some(5), "x:1");
    let error = apply(shape(), Some(&live), &other, &writer("two"), false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"one\": .spec.replicas"
    );
    let forced = apply(shape(), Some(&live), &other, &writer("two"), true).expect("forced");
    assert_eq!(forced["spec"]["replicas"], 5);
    let error = apply(
        shape(),
        Some(&forced),
        &wanted(Some(4), "x:2"),
        &writer("one"),
        false,
    );
    assert!(error.unwrap_err().to_string().starts_with(
        "Apply failed with 2 conflicts: conflicts with \"two\":\n- .spec.replicas\n- .spec.template"
    ));
}

#[test]
fn what_is_no_longer_applied_goes_unless_somebody_else_owns_it() {
    let live = apply(shape(), None, &wanted(Some(3), "x"), &writer("one"), false).expect("new");
    let shared = json!({"spec": {"replicas": 3}});
    let live = apply(shape(), Some(&live), &shared, &writer("two"), false).expect("agrees");
    let mut less = wanted(None, "x");
    less["metadata"]["labels"] = json!({});
    less["spec"]["template"]["spec"]["containers"][0]
        .as_object_mut()
        .expect("container")
        .remove("ports");
    let live = apply(shape(), Some(&live), &less, &writer("one"), false).expect("less");
    assert_eq!(live["spec"]["replicas"], 3, "two still applies it");
    assert_eq!(live["metadata"]["labels"], json!({}));
    assert_eq!(
        live["spec"]["template"]["spec"]["containers"][0].get("ports"),
        None
    );
    let live = apply(shape(), Some(&live), &json!({}), &writer("two"), false).expect("leaves");
    assert_eq!(live["spec"].get("replicas"), None);
    assert_eq!(owners(&live).len(), 1);
}

#[test]
fn an_update_takes_over_what_it_changes() {
    let live = apply(shape(), None, &wanted(Some(3), "x"), &writer("one"), false).expect("new");
    let mut new = live.clone();
    new["spec"]["replicas"] = json!(7);
    track(shape(), Some(&live), &mut new, &writer("kubectl-scale"));
    let found = owners(&new);
    assert!(found.contains(&(
        "\"kubectl-scale\" using apps/v1".to_owned(),
        vec![".spec.replicas".to_owned()]
    )));
    assert!(!found[0].1.contains(&".spec.replicas".to_owned()));
    let mut same = new.clone();
    let mut later = writer("kubectl-scale");
    later.now += time::Duration::hours(1);
    track(shape(), Some(&new), &mut same, &later);
    assert_eq!(same, new, "nothing changed, nothing is written");
    let error = apply(
        shape(),
        Some(&new),
        &wanted(Some(3), "x"),
        &writer("one"),
        false,
    );
    assert_eq!(
        error.unwrap_err().to_string(),
        "Apply failed with 1 conflict: conflict with \"kubectl-scale\" using apps/v1: .spec.replicas"
    );
}

#[test]
fn a_new_object_belongs_to_its_maker_except_its_names() {
    let mut new = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "a", "uid": "u"}, "data": {"k": "v"}});
    let shape = find("", "v1", "configmaps").expect("known");
    track(shape, None, &mut new, &writer("kubectl-create"));
    assert_eq!(
        new["metadata"]["managedFields"][0]["fieldsV1"],
        json!({"f:data": {".": {}, "f:k": {}}})
    );
}

#[test]
fn a_new_objects_record_is_what_a_comparison_would_find() {
    let job = json!({"metadata": {"name": "a", "namespace": "d"}, "spec": {}});
    let service = json!({"metadata": {"generateName": "a-", "uid": "u", "finalizers": ["z/b", "a/b"],
            "annotations": {}, "ownerReferences": [{"uid": "2", "name": "x"}, {"uid": "1"}]},
        "spec": {"ports": [{"port": 443, "name": "s"}, {"protocol": "UDP", "port": 53}, {"port": 443}],
            "selector": {"b": "1", "a": "2"}, "externalIPs": ["1.2.3.4"], "sessionAffinityConfig": {}}});
    for (group, plural, object) in [
        ("apps", "deployments", wanted(Some(3), "x:1")),
        ("batch", "jobs", job),
        ("", "services", service),
        (
            "",
            "configmaps",
            json!({"metadata": {}, "data": {"k": "v"}, "unknown": [{"x": []}]}),
        ),
        ("", "configmaps", json!({"metadata": {"name": "a"}})),
        ("", "configmaps", json!({})),
    ] {
        let stored = find(group, "v1", plural).expect("known");
        let mut set = fields(schema::of(stored).expect("shape"), &object, true);
        strip(&mut set);
        let mut new = object.clone();
        let version = stored.gv.api_version();
        let writer = Writer {
            api_version: &version,
            ..writer("maker")
        };
        track(stored, None, &mut new, &writer);
        let record = new.pointer("/metadata/managedFields/0");
        // As texts: the order is a part of the record.
        let written = record.map(|entry| entry["fieldsV1"].to_string());
        let expected = (!set.is_empty()).then(|| set.write().to_string());
        assert_eq!(written, expected, "{object}");
        assert_eq!(
            record.is_some(),
            Entry::read(record.unwrap_or(&json!({}))).is_some()
        );
    }
}

#[test]
fn old_updates_are_folded_into_one() {
    let mut live = json!({"metadata": {"labels": {}}});
    track(shape(), None, &mut live, &writer("m"));
    for n in 0..15 {
        let mut new = live.clone();
        new["metadata"]["labels"][format!("l{n:02}")] = json!("x");
        let name = format!("m{n}");
        let mut writer = writer(&name);
        writer.now += time::Duration::minutes(n);
        track(shape(), Some(&live), &mut new, &writer);
        live = new;
    }
    let found = owners(&live);
    assert_eq!(found.len(), MAX_UPDATES);
    assert!(found[0].0.starts_with("\"ancient-changes\""), "{found:?}");
    // The folded ones and the maker's, which has the labels themselves.
    assert_eq!(found[0].1.len(), 7, "{found:?}");
}

#[test]
fn a_record_is_cleared_edited_and_begun_anew() {
    let live = apply(shape(), None, &wanted(Some(3), "x"), &writer("one"), false).expect("new");
    let sent = |record: Value| {
        let mut new = live.clone();
        meta::set(&mut new, "managedFields", record);
        new
    };
    assert!(clear_if_asked(&sent(json!([{}]))));
    assert!(!clear_if_asked(&sent(json!([]))) && !clear_if_asked(&sent(json!([{}, {}]))));
    let record = |o: &Value| o["metadata"].get("managedFields").cloned();
    // What cannot be read is passed over, and so is an empty list.
    for odd in [
        json!([]),
        json!([{"manager": "x", "operation": "Own", "apiVersion": "v1", "fieldsType": "FieldsV1"}]),
        json!([{"manager": "x", "operation": "Apply", "fieldsType": "FieldsV1"}]),
        json!([[], "x", 1, null]),
        json!([{"manager": "x", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
            "fieldsV1": []}]),
        json!([{"manager": "x", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV2"}]),
    ] {
        let mut new = sent(odd);
        track(shape(), Some(&live), &mut new, &writer("two"));
        assert_eq!(record(&new), record(&live));
    }
    let moved = json!([{"manager": "x", "operation": "Apply", "apiVersion": "apps/v1",
        "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]);
    let mut new = sent(moved.clone());
    track(shape(), Some(&live), &mut new, &writer("two"));
    assert_eq!(
        owners(&new),
        [("\"x\"".to_owned(), vec![".spec.replicas".to_owned()])]
    );
    let mut new = sent(moved);
    let mut door = writer("two");
    door.subresource = "status";
    track(shape(), Some(&live), &mut new, &door);
    assert_eq!(record(&new), record(&live), "a subresource edits no record");

    let bare = sent(Value::Null);
    let mut new = bare.clone();
    new["spec"]["replicas"] = json!(9);
    track(shape(), Some(&bare), &mut new, &writer("two"));
    assert_eq!(record(&new), None, "nobody owns anything, until an apply");
    let applied = apply(
        shape(),
        Some(&new),
        &wanted(None, "x"),
        &writer("one"),
        false,
    );
    let found = owners(&applied.expect("applied"));
    assert_eq!(found[0].0, "\"one\"");
    assert_eq!(found[1].0, "\"before-first-apply\" using apps/v1");
    assert!(
        found[1].1.contains(&".spec.replicas".to_owned()),
        "{found:?}"
    );
}

#[test]
fn a_body_that_does_not_fit_is_told_where() {
    let refuse = |spec: Value| {
        let body = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "a", "namespace": "default"}, "spec": {"template": {"spec": spec}}});
        let error = apply(shape(), None, &body, &writer("one"), false).unwrap_err();
        error.to_string()
    };
    const HEAD: &str =
        "failed to create typed patch object (default/a; apps/v1, Kind=Deployment): ";
    let place = ".spec.template.spec";
    assert_eq!(
        refuse(json!({"foo": 1})),
        format!("{HEAD}{place}.foo: field not declared in schema")
    );
    assert_eq!(
        refuse(json!({"containers": [{"name": "a"}, {"name": "a"}, {"image": "x"}]})),
        format!(
            "{HEAD}errors:\n  {place}.containers: duplicate entries for key [name=\"a\"]\n  \
             {place}.containers: element 2: associative list with keys has an element that omits key field \"name\" (and doesn't have default value)"
        )
    );
}

#[test]
fn kubectl_takes_over_what_it_applied_before_in_its_own_way() {
    let last = wanted(Some(3), "x").to_string();
    let mut live = wanted(Some(3), "x");
    live["metadata"]["annotations"] = json!({last_applied::ANNOTATION: last});
    track(
        shape(),
        None,
        &mut live,
        &writer("kubectl-client-side-apply"),
    );
    let more = wanted(Some(5), "x");
    let other = apply(shape(), Some(&live), &more, &writer("ci"), false);
    assert!(matches!(other, Err(Error::Conflicts(_))));
    let new = apply(shape(), Some(&live), &more, &writer("kubectl"), false).expect("its own");
    assert_eq!(new["spec"]["replicas"], 5);
    let text = new["metadata"]["annotations"][last_applied::ANNOTATION].as_str();
    let told: Value = serde_json::from_str(text.expect("kept")).expect("JSON");
    assert_eq!(told, more, "and old clients are told");
    // What somebody else set is still theirs.
    let mut scaled = live.clone();
    scaled["metadata"]["labels"]["more"] = json!("1");
    track(shape(), Some(&live), &mut scaled, &writer("bob"));
    let mut both = wanted(Some(3), "y");
    both["metadata"]["labels"]["more"] = json!("2");
    let error = apply(shape(), Some(&scaled), &both, &writer("kubectl"), false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"bob\" using apps/v1: .metadata.labels.more"
    );
}

#[test]
fn entries_speak_of_the_fields_of_their_version() {
    let v2 = find("autoscaling", "v2", "horizontalpodautoscalers").expect("known");
    let target = json!({"kind": "Deployment", "name": "a", "apiVersion": "apps/v1"});
    let mut live = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "a"}, "spec": {"maxReplicas": 3, "scaleTargetRef": target,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": 50}}}]}});
    let mut old = writer("old");
    old.api_version = "autoscaling/v1";
    track(v2, None, &mut live, &old);
    let words = owners(&live);
    let cpu = ".spec.targetCPUUtilizationPercentage".to_owned();
    assert!(words[0].1.contains(&cpu), "{words:?}");
    let mut new = live.clone();
    new["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] = json!(60);
    let mut today = writer("today");
    today.api_version = "autoscaling/v2";
    track(v2, Some(&live), &mut new, &today);
    let words = owners(&new);
    assert!(!words[0].1.contains(&cpu), "it lost the field: {words:?}");
    assert_eq!(words[1].1, [".spec.metrics"]);
}
