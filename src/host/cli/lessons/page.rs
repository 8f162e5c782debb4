//! The pages of a lesson: its introduction, a step, and the live part that waits and tells.

use cadet_tutorial::event::LiveCondition;
use cadet_tutorial::model::{Block, Lesson, Run, ScriptLine};
use console::{Style, measure_text_width, truncate_str};

use super::text::{laid, prose};

/// What a page is written on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paper {
    /// Columns.
    pub width: usize,
    /// Whether colour may be used.
    pub colour: bool,
}

/// From here on there is room for labels beside what they name.
const ROOMY: usize = 60;

impl Paper {
    fn style(self, text: &str, style: Style) -> String {
        if !self.colour || text.is_empty() {
            return text.to_owned();
        }
        style.force_styling(true).apply_to(text).to_string()
    }

    fn dim(self, text: &str) -> String {
        self.style(text, Style::new().dim())
    }

    fn bold(self, text: &str) -> String {
        self.style(text, Style::new().bold())
    }

    /// `left` and, where there is room, `right` at the end of the line.
    fn both(self, left: &str, right: &str) -> Vec<String> {
        let used = measure_text_width(left) + measure_text_width(right);
        if used + 2 > self.width {
            let mut lines = laid(left, self.width, "", "", false);
            for line in &mut lines {
                *line = self.bold(line);
            }
            return lines;
        }
        let gap = " ".repeat(self.width - used);
        vec![format!("{}{gap}{}", self.bold(left), self.dim(right))]
    }
}

/// What stands before the first step.
pub fn introduction(lesson: &Lesson, folder: &str, paper: Paper) -> Vec<String> {
    let mut out = paper.both(&lesson.title, &minutes(lesson.minutes));
    for block in &lesson.introduction {
        out.push(String::new());
        out.extend(shown(block, paper));
    }
    if !lesson.files.is_empty()
        || lesson
            .steps
            .iter()
            .any(|s| s.file_blocks().next().is_some())
    {
        out.push(String::new());
        out.extend(laid(
            &format!("Its files are in `{folder}`; commands you type yourself belong there."),
            paper.width,
            "",
            "",
            paper.colour,
        ));
    }
    out
}

/// Step `index`, counted from 0.
pub fn step(lesson: &Lesson, index: usize, paper: Paper) -> Vec<String> {
    let Some(step) = lesson.steps.get(index) else {
        return Vec::new();
    };
    let total = lesson.steps.len();
    let each = usize::try_from(lesson.minutes)
        .unwrap_or(1)
        .div_ceil(total.max(1));
    let head = format!("Step {} of {total} · {}", index + 1, step.title);
    let mut out = paper.both(&head, &format!("about {each} min"));
    for block in &step.blocks {
        out.push(String::new());
        out.extend(shown(block, paper));
    }
    out
}

fn minutes(minutes: u32) -> String {
    format!("about {minutes} min")
}

fn shown(block: &Block, paper: Paper) -> Vec<String> {
    match block {
        Block::Prose { text, .. } => prose(text, paper.width, paper.colour),
        Block::Shown { text, .. } => text.lines().map(|l| format!("    {l}")).collect(),
        Block::Run(run) => commands(run, paper),
        Block::File(file) => {
            let mut out = vec![format!(
                "  {}  {}",
                paper.dim("file"),
                paper.bold(&file.path)
            )];
            out.extend(file.content.lines().map(|l| format!("    {l}")));
            out
        }
        Block::Guest(guest) => {
            let note = "inside the machine, as root";
            let mut out = vec![format!("  {} {}", paper.dim("guest"), paper.dim(note))];
            out.extend(guest.script.lines().map(|l| format!("    {l}")));
            out
        }
    }
}

/// Commands are never broken: what is copied from the terminal must be what is run.
fn commands(run: &Run, paper: Paper) -> Vec<String> {
    let mut out = Vec::new();
    let mut label = "  run   ";
    for line in &run.script.lines {
        let text = match line {
            ScriptLine::Remark(text) => paper.dim(&format!("# {text}")),
            ScriptLine::Command(command) => paper.style(&command.text, Style::new().cyan()),
        };
        // The lines of a continued command stand below each other.
        for part in text.lines() {
            out.push(format!("{}{part}", paper.dim(label)));
            label = "        ";
        }
    }
    let note = match (run.background, run.fails) {
        (true, _) => "goes on until the step ends",
        (false, true) => "is refused, on purpose",
        (false, false) => return out,
    };
    out.push(format!("        {}", paper.dim(note)));
    out
}

/// What is waited for, and why it has not come yet.
pub fn live(conditions: &[LiveCondition], reason: Option<&str>, paper: Paper) -> Vec<String> {
    let mut out = Vec::new();
    let beside = if paper.width < ROOMY { 2 } else { 15 };
    let mut label = "  waiting for";
    if paper.width < ROOMY && !conditions.is_empty() {
        out.push(paper.dim(label));
        label = "";
    }
    for condition in conditions {
        let (sign, style) = if condition.holds {
            ("✓", Style::new().green())
        } else {
            ("·", Style::new().yellow())
        };
        let head = format!("{label:<beside$}");
        let text = format!("{head}{sign} {}", condition.wanted);
        let text = truncate_str(&text, paper.width, "…");
        out.push(text.replacen(sign, &paper.style(sign, style), 1));
        label = "";
        for line in &condition.lines {
            let text = format!("{:beside$}  {line}", "");
            out.push(paper.dim(&truncate_str(&text, paper.width, "…")));
        }
    }
    if let Some(reason) = reason {
        let first = "  not yet because  ";
        let rest = if paper.width < ROOMY { 4 } else { first.len() };
        out.extend(laid(
            reason,
            paper.width,
            first,
            &" ".repeat(rest),
            paper.colour,
        ));
    }
    out
}

/// What can be pressed, in as few lines as it takes.
pub fn keys(keys: &[(&str, &str)], paper: Paper) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let mut used = 0;
    for (key, does) in keys {
        let length = key.chars().count() + does.chars().count() + 3;
        let text = format!("[{}] {does}", paper.bold(key));
        match out.last_mut() {
            Some(line) if used + 3 + length <= paper.width => {
                line.push_str("   ");
                line.push_str(&text);
                used += 3 + length;
            }
            _ => {
                out.push(text);
                used = length;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Paper = Paper {
        width: 79,
        colour: false,
    };
    const NARROW: Paper = Paper {
        width: 39,
        colour: false,
    };

    fn waiting() -> Vec<LiveCondition> {
        vec![
            LiveCondition {
                wanted: "pod/telescope-pod ready".into(),
                holds: false,
                lines: vec![
                    "mongo      running 12 s".into(),
                    "telescope  waiting: pulling image docker.io/library/telescope:latest".into(),
                ],
            },
            LiveCondition {
                wanted: "service/telescope there".into(),
                holds: true,
                lines: Vec::new(),
            },
        ]
    }

    #[test]
    fn the_live_part_is_that_of_the_storyboard() {
        let reason = "the image is still on its way; nothing to do";
        assert_eq!(
            live(&waiting(), Some(reason), WIDE),
            [
                "  waiting for  · pod/telescope-pod ready",
                "                 mongo      running 12 s",
                "                 telescope  waiting: pulling image docker.io/library/telescope…",
                "               ✓ service/telescope there",
                "  not yet because  the image is still on its way; nothing to do",
            ]
        );
    }

    #[test]
    fn nothing_is_wider_than_forty_columns() {
        let reason = "no node has room for it: it asks for 3 CPU, node cadet has 1.4 free";
        let mut all = live(&waiting(), Some(reason), NARROW);
        let pressed = [
            ("Enter", "run"),
            ("h", "hint"),
            ("s", "solve"),
            ("r", "reset"),
            ("q", "leave, keep progress"),
        ];
        all.extend(keys(&pressed, NARROW));
        for line in &all {
            assert!(measure_text_width(line) <= 39, "{line}");
        }
        assert!(
            all.concat().contains("1.4 free"),
            "nothing is lost: {all:?}"
        );
        assert_eq!(keys(&pressed, WIDE).len(), 1);
        let painted = Paper {
            colour: true,
            ..NARROW
        };
        for line in live(&waiting(), Some(reason), painted) {
            assert!(measure_text_width(&line) <= 39, "{line}");
        }
    }
}
