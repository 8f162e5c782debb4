//! Replacing pods of old templates: a few missing at a time, or a few beside the old ones.

use k8s_openapi::jiff::Timestamp;

use super::place::{Place, Pod, Wishes};

/// What the rollout asks for.
#[derive(Debug, Default)]
pub struct Rollout<'a> {
    /// Names of nodes that get a new pod beside the old one.
    pub create: Vec<&'a str>,
    pub delete: Vec<&'a Pod>,
}

/// Today's and the old pod of a node.
struct Pair<'a> {
    new: Option<&'a Pod>,
    old: Option<&'a Pod>,
}

/// `None` if there are several of a sort, for others to clear up.
fn pair<'a>(wishes: &Wishes<'_>, place: &Place<'a>) -> Option<Pair<'a>> {
    let mut pair = Pair {
        new: None,
        old: None,
    };
    for pod in place.pods.iter().filter(|pod| pod.deletion.is_none()) {
        let slot = match wishes.is_new(pod) {
            true => &mut pair.new,
            false => &mut pair.old,
        };
        if slot.replace(*pod).is_some() {
            return None;
        }
    }
    Some(pair)
}

/// Plans the next step of a rollout, after every node has its pod.
pub fn rollout<'a>(wishes: &Wishes<'_>, places: &[Place<'a>], now: Timestamp) -> Rollout<'a> {
    let desired = super::count(places.iter().filter(|place| place.welcome.run));
    let (surge, missing) = wishes.limits(desired);
    let concerned: Vec<&Place<'a>> = places
        .iter()
        .filter(|place| place.welcome.run || !place.pods.is_empty())
        .collect();
    match surge {
        0 => by_removal(wishes, &concerned, missing, now),
        _ => by_surge(wishes, &concerned, surge, desired, now),
    }
}

/// Old pods go, as many as may be missing; new ones come in their places.
fn by_removal<'a>(
    wishes: &Wishes<'_>,
    places: &[&Place<'a>],
    most: i32,
    now: Timestamp,
) -> Rollout<'a> {
    let mut missing = 0;
    let (mut useless, mut candidates) = (Vec::new(), Vec::new());
    for place in places {
        match pair(wishes, place) {
            Some(Pair {
                new: Some(new),
                old: None,
            }) => missing += i32::from(!wishes.is_available(new, now)),
            Some(Pair {
                new: None,
                old: Some(old),
            }) => {
                if wishes.is_available(old, now) {
                    candidates.push(old);
                } else {
                    missing += 1;
                    useless.push(old);
                }
            }
            // A pod is on its way in or out.
            _ => missing += 1,
        }
    }
    let left = usize::try_from(most - missing).unwrap_or(0);
    let mut delete = useless;
    delete.extend(candidates.into_iter().take(left));
    Rollout {
        create: Vec::new(),
        delete,
    }
}

/// New pods come beside the old ones, as many as may; an old one goes when its successor is
/// available.
fn by_surge<'a>(
    wishes: &Wishes<'_>,
    places: &[&Place<'a>],
    most: i32,
    desired: i32,
    now: Timestamp,
) -> Rollout<'a> {
    let (mut surging, mut available) = (0, 0);
    let (mut useless, mut candidates) = (Vec::new(), Vec::new());
    let (mut delete, mut unwelcome) = (Vec::new(), Vec::new());
    for place in places {
        let Some(pair) = pair(wishes, place) else {
            surging += 1;
            continue;
        };
        let is_available = |pod: Option<&&Pod>| pod.is_some_and(|p| wishes.is_available(p, now));
        let (new, old) = (
            is_available(pair.new.as_ref()),
            is_available(pair.old.as_ref()),
        );
        available += i32::from(new || old);
        match (pair.new, pair.old) {
            (_, None) => {}
            (None, Some(pod)) if !place.welcome.run => unwelcome.push(pod),
            (None, Some(_)) if !old => useless.push(place.node),
            (None, Some(_)) => candidates.push(place.node),
            (Some(_), Some(_)) if !new => surging += 1,
            (Some(_), Some(pod)) => delete.push(pod),
        }
    }
    // Where none should run any more, the old pod stays until enough others are available.
    let spare = usize::try_from(available - desired).unwrap_or(0);
    delete.extend(unwelcome.into_iter().take(spare));
    let left = usize::try_from(most - surging).unwrap_or(0);
    let mut create = useless;
    create.extend(candidates.into_iter().take(left));
    Rollout { create, delete }
}

#[cfg(test)]
mod tests {
    use super::super::place::places;
    use super::super::testing::{at, nodes, pods, set};
    use super::*;
    use serde_json::{Value, json};

    fn told(rolling: Value, all: Value) -> String {
        let spec = json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling}});
        let (set, pods) = (set(spec), pods(&all));
        let wishes = Wishes::of(&set, "new");
        let nodes = nodes(&["n1", "n2", "n3", "n4"]);
        let places = places(&wishes, &nodes, &pods);
        let rollout = rollout(&wishes, &places, at(100));
        let created = rollout.create.iter().map(|node| format!("+{node}"));
        let deleted = rollout.delete.iter().map(|pod| format!("-{}", pod.name));
        created.chain(deleted).collect::<Vec<_>>().join(" ")
    }

    fn p(node: i32, hash: &str, more: Value) -> Value {
        let mut pod =
            json!({"name": format!("{hash}{node}"), "node": format!("n{node}"), "hash": hash});
        for (key, value) in more.as_object().unwrap() {
            pod[key] = value.clone();
        }
        pod
    }

    fn old(node: i32) -> Value {
        p(node, "old", json!({}))
    }

    #[test]
    fn a_few_may_be_missing_at_a_time() {
        let one = || json!({"maxUnavailable": 1, "maxSurge": 0});
        let all = || json!([old(1), old(2), old(3), old(4)]);
        assert_eq!(told(one(), all()), "-old1");
        assert_eq!(
            told(json!({"maxUnavailable": "50%", "maxSurge": 0}), all()),
            "-old1 -old2"
        );
        assert_eq!(
            told(json!({"maxUnavailable": 0, "maxSurge": 0}), all()),
            "-old1"
        );
        let gone = json!([old(2), old(3), old(4)]);
        assert_eq!(told(one(), gone), "", "n1 waits for its new pod");
        let starting = json!([p(1, "new", json!({"ready": false})), old(2), old(3), old(4)]);
        assert_eq!(told(one(), starting), "");
        let next = json!([p(1, "new", json!({})), old(2), old(3), old(4)]);
        assert_eq!(told(one(), next), "-old2");
        let sick = json!([
            old(1),
            old(2),
            p(3, "old", json!({"ready": false})),
            p(4, "old", json!({"ready": false}))
        ]);
        assert_eq!(
            told(one(), sick),
            "-old3 -old4",
            "they are of no use anyway"
        );
    }

    #[test]
    fn a_few_may_come_beside_the_old_ones() {
        let one = || json!({"maxUnavailable": 0, "maxSurge": 1});
        let all = || json!([old(1), old(2), old(3), old(4)]);
        assert_eq!(told(one(), all()), "+n1");
        let starting = json!([
            p(1, "new", json!({"ready": false})),
            old(1),
            old(2),
            old(3),
            old(4)
        ]);
        assert_eq!(told(one(), starting), "");
        let ready = json!([p(1, "new", json!({})), old(1), old(2), old(3), old(4)]);
        assert_eq!(told(one(), ready), "+n2 -old1");
    }
}
