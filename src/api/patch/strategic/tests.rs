//! What patches make of lists and members, and what is refused.

use super::*;
use serde_json::json;

fn run(object: Value, patch: Value) -> Value {
    let mut o = object;
    apply(crate::schema::builtin("api.core.v1.Pod"), &mut o, &patch).unwrap();
    o
}

fn pod() -> Value {
    json!({"spec": {"containers": [{"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]},
        {"name": "b", "image": "1"}, {"name": "c", "image": "1"}],
        "volumes": [{"name": "v", "emptyDir": {}}]}, "metadata": {"labels": {"k": "1"}, "finalizers": ["a/1", "b/2"]}})
}

#[test]
fn lists_merge_by_key_at_every_depth() {
    let o = run(
        pod(),
        json!({"spec": {"containers": [{"name": "b", "image": "2"}, {"name": "a", "env": [{"name": "Y", "value": "2"}]}, {"name": "d"}]},
            "metadata": {"labels": {"k": null, "m": "2"}}}),
    );
    assert_eq!(
        o["spec"]["containers"],
        json!([
        {"name": "b", "image": "2"},
        {"name": "a", "image": "1", "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "1"}]},
        {"name": "d"}, {"name": "c", "image": "1"}])
    );
    assert_eq!(o["metadata"]["labels"], json!({"m": "2"}));
}

#[test]
fn directives_delete_and_replace() {
    let o = run(
        pod(),
        json!({"spec": {"containers": [{"$patch": "delete", "name": "a"}]}}),
    );
    assert_eq!(o["spec"]["containers"].as_array().unwrap().len(), 2);
    let o = run(
        pod(),
        json!({"spec": {"containers": [{"$patch": "replace"}, {"name": "z"}]}}),
    );
    assert_eq!(o["spec"]["containers"], json!([{"name": "z"}]));
    let o = run(
        pod(),
        json!({"metadata": {"labels": {"$patch": "replace", "z": "1"}}}),
    );
    assert_eq!(o["metadata"]["labels"], json!({"z": "1"}));
    let o = run(pod(), json!({"metadata": {"labels": {"$patch": "delete"}}}));
    assert_eq!(o["metadata"]["labels"], json!({}));
    let o = run(
        pod(),
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a/1"], "finalizers": ["c/3"]}}),
    );
    assert_eq!(o["metadata"]["finalizers"], json!(["c/3", "b/2"]));
}

#[test]
fn order_is_the_clients_and_strangers_keep_their_place() {
    let names = |o: &Value| -> Vec<String> {
        o["spec"]["containers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c["name"].as_str().unwrap().into())
            .collect()
    };
    let o = run(
        pod(),
        json!({"spec": {"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}]}}),
    );
    // b stood before c, so it still does.
    assert_eq!(names(&o), ["b", "c", "a"]);
    let o = run(
        pod(),
        json!({"spec": {"$setElementOrder/containers": [{"name": "n"}, {"name": "a"}, {"name": "c"}],
        "containers": [{"name": "n"}]}}),
    );
    assert_eq!(names(&o), ["n", "a", "b", "c"]);
}

#[test]
fn lists_come_out_in_upstreams_order() {
    // live | patch without deletions, those with a minus deleted | $setElementOrder | result
    for (live, patch, order, want) in [
        ("a b c", "b", "", "a b c"),
        ("a b c", "c a", "", "b c a"),
        ("app", "sidecar", "", "sidecar app"),
        ("a b", "x a", "", "x a b"),
        ("a b", "-a x", "", "x b"),
        ("a b c", "x", "a x b c", "a x b c"),
        ("a b c s", "x", "c x a", "b c x a s"),
        ("s a b", "", "b a", "s b a"),
        ("a s b", "", "a b", "a s b"),
        ("a b", "-b", "a", "a"),
        ("", "b a", "b a", "b a"),
    ] {
        let items = |text: &str| -> Vec<Value> {
            let one = |name: &str| match name.strip_prefix('-') {
                Some(name) => json!({"name": name, "$patch": "delete"}),
                None => json!({"name": name}),
            };
            text.split_whitespace().map(one).collect()
        };
        let mut spec = json!({});
        if !patch.is_empty() {
            spec["containers"] = items(patch).into();
        }
        if !order.is_empty() {
            spec["$setElementOrder/containers"] = items(order).into();
        }
        let o = run(
            json!({"spec": {"containers": items(live)}}),
            json!({"spec": spec}),
        );
        assert_eq!(
            o["spec"]["containers"],
            Value::Array(items(want)),
            "{live} | {patch} | {order}"
        );
    }
    let o = run(
        json!({"metadata": {"finalizers": ["a/1", "b/2"]}}),
        json!({"metadata": {"finalizers": ["c/3", "b/2"]}}),
    );
    assert_eq!(o["metadata"]["finalizers"], json!(["c/3", "a/1", "b/2"]));
}

#[test]
fn refusals_have_upstreams_words() {
    let refuse = |patch: Value| {
        let kind = crate::schema::builtin("api.core.v1.Pod");
        let status = apply(kind, &mut pod(), &patch).unwrap_err().status();
        (status.code, status.message)
    };
    for (patch, code, words) in [
        (
            json!({"spec": {"containers": [{"image": "x", "args": ["a", "b"]}]}}),
            500,
            "map: map[args:[a b] image:x] does not contain declared merge key: name",
        ),
        (
            json!({"spec": {"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "b"}]}}),
            500,
            "The order in patch list:\n[map[name:b]]\n doesn't match $setElementOrder list:\n[map[name:a]]\n",
        ),
        (
            json!({"spec": {"$setElementOrder/containers": "a"}}),
            400,
            "invalid patch format of setElementOrder list",
        ),
        (
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": "a"}}),
            400,
            "invalid patch format of primitive list",
        ),
        (
            json!({"spec": {"$retainKeys": ["x"], "containers": []}}),
            400,
            "invalid patch format of retainKeys",
        ),
    ] {
        assert_eq!(refuse(patch), (code, words.to_owned()));
    }
}

#[test]
fn changing_a_volume_drops_its_old_source() {
    let o = run(
        pod(),
        json!({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "emptyDir": null, "hostPath": {"path": "/x"}}]}}),
    );
    assert_eq!(
        o["spec"]["volumes"],
        json!([{"name": "v", "hostPath": {"path": "/x"}}])
    );
}

#[test]
fn directives_never_reach_the_object() {
    let o = run(
        json!({}),
        json!({"spec": {"$setElementOrder/containers": [{"name": "a"}],
        "containers": [{"name": "a", "$patch": "merge"}, {"name": "q", "$patch": "delete"}]}}),
    );
    assert_eq!(o, json!({"spec": {"containers": [{"name": "a"}]}}));
}

#[test]
fn wrong_patches_are_refused() {
    for patch in [
        json!([]),
        json!({"spec": {"containers": [{"image": "x"}]}}),
        json!({"spec": {"$patch": "explode"}}),
        json!({"spec": {"containers": ["a"]}}),
        json!({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name"], "hostPath": {}}]}}),
    ] {
        assert!(
            apply(
                crate::schema::builtin("api.core.v1.Pod"),
                &mut pod(),
                &patch
            )
            .is_err(),
            "{patch}"
        );
    }
}
