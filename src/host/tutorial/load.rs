//! From a folder's `lesson.md` to the model. Every mistake is kept with its line, and reading
//! goes on behind it, so that an author sees all of them at once.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::command;
use crate::condition::read as conditions;
use crate::finding::{Finding, Findings};
use crate::folder::{Folder, LESSON, unsound_path};
use crate::front;
use crate::lint::commands;
use crate::markdown::{Fence, Piece, pieces};
use crate::model::{Block, FileBlock, GuestBlock, Lesson, Mistake, NotYet, Run, Script, Step};
use crate::yaml::{self, Entry, Fields, Value, nearest};

/// Blocks that do something.
const MACHINERY: [&str; 9] = [
    "run", "file", "guest", "watch", "hint", "not-yet", "solve", "reset", "mistake",
];

/// Blocks that are only shown. A list, so that a mistyped `wacth` is found and not shown.
const SHOWN: [&str; 33] = [
    "",
    "text",
    "txt",
    "yaml",
    "yml",
    "json",
    "sh",
    "bash",
    "console",
    "python",
    "py",
    "dockerfile",
    "html",
    "css",
    "js",
    "javascript",
    "go",
    "rust",
    "java",
    "c",
    "cpp",
    "toml",
    "ini",
    "conf",
    "xml",
    "sql",
    "diff",
    "http",
    "nginx",
    "make",
    "ruby",
    "php",
    "markdown",
];

/// Whether a block of this kind is only shown.
pub(crate) fn is_shown(info: &str) -> bool {
    SHOWN.contains(&info.to_lowercase().as_str())
}

/// A lesson with what was found while reading it.
pub struct Loaded {
    pub lesson: Lesson,
    pub findings: Vec<Finding>,
    /// Lines of the front matter's lists, for findings that need other lessons.
    pub(crate) lines: front::Lines,
}

/// Reads a lesson; whatever is wrong is left out of it and told.
pub fn load(folder: &Folder) -> (Lesson, Vec<Finding>) {
    let loaded = load_all(folder);
    (loaded.lesson, loaded.findings)
}

/// Reads a lesson that is to be played.
///
/// # Errors
/// All findings, when one of them is an error; a command that reaches for the learner's own
/// computer is one, whether or not anybody had the lesson checked.
pub fn sound(folder: &Folder) -> Result<Lesson, Vec<Finding>> {
    let (lesson, mut findings) = load(folder);
    let mut reaching = Findings::new(folder.shown(LESSON));
    commands::check_reach(&lesson, &mut reaching);
    findings.append(&mut reaching.all);
    match findings.iter().any(Finding::is_error) {
        true => Err(findings),
        false => Ok(lesson),
    }
}

pub(crate) fn load_all(folder: &Folder) -> Loaded {
    let mut findings = Findings::new(folder.shown(LESSON));
    let bytes = folder.files.get(LESSON).map_or(&[][..], Vec::as_slice);
    if !folder.files.contains_key(LESSON) {
        findings.error(
            0,
            "the folder has no lesson.md",
            "`cadet tutorial new NAME` writes one to begin with",
        );
    } else if bytes.trim_ascii().is_empty() {
        findings.error(
            1,
            "lesson.md is empty",
            "`cadet tutorial new NAME` writes one to begin with",
        );
    }
    let text = decode(bytes, &mut findings);
    let mut lesson = Lesson {
        name: folder.lesson_name().to_owned(),
        folder: folder.name.clone(),
        number: folder.number(),
        title: String::new(),
        summary: String::new(),
        minutes: 0,
        needs: Vec::new(),
        images: Vec::new(),
        nodes: 1,
        memory: None,
        namespace: "default".to_owned(),
        introduction: Vec::new(),
        steps: Vec::new(),
        files: handed_out(folder),
        digest: hex(&Sha256::digest(bytes)),
    };
    let mut lines = front::Lines::default();
    let (body, first) = match front::split(&text) {
        Some((matter, rest)) => {
            let (front, at) = front::read(matter, &mut findings);
            lines = at;
            lesson.title = front.title;
            lesson.summary = front.summary;
            lesson.minutes = front.minutes;
            lesson.needs = front.needs;
            lesson.images = front.images;
            lesson.nodes = front.nodes;
            lesson.memory = front.memory;
            lesson.namespace = front.namespace;
            rest
        }
        None => {
            if !bytes.is_empty() {
                findings.error(
                    1,
                    "the lesson does not begin with front matter",
                    "begin with a line `---`, then `format: 1`, `title: …`, then `---`",
                );
            }
            (text.as_str(), 1)
        }
    };
    let mut reader = Reader {
        namespace: lesson.namespace.clone(),
        findings: &mut findings,
        introduction: Vec::new(),
        steps: Vec::new(),
        seen: Vec::new(),
    };
    for piece in pieces(body, first) {
        reader.piece(piece);
    }
    lesson.introduction = reader.introduction;
    lesson.steps = reader.steps;
    let mut all = folder.findings.clone();
    all.append(&mut findings.all);
    all.sort();
    Loaded {
        lesson,
        findings: all,
        lines,
    }
}

/// Everything in the folder but the lesson itself.
fn handed_out(folder: &Folder) -> BTreeMap<String, Vec<u8>> {
    let mut files = folder.files.clone();
    files.remove(LESSON);
    files
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The text of the file as the rest of this room wants it: UTF-8, `\n`, no byte order mark.
fn decode(bytes: &[u8], findings: &mut Findings) -> String {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(error) => {
            let line = line_of(bytes, error.valid_up_to());
            findings.error(line, "this line is not UTF-8", "save the file as UTF-8");
            String::from_utf8_lossy(bytes).into_owned()
        }
    };
    let text = match text.strip_prefix('\u{feff}') {
        Some(rest) => {
            findings.error(
                1,
                "the file begins with a byte order mark",
                "save the file as UTF-8 without BOM",
            );
            rest.to_owned()
        }
        None => text,
    };
    match text.find('\r') {
        Some(at) => {
            findings.error(
                line_of(text.as_bytes(), at),
                "lines end with CR LF",
                "save the file with LF line ends (`git config core.autocrlf input`)",
            );
            text.replace("\r\n", "\n").replace('\r', "\n")
        }
        None => text,
    }
}

fn line_of(bytes: &[u8], at: usize) -> u32 {
    let before = bytes[..at].iter().filter(|byte| **byte == b'\n').count();
    u32::try_from(before).unwrap_or(u32::MAX - 1) + 1
}

struct Reader<'a> {
    namespace: String,
    findings: &'a mut Findings,
    introduction: Vec<Block>,
    steps: Vec<Step>,
    /// Sorts of blocks that the present step has had and may have once only.
    seen: Vec<&'static str>,
}

impl Reader<'_> {
    fn piece(&mut self, piece: Piece) {
        match piece {
            Piece::Step { title, line } => {
                if title.is_empty() {
                    self.findings
                        .error(line, "this step has no title", "write `## Title`");
                }
                self.seen.clear();
                self.steps.push(Step {
                    title,
                    line,
                    ..Step::default()
                });
            }
            Piece::Prose { text, line } => self.show(Block::Prose { text, line }),
            Piece::Fence(fence) => self.fence(fence),
        }
    }

    fn show(&mut self, block: Block) {
        match self.steps.last_mut() {
            Some(step) => step.blocks.push(block),
            None => self.introduction.push(block),
        }
    }

    fn fence(&mut self, fence: Fence) {
        let line = fence.line;
        if !fence.closed {
            self.findings.error(
                line,
                "this block is not closed before the file ends",
                "close it with a line of as many ``` as it opened with",
            );
        }
        let (sort, rest) = fence
            .info
            .split_once(char::is_whitespace)
            .unwrap_or((&fence.info, ""));
        let Some(sort) = MACHINERY.into_iter().find(|known| *known == sort) else {
            if !is_shown(sort) {
                let known = MACHINERY
                    .into_iter()
                    .chain(SHOWN)
                    .filter(|known| !known.is_empty());
                let fix = match nearest(sort, known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "write ```text for a block that is only shown".to_owned(),
                };
                let text = format!("there is no block `{sort}`");
                self.findings.error(line, text, fix);
            }
            return self.show(Block::Shown {
                info: fence.info,
                text: fence.text,
                line,
            });
        };
        let rest = rest.trim().to_owned();
        let in_guest = rest == "guest" && ["solve", "reset"].contains(&sort);
        if !["run", "file"].contains(&sort) && !rest.is_empty() && !in_guest {
            let text = format!("a block `{sort}` takes nothing after its name");
            self.findings.error(line, text, format!("remove `{rest}`"));
        }
        if self.steps.is_empty() {
            let text = format!("a block `{sort}` stands before the first step");
            self.findings
                .error(line, text, "begin a step with `## Title` above it");
            return;
        }
        if ["watch", "solve", "reset"].contains(&sort) && !in_guest {
            if self.seen.contains(&sort) {
                let text = format!("this step has two blocks `{sort}`");
                self.findings.error(line, text, "make them one");
            }
            self.seen.push(sort);
        }
        if fence.text.trim().is_empty() && sort != "file" {
            let text = format!("this block `{sort}` is empty");
            self.findings.error(line, text, "fill it, or remove it");
            return;
        }
        self.machinery(sort, &rest, fence);
    }

    fn machinery(&mut self, sort: &'static str, rest: &str, fence: Fence) {
        let line = fence.line;
        match sort {
            "run" => {
                let (mut background, mut fails) = (false, false);
                for word in rest.split_whitespace() {
                    match word {
                        "background" => background = true,
                        "fails" => fails = true,
                        _ => self.findings.error(
                            line,
                            format!("a block `run` has no `{word}`"),
                            "write `run`, `run background` or `run fails`",
                        ),
                    }
                }
                let script = self.script(&fence.text, line + 1);
                self.show(Block::Run(Run {
                    script,
                    background,
                    fails,
                    line,
                }));
            }
            "file" => {
                if let Some(why) = unsound_path(rest) {
                    self.findings.error(
                        line,
                        format!("the path `{rest}` {why}"),
                        "write ```file PATH with a path below the lesson folder",
                    );
                    return;
                }
                self.show(Block::File(FileBlock {
                    path: rest.to_owned(),
                    content: fence.text,
                    line,
                }));
            }
            "guest" => self.show(Block::Guest(GuestBlock {
                script: fence.text,
                line,
            })),
            "watch" => {
                if let Some(node) = yaml::parse(&fence.text, line + 1, self.findings) {
                    let read = conditions::list(&node, &self.namespace, self.findings);
                    self.step(|step| step.watch.extend(read));
                }
            }
            "hint" => {
                let text = fence.text.trim().to_owned();
                self.step(|step| step.hints.push(text));
            }
            "not-yet" => {
                let entries = self.not_yet(&fence);
                self.step(|step| step.not_yet.extend(entries));
            }
            "solve" if rest == "guest" => {
                self.step(|step| step.solve_guest = Some(fence.text));
            }
            "reset" if rest == "guest" => {
                self.step(|step| step.reset_guest = Some(fence.text));
            }
            "solve" => {
                let script = self.script(&fence.text, line + 1);
                self.step(|step| step.solve = Some(script));
            }
            "reset" => {
                let script = self.script(&fence.text, line + 1);
                self.step(|step| step.reset = Some(script));
            }
            _ => {
                if let Some(mistake) = self.mistake(&fence) {
                    self.step(|step| step.mistakes.push(mistake));
                }
            }
        }
    }

    fn step(&mut self, change: impl FnOnce(&mut Step)) {
        if let Some(step) = self.steps.last_mut() {
            change(step);
        }
    }

    fn script(&mut self, text: &str, first: u32) -> Script {
        let (script, wrong) = command::script(text, first);
        for (line, error) in wrong {
            self.findings.error(line, error.to_string(), error.fix());
        }
        script
    }

    fn not_yet(&mut self, fence: &Fence) -> Vec<NotYet> {
        let Some(node) = yaml::parse(&fence.text, fence.line + 1, self.findings) else {
            return Vec::new();
        };
        let Value::List(items) = &node.value else {
            self.findings.error(
                node.line,
                "a block `not-yet` is a list",
                "write `- when: […]` and `  say: …`",
            );
            return Vec::new();
        };
        let mut out = Vec::new();
        for item in items {
            const WHAT: &str = "an entry of `not-yet`";
            let Some(mut fields) = Fields::of(item, WHAT, self.findings) else {
                continue;
            };
            let line = fields.line;
            let when = fields
                .take("when")
                .map(|entry| conditions::list(&entry.node, &self.namespace, self.findings));
            let say = fields
                .take("say")
                .and_then(|entry| entry.text(self.findings));
            fields.finish(WHAT, self.findings);
            match (when, say) {
                (Some(when), Some(say)) if !when.is_empty() && !say.trim().is_empty() => {
                    let say = say.split_whitespace().collect::<Vec<_>>().join(" ");
                    out.push(NotYet { when, say, line });
                }
                _ => self.findings.error(
                    line,
                    "an entry of `not-yet` needs conditions in `when` and words in `say`",
                    "write `- when: [{object: pod/web, where: [\"status.phase == Pending\"]}]` \
                     and `  say: …`",
                ),
            }
        }
        out
    }

    fn mistake(&mut self, fence: &Fence) -> Option<Mistake> {
        const WHAT: &str = "a block `mistake`";
        let node = yaml::parse(&fence.text, fence.line + 1, self.findings)?;
        let mut fields = Fields::of(&node, WHAT, self.findings)?;
        let mut mistake = Mistake {
            line: fence.line,
            ..Mistake::default()
        };
        mistake.says = match fields
            .take("says")
            .and_then(|entry| entry.text(self.findings))
        {
            Some(says) if !says.trim().is_empty() => says.trim().to_owned(),
            _ => {
                self.findings.error(
                    fence.line,
                    "this mistake does not say what the learner is told",
                    "add `says:` with words of the reason",
                );
                String::new()
            }
        };
        mistake.run = fields.take("run").and_then(|entry| self.inner(entry));
        mistake.undo = fields.take("undo").and_then(|entry| self.inner(entry));
        mistake.guest = fields
            .take("guest")
            .and_then(|entry| entry.text(self.findings));
        if let Some(entry) = fields.take("file") {
            self.mistaken_files(entry, &mut mistake);
        }
        fields.finish(WHAT, self.findings);
        if mistake.run.is_none() && mistake.guest.is_none() && mistake.files.is_empty() {
            self.findings.error(
                fence.line,
                "this mistake does nothing",
                "add `run:`, `file:` or `guest:`",
            );
        }
        Some(mistake)
    }

    /// A script inside YAML: its commands begin behind `|`, one line below the key.
    fn inner(&mut self, entry: &Entry) -> Option<Script> {
        let text = entry.text(self.findings)?;
        let first = entry.line + u32::from(text.contains('\n'));
        Some(self.script(&text, first))
    }

    fn mistaken_files(&mut self, entry: &Entry, mistake: &mut Mistake) {
        let Value::Map(files) = &entry.node.value else {
            self.findings.error(
                entry.line,
                "`file` is a map of paths to contents",
                "write `file: {app/main.py: \"…\"}`",
            );
            return;
        };
        for file in files {
            match (unsound_path(&file.key), file.text(self.findings)) {
                (None, Some(content)) => {
                    mistake.files.insert(file.key.clone(), content);
                }
                (Some(why), _) => self.findings.error(
                    file.line,
                    format!("the path `{}` {why}", file.key),
                    "name a file below the lesson folder",
                ),
                (None, None) => {}
            }
        }
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
