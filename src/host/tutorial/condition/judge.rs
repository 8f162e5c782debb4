//! Does a condition hold, what is there now, and why not yet: pure, over [`Facts`].

use cadet_api::json::str_at;
use cadet_api::selector::{FieldSelector, LabelSelector};
use serde_json::Value;

use super::facts::{Facts, Fetched};
use super::{
    Ask, Compare, Condition, Expect, Http, Many, Order, Probe, Target, Wanted, What, labels, pod,
    ready,
};
use crate::model::Command;
use crate::world::{Asked, HttpAnswer};

/// How one condition stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    pub holds: bool,
    /// What is there now, one line each.
    pub live: Vec<String>,
    /// Why it does not hold, one plain sentence without a full stop.
    pub reason: Option<String>,
    /// The object to ask about further, where one is there and not as wanted.
    pub subject: Option<Target>,
}

impl Verdict {
    fn yes(live: impl Into<String>) -> Verdict {
        Verdict {
            holds: true,
            live: vec![live.into()],
            ..Verdict::default()
        }
    }

    fn no(reason: impl Into<String>) -> Verdict {
        let reason = reason.into();
        Verdict {
            live: vec![reason.clone()],
            reason: Some(reason),
            ..Verdict::default()
        }
    }
}

const SILENT: &str = "the cluster has not answered yet";

/// Judges one condition.
pub fn judge(condition: &Condition, facts: &Facts) -> Verdict {
    match &condition.what {
        What::Object(target, wanted) => object(target, wanted, facts),
        What::Objects(many, wanted) => objects(many, wanted, facts),
        What::Absent(target) => absent(target, facts),
        What::Http(wanted) => http(wanted, facts),
        What::Output(command, expect) => output(command, expect, facts),
        What::File(path, expect) => file(path, expect, facts),
        What::Asked(ask) => asked(ask, facts),
        What::Done if facts.ran || facts.said => Verdict::yes("done"),
        What::Done => not_done(facts),
    }
}

fn not_done(facts: &Facts) -> Verdict {
    let reason = match &facts.failed {
        Some(failed) => format!("{failed}; run it again, or go on with next"),
        None => "nothing shows it from outside: run it here, or go on with next".to_owned(),
    };
    Verdict {
        live: vec!["waits for you".to_owned()],
        ..Verdict::no(reason)
    }
}

/// Judges all of them; true when every one holds. Nothing holds when there is nothing to hold.
pub fn judge_all(conditions: &[Condition], facts: &Facts) -> (bool, Vec<Verdict>) {
    let verdicts: Vec<Verdict> = conditions.iter().map(|c| judge(c, facts)).collect();
    let holds = !verdicts.is_empty() && verdicts.iter().all(|verdict| verdict.holds);
    (holds, verdicts)
}

fn place(namespace: &Option<String>) -> String {
    match namespace {
        Some(namespace) => format!(" in namespace {namespace}"),
        None => String::new(),
    }
}

fn name_of(object: &Value) -> &str {
    str_at(object, "/metadata/name")
}

fn object(target: &Target, wanted: &Wanted, facts: &Facts) -> Verdict {
    let Some(all) = facts.list(&target.kind, &target.namespace) else {
        return Verdict::no(SILENT);
    };
    let Some(found) = all.iter().find(|object| name_of(object) == target.name) else {
        return Verdict::no(missing(target, all));
    };
    let (live, wrong) = compare(target, found, wanted, facts);
    match wrong {
        None => Verdict {
            holds: true,
            live,
            ..Verdict::default()
        },
        Some(reason) => Verdict {
            holds: false,
            live,
            reason: Some(reason),
            subject: Some(target.clone()),
        },
    }
}

/// Of an object that is not there: perhaps another name was meant.
fn missing(target: &Target, all: &[Value]) -> String {
    let names = all.iter().map(name_of).filter(|name| !name.is_empty());
    let near = crate::yaml::nearest(&target.name, names);
    let place = place(&target.namespace);
    match near {
        Some(near) => {
            let kind = target.kind.singular();
            format!("there is no {target}{place}; there is {kind}/{near}")
        }
        None => format!("there is no {target}{place} yet"),
    }
}

/// What is there now, and the first thing that is not as wanted.
fn compare(
    target: &Target,
    found: &Value,
    wanted: &Wanted,
    facts: &Facts,
) -> (Vec<String>, Option<String>) {
    let state = ready::judge(&target.kind, found, facts);
    let mut live = vec![format!("{target} {}", state.now)];
    let is_pod = target.kind.known().is_some_and(|row| row.is("", "Pod"));
    if is_pod && wanted.ready == Some(true) && !state.ready {
        let events = ready::events(facts, &target.namespace);
        let containers = pod::containers(found, events);
        if containers.len() > 1 {
            live.extend(containers);
        }
    }
    let mut wrong = None;
    let mut note = |reason: String| {
        wrong.get_or_insert(reason);
    };
    if wanted.since_step && !facts.is_new(found) {
        note(format!("{target} is still the one from before this step"));
    }
    match wanted.ready {
        Some(ready) if ready != state.ready => note(format!("{target} {}", state.now)),
        _ => {}
    }
    for fit in &wanted.fits {
        let now = fit.now(found);
        if !fit.fits(found) {
            let phase = is_pod && fit.path == "status.phase";
            // A phase alone explains nothing; the pod's state has the phase in it.
            note(match phase {
                true => format!("{target} {}; wanted is {}", state.now, fit.wanted()),
                false => format!("{target}: {now}; wanted is {}", fit.wanted()),
            });
        }
        live.push(now);
    }
    if let Some(restarts) = wanted.restarts {
        let count = pod::restarts(found);
        if !restarts.fits(count) {
            note(format!(
                "{target} was restarted {count} times; wanted is {restarts}"
            ));
        }
        live.push(format!("{count} restarts"));
    }
    (live, wrong)
}

fn objects(many: &Many, wanted: &Wanted, facts: &Facts) -> Verdict {
    let Some(all) = facts.list(&many.kind, &many.namespace) else {
        return Verdict::no(SILENT);
    };
    let selector = LabelSelector::parse(many.selector.as_deref().unwrap_or("")).unwrap_or_default();
    let fields = FieldSelector::parse(many.field.as_deref().unwrap_or("")).unwrap_or_default();
    let row = many.kind.known();
    let by_field = |object: &Value| match row {
        Some(row) => fields.matches_object(row, object),
        None => fields.matches(|field| match field {
            "metadata.name" => Some(name_of(object)),
            "metadata.namespace" => Some(str_at(object, "/metadata/namespace")),
            _ => None,
        }),
    };
    let picked: Vec<&Value> = all
        .iter()
        .filter(|object| selector.matches(&labels::of(object)) && by_field(object))
        .collect();
    let mut fitting = 0;
    let mut live = Vec::new();
    let mut first_wrong: Option<(String, Target)> = None;
    for object in &picked {
        let target = Target {
            kind: many.kind.clone(),
            name: name_of(object).to_owned(),
            namespace: match str_at(object, "/metadata/namespace") {
                "" => None,
                namespace => Some(namespace.to_owned()),
            },
        };
        let (lines, wrong) = compare(&target, object, wanted, facts);
        live.extend(lines.into_iter().take(1));
        match wrong {
            None => fitting += 1,
            Some(reason) => {
                first_wrong.get_or_insert((reason, target));
            }
        }
    }
    const MOST_LINES: usize = 8;
    if live.len() > MOST_LINES {
        let more = live.len() - MOST_LINES;
        live.truncate(MOST_LINES);
        live.push(format!("… and {more} more"));
    }
    if many.count.fits(fitting) {
        if live.is_empty() {
            live.push(format!("no {}", many.kind.singular()));
        }
        return Verdict {
            holds: true,
            live,
            ..Verdict::default()
        };
    }
    let reason = too_few_or_many(many, wanted, &selector, all, &picked, fitting);
    if live.is_empty() {
        live.push(reason.clone());
    }
    let wants_more = wants_more(many.count, fitting);
    let (reason, subject) = match first_wrong {
        Some((why, target)) if wants_more => (format!("{reason}; {why}"), Some(target)),
        _ => (reason, None),
    };
    Verdict {
        holds: false,
        live,
        reason: Some(reason),
        subject,
    }
}

/// Whether more fitting objects would help.
fn wants_more(count: Compare, fitting: i64) -> bool {
    match count.op {
        Order::Equal | Order::AtLeast | Order::More => fitting <= count.than,
        Order::NotEqual => fitting == 0,
        Order::AtMost | Order::Less => false,
    }
}

fn too_few_or_many(
    many: &Many,
    wanted: &Wanted,
    selector: &LabelSelector,
    all: &[Value],
    picked: &[&Value],
    fitting: i64,
) -> String {
    let (singular, plural) = (many.kind.singular(), many.kind.plural());
    let place = place(&many.namespace);
    if picked.is_empty() {
        return match (&many.selector, &many.field) {
            (Some(text), _) if !selector.is_empty() && !all.is_empty() => {
                labels::nothing_matches(&singular, &plural, selector, text, all)
            }
            (Some(text), _) => format!("there is no {singular} with {text}{place} yet"),
            (None, Some(field)) => format!("there is no {singular} with {field}{place} yet"),
            (None, None) => format!("there is no {singular}{place} yet"),
        };
    }
    let adjective = adjective(wanted);
    match many.count {
        Compare {
            op: Order::Equal,
            than,
        } if fitting < than => {
            format!("{fitting} of {than} {plural}{adjective}")
        }
        Compare {
            op: Order::Equal,
            than: 0,
        } => {
            let names = labels::some(picked.iter().map(|object| name_of(object)));
            format!("there are still {fitting} {plural}{adjective} ({names})")
        }
        count => format!("{fitting} {plural}{adjective}; wanted is {count}"),
    }
}

/// What the objects that count are like, in words that go on after the kind.
fn adjective(wanted: &Wanted) -> &'static str {
    let more = !wanted.fits.is_empty() || wanted.restarts.is_some();
    match (wanted.ready, wanted.since_step, more) {
        (_, _, true) => " as wanted",
        (Some(true), true, false) => " new and ready",
        (Some(true), false, false) => " ready",
        (Some(false), _, false) => " not ready",
        (None, true, false) => " made in this step",
        (None, false, false) => "",
    }
}

fn absent(target: &Target, facts: &Facts) -> Verdict {
    let Some(all) = facts.list(&target.kind, &target.namespace) else {
        return Verdict::no(SILENT);
    };
    match all.iter().find(|object| name_of(object) == target.name) {
        None => Verdict::yes(format!("{target} is gone")),
        Some(object) => {
            let deleted = !str_at(object, "/metadata/deletionTimestamp").is_empty();
            Verdict::no(match deleted {
                true => format!("{target} is being deleted and not yet gone"),
                false => format!("{target} is still there"),
            })
        }
    }
}

fn http(wanted: &Http, facts: &Facts) -> Verdict {
    let url = &wanted.request.url;
    let answer = match facts.fetched.get(&Probe::Http(wanted.request.clone())) {
        Some(Fetched::Http(Ok(answer))) => answer,
        Some(Fetched::Http(Err(why))) => {
            return Verdict::no(format!("{url} does not answer: {why}"));
        }
        _ => return Verdict::no(format!("{url} has not been asked yet")),
    };
    let HttpAnswer { status, body } = answer;
    match wanted.status {
        Some(want) if want != *status => {
            return Verdict::no(format!("{url} answers {status}; wanted is {want}"));
        }
        None if !(200..300).contains(status) => {
            return Verdict::no(format!("{url} answers {status}"));
        }
        _ => {}
    }
    match unlike(&wanted.expect, body) {
        None => Verdict::yes(format!("{url} answers {status}")),
        Some(why) => Verdict::no(format!("{url} answers {status}, and {why}")),
    }
}

fn output(command: &Command, expect: &Expect, facts: &Facts) -> Verdict {
    let text = &command.text;
    match facts.fetched.get(&Probe::Output(command.clone())) {
        Some(Fetched::Output(Ok(ended))) => match unlike(expect, &ended.out) {
            None => Verdict::yes(format!("`{text}` prints it")),
            Some(_) if !ended.ok() && !ended.error.trim().is_empty() => {
                let said = ended.error.lines().next().unwrap_or_default();
                Verdict::no(format!("`{text}` fails: {said}"))
            }
            Some(why) => Verdict::no(format!("in what `{text}` prints, {why}")),
        },
        Some(Fetched::Output(Err(why))) => Verdict::no(format!("`{text}` cannot be run: {why}")),
        _ => Verdict::no(format!("`{text}` has not been run yet")),
    }
}

fn file(path: &str, expect: &Expect, facts: &Facts) -> Verdict {
    match facts.fetched.get(&Probe::File(path.to_owned())) {
        Some(Fetched::File(Ok(Some(text)))) => match unlike(expect, text) {
            None => Verdict::yes(format!("{path} is as wanted")),
            Some(why) => Verdict::no(format!("in {path}, {why}")),
        },
        Some(Fetched::File(Ok(None))) => {
            Verdict::no(format!("there is no file {path} in your lesson folder yet"))
        }
        Some(Fetched::File(Err(why))) => Verdict::no(format!("{path} cannot be read: {why}")),
        _ => Verdict::no(format!("{path} has not been read yet")),
    }
}

/// What a text lacks, in words that go on after "and".
fn unlike(expect: &Expect, text: &str) -> Option<String> {
    if let Some(part) = &expect.contains
        && !text.contains(part.as_str())
    {
        return Some(match text.trim() {
            "" => format!("nothing is where \"{part}\" is wanted"),
            _ => format!("\"{part}\" is missing"),
        });
    }
    match &expect.matches {
        Some(pattern) if !pattern.is_match(text) => Some(format!("nothing is like /{pattern}/")),
        _ => None,
    }
}

fn asked(ask: &Ask, facts: &Facts) -> Verdict {
    let fits = |asked: &&Asked| {
        let verb = asked.verb == ask.verb
            // Streams open with either method.
            || (!ask.subresource.is_empty()
                && [asked.verb.as_str(), ask.verb.as_str()]
                    .iter()
                    .all(|verb| ["get", "create"].contains(verb)));
        verb && asked.resource == ask.resource
            && asked.subresource == ask.subresource
            && ask.name.as_ref().is_none_or(|name| *name == asked.name)
            && ask
                .namespace
                .as_ref()
                .is_none_or(|namespace| *namespace == asked.namespace)
    };
    if facts.asked.iter().any(|asked| fits(&asked)) {
        return Verdict::yes(format!("you asked to {ask}"));
    }
    let near = facts
        .asked
        .iter()
        .rev()
        .find(|asked| asked.resource == ask.resource);
    let reason = match near {
        Some(near) => {
            let part = match near.subresource.as_str() {
                "" => String::new(),
                part => format!("/{part}"),
            };
            let name = match near.name.as_str() {
                "" => String::new(),
                name => format!(" {name}"),
            };
            format!(
                "the last you asked was to {} {}{part}{name}; wanted is to {ask}",
                near.verb, near.resource
            )
        }
        None => format!("the cluster was not yet asked to {ask}"),
    };
    Verdict::no(reason)
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
