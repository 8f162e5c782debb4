//! The entries of `metadata.managedFields`: kept true by every write, asked by every apply.

use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::entry::{self, Entry};
use super::fieldset::Set;
use super::shaped::{compare, fields, written};
use super::versions::Views;
use super::{last_applied, merge, typed};
use crate::resource::Resource;
use crate::schema::{self, Shape};
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

/// Owner of what was there before anybody applied, where nobody kept a record.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

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
    /// The body does not fit its kind, or says the same thing twice.
    #[error("failed to create typed patch object ({object}): {words}")]
    Untyped { object: String, words: String },
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

pub(super) fn strip(set: &mut Set) {
    // The object as a whole is nobody's.
    set.member = false;
    for path in STRIPPED {
        set.remove(path);
    }
}

/// An update clears the record by sending one empty entry, `[{}]`; an empty list means
/// nothing, because clients that do not know the field may send it.
pub fn clear_if_asked(new: &Value) -> bool {
    match crate::json::list_at(new, "/metadata/managedFields") {
        [only] => only.as_object().is_some_and(Map::is_empty),
        _ => false,
    }
}

/// Records who wrote what, after a write that is no apply: `new` gets the managedFields of
/// `old` (nothing for a new object) with this write's changes. A record that the client
/// has edited counts instead of the old one; kubectl moves fields between managers so.
/// Both objects are in the version `stored`.
pub fn track(stored: &Resource, old: Option<&Value>, new: &mut Value, writer: &Writer<'_>) {
    if old.is_none() && writer.api_version == stored.gv.api_version() {
        // There is nothing to compare with: what the object has was written.
        let shape = schema::of(stored).unwrap_or(&Shape::Any);
        let time = clock::rfc3339(writer.now);
        let record = written(shape, new, STRIPPED, Some(false))
            .map(|fields| entry::first(writer, &time, fields));
        meta::set(new, "managedFields", record.unwrap_or_default());
        return;
    }
    let record = |o: &Value| o.pointer("/metadata/managedFields").cloned();
    let before = old.and_then(record);
    // A subresource is no way to edit the record.
    let may_edit = old.is_some() && writer.subresource.is_empty();
    let sent = record(new).filter(|sent| may_edit && Some(sent) != before.as_ref());
    let edited = sent.and_then(|sent| {
        let list = sent.as_array().filter(|list| !list.is_empty())?;
        list.iter().map(Entry::sent).collect::<Option<Vec<_>>>()
    });
    let was_edited = edited.is_some();
    let mut entries = edited.unwrap_or_else(|| old.map(entry::read).unwrap_or_default());
    if old.is_some() && entries.is_empty() {
        // The record was cleared; the next apply begins a new one.
        meta::set(new, "managedFields", Value::Null);
        return;
    }
    let mut views = Views::new(stored, old, new);
    let mine = views.of(writer.api_version).clone();
    if mine.changed.is_empty() && mine.removed.is_empty() {
        match was_edited {
            true => entry::write(new, entries),
            false => meta::set(new, "managedFields", before.unwrap_or_default()),
        }
        return;
    }
    for entry in &mut entries {
        let difference = views.of(&entry.api_version);
        entry.set.subtract(&difference.removed);
        entry.set.subtract(&difference.changed);
    }
    let time = clock::rfc3339(writer.now);
    match entries.iter_mut().find(|e| e.is_of(writer, false)) {
        Some(own) => {
            own.set.union(&mine.changed);
            own.time = Some(time);
        }
        None => entries.push(Entry {
            manager: writer.manager.to_owned(),
            apply: false,
            api_version: writer.api_version.to_owned(),
            subresource: writer.subresource.to_owned(),
            time: Some(time),
            set: mine.changed,
        }),
    }
    entry::write(new, entries);
}

/// Merges an applied configuration into the live object (`None`: there is none yet), both in
/// the version `named`. Returns the object as it should be, its managedFields included.
///
/// # Errors
/// [`Error`]: others own what would change and `force` is false, or the body does not fit
/// its kind or carries managedFields.
pub fn apply(
    named: &Resource,
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
    let shape = schema::of(named).unwrap_or(&Shape::Any);
    let mut unfit = typed::check(shape, applied);
    if let Some(last) = unfit.pop() {
        let words = match unfit.is_empty() {
            true => last,
            false => {
                unfit.push(last);
                format!("errors:\n  {}", unfit.join("\n  "))
            }
        };
        return Err(Error::Untyped {
            object: typed::name(named, applied),
            words,
        });
    }
    let mut mine = fields(shape, applied, false);
    strip(&mut mine);
    let mut entries = live.map(entry::read).unwrap_or_default();
    let nothing = json!({});
    let before = live.unwrap_or(&nothing);
    if let (Some(live), true) = (live, entries.is_empty()) {
        let mut set = fields(shape, live, true);
        strip(&mut set);
        entries.push(Entry {
            manager: BEFORE_FIRST_APPLY.to_owned(),
            apply: false,
            api_version: writer.api_version.to_owned(),
            subresource: String::new(),
            time: Some(clock::rfc3339(writer.now)),
            set,
        });
    }
    let mut merged = merge::merge(shape, before, applied);

    let mut views = Views::new(named, Some(before), &merged);
    let mut conflicts = vec![];
    let mut lost = vec![];
    for (at, entry) in entries.iter().enumerate() {
        if entry.is_of(writer, true) {
            continue;
        }
        let theirs = entry
            .set
            .intersection(&views.of(&entry.api_version).changed);
        if !theirs.is_empty() {
            conflicts.push(Conflict {
                manager: entry.words(),
                paths: theirs.paths(),
            });
            lost.push((at, theirs));
        }
    }
    if !force {
        last_applied::excuse(shape, live, writer, &mut conflicts);
        if !conflicts.is_empty() {
            return Err(Error::Conflicts(conflicts));
        }
    }
    for (at, theirs) in lost {
        entries[at].set.subtract(&theirs);
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
    last_applied::sync(live, applied, writer, &mut merged);
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
    entry::write(&mut merged, entries);
    Ok(merged)
}

#[cfg(test)]
mod tests;
