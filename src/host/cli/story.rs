//! A story as lines for people: what belongs together merged, in columns, within the
//! terminal's width. Pure.
//!
//! ```text
//!      0.011    controller  deployment     made replica set web-7d9f, 3 wanted
//!   └── time ──┘└── who ───┘└─── part ────┘└── text ──
//! ```
//! In a narrow terminal the part moves into the text, in a very narrow one the text gets a
//! line of its own.

use cadet_api::clock;
use serde::Deserialize;

/// Widths of the columns before the text.
const WHO: usize = 12;
const PART: usize = 15;
/// Widths from which on there is room for all columns, and for all but the part.
const WIDE: usize = 72;
const MIDDLING: usize = 48;
/// Longest time between the first and the last of what is told as one.
const TOGETHER_NANOS: i128 = 1_000_000_000;

/// One line as the server tells it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Line {
    pub time: String,
    pub exact: bool,
    pub who: String,
    pub part: String,
    pub act: String,
    pub text: String,
    pub kind: String,
    pub name: String,
    pub revision: u64,
}

impl Line {
    fn nanos(&self) -> Option<i128> {
        clock::parse(&self.time).map(|time| time.unix_timestamp_nanos())
    }
}

/// Tells several of the same act as one: three pods made by one controller.
pub fn merged(lines: Vec<Line>, hero: &str) -> Vec<Line> {
    let mut all: Vec<(Line, usize)> = Vec::new();
    for line in lines {
        let alike = |(first, _): &&mut (Line, usize)| {
            let near = first.nanos().zip(line.nanos());
            let near = near.is_some_and(|(first, now)| now - first <= TOGETHER_NANOS);
            near && first.name != hero
                && (&first.who, &first.part, &first.act, &first.kind)
                    == (&line.who, &line.part, &line.act, &line.kind)
        };
        let several = several(&line, 2).is_some() && line.name != hero;
        match all.iter_mut().find(alike).filter(|_| several) {
            Some((first, number)) if first.name != line.name => *number += 1,
            _ => all.push((line, 1)),
        }
    }
    all.into_iter()
        .map(|(mut line, number)| {
            if number > 1
                && let Some(text) = several(&line, number)
            {
                line.text = text;
                line.name = String::new();
            }
            line
        })
        .collect()
}

/// How an act is told that was done to so many; `None` where each is told alone.
fn several(line: &Line, number: usize) -> Option<String> {
    // Kinds of one word have a simple plural.
    let simple = line.kind.chars().skip(1).all(char::is_lowercase);
    let many = format!("{number} {}s", line.kind.to_lowercase());
    match line.act.as_str() {
        _ if !simple => None,
        "created" => {
            let verb = line.text.split(' ').next().unwrap_or_default();
            Some(format!("{verb} {many}"))
        }
        "ending" => {
            let grace = line.text.split_once(", ").map(|(_, grace)| grace);
            let grace = grace.map_or(String::new(), |grace| format!(", {grace}"));
            Some(format!("asked {many} to end{grace}"))
        }
        "gone" => Some(format!("{many} gone")),
        _ => None,
    }
}

/// Puts lines into columns; knows when the story began.
pub struct Printer {
    hero: String,
    width: usize,
    origin: Option<i128>,
}

impl Printer {
    /// A printer for the story of the object with that name, for a terminal of that width.
    pub fn new(hero: &str, width: usize) -> Self {
        Self {
            hero: hero.into(),
            width,
            origin: None,
        }
    }

    /// The rows of a line.
    pub fn rows(&mut self, line: &Line) -> Vec<String> {
        let is_first = self.origin.is_none();
        let now = line.nanos();
        let origin = *self.origin.get_or_insert(now.unwrap_or(0));
        let micros = (now.unwrap_or(origin) - origin).max(0) / 1000;
        let unit = if is_first { " s  " } else { "    " };
        let time = format!("{}{unit}", time_text(micros, line.exact));
        let text = self.text(line);
        let part = &line.part;
        if self.width < MIDDLING {
            let who = clean(&format!("{} {part}", line.who));
            let mut rows = hang(&time, &who, self.width);
            rows.extend(hang("    ", &text, self.width));
            return rows;
        }
        let (head, text) = match self.width < WIDE {
            false => (
                format!("{time}{} {}", fit(&line.who, WHO - 1), fit(part, PART)),
                text,
            ),
            true if part.is_empty() => (format!("{time}{}", fit(&line.who, WHO)), text),
            true => (
                format!("{time}{}", fit(&line.who, WHO)),
                format!("{part}: {text}"),
            ),
        };
        hang(&head, &text, self.width)
    }

    /// The text, with whom it is about if that is somebody else.
    fn text(&self, line: &Line) -> String {
        let mut text = clean(&line.text);
        let is_other = !line.name.is_empty() && line.name != self.hero;
        if is_other && line.act != "endpoints" && !text.contains(&line.name) {
            let short = self.short(&line.name);
            text = match text.starts_with('→') {
                true => format!("{short} {text}"),
                false => format!("{short}: {text}"),
            };
        }
        if line.who == "you" && line.act == "created" && line.revision > 0 {
            text = format!("{text} (revision {})", line.revision);
        }
        text
    }

    /// A name without that of the hero, if what is left tells enough.
    fn short<'a>(&self, name: &'a str) -> &'a str {
        let rest = name.strip_prefix(&self.hero);
        let rest = rest.and_then(|rest| rest.strip_prefix('-'));
        rest.filter(|rest| rest.chars().any(|c| c.is_ascii_alphabetic()))
            .unwrap_or(name)
    }
}

/// Eight columns: seconds with milliseconds, whole seconds where no more is known, hours
/// and days later.
fn time_text(micros: i128, exact: bool) -> String {
    let seconds = micros / 1_000_000;
    match (seconds, exact) {
        (0..10_000, true) => {
            format!("{:>4}.{:03}", seconds, micros / 1000 % 1000)
        }
        (0..10_000, false) => format!("{seconds:>4}    "),
        (10_000..360_000, _) => {
            let text = format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60);
            format!("{text:>8}")
        }
        _ => {
            let text = format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24);
            format!("{text:>8}")
        }
    }
}

/// A cell of so many columns: filled up, or cut with an ellipsis.
fn fit(text: &str, columns: usize) -> String {
    let text = clean(text);
    if text.chars().count() <= columns {
        return format!("{text:<columns$}");
    }
    let kept: String = text.chars().take(columns - 1).collect();
    format!("{kept}…")
}

/// What programs in containers say may hold anything: no escape sequence and no line break
/// may reach the terminal.
fn clean(text: &str) -> String {
    let spaced = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    spaced.collect::<String>().trim_end().to_owned()
}

/// A text behind a head; further rows stand under its beginning.
fn hang(head: &str, text: &str, width: usize) -> Vec<String> {
    let indent = head.chars().count();
    let rows = wrap(text, width.saturating_sub(indent)).into_iter();
    rows.enumerate()
        .map(|(n, row)| match n {
            0 => format!("{head}{row}").trim_end().to_owned(),
            _ => format!("{}{row}", " ".repeat(indent)),
        })
        .collect()
}

/// Breaks a text between words so that no row is longer than `room`; a word longer than
/// that is broken inside.
fn wrap(text: &str, room: usize) -> Vec<String> {
    let room = room.max(8);
    let mut rows = Vec::new();
    let mut row = String::new();
    let mut used = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let length = word.chars().count();
        if used > 0 && used + 1 + length <= room {
            row.push(' ');
            row.push_str(word);
            used += 1 + length;
            continue;
        }
        if used > 0 {
            rows.push(std::mem::take(&mut row));
        }
        let letters: Vec<char> = word.chars().collect();
        let mut pieces = letters.chunks(room).peekable();
        while let Some(piece) = pieces.next() {
            row = piece.iter().collect();
            used = piece.len();
            if pieces.peek().is_some() {
                rows.push(std::mem::take(&mut row));
            }
        }
    }
    rows.push(row);
    rows
}

#[cfg(test)]
#[path = "story_tests.rs"]
mod tests;
