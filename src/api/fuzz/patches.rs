//! The four kinds of patch: no patch panics or runs for ever, and what each promises holds.

use serde_json::{Value, json};

use super::material::{self, Choices};
use crate::apply::{self, Writer};
use crate::{fieldcheck, json as place, patch, resource};

fn operation(object: &Value, choices: &mut Choices<'_>) -> Value {
    let mut places = vec![];
    material::places(object, "", &mut places);
    let mut path = || {
        let mut path = places[choices.below(places.len())].clone();
        match choices.below(8) {
            0 => path.push_str("/-"),
            1 => path.push_str("/0"),
            2 => path.push_str(&format!("/{}", choices.text())),
            3 => path = choices.text(),
            _ => {}
        }
        path
    };
    let (path, from) = (path(), path());
    let op = ["add", "remove", "replace", "move", "copy", "test", "jump"][choices.below(7)];
    let mut operation =
        json!({"op": op, "path": path, "from": from, "value": material::odd(choices)});
    if choices.chance(6) {
        material::spoil(&mut operation, choices);
    }
    operation
}

/// A JSON patch applies or is refused, stays within its bounds, and what it adds it can take
/// away again.
#[test]
fn json_patch() {
    bolero::check!().with_iterations(3_000).for_each(|input: &[u8]| {
        let mut choices = Choices(input);
        let before = material::object(&mut choices);
        let mut after = before.clone();
        let mut operations = vec![];
        for _ in 0..=choices.below(6) {
            operations.push(operation(&before, &mut choices));
        }
        let operations = Value::Array(operations);
        match patch::json_patch(&mut after, &operations) {
            Err(error) => assert!((400..500).contains(&error.status().code)),
            Ok(()) => {
                assert!(place::depth(&after) <= place::MAX_DEPTH, "{operations}");
                let mut again = after.clone();
                let add = json!([{"op": "add", "path": "/fuzz", "value": 1}, {"op": "remove", "path": "/fuzz"}]);
                if after.get("fuzz").is_none() && after.is_object() {
                    patch::json_patch(&mut again, &add).expect("applies");
                    assert_eq!(again, after);
                }
            }
        }
    });
}

fn holds_null(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.values().any(|v| v.is_null() || holds_null(v)),
        Value::Array(items) => items.iter().any(holds_null),
        _ => false,
    }
}

/// A merge patch leaves none of its nulls, and done twice it is as done once.
#[test]
fn merge_patch() {
    bolero::check!()
        .with_iterations(3_000)
        .for_each(|input: &[u8]| {
            let mut choices = Choices(input);
            let mut object = material::object(&mut choices);
            place::drop_nulls(&mut object);
            let mut change = material::part(&object, &mut choices);
            for _ in 0..choices.below(5) {
                material::spoil(&mut change, &mut choices);
            }
            patch::merge_patch(&mut object, &change);
            if change.is_object() {
                assert!(!members_null(&object), "{change} left a null in {object}");
            }
            let once = object.clone();
            patch::merge_patch(&mut object, &change);
            assert_eq!(object, once, "{change}");
        });
}

/// Nulls that are members of objects outside lists: those inside a list are data.
fn members_null(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.values().any(|v| v.is_null() || members_null(v)),
        _ => false,
    }
}

fn holds_directive(value: &Value) -> bool {
    match value {
        Value::Object(members) => {
            members.keys().any(|key| key.starts_with('$')) || members.values().any(holds_directive)
        }
        Value::Array(items) => items.iter().any(holds_directive),
        _ => false,
    }
}

/// A strategic patch made of parts of the object itself changes nothing but order; spoilt
/// ones are applied or refused.
#[test]
fn strategic_patch() {
    bolero::check!()
        .with_iterations(3_000)
        .for_each(|input: &[u8]| {
            let mut choices = Choices(input);
            let mut object = material::object(&mut choices);
            let Some(resource) = super::row_of(&object) else {
                return;
            };
            let mut change = material::part(&object, &mut choices);
            for _ in 0..choices.below(4) {
                material::spoil(&mut change, &mut choices);
            }
            if choices.chance(3)
                && let Some(spec) = change.get_mut("spec").and_then(Value::as_object_mut)
            {
                let order: Vec<Value> = [3, 1, 2].map(|n| json!({"name": n.to_string()})).into();
                spec.insert("$setElementOrder/containers".into(), json!(order));
                spec.insert(
                    "$deleteFromPrimitiveList/finalizers".into(),
                    material::odd(&mut choices),
                );
                spec.insert("$retainKeys".into(), json!(["containers", "volumes"]));
            }
            if patch::strategic(resource, &mut object, &change).is_ok() && change.is_object() {
                let once = object.clone();
                // Lists without a merge key are replaced, so the second time changes nothing there.
                if !holds_directive(&change)
                    && !holds_null(&change)
                    && patch::strategic(resource, &mut object, &change).is_ok()
                {
                    assert_eq!(object, once, "{change}");
                }
            }
        });
}

/// Applying the same configuration twice changes nothing the second time, whatever stands in
/// the object or in its record of owners.
#[test]
fn server_side_apply() {
    bolero::check!()
        .with_iterations(1_500)
        .for_each(|input: &[u8]| {
            let mut choices = Choices(input);
            let mut live = material::object(&mut choices);
            let Some(resource) = super::row_of(&live) else {
                return;
            };
            let writer = |manager| Writer {
                manager,
                api_version: "v1",
                subresource: "",
                now: time::OffsetDateTime::UNIX_EPOCH,
            };
            if !live["metadata"].is_object() {
                return;
            }
            apply::track(resource, None, &mut live, &writer("kubectl"));
            if choices.chance(3) {
                material::spoil(&mut live["metadata"], &mut choices);
            }
            let mut wanted = material::part(&live, &mut choices);
            for _ in 0..choices.below(4) {
                material::spoil(&mut wanted, &mut choices);
            }
            if let Some(metadata) = wanted.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.remove("managedFields");
            }
            // What has the wrong type does not get here.
            if fieldcheck::check(resource, &wanted).is_err() || !wanted["metadata"].is_object() {
                return;
            }
            place::drop_nulls(&mut wanted);
            let Ok(once) = apply::apply(resource, Some(&live), &wanted, &writer("me"), true) else {
                return;
            };
            let twice = apply::apply(resource, Some(&once), &wanted, &writer("me"), false);
            if twice.ok().as_ref() != Some(&once) {
                // Two items under one key: validation refuses the object.
                let mut full = once.clone();
                crate::defaults::apply(resource, &mut full);
                let errors = crate::validate::create(resource, &full);
                assert!(!errors.is_empty(), "{wanted}");
                return;
            }
            // Another who applies the same shares the fields without a conflict.
            let shared = apply::apply(resource, Some(&once), &wanted, &writer("you"), false);
            assert!(shared.is_ok(), "{wanted}");
            // And what a plain write makes of it never panics.
            let mut new = once.clone();
            material::spoil(&mut new, &mut choices);
            if new["metadata"].is_object() {
                apply::track(resource, Some(&once), &mut new, &writer("edit"));
            }
        });
}

/// Lists as long as a body can hold are merged in time that grows with their length, not
/// with its square: minutes would pass here otherwise.
#[test]
fn long_lists_are_merged_by_an_index() {
    const LONG: usize = 20_000;
    let list = |from: usize| -> Value {
        let env = (from..from + LONG).map(|n| json!({"name": n.to_string(), "value": "v"}));
        let finalizers: Vec<String> = (from..from + LONG).map(|n| format!("a/{n}")).collect();
        json!({"metadata": {"name": "a", "finalizers": finalizers},
            "spec": {"containers": [{"name": "c", "env": env.collect::<Vec<_>>()}]}})
    };
    let pods = resource::find("", "v1", "pods").expect("pods");
    let mut object = list(0);
    let mut change = list(LONG / 2);
    // What the patch names stands in it in the same order, or it is refused.
    let order: Vec<Value> = (0..LONG * 3 / 2)
        .map(|n| json!({"name": n.to_string()}))
        .collect();
    change["spec"]["containers"][0]["$setElementOrder/env"] = Value::Array(order);
    patch::strategic(pods, &mut object, &change).expect("merges");
    let length = |object: &Value| place::list_at(object, "/spec/containers/0/env").len();
    assert_eq!(length(&object), LONG * 3 / 2);
    let writer = Writer {
        manager: "me",
        api_version: "v1",
        subresource: "",
        now: time::OffsetDateTime::UNIX_EPOCH,
    };
    let mut old = list(0);
    apply::track(pods, None, &mut old, &writer);
    let merged = apply::apply(pods, Some(&old), &list(LONG / 2), &writer, true).expect("applies");
    assert_eq!(length(&merged), LONG * 3 / 2);
}
