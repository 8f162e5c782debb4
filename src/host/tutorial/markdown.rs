//! Markdown by lines: headings of steps, fenced blocks, and everything else as prose.
//!
//! Fences follow CommonMark 0.31, 4.5: three or more backticks or tildes, closed by at least as
//! many of the same, indented content loses the opening's indentation.

/// One piece of a file; lines count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// `## Title`.
    Step {
        title: String,
        line: u32,
    },
    Prose {
        text: String,
        line: u32,
    },
    Fence(Fence),
}

/// A fenced block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fence {
    /// What stands after the opening fence.
    pub info: String,
    /// The lines inside, each with its line end.
    pub text: String,
    /// Of the opening fence; the content begins in the line after it.
    pub line: u32,
    /// False where the file ends first.
    pub closed: bool,
}

/// Parts `text`, whose first line is line `first` of the file.
pub(crate) fn pieces(text: &str, first: u32) -> Vec<Piece> {
    let mut out = Vec::new();
    let mut prose: Option<(String, u32)> = None;
    let mut lines = (first..).zip(text.lines());
    while let Some((line, content)) = lines.next() {
        if let Some(opening) = Opening::of(content) {
            end(&mut prose, &mut out);
            let mut fence = Fence {
                info: opening.info.to_owned(),
                text: String::new(),
                line,
                closed: false,
            };
            for (_, content) in lines.by_ref() {
                if opening.closes(content) {
                    fence.closed = true;
                    break;
                }
                fence.text.push_str(opening.inside(content));
                fence.text.push('\n');
            }
            out.push(Piece::Fence(fence));
        } else if let Some(title) = heading(content) {
            end(&mut prose, &mut out);
            let title = title.to_owned();
            out.push(Piece::Step { title, line });
        } else if content.trim_start().starts_with("<!--") {
            // The author's own notes end the paragraph, and are shown to nobody.
            end(&mut prose, &mut out);
            let mut last = content;
            while !last.contains("-->") {
                let Some((_, next)) = lines.next() else {
                    break;
                };
                last = next;
            }
        } else {
            match &mut prose {
                Some((text, _)) => {
                    text.push('\n');
                    text.push_str(content);
                }
                None if content.trim().is_empty() => {}
                None => prose = Some((content.to_owned(), line)),
            }
        }
    }
    end(&mut prose, &mut out);
    out
}

fn end(prose: &mut Option<(String, u32)>, out: &mut Vec<Piece>) {
    if let Some((text, line)) = prose.take() {
        let text = text.trim_end().to_owned();
        out.push(Piece::Prose { text, line });
    }
}

/// The title of a `## ` heading; smaller and larger ones are prose.
fn heading(line: &str) -> Option<&str> {
    let title = line.strip_prefix("##")?;
    let title = title
        .strip_prefix([' ', '\t'])
        .or(title.is_empty().then_some(""))?;
    let title = title.trim();
    let bare = title.trim_end_matches('#');
    // A closing row of # is no part of the title; `C#` is.
    match bare.ends_with([' ', '\t']) || bare.is_empty() {
        true => Some(bare.trim_end()),
        false => Some(title),
    }
}

/// An opening fence.
struct Opening<'a> {
    indent: usize,
    mark: char,
    length: usize,
    info: &'a str,
}

impl<'a> Opening<'a> {
    fn of(line: &'a str) -> Option<Opening<'a>> {
        let bare = line.trim_start_matches(' ');
        let mark = bare.chars().next().filter(|c| ['`', '~'].contains(c))?;
        let info = bare.trim_start_matches(mark);
        let length = bare.len() - info.len();
        // A backtick in the info makes it code within a line.
        if length < 3 || (mark == '`' && info.contains('`')) {
            return None;
        }
        Some(Opening {
            indent: line.len() - bare.len(),
            mark,
            length,
            info: info.trim(),
        })
    }

    fn closes(&self, line: &str) -> bool {
        let bare = line.trim();
        bare.len() >= self.length && bare.chars().all(|c| c == self.mark)
    }

    /// A line of the content, without the indentation the opening has.
    fn inside<'b>(&self, line: &'b str) -> &'b str {
        let spaces = line.len() - line.trim_start_matches(' ').len();
        &line[spaces.min(self.indent)..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fence(info: &str, text: &str, line: u32) -> Piece {
        Piece::Fence(Fence {
            info: info.to_owned(),
            text: text.to_owned(),
            line,
            closed: true,
        })
    }

    fn prose(text: &str, line: u32) -> Piece {
        let text = text.to_owned();
        Piece::Prose { text, line }
    }

    fn step(title: &str, line: u32) -> Piece {
        let title = title.to_owned();
        Piece::Step { title, line }
    }

    #[test]
    fn a_page_is_parted() {
        let text = "Hello\nthere.\n\nAgain.\n\n## First ##\n### small\n```run\na\n\nb\n```\nend\n";
        assert_eq!(
            pieces(text, 5),
            [
                prose("Hello\nthere.\n\nAgain.", 5),
                step("First", 10),
                prose("### small", 11),
                fence("run", "a\n\nb\n", 12),
                prose("end", 17),
            ]
        );
    }

    #[test]
    fn fences_hold_fences_and_headings() {
        assert_eq!(
            pieces("````file a.md\n```\n## no\n```\n````\n", 1),
            [fence("file a.md", "```\n## no\n```\n", 1)]
        );
        assert_eq!(
            pieces("~~~yaml\n```\n~~~\n", 1),
            [fence("yaml", "```\n", 1)]
        );
        assert_eq!(
            pieces("  ```text\n  a\n    b\n c\n  ```\n", 1),
            [fence("text", "a\n  b\nc\n", 1)]
        );
        assert_eq!(pieces("``` a`b\n", 1), [prose("``` a`b", 1)]);
    }

    #[test]
    fn notes_of_the_author_are_left_out() {
        let text = "a\n<!-- one -->\nb\n<!--\n## no\n```run\n-->\nc\n";
        assert_eq!(
            pieces(text, 1),
            [prose("a", 1), prose("b", 3), prose("c", 8)]
        );
        assert_eq!(pieces("<!-- open\n## no\n", 1), []);
    }

    #[test]
    fn an_open_fence_is_seen() {
        let pieces = pieces("```run\na\n", 1);
        assert!(matches!(
            &pieces[..],
            [Piece::Fence(Fence { closed: false, .. })]
        ));
    }

    #[test]
    fn headings_are_those_of_steps_only() {
        assert_eq!(pieces("# One\n", 1), [prose("# One", 1)]);
        assert_eq!(pieces("##\n", 1), [step("", 1)]);
        assert_eq!(pieces("## C#\n", 1), [step("C#", 1)]);
        assert_eq!(pieces("##no\n", 1), [prose("##no", 1)]);
        assert_eq!(pieces("\n\n", 1), []);
    }
}
