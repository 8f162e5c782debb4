//! The entries of `metadata.managedFields`: kept true by every write, asked by every apply.

use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::fieldset::Set;
use super::merge;
use super::shaped::{Difference, compare, fields};
use crate::json::str_at;
use crate::schema::Shape;
use crate::{clock, meta};

/// Fields that belong to nobody: the server sets them, or they name the object.
const STRIPPED: &[&[&str]] = &[
    &["apiVersion"],
    &["kind"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
    &["metadata", "deletionTimestamp"],
    &["metadata", "deletionGracePeriodSeconds"],
];

/// Most entries of updates an object keeps; older ones are folded into one, as upstream.
const MAX_UPDATES: usize = 10;
const ANCIENT: &str = "ancient-changes";

/// Who writes, and how.
#[derive(Debug, Clone)]
pub struct Writer<'a> {
    /// `fieldManager`, or the name of the client program.
    pub manager: &'a str,
    /// As in the request: `apps/v1`.
    pub api_version: &'a str,
    /// `status`, `scale`, or "".
    pub subresource: &'a str,
    pub now: OffsetDateTime,
}

/// Somebody else owns fields that an apply would change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// As errors name the owner: `"kubectl-edit" using apps/v1`.
    pub manager: String,
    pub paths: Vec<String>,
}

/// Why an apply was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("{}", conflict_words(.0))]
    Conflicts(Vec<Conflict>),
    #[error("metadata.managedFields must be nil")]
    ManagedFieldsSent,
}

fn conflict_words(conflicts: &[Conflict]) -> String {
    let count: usize = conflicts.iter().map(|c| c.paths.len()).sum();
    if let ([one], 1) = (conflicts, count) {
        return format!(
            "Apply failed with 1 conflict: conflict with {}: {}",
            one.manager,
            one.paths.join("")
        );
    }
    let mut lines = vec![];
    for conflict in conflicts {
        lines.push(format!("conflicts with {}:", conflict.manager));
        lines.extend(conflict.paths.iter().map(|path| format!("- {path}")));
    }
    format!("Apply failed with {count} conflicts: {}", lines.join("\n"))
}

#[derive(Debug, Clone)]
struct Entry {
    manager: String,
    apply: bool,
    api_version: String,
    subresource: String,
    time: Option<String>,
    set: Set,
}

impl Entry {
    fn read(value: &Value) -> Option<Entry> {
        Some(Entry {
            manager: str_at(value, "/manager").to_owned(),
            apply: str_at(value, "/operation") == "Apply",
            api_version: str_at(value, "/apiVersion").to_owned(),
            subresource: str_at(value, "/subresource").to_owned(),
            time: value.get("time").and_then(Value::as_str).map(str::to_owned),
            set: Set::read(value.get("fieldsV1")?)?,
        })
    }

    fn write(&self) -> Value {
        let mut out = Map::new();
        out.insert("manager".into(), json!(self.manager));
        let operation = if self.apply { "Apply" } else { "Update" };
        out.insert("operation".into(), json!(operation));
        out.insert("apiVersion".into(), json!(self.api_version));
        if let Some(time) = &self.time {
            out.insert("time".into(), json!(time));
        }
        out.insert("fieldsType".into(), json!("FieldsV1"));
        out.insert("fieldsV1".into(), self.set.write());
        if !self.subresource.is_empty() {
            out.insert("subresource".into(), json!(self.subresource));
        }
        Value::Object(out)
    }

    /// Whether this entry is about the writer's own fields. An applier's version may change.
    fn is_of(&self, writer: &Writer<'_>, apply: bool) -> bool {
        self.apply == apply
            && self.manager == writer.manager
            && self.subresource == writer.subresource
            && (apply || self.api_version == writer.api_version)
    }

    /// As errors name it.
    fn words(&self) -> String {
        let mut words = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            words = format!("{words} with subresource {:?}", self.subresource);
        }
        if !self.apply {
            words = format!("{words} using {}", self.api_version);
        }
        words
    }
}

fn read(object: &Value) -> Vec<Entry> {
    crate::json::list_at(object, "/metadata/managedFields")
        .iter()
        .filter_map(Entry::read)
        .collect()
}

fn write(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.set.is_empty());
    fold_ancient(&mut entries);
    // Appliers first, then updates by time, as upstream sorts them.
    entries.sort_by(|a, b| (!a.apply, &a.time, &a.manager).cmp(&(!b.apply, &b.time, &b.manager)));
    let list: Vec<Value> = entries.iter().map(Entry::write).collect();
    let value = if list.is_empty() {
        Value::Null
    } else {
        Value::Array(list)
    };
    meta::set(object, "managedFields", value);
}

fn fold_ancient(entries: &mut Vec<Entry>) {
    let updates = entries.iter().filter(|e| !e.apply).count();
    if updates <= MAX_UPDATES {
        return;
    }
    entries.sort_by(|a, b| (a.apply, &a.time).cmp(&(b.apply, &b.time)));
    let old: Vec<Entry> = entries.drain(..=updates - MAX_UPDATES).collect();
    let mut folded: Option<Entry> = None;
    for entry in old {
        match &mut folded {
            Some(into) => {
                into.set.union(&entry.set);
                into.time = entry.time;
            }
            None => {
                folded = Some(Entry {
                    manager: ANCIENT.to_owned(),
                    subresource: String::new(),
                    ..entry
                });
            }
        }
    }
    entries.extend(folded);
}

fn strip(set: &mut Set) {
    // The object as a whole is nobody's.
    set.member = false;
    for path in STRIPPED {
        set.remove(path);
    }
}

/// An update may clear the record by sending an empty one: `[]` or `[{}]`.
pub fn clear_if_asked(new: &Value) -> bool {
    match new.pointer("/metadata/managedFields") {
        Some(Value::Array(list)) => {
            list.is_empty()
                || list
                    .iter()
                    .all(|e| e.as_object().is_some_and(Map::is_empty))
        }
        _ => false,
    }
}

/// Records who wrote what, after a write that is no apply: `new` gets the managedFields of
/// `old` (nothing for a new object) with this write's changes. A record that the client
/// has edited counts instead of the old one; kubectl moves fields between managers so.
pub fn track(shape: &Shape, old: Option<&Value>, new: &mut Value, writer: &Writer<'_>) {
    let record = |o: &Value| o.pointer("/metadata/managedFields").cloned();
    let before = old.and_then(record);
    let sent = record(new).filter(|sent| old.is_some() && Some(sent) != before.as_ref());
    let edited = sent.and_then(|sent| {
        let list = sent.as_array()?;
        list.iter().map(Entry::read).collect::<Option<Vec<_>>>()
    });
    let was_edited = edited.is_some();
    let mut entries = edited.unwrap_or_else(|| old.map(read).unwrap_or_default());
    let mut difference = match old {
        Some(old) => compare(shape, old, new),
        None => Difference {
            changed: fields(shape, new, true),
            removed: Set::default(),
        },
    };
    strip(&mut difference.changed);
    strip(&mut difference.removed);
    if difference.changed.is_empty() && difference.removed.is_empty() {
        match was_edited {
            true => write(new, entries),
            false => meta::set(new, "managedFields", before.unwrap_or_default()),
        }
        return;
    }
    for entry in &mut entries {
        entry.set.subtract(&difference.removed);
        entry.set.subtract(&difference.changed);
    }
    let time = clock::rfc3339(writer.now);
    match entries.iter_mut().find(|e| e.is_of(writer, false)) {
        Some(mine) => {
            mine.set.union(&difference.changed);
            mine.time = Some(time);
        }
        None => entries.push(Entry {
            manager: writer.manager.to_owned(),
            apply: false,
            api_version: writer.api_version.to_owned(),
            subresource: writer.subresource.to_owned(),
            time: Some(time),
            set: difference.changed,
        }),
    }
    write(new, entries);
}

/// Merges an applied configuration into the live object (`None`: there is none yet).
/// Returns the object as it should be, its managedFields included.
///
/// # Errors
/// [`Error`]: others own what would change and `force` is false, or the body carries
/// managedFields.
pub fn apply(
    shape: &Shape,
    live: Option<&Value>,
    applied: &Value,
    writer: &Writer<'_>,
    force: bool,
) -> Result<Value, Error> {
    if applied
        .pointer("/metadata/managedFields")
        .is_some_and(|m| !m.is_null())
    {
        return Err(Error::ManagedFieldsSent);
    }
    let mut mine = fields(shape, applied, false);
    strip(&mut mine);
    let mut entries = live.map(read).unwrap_or_default();
    let nothing = json!({});
    let before = live.unwrap_or(&nothing);
    let mut merged = merge::merge(shape, before, applied);

    let mut changed = compare(shape, before, &merged).changed;
    strip(&mut changed);
    let mut conflicts = vec![];
    for entry in entries.iter_mut().filter(|e| !e.is_of(writer, true)) {
        let theirs = entry.set.intersection(&changed);
        if theirs.is_empty() {
            continue;
        }
        if force {
            entry.set.subtract(&theirs);
        } else {
            conflicts.push(Conflict {
                manager: entry.words(),
                paths: theirs.paths(),
            });
        }
    }
    if !conflicts.is_empty() {
        return Err(Error::Conflicts(conflicts));
    }

    let previous = entries.iter().position(|e| e.is_of(writer, true));
    let previous = previous.map(|at| entries.remove(at));
    if let Some(previous) = &previous {
        let mut gone = previous.set.clone();
        gone.subtract(&mine);
        let mut keep = mine.clone();
        for entry in &entries {
            keep.union(&entry.set);
            gone.subtract(&entry.set);
        }
        merge::prune(shape, &mut merged, &gone, &keep);
    }
    let same = previous.as_ref().is_some_and(|p| {
        p.set == mine
            && p.api_version == writer.api_version
            && compare(shape, before, &merged).changed.is_empty()
    });
    let time = match (&previous, same) {
        (Some(previous), true) => previous.time.clone(),
        _ => Some(clock::rfc3339(writer.now)),
    };
    entries.push(Entry {
        manager: writer.manager.to_owned(),
        apply: true,
        api_version: writer.api_version.to_owned(),
        subresource: writer.subresource.to_owned(),
        time,
        set: mine,
    });
    write(&mut merged, entries);
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::builtin;

    fn shape() -> &'static Shape {
        builtin("api.apps.v1.Deployment").expect("known")
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
        read(object)
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
        assert!(
            error
                .unwrap_err()
                .to_string()
                .starts_with("Apply failed with 2 conflicts: conflicts with \"two\":\n- .spec.replicas\n- .spec.template")
        );
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
        let shape = builtin("api.core.v1.ConfigMap").expect("known");
        track(shape, None, &mut new, &writer("kubectl-create"));
        assert_eq!(
            new["metadata"]["managedFields"][0]["fieldsV1"],
            json!({"f:data": {".": {}, "f:k": {}}})
        );
    }

    #[test]
    fn old_updates_are_folded_into_one() {
        let mut live = json!({"metadata": {"labels": {}}});
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
        assert_eq!(found[0].1.len(), 6);
    }
}
