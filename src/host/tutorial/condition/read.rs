//! Conditions from YAML, every mistake with its line.

use cadet_api::resource;
use cadet_api::selector::{FieldSelector, LabelSelector};
use regex::Regex;

use super::{
    Ask, Compare, Condition, Expect, Http, HttpRequest, KindName, Many, Target, Wanted, What,
    Where, ready,
};
use crate::command;
use crate::finding::Findings;
use crate::folder::unsound_path;
use crate::yaml::{Entry, Fields, Node, Value, nearest};

/// The keys that say what kind of condition an entry is.
const SORTS: [&str; 8] = [
    "object", "objects", "absent", "http", "output", "file", "asked", "done",
];

/// Verbs that the API server's journal knows.
pub const VERBS: [&str; 8] = [
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
];

/// Reads a list of conditions; those with mistakes are left out and told.
pub(crate) fn list(node: &Node, namespace: &str, findings: &mut Findings) -> Vec<Condition> {
    match &node.value {
        Value::List(items) => items
            .iter()
            .filter_map(|item| one(item, namespace, findings))
            .collect(),
        _ => {
            findings.error(
                node.line,
                "conditions are written as a list",
                "begin each with `- `, as in `- object: pod/web`",
            );
            Vec::new()
        }
    }
}

fn one(node: &Node, namespace: &str, findings: &mut Findings) -> Option<Condition> {
    let mut fields = Fields::of(node, "a condition", findings)?;
    let sorts: Vec<&str> = SORTS.into_iter().filter(|sort| fields.has(sort)).collect();
    let [sort] = sorts[..] else {
        let text = match sorts.is_empty() {
            true => "this condition does not say what to look at".to_owned(),
            false => format!(
                "this condition looks at several things: {}",
                sorts.join(", ")
            ),
        };
        let fix = format!("use one of {}", SORTS.join(", "));
        findings.error(fields.line, text, fix);
        return None;
    };
    let line = fields.line;
    let (what, name) = match sort {
        "object" => (
            object(&mut fields, namespace, findings),
            "an `object` condition",
        ),
        "objects" => (
            objects(&mut fields, namespace, findings),
            "an `objects` condition",
        ),
        "absent" => (
            absent(&mut fields, namespace, findings),
            "an `absent` condition",
        ),
        "http" => (http(&mut fields, findings), "an `http` condition"),
        "output" => (output(&mut fields, findings), "an `output` condition"),
        "file" => (file(&mut fields, findings), "a `file` condition"),
        "asked" => (asked(&mut fields, findings), "an `asked` condition"),
        _ => (done(&mut fields, findings), "a `done` condition"),
    };
    fields.finish(name, findings);
    Some(Condition { what: what?, line })
}

/// Reads `deployment.apps` and the like.
fn kind(text: &str, line: u32, findings: &mut Findings) -> Option<KindName> {
    let text = text.to_lowercase();
    let (name, group) = match text.split_once('.') {
        Some((name, group)) => (name.to_owned(), Some(group.to_owned())),
        None => (text.clone(), None),
    };
    let kind = KindName { name, group };
    if kind.known().is_some() || (kind.group.is_some() && !kind.name.is_empty()) {
        return Some(kind);
    }
    let known = resource::all()
        .iter()
        .flat_map(|row| [row.singular, row.plural]);
    let fix = match nearest(&kind.name, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "custom kinds are written with their group: rocket.example.com".to_owned(),
    };
    findings.error(line, format!("there is no kind `{text}`"), fix);
    None
}

/// The namespace a condition looks in: its own, else the lesson's; none for kinds without.
fn place(
    kind: &KindName,
    own: Option<&Entry>,
    lesson: &str,
    findings: &mut Findings,
) -> Option<String> {
    let own_name = own.and_then(|entry| entry.text(findings));
    match kind.known() {
        Some(row) if !row.namespaced => {
            if let Some(entry) = own {
                let text = format!("{} live in no namespace", row.plural);
                findings.error(entry.line, text, "remove `namespace`");
            }
            None
        }
        _ => Some(own_name.unwrap_or_else(|| lesson.to_owned())),
    }
}

fn target(
    entry: &Entry,
    own: Option<&Entry>,
    namespace: &str,
    findings: &mut Findings,
) -> Option<Target> {
    let text = entry.text(findings)?;
    let Some((kind_text, name)) = text.split_once('/') else {
        let wrong = format!("`{}: {text}` names no object", entry.key);
        findings.error(entry.line, wrong, "write KIND/NAME, as in pod/web");
        return None;
    };
    let kind = kind(kind_text, entry.line, findings)?;
    let sound = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.:".contains(c);
    if name.is_empty() || !name.chars().all(sound) {
        let wrong = format!("`{name}` cannot be the name of an object");
        findings.error(
            entry.line,
            wrong,
            "names have lower-case letters, digits, - and .",
        );
        return None;
    }
    let namespace = place(&kind, own, namespace, findings);
    if namespace.as_deref() == Some("*") {
        let wrong = "one object lives in one namespace";
        findings.error(entry.line, wrong, "name the namespace, or use `objects`");
        return None;
    }
    Some(Target {
        kind,
        name: name.to_owned(),
        namespace,
    })
}

fn object(fields: &mut Fields, namespace: &str, findings: &mut Findings) -> Option<What> {
    let entry = fields.take("object")?;
    let own = fields.take("namespace");
    let target = target(entry, own, namespace, findings);
    let kind = target.as_ref().map(|target| &target.kind);
    let wanted = wanted(fields, kind, findings);
    Some(What::Object(target?, wanted))
}

fn objects(fields: &mut Fields, namespace: &str, findings: &mut Findings) -> Option<What> {
    let entry = fields.take("objects")?;
    let own = fields.take("namespace");
    let kind = entry
        .text(findings)
        .and_then(|text| kind(&text, entry.line, findings));
    let wanted = wanted(fields, kind.as_ref(), findings);
    let selector = fields.take("selector").and_then(|entry| {
        let text = entry.text(findings)?;
        if let Err(error) = LabelSelector::parse(&text) {
            let wrong = format!("`{text}` is no label selector: {error}");
            findings.error(
                entry.line,
                wrong,
                "write it as for `kubectl get -l`: app=web",
            );
            return None;
        }
        Some(text)
    });
    let field = fields.take("field").and_then(|entry| {
        let text = entry.text(findings)?;
        let row = kind.as_ref().and_then(KindName::known);
        let parsed = FieldSelector::parse(&text).and_then(|parsed| match row {
            Some(row) => parsed.into_stored(row),
            None => Ok(parsed),
        });
        if let Err(error) = parsed {
            let wrong = format!("`{text}` is no field selector of this kind: {error}");
            findings.error(
                entry.line,
                wrong,
                "write it as for `kubectl get --field-selector`, or use `where`",
            );
            return None;
        }
        Some(text)
    });
    let count = fields
        .take("count")
        .and_then(|entry| compare(entry, findings));
    let kind = kind?;
    let namespace = match place(&kind, own, namespace, findings) {
        Some(namespace) if namespace == "*" => None,
        namespace => namespace,
    };
    let many = Many {
        kind,
        namespace,
        selector,
        field,
        count: count.unwrap_or(AT_LEAST_ONE),
    };
    Some(What::Objects(many, wanted))
}

const AT_LEAST_ONE: Compare = Compare {
    op: super::Order::AtLeast,
    than: 1,
};

fn absent(fields: &mut Fields, namespace: &str, findings: &mut Findings) -> Option<What> {
    let entry = fields.take("absent")?;
    let own = fields.take("namespace");
    target(entry, own, namespace, findings).map(What::Absent)
}

/// `ready`, `where`, `restarts`, `since`.
fn wanted(fields: &mut Fields, kind: Option<&KindName>, findings: &mut Findings) -> Wanted {
    let mut wanted = Wanted::default();
    if let Some(entry) = fields.take("ready") {
        wanted.ready = entry.boolean(findings);
        if kind.is_some_and(|kind| !ready::has_sense(kind)) {
            findings.warning(
                entry.line,
                "this kind is ready as soon as it is there",
                "leave `ready` out, or use `where`",
            );
        }
    }
    if let Some(entry) = fields.take("where") {
        for (text, line) in entry.texts(findings) {
            match Where::parse(&text) {
                Ok(fit) => wanted.fits.push(fit),
                Err(error) => findings.error(
                    line,
                    error.to_string(),
                    "write PATH OP VALUE, as in \"spec.replicas == 4\"",
                ),
            }
        }
    }
    if let Some(entry) = fields.take("restarts") {
        wanted.restarts = compare(entry, findings);
        if kind.is_some_and(|kind| !kind.known().is_some_and(|row| row.is("", "Pod"))) {
            findings.error(entry.line, "only pods count restarts", "remove `restarts`");
        }
    }
    if let Some(entry) = fields.take("since") {
        match entry.text(findings).as_deref() {
            Some("step") => wanted.since_step = true,
            Some(other) => {
                let text = format!("`since: {other}` is not known");
                findings.error(entry.line, text, "write `since: step`");
            }
            None => {}
        }
    }
    wanted
}

fn compare(entry: &Entry, findings: &mut Findings) -> Option<Compare> {
    let text = entry.text(findings)?;
    let compare = Compare::parse(&text);
    if compare.is_none() {
        let wrong = format!("`{}: {text}` is no number", entry.key);
        findings.error(entry.line, wrong, "write 4, or \">= 3\" in quotes");
    }
    compare
}

fn expect(fields: &mut Fields, findings: &mut Findings) -> Expect {
    let contains = fields.take("contains").and_then(|entry| {
        let text = entry.text(findings)?;
        if text.is_empty() {
            findings.error(
                entry.line,
                "every text contains an empty one",
                "write what is wanted",
            );
            return None;
        }
        Some(text)
    });
    let matches = fields.take("matches").and_then(|entry| {
        let text = entry.text(findings)?;
        match Regex::new(&text) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                let said = error.to_string();
                let said = said.lines().last().unwrap_or_default().trim().to_owned();
                let wrong = format!("`{text}` is no pattern: {said}");
                findings.error(entry.line, wrong, "see the syntax of the regex crate");
                None
            }
        }
    });
    Expect { contains, matches }
}

fn http(fields: &mut Fields, findings: &mut Findings) -> Option<What> {
    let entry = fields.take("http")?;
    let url = entry.text(findings);
    let status = fields
        .take("status")
        .and_then(|entry| entry.number(100, 599, findings))
        .and_then(|status| u16::try_from(status).ok());
    let expect = expect(fields, findings);
    let mut headers = Vec::new();
    if let Some(entry) = fields.take("header") {
        for (text, line) in entry.texts(findings) {
            match text.split_once(':') {
                Some((name, value)) if !name.trim().is_empty() => {
                    headers.push((name.trim().to_owned(), value.trim().to_owned()));
                }
                _ => findings.error(
                    line,
                    format!("`{text}` is no header"),
                    "write \"Name: value\" in quotes",
                ),
            }
        }
    }
    let url = url?;
    let rest = url.strip_prefix("http://").or(url.strip_prefix("https://"));
    let host = rest.map(|rest| rest.split(['/', '?']).next().unwrap_or_default());
    if host.is_none_or(str::is_empty) || url.contains(char::is_whitespace) {
        let wrong = format!("`{url}` is no web address");
        findings.error(entry.line, wrong, "write http://HOST/PATH");
        return None;
    }
    Some(What::Http(Http {
        request: HttpRequest { url, headers },
        status,
        expect,
    }))
}

fn output(fields: &mut Fields, findings: &mut Findings) -> Option<What> {
    let entry = fields.take("output")?;
    let text = entry.text(findings);
    let expect = expect(fields, findings);
    if expect == Expect::default() {
        findings.error(
            entry.line,
            "this condition does not say what the command must print",
            "add `contains:` or `matches:`",
        );
    }
    match command::parse(&text?, entry.line) {
        Ok(command) => Some(What::Output(command, expect)),
        Err(error) => {
            findings.error(entry.line, error.to_string(), error.fix());
            None
        }
    }
}

fn file(fields: &mut Fields, findings: &mut Findings) -> Option<What> {
    let entry = fields.take("file")?;
    let path = entry.text(findings);
    let expect = expect(fields, findings);
    let path = path?;
    if let Some(why) = unsound_path(&path) {
        findings.error(
            entry.line,
            format!("the path `{path}` {why}"),
            "name a file below the lesson folder",
        );
        return None;
    }
    Some(What::File(path, expect))
}

fn asked(fields: &mut Fields, findings: &mut Findings) -> Option<What> {
    let entry = fields.take("asked")?;
    let text = entry.text(findings);
    let own = fields
        .take("namespace")
        .and_then(|entry| entry.text(findings));
    match ask(&text?) {
        Ok(ask) => Some(What::Asked(Ask {
            namespace: own,
            ..ask
        })),
        Err((text, fix)) => {
            findings.error(entry.line, text, fix);
            None
        }
    }
}

/// Reads `VERB RESOURCE [NAME]`.
///
/// # Errors
/// What is wrong, and what to do.
pub fn ask(text: &str) -> Result<Ask, (String, String)> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (verb, resource, name) = match words[..] {
        [verb, resource] => (verb, resource, None),
        [verb, resource, name] => (verb, resource, Some(name.to_owned())),
        _ => {
            let wrong = format!("`asked: {text}` is not understood");
            return Err((
                wrong,
                "write VERB RESOURCE [NAME], as in `list pods`".to_owned(),
            ));
        }
    };
    if !VERBS.contains(&verb) {
        let wrong = format!("`{verb}` is no verb");
        return Err((wrong, format!("verbs are {}", VERBS.join(", "))));
    }
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    // Custom resources may stand with their group; the journal tells the plural only.
    let (plural, group) = match resource.split_once('.') {
        Some((plural, group)) => (plural, Some(group)),
        None => (resource, None),
    };
    let row = resource::all().iter().find(|row| row.plural == plural);
    match row {
        None if group.is_none() => {
            let kind = KindName::built_in(resource);
            let fix = match kind.known() {
                Some(row) => format!("write the plural: {}", row.plural),
                None => "write the plural, as in the address: pods, deployments".to_owned(),
            };
            return Err((format!("there is no resource `{resource}`"), fix));
        }
        Some(row) if !subresource.is_empty() && row.subresource(subresource).is_none() => {
            let known: Vec<&str> = row.subresources.iter().map(|s| s.name).collect();
            let fix = format!("{plural} have: {}", known.join(", "));
            return Err((format!("{plural} have no part `{subresource}`"), fix));
        }
        _ => {}
    }
    Ok(Ask {
        verb: verb.to_owned(),
        resource: plural.to_owned(),
        subresource: subresource.to_owned(),
        name,
        namespace: None,
    })
}

fn done(fields: &mut Fields, findings: &mut Findings) -> Option<What> {
    let entry = fields.take("done")?;
    match entry.boolean(findings)? {
        true => Some(What::Done),
        false => {
            findings.error(
                entry.line,
                "`done: false` says nothing",
                "write `done: true`",
            );
            None
        }
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
