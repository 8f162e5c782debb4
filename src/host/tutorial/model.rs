//! A lesson in memory: what `lesson.md` and the files beside it say.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::condition::Condition;

/// A whole lesson, resolved: every namespace is filled in, every block is parsed.
#[derive(Debug, Clone, PartialEq)]
pub struct Lesson {
    /// The folder's name without its number: `telescope`.
    pub name: String,
    /// The folder's name: `01-telescope`.
    pub folder: String,
    /// The folder's number, which orders the list of lessons.
    pub number: Option<u32>,
    pub title: String,
    /// One line for the list of lessons.
    pub summary: String,
    /// How long a learner takes, as the author says.
    pub minutes: u32,
    /// Names of lessons to have done before.
    pub needs: Vec<String>,
    /// Names in `images/lessons.yaml` that are put into the cluster at the start.
    pub images: Vec<String>,
    /// How many nodes the cluster must have.
    pub nodes: u32,
    /// MiB of memory the machine should have.
    pub memory: Option<u32>,
    /// Where the lesson's objects live unless a condition says otherwise.
    pub namespace: String,
    /// Shown before the first step.
    pub introduction: Vec<Block>,
    pub steps: Vec<Step>,
    /// What is handed to the learner: path below the lesson folder (with `/`) to content.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Hex SHA-256 of `lesson.md`: tells whether progress was made on this very text.
    pub digest: String,
}

/// One step: something to read, something to do, something to wait for.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Step {
    pub title: String,
    /// Line of the heading in `lesson.md`.
    pub line: u32,
    /// What is shown, in reading order, with the blocks that do something in their places.
    pub blocks: Vec<Block>,
    /// All must hold at once.
    pub watch: Vec<Condition>,
    /// One more each time the learner asks.
    pub hints: Vec<String>,
    /// The author's reasons; the first whose conditions all hold is said.
    pub not_yet: Vec<NotYet>,
    /// What solves the step in place of its `run` blocks.
    pub solve: Option<Script>,
    /// The same for the machine: a script for the guest (`solve guest`).
    pub solve_guest: Option<String>,
    /// What brings the cluster back to how the step found it.
    pub reset: Option<Script>,
    /// The same for the machine: a script for the guest (`reset guest`).
    pub reset_guest: Option<String>,
    /// Planted when the lesson is tested.
    pub mistakes: Vec<Mistake>,
}

/// One piece of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block {
    /// Markdown paragraphs, lists and small headings, as written.
    Prose { text: String, line: u32 },
    /// A fenced block that is only shown; `info` is what stands after the fence.
    Shown {
        info: String,
        text: String,
        line: u32,
    },
    /// Commands for the learner to run.
    Run(Run),
    /// A file for the learner to write.
    File(FileBlock),
    /// A script that acts inside the machine.
    Guest(GuestBlock),
}

/// A ```` ```run ```` block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub script: Script,
    /// Started and left running until the step ends.
    pub background: bool,
    /// The commands are refused on purpose: each must exit with something else than 0.
    pub fails: bool,
    pub line: u32,
}

/// A ```` ```file PATH ```` block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileBlock {
    /// Below the learner's lesson folder, with `/`, without `..`.
    pub path: String,
    pub content: String,
    pub line: u32,
}

/// A ```` ```guest ```` block: for `sh -eu` as root in the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestBlock {
    pub script: String,
    pub line: u32,
}

/// Commands and the remarks between them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Script {
    pub lines: Vec<ScriptLine>,
}

impl Script {
    /// The commands, without the remarks.
    pub fn commands(&self) -> impl Iterator<Item = &Command> {
        self.lines.iter().filter_map(|line| match line {
            ScriptLine::Command(command) => Some(command),
            ScriptLine::Remark(_) => None,
        })
    }
}

/// One line of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScriptLine {
    /// `# …`: shown, not run. The text is without the `#`.
    Remark(String),
    Command(Command),
}

/// One command, split into words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Command {
    /// As written; a continued command keeps its `\` and line ends.
    pub text: String,
    /// The words, program first, quotes resolved. Never empty.
    pub argv: Vec<String>,
    /// Line in `lesson.md`; 0 for commands made elsewhere.
    pub line: u32,
}

impl Command {
    /// `kubectl`, `docker`, `curl` or `cadet` in a sound lesson.
    pub fn program(&self) -> &str {
        self.argv.first().map_or("", String::as_str)
    }

    /// The words after the program.
    pub fn arguments(&self) -> &[String] {
        self.argv.get(1..).unwrap_or_default()
    }
}

/// One entry of a ```` ```not-yet ```` block.
#[derive(Debug, Clone, PartialEq)]
pub struct NotYet {
    pub when: Vec<Condition>,
    pub say: String,
    pub line: u32,
}

/// A ```` ```mistake ```` block: what a learner may do wrong.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Mistake {
    /// What the reason must contain, whatever the case of its letters.
    pub says: String,
    /// Files written first: path to content.
    pub files: BTreeMap<String, String>,
    pub run: Option<Script>,
    pub guest: Option<String>,
    pub undo: Option<Script>,
    pub line: u32,
}

impl Step {
    /// The `run` blocks in reading order.
    pub fn runs(&self) -> impl Iterator<Item = &Run> {
        self.blocks.iter().filter_map(|block| match block {
            Block::Run(run) => Some(run),
            _ => None,
        })
    }

    /// The files the learner writes in this step.
    pub fn file_blocks(&self) -> impl Iterator<Item = &FileBlock> {
        self.blocks.iter().filter_map(|block| match block {
            Block::File(file) => Some(file),
            _ => None,
        })
    }

    /// The scripts that act inside the machine.
    pub fn guest_blocks(&self) -> impl Iterator<Item = &GuestBlock> {
        self.blocks.iter().filter_map(|block| match block {
            Block::Guest(guest) => Some(guest),
            _ => None,
        })
    }

    /// Whether Enter has anything to do here.
    pub fn has_actions(&self) -> bool {
        self.blocks
            .iter()
            .any(|block| matches!(block, Block::Run(_) | Block::File(_) | Block::Guest(_)))
    }
}
