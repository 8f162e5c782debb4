//! A Killercoda scenario as a lesson: what can be carried over is, what cannot is said.
//!
//! A scenario is a folder with `index.json` (title, description, `details` with `intro`, `steps`,
//! `finish` and `assets`), one Markdown page and perhaps a verify script per step, and scripts
//! that run in the background or foreground when a page opens; Katacoda, its forebear, called
//! those `courseData` and `code`. Pages mark commands with `{{exec}}` or `{{execute}}`.

mod page;

use std::collections::BTreeMap;

use cadet_api::json::{list_at, map_at, str_at};
use serde_json::Value;

use crate::command;
use crate::condition::KindName;
use crate::folder::{Folder, LESSON, unsound_path};
use crate::lint::commands::{changes, endless};
use crate::lint::kubectl::Kubectl;
use crate::model::Command;
use page::{Part, parts};

/// A lesson made of a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// What to write into the new lesson's folder.
    pub files: BTreeMap<String, Vec<u8>>,
    /// What could not be carried over, and what the author must look at, in reading order.
    pub notes: Vec<String>,
}

/// The folder is no scenario.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("{0} has no index.json, so it is no Killercoda scenario")]
    NoIndex(String),
    #[error("index.json cannot be read: {0}")]
    BadIndex(#[from] serde_json::Error),
    #[error("index.json has no steps")]
    NoSteps,
}

/// Makes a lesson of the scenario in `folder`.
///
/// # Errors
/// See [`ImportError`].
pub fn import(folder: &Folder) -> Result<Imported, ImportError> {
    let index = folder.files.get("index.json");
    let index = index.ok_or_else(|| ImportError::NoIndex(folder.name.clone()))?;
    let index: Value = serde_json::from_slice(index)?;
    let mut writer = Writer {
        folder,
        text: String::new(),
        notes: Vec::new(),
        files: BTreeMap::new(),
    };
    let steps = steps_of(&index);
    if steps.is_empty() {
        return Err(ImportError::NoSteps);
    }
    writer.front(&index);
    writer.assets(&index);
    writer.introduction(&index);
    let whole = steps.len() == 1;
    for (number, step) in (1..).zip(steps) {
        // A page alone is called as the scenario is.
        let untitled = match whole {
            true => first_line(str_at(&index, "/title"), "Step 1"),
            false => format!("Step {number}"),
        };
        writer.step(number, step, &untitled);
    }
    writer.finish(&index);
    let Writer {
        text,
        notes,
        mut files,
        ..
    } = writer;
    files.insert(LESSON.to_owned(), text.into_bytes());
    Ok(Imported { files, notes })
}

/// The steps; a scenario of one page has its text in `details` or at the top.
fn steps_of(index: &Value) -> Vec<&Value> {
    let steps = list_at(index, "/details/steps");
    if !steps.is_empty() {
        return steps.iter().collect();
    }
    let alone = [index.pointer("/details"), Some(index)];
    alone
        .into_iter()
        .flatten()
        .filter(|place| !str_at(place, "/text").is_empty())
        .take(1)
        .collect()
}

struct Writer<'a> {
    folder: &'a Folder,
    text: String,
    notes: Vec<String>,
    files: BTreeMap<String, Vec<u8>>,
}

impl Writer<'_> {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn block(&mut self, info: &str, content: &str) {
        // One more than the content has, so that it stays inside.
        let longest = content.lines().map(|line| {
            let bare = line.trim_start();
            bare.len() - bare.trim_start_matches('`').len()
        });
        let fence = "`".repeat(longest.max().unwrap_or(0).max(2) + 1);
        let content = content.trim_end();
        self.line(&format!("{fence}{info}\n{content}\n{fence}"));
        self.line("");
    }

    /// Something for the author to read in the lesson itself.
    fn remark(&mut self, text: &str, script: Option<&str>) {
        self.line("<!--");
        self.line(text);
        if let Some(script) = script {
            self.line("");
            // What would end the remark must not.
            self.line(script.trim_end().replace("-->", "-- >").as_str());
        }
        self.line("-->");
        self.line("");
    }

    fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    fn front(&mut self, index: &Value) {
        let title = first_line(str_at(index, "/title"), "An imported scenario");
        let summary = first_line(str_at(index, "/description"), &title);
        let minutes = str_at(index, "/time")
            .split(|c: char| !c.is_ascii_digit())
            .find_map(|digits| digits.parse::<u32>().ok())
            .filter(|minutes| (1..=600).contains(minutes));
        if minutes.is_none() {
            self.note("the scenario does not say how long it takes; `minutes` is a guess");
        }
        let nodes = match str_at(index, "/backend/imageid").contains("2nodes") {
            true => 2,
            false => 1,
        };
        self.line("---\nformat: 1");
        // A JSON text is a YAML text, whatever it has in it.
        self.line(&format!("title: {}", Value::from(title)));
        self.line(&format!("summary: {}", Value::from(summary)));
        self.line(&format!("minutes: {}", minutes.unwrap_or(15)));
        if nodes > 1 {
            self.line(&format!("nodes: {nodes}"));
        }
        self.line("---\n");
    }

    /// Files the scenario copies to its host are handed out in the lesson folder.
    fn assets(&mut self, index: &Value) {
        let hosts = map_at(index, "/details/assets").into_iter().flatten();
        for (host, wanted) in hosts {
            for asset in list_at(wanted, "") {
                let (pattern, target) = (str_at(asset, "/file"), str_at(asset, "/target"));
                let mut found = 0;
                for (path, bytes) in &self.folder.files {
                    let Some(inner) = path.strip_prefix("assets/") else {
                        continue;
                    };
                    if matches(pattern, inner) && unsound_path(inner).is_none() {
                        self.files.insert(inner.to_owned(), bytes.clone());
                        found += 1;
                    }
                }
                if found == 0 {
                    self.note(format!("the asset `{pattern}` of {host} was not found"));
                } else if !["", "/root", "/root/", "~", "~/"].contains(&target) {
                    self.note(format!(
                        "`{pattern}` went to {target} on {host}; here it is in the lesson folder"
                    ));
                }
            }
        }
    }

    fn introduction(&mut self, index: &Value) {
        if let Some(intro) = index.pointer("/details/intro") {
            let place = "the introduction";
            if let Some(text) = self.page(intro, place) {
                // Nothing is run before the first step.
                for part in parts(&text) {
                    match part {
                        Part::Prose(text) => self.prose(&text, place),
                        Part::Shown { info, text } => self.block(&shown_info(&info), &text),
                        Part::Commands(text) => self.block("sh", &text),
                    }
                }
            }
        }
    }

    fn step(&mut self, number: usize, step: &Value, untitled: &str) {
        let title = first_line(str_at(step, "/title"), untitled);
        let place = format!("step {number}");
        self.line(&format!("## {title}\n"));
        let mut commands: Vec<Command> = Vec::new();
        if let (1, Some(intro)) = (number, self.intro()) {
            self.scripts(&intro, "the introduction", &mut commands);
        }
        self.scripts(step, &place, &mut commands);
        let text = self.page(step, &place).unwrap_or_default();
        let mut words = false;
        for part in parts(&text) {
            match part {
                Part::Prose(text) => {
                    words = true;
                    self.prose(&text, &place);
                }
                Part::Shown { info, text } => self.block(&shown_info(&info), &text),
                Part::Commands(text) => self.commands(&text, &place, &mut commands),
            }
        }
        if !words {
            self.note(format!("{place} has no words; write what is done and why"));
        }
        self.watch(step, &place);
        self.reset(&commands, &place);
    }

    fn intro(&self) -> Option<Value> {
        let index = self.folder.files.get("index.json")?;
        let index: Value = serde_json::from_slice(index).ok()?;
        index.pointer("/details/intro").cloned()
    }

    fn finish(&mut self, index: &Value) {
        let Some(finish) = index.pointer("/details/finish") else {
            return;
        };
        let place = "the last page";
        if let Some(text) = self.page(finish, place) {
            let title = first_line(str_at(finish, "/title"), "What you have done");
            self.line(&format!("## {title}\n"));
            for part in parts(&text) {
                match part {
                    Part::Prose(text) => self.prose(&text, place),
                    Part::Shown { info, text } => self.block(&shown_info(&info), &text),
                    Part::Commands(text) => self.block("sh", &text),
                }
            }
            self.block("watch", "- done: true");
        }
    }

    /// The text of a page, if it has one.
    fn page(&mut self, of: &Value, place: &str) -> Option<String> {
        let path = match str_at(of, "/text") {
            "" => return None,
            path => path,
        };
        let found = self.file(path);
        if found.is_none() {
            self.note(format!("{place}: the page {path} is not there"));
        }
        found
    }

    fn file(&self, path: &str) -> Option<String> {
        let bytes = self.folder.files.get(path.trim_start_matches("./"))?;
        Some(String::from_utf8_lossy(bytes).replace("\r\n", "\n"))
    }

    fn prose(&mut self, text: &str, place: &str) {
        if text.contains("{{TRAFFIC") || text.contains("[[HOST_SUBDOMAIN") {
            self.note(format!(
                "{place} leads to a web page of its own platform; use `cadet open` or curl"
            ));
        }
        if text.contains("](") && text.contains("![") {
            self.note(format!("{place} shows a picture, which a terminal cannot"));
        }
        self.line(text);
        self.line("");
    }

    /// Marked commands: run where they need no shell, only shown where they do.
    fn commands(&mut self, text: &str, place: &str, all: &mut Vec<Command>) {
        match self.runnable(text, place) {
            Some(commands) => {
                let background = commands.iter().any(endless);
                let info = if background { "run background" } else { "run" };
                self.block(info, text);
                all.extend(commands);
            }
            None => self.block("sh", text),
        }
    }

    /// The commands of a script, if lessons may run every one of them.
    fn runnable(&mut self, text: &str, place: &str) -> Option<Vec<Command>> {
        let (script, wrong) = command::script(text, 0);
        if let Some((_, error)) = wrong.first() {
            let first = text.lines().next().unwrap_or_default();
            self.note(format!("{place}: `{first}` is only shown: {error}"));
            return None;
        }
        let commands: Vec<Command> = script.commands().cloned().collect();
        let strange = commands
            .iter()
            .find(|command| !["kubectl", "curl"].contains(&command.program()));
        if let Some(strange) = strange {
            let program = strange.program();
            self.note(format!(
                "{place}: `{program}` is only shown: lessons cannot run it"
            ));
            return None;
        }
        (!commands.is_empty()).then_some(commands)
    }

    /// What ran by itself when the page was opened.
    fn scripts(&mut self, of: &Value, place: &str, all: &mut Vec<Command>) {
        for key in ["background", "foreground", "courseData", "code"] {
            let path = str_at(of, &format!("/{key}"));
            if path.is_empty() {
                continue;
            }
            let Some(text) = self.file(path) else {
                self.note(format!("{place}: the script {path} is not there"));
                continue;
            };
            let bare: Vec<&str> = text
                .lines()
                .filter(|line| !line.starts_with("#!"))
                .collect();
            let bare = bare.join("\n");
            let wrong = self.notes.len();
            match self.runnable(&bare, place) {
                Some(commands) => {
                    self.line("This is made ready first:\n");
                    self.block("run", &bare);
                    all.extend(commands);
                }
                None => {
                    self.notes.truncate(wrong);
                    self.note(format!(
                        "{place}: {path} ran by itself and was not carried over; it stands in a \
                         remark of the lesson"
                    ));
                    let text = format!(
                        "{path} ran by itself here, in a shell on the scenario's host. Write what \
                         it does as `run`, `file` or `guest` blocks."
                    );
                    self.remark(&text, Some(&bare));
                }
            }
        }
    }

    /// Conditions as far as the verify script shows them; the script itself stays as a remark.
    fn watch(&mut self, step: &Value, place: &str) {
        let path = str_at(step, "/verify");
        let script = match path {
            "" => None,
            path => self.file(path),
        };
        let Some(script) = script else {
            if !path.is_empty() {
                self.note(format!("{place}: the verify script {path} is not there"));
            }
            self.block("watch", "- done: true");
            return;
        };
        let seen = objects_of(&script);
        let guessed = match seen.is_empty() {
            true => "nothing of it could be carried over, so this step asks the learner",
            false => "only that these objects are there was carried over",
        };
        self.note(format!(
            "{place}: {path} decided whether the step was done; {guessed}. Write conditions"
        ));
        let text = format!(
            "{path} decided whether this step was done; {guessed}.\nWrite what it looks at as \
             conditions. Cadet does not run this script."
        );
        self.remark(&text, Some(&script));
        match seen.is_empty() {
            true => self.block("watch", "- done: true"),
            false => self.block("watch", &seen.join("\n")),
        }
    }

    fn reset(&mut self, commands: &[Command], place: &str) {
        let mut lines: Vec<String> = Vec::new();
        for command in commands.iter().filter(|command| changes(command)) {
            match undo(command) {
                Some(line) if !lines.contains(&line) => lines.insert(0, line),
                Some(_) => {}
                None => self.note(format!(
                    "{place}: how to undo `{}` is not known; complete `reset`",
                    command.text
                )),
            }
        }
        if !lines.is_empty() {
            self.block("reset", &lines.join("\n"));
        }
    }
}

/// What takes the effect of a command back, where that is plain.
fn undo(command: &Command) -> Option<String> {
    let kubectl = Kubectl::of(command.arguments());
    let value = |names: [&str; 2]| {
        let mut flags = kubectl.flags.iter();
        flags
            .find(|(flag, _)| names.contains(flag))
            .and_then(|(_, value)| *value)
    };
    let place = match value(["-n", "--namespace"]) {
        Some(namespace) => format!(" -n {namespace}"),
        None => String::new(),
    };
    let what = match kubectl.verb {
        "apply" | "create" if value(["-f", "--filename"]).is_some() => {
            format!("-f {}", value(["-f", "--filename"])?)
        }
        "apply" if value(["-k", "--kustomize"]).is_some() => {
            format!("-k {}", value(["-k", "--kustomize"])?)
        }
        "run" => format!("pod {}", kubectl.second),
        "expose" => {
            let last = kubectl.words.last()?;
            let name = last.split_once('/').map_or(*last, |(_, name)| name);
            format!("service {}", value(["--name", "--name"]).unwrap_or(name))
        }
        // `create service clusterip web`, `create secret generic keys`: the name is the last.
        "create" if kubectl.words.len() > 2 => {
            format!("{} {}", kubectl.second, kubectl.words.last()?)
        }
        _ => return None,
    };
    Some(format!("kubectl delete {what}{place} --ignore-not-found"))
}

/// `kubectl get KIND NAME` in a verify script means that the object is to be there.
fn objects_of(script: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for line in script
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
    {
        let Some((_, rest)) = line.split_once("kubectl ") else {
            continue;
        };
        // Up to where the shell goes on.
        let end = rest
            .find(['|', '&', ';', '>', ')', '`'])
            .unwrap_or(rest.len());
        let Ok(words) = command::split(&rest[..end]) else {
            continue;
        };
        let kubectl = Kubectl::of(&words);
        let object = match kubectl.words[..] {
            ["get", kind, name] => (kind, name),
            ["get", both] => match both.split_once('/') {
                Some(object) => object,
                None => continue,
            },
            _ => continue,
        };
        let known = KindName::built_in(object.0);
        let sound = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
        if known.known().is_none() || object.1.is_empty() || !object.1.chars().all(sound) {
            continue;
        }
        let mut condition = format!("- object: {}/{}", known.singular(), object.1);
        let place = kubectl
            .flags
            .iter()
            .find(|(f, _)| ["-n", "--namespace"].contains(f));
        let namespaced = known.known().is_some_and(|row| row.namespaced);
        if let (Some((_, Some(namespace))), true) = (place, namespaced) {
            condition.push_str(&format!("\n  namespace: {namespace}"));
        }
        if !out.contains(&condition) {
            out.push(condition);
        }
    }
    out
}

/// The first line of a text, or `other` where there is none.
fn first_line(text: &str, other: &str) -> String {
    match text.trim().lines().next().map(str::trim) {
        None | Some("") => other.to_owned(),
        Some(line) => line.to_owned(),
    }
}

/// A block that is only shown keeps its language, unless it is one of ours.
fn shown_info(info: &str) -> String {
    match crate::load::is_shown(info) {
        true => info.to_owned(),
        false => "text".to_owned(),
    }
}

/// `*` in a pattern of assets stands for any characters but `/`; `**` is seldom and not known.
fn matches(pattern: &str, path: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == path,
        Some((start, end)) => {
            let inner = path
                .strip_prefix(start)
                .and_then(|rest| rest.strip_suffix(end));
            inner.is_some_and(|inner| !inner.contains('/') || pattern == "*")
        }
    }
}

#[cfg(test)]
mod tests;
