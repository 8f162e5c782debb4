//! How a lesson reads at 80 columns.

use super::commands::{Place, of_step};
use crate::finding::Findings;
use crate::model::{Block, Lesson, ScriptLine};

/// Longer lines of commands are wrapped on a screen of 80 columns, behind the indentation.
const WIDTH: usize = 76;

/// A page of a step that is read in one go.
const WORDS: usize = 180;

/// Titles share their line with "Step 12 of 12" and the minutes.
const TITLE: usize = 50;

pub(super) fn check(lesson: &Lesson, findings: &mut Findings) {
    for block in &lesson.introduction {
        shown(block, findings);
    }
    for step in &lesson.steps {
        if step.title.chars().count() > TITLE {
            findings.warning(
                step.line,
                format!("this title is longer than {TITLE} characters"),
                "say it shorter",
            );
        }
        let mut words = 0;
        for block in &step.blocks {
            shown(block, findings);
            if let Block::Prose { text, .. } = block {
                words += text.split_whitespace().count();
            }
        }
        if words > WORDS {
            findings.warning(
                step.line,
                format!("this step has {words} words, more than one reads before doing"),
                "part it into two steps",
            );
        }
        for (command, place) in of_step(step) {
            if !matches!(place, Place::Run | Place::Background) {
                continue;
            }
            for (line, text) in (command.line..).zip(command.text.lines()) {
                wide(
                    line,
                    text,
                    "continue it in the next line with `\\`",
                    findings,
                );
            }
        }
    }
}

fn shown(block: &Block, findings: &mut Findings) {
    match block {
        Block::Prose { text, line } => {
            for (line, text) in (*line..).zip(text.lines()) {
                if text.starts_with("# ") {
                    findings.warning(
                        line,
                        "the title of a lesson is in its front matter",
                        "remove this heading, or make it `## ` for a step",
                    );
                }
                prose(line, text, findings);
            }
        }
        Block::Shown { text, line, .. } => {
            for (line, text) in (*line + 1..).zip(text.lines()) {
                wide(line, text, "break the line", findings);
            }
        }
        Block::File(file) => {
            for (line, text) in (file.line + 1..).zip(file.content.lines()) {
                wide(line, text, "break the line", findings);
            }
        }
        Block::Run(run) => {
            for line in &run.script.lines {
                if let ScriptLine::Remark(text) = line
                    && text.chars().count() + 2 > WIDTH
                {
                    findings.warning(
                        run.line,
                        "a remark in this block is too long for one line",
                        "say it shorter, or above the block",
                    );
                }
            }
        }
        Block::Guest(_) => {}
    }
}

fn wide(line: u32, text: &str, fix: &str, findings: &mut Findings) {
    let width = text.chars().count();
    if width > WIDTH {
        let text = format!("this line has {width} characters, more than {WIDTH}");
        findings.warning(line, text, fix);
    }
}

/// Prose is filled anew to the screen's width; one word that is longer than it cannot be.
fn prose(line: u32, text: &str, findings: &mut Findings) {
    if let Some(word) = text
        .split_whitespace()
        .find(|word| word.chars().count() > WIDTH)
    {
        let start: String = word.chars().take(20).collect();
        findings.warning(
            line,
            format!("`{start}…` is a word of more than {WIDTH} characters"),
            "put it in a block of its own",
        );
    }
    if text.contains(|c: char| c.is_control() && c != '\t') {
        findings.error(line, "this line has a control character", "remove it");
    }
    if let Some(tag) = ["<br", "<div", "<img", "<a ", "<b>", "<details"]
        .into_iter()
        .find(|tag| text.contains(*tag))
    {
        findings.warning(
            line,
            format!("`{tag}` is HTML, which a terminal shows as it is"),
            "write it in Markdown",
        );
    }
    if text.trim_start().starts_with("![") {
        findings.warning(
            line,
            "a terminal shows no pictures",
            "draw it in a block ```text",
        );
    }
}
