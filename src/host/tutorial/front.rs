//! The front matter of a lesson: what it is called and what it needs.

use crate::finding::Findings;
use crate::folder::{Folder, LESSON};
use crate::yaml::{self, Entry, Fields};

/// The only format of lessons there is.
pub const FORMAT: i64 = 1;

/// What stands between the first two `---` lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Front {
    pub title: String,
    pub summary: String,
    pub minutes: u32,
    pub needs: Vec<String>,
    pub images: Vec<String>,
    pub nodes: u32,
    pub memory: Option<u32>,
    pub namespace: String,
}

impl Default for Front {
    fn default() -> Front {
        Front {
            title: String::new(),
            summary: String::new(),
            minutes: 0,
            needs: Vec::new(),
            images: Vec::new(),
            nodes: 1,
            memory: None,
            namespace: "default".to_owned(),
        }
    }
}

/// The front matter of a folder's lesson, for lists; None where there is none to be read. Mistakes
/// in it are left to [`crate::load`].
pub fn peek(folder: &Folder) -> Option<Front> {
    let text = std::str::from_utf8(folder.files.get(LESSON)?).ok()?;
    let text = text.replace("\r\n", "\n");
    let mut findings = Findings::new("");
    let (matter, _) = split(&text)?;
    Some(read(matter, &mut findings).0)
}

/// The front matter's text, which begins in line 2, and the rest with the number of its first
/// line. None where the file does not begin with front matter.
pub(crate) fn split(text: &str) -> Option<(&str, (&str, u32))> {
    let rest = text.strip_prefix("---\n")?;
    let mut at = 0;
    for (index, line) in rest.split_inclusive('\n').enumerate() {
        if line.trim_end() == "---" {
            let after = &rest[at + line.len()..];
            let line_number = u32::try_from(index).unwrap_or(u32::MAX - 3) + 3;
            return Some((&rest[..at], (after, line_number)));
        }
        at += line.len();
    }
    None
}

/// Lines in which the keys stand, for findings that need other files.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lines {
    pub needs: Vec<u32>,
    pub images: Vec<u32>,
}

/// Reads the front matter; what is missing or wrong is told and has its default.
pub(crate) fn read(text: &str, findings: &mut Findings) -> (Front, Lines) {
    let mut front = Front::default();
    let mut lines = Lines::default();
    let Some(node) = yaml::parse(text, 2, findings) else {
        return (front, lines);
    };
    const WHAT: &str = "the front matter";
    let Some(mut fields) = Fields::of(&node, WHAT, findings) else {
        return (front, lines);
    };
    match fields.take("format") {
        Some(entry) => {
            if entry
                .number(1, i64::MAX, findings)
                .is_some_and(|n| n != FORMAT)
            {
                findings.error(
                    entry.line,
                    "this program reads lessons of format 1",
                    "write `format: 1`, or use a newer cadet",
                );
            }
        }
        None => findings.error(2, "the front matter has no `format`", "write `format: 1`"),
    }
    front.title = line_of(&mut fields, "title", 60, findings);
    front.summary = line_of(&mut fields, "summary", 100, findings);
    match fields.take("minutes") {
        Some(entry) => front.minutes = number(entry, 1, 600, findings).unwrap_or(0),
        None => findings.error(
            2,
            "the front matter has no `minutes`",
            "write how long a learner takes: `minutes: 20`",
        ),
    }
    for (key, texts, at) in [
        ("needs", &mut front.needs, &mut lines.needs),
        ("images", &mut front.images, &mut lines.images),
    ] {
        for (text, line) in fields
            .take(key)
            .map(|e| e.texts(findings))
            .unwrap_or_default()
        {
            if texts.contains(&text) {
                findings.error(
                    line,
                    format!("`{text}` stands twice in `{key}`"),
                    "remove one",
                );
                continue;
            }
            texts.push(text);
            at.push(line);
        }
    }
    if let Some(entry) = fields.take("nodes") {
        front.nodes = number(entry, 1, 9, findings).unwrap_or(1);
    }
    if let Some(entry) = fields.take("memory") {
        front.memory = number(entry, 256, 65_536, findings);
    }
    if let Some(entry) = fields.take("namespace")
        && let Some(name) = entry.text(findings)
    {
        if is_label(&name) {
            front.namespace = name;
        } else {
            findings.error(
                entry.line,
                format!("`{name}` cannot be the name of a namespace"),
                "use lower-case letters, digits and -, at most 63",
            );
        }
    }
    fields.finish(WHAT, findings);
    (front, lines)
}

fn number(entry: &Entry, least: i64, most: i64, findings: &mut Findings) -> Option<u32> {
    let number = entry.number(least, most, findings)?;
    u32::try_from(number).ok()
}

fn line_of(fields: &mut Fields, key: &'static str, most: usize, findings: &mut Findings) -> String {
    let Some(entry) = fields.take(key) else {
        findings.error(
            2,
            format!("the front matter has no `{key}`"),
            format!("write `{key}: …` in one line"),
        );
        return String::new();
    };
    let text = entry.text(findings).unwrap_or_default().trim().to_owned();
    let length = text.chars().count();
    if text.is_empty() {
        findings.error(entry.line, format!("`{key}` is empty"), "write one line");
    } else if text.contains('\n') || length > most {
        findings.warning(
            entry.line,
            format!("`{key}` is longer than one line of {most} characters"),
            "say it shorter",
        );
    }
    text
}

/// Whether a text can name a namespace (RFC 1123, a label).
pub(crate) fn is_label(text: &str) -> bool {
    let sound = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty()
        && text.len() <= 63
        && text.chars().all(sound)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> (Front, Vec<(u32, String)>) {
        let mut findings = Findings::new("l");
        let (front, _) = read(text, &mut findings);
        let told = findings.all.iter().map(|f| (f.line, f.text.clone()));
        (front, told.collect())
    }

    const WHOLE: &str = "format: 1\ntitle: A rocket\nsummary: It flies.\nminutes: 20\n\
                         needs: [create]\nimages: [mongo]\nnodes: 2\nmemory: 1536\n\
                         namespace: space\n";

    #[test]
    fn a_whole_one_is_read() {
        let (front, told) = told(WHOLE);
        assert!(told.is_empty(), "{told:?}");
        assert_eq!(
            front,
            Front {
                title: "A rocket".into(),
                summary: "It flies.".into(),
                minutes: 20,
                needs: vec!["create".into()],
                images: vec!["mongo".into()],
                nodes: 2,
                memory: Some(1536),
                namespace: "space".into(),
            }
        );
    }

    #[test]
    fn what_is_missing_or_wrong_is_told() {
        let (front, missing) = told("needs: []\n");
        assert_eq!(front.namespace, "default");
        let texts: Vec<&str> = missing.iter().map(|(_, text)| text.as_str()).collect();
        for key in ["format", "title", "summary", "minutes"] {
            let text = format!("the front matter has no `{key}`");
            assert!(texts.contains(&text.as_str()), "{texts:?}");
        }
        for (key, bad, part) in [
            ("format: 1", "format: 2", "format 1"),
            ("minutes: 20", "minutes: 0", "no whole number"),
            ("minutes: 20", "minutes: long", "no whole number"),
            ("nodes: 2", "nodes: many", "no whole number"),
            ("memory: 1536", "memory: 1", "no whole number"),
            (
                "namespace: space",
                "namespace: Outer Space",
                "name of a namespace",
            ),
            ("[create]", "[create, create]", "stands twice"),
            ("A rocket", "\"\"", "is empty"),
            ("nodes: 2", "node: 2", "has no key `node`"),
        ] {
            let (_, told) = told(&WHOLE.replace(key, bad));
            assert!(
                told.iter().any(|(_, text)| text.contains(part)),
                "{bad}: {told:?}"
            );
        }
    }

    #[test]
    fn the_matter_ends_at_its_second_rule() {
        assert_eq!(split("---\na: 1\n---\nx\n"), Some(("a: 1\n", ("x\n", 4))));
        assert_eq!(split("a: 1\n"), None);
        assert_eq!(split("---\na: 1\n"), None);
    }
}
