//! Markdown of lessons as lines of a terminal: broken between words, code and stress told by
//! colour, or as it was written where there is no colour.

use console::{Style, measure_text_width};

/// How a piece of a word looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Code,
    Strong,
}

/// Pieces that stay together.
type Word = Vec<(Kind, String)>;

/// Lays out Markdown prose in lines of at most `width` columns.
pub fn prose(text: &str, width: usize, colour: bool) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for block in blocks(text) {
        if !(out.is_empty() || block.is_item() && block.tight) {
            out.push(String::new());
        }
        match block.shape {
            Shape::Paragraph => out.extend(laid(&block.text, width, "", "", colour)),
            Shape::Item { mark, depth } => {
                let first = format!("{}{mark} ", "  ".repeat(depth));
                let rest = " ".repeat(measure_text_width(&first));
                out.extend(laid(&block.text, width, &first, &rest, colour));
            }
            Shape::Quote => out.extend(laid(&block.text, width, "| ", "| ", colour)),
            Shape::Heading => {
                let text = format!("**{}**", block.text);
                out.extend(laid(&text, width, "", "", colour));
            }
            Shape::Table => out.extend(block.text.lines().map(str::to_owned)),
        }
    }
    out
}

/// One paragraph in lines of at most `width` columns; `first` and `rest` begin them.
pub fn laid(text: &str, width: usize, first: &str, rest: &str, colour: bool) -> Vec<String> {
    let mut out = Vec::new();
    let mut line = first.to_owned();
    let mut used = measure_text_width(first);
    let mut empty = true;
    for word in words(text, colour) {
        let mut length: usize = word.iter().map(|(_, t)| measure_text_width(t)).sum();
        if !empty && used + 1 + length > width {
            out.push(std::mem::replace(&mut line, rest.to_owned()));
            used = measure_text_width(rest);
            empty = true;
        }
        if !empty {
            line.push(' ');
            used += 1;
        }
        for (kind, text) in &word {
            let mut text = text.as_str();
            // A word longer than a line is cut where the line ends.
            while used + length > width && width > measure_text_width(rest) {
                let room = width.saturating_sub(used);
                let cut = cut_at(text, room);
                let stuck = cut == 0 && used == measure_text_width(rest);
                if stuck || cut >= text.len() {
                    break;
                }
                line.push_str(&styled(*kind, &text[..cut], colour));
                length -= measure_text_width(&text[..cut]);
                text = &text[cut..];
                out.push(std::mem::replace(&mut line, rest.to_owned()));
                used = measure_text_width(rest);
            }
            line.push_str(&styled(*kind, text, colour));
            used += measure_text_width(text);
            length = length.saturating_sub(measure_text_width(text));
        }
        empty = false;
    }
    if !empty || out.is_empty() {
        out.push(line);
    }
    out
}

/// The byte at which `columns` columns are full.
fn cut_at(text: &str, columns: usize) -> usize {
    let mut end = 0;
    for (place, c) in text.char_indices() {
        let next = place + c.len_utf8();
        if measure_text_width(&text[..next]) > columns {
            break;
        }
        end = next;
    }
    end
}

fn styled(kind: Kind, text: &str, colour: bool) -> String {
    if !colour || kind == Kind::Plain {
        return text.to_owned();
    }
    let style = match kind {
        Kind::Code => Style::new().cyan(),
        Kind::Strong | Kind::Plain => Style::new().bold(),
    };
    style.force_styling(true).apply_to(text).to_string()
}

/// Splits a paragraph into words; marks of Markdown are taken off where colour tells them.
fn words(text: &str, colour: bool) -> Vec<Word> {
    let mut out: Vec<Word> = Vec::new();
    let mut glued = false;
    let mut add = |kind: Kind, text: &str, out: &mut Vec<Word>| {
        let mut glue = glued && !text.starts_with(char::is_whitespace);
        for part in text.split_whitespace() {
            match out.last_mut() {
                Some(word) if glue => word.push((kind, part.to_owned())),
                _ => out.push(vec![(kind, part.to_owned())]),
            }
            glue = false;
        }
        if !text.is_empty() {
            glued = !text.ends_with(char::is_whitespace);
        }
    };
    let mut rest = text;
    let mut plain = String::new();
    while let Some(c) = rest.chars().next() {
        let (kind, mark, inner, after) = match span(rest) {
            Some(found) => found,
            None => {
                // `\*` is a star.
                let escaped = rest.strip_prefix('\\').and_then(|r| r.chars().next());
                let literal = escaped.filter(char::is_ascii_punctuation);
                plain.push(literal.unwrap_or(c));
                let taken = c.len_utf8() + literal.map_or(0, char::len_utf8);
                rest = &rest[taken..];
                continue;
            }
        };
        add(Kind::Plain, &std::mem::take(&mut plain), &mut out);
        if colour {
            add(kind, inner, &mut out);
        } else {
            add(kind, &format!("{mark}{inner}{mark}"), &mut out);
        }
        rest = after;
    }
    add(Kind::Plain, &plain, &mut out);
    out
}

/// A span at the very beginning: its kind, its mark, what is in it, what follows.
fn span(text: &str) -> Option<(Kind, &'static str, &str, &str)> {
    for (kind, mark) in [(Kind::Code, "`"), (Kind::Strong, "**")] {
        if let Some(inner) = text.strip_prefix(mark)
            && let Some((inner, after)) = inner.split_once(mark)
            && !inner.is_empty()
        {
            return Some((kind, mark, inner, after));
        }
    }
    None
}

/// What a piece of prose is.
enum Shape {
    Paragraph,
    Item { mark: String, depth: usize },
    Quote,
    Heading,
    Table,
}

struct Block {
    shape: Shape,
    text: String,
    /// No empty line before it.
    tight: bool,
}

impl Block {
    fn is_item(&self) -> bool {
        matches!(self.shape, Shape::Item { .. })
    }
}

fn blocks(text: &str) -> Vec<Block> {
    let mut out: Vec<Block> = Vec::new();
    let mut gap = true;
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() {
            gap = true;
            continue;
        }
        let depth = (line.len() - line.trim_start().len()) / 2;
        let (shape, words) = shape(trimmed, depth);
        match (out.last_mut(), &shape) {
            (Some(last), Shape::Paragraph) if !gap && !matches!(last.shape, Shape::Heading) => {
                last.text.push(' ');
                last.text.push_str(words);
            }
            (Some(last), Shape::Table) if !gap && matches!(last.shape, Shape::Table) => {
                last.text.push('\n');
                last.text.push_str(words);
            }
            (Some(last), Shape::Quote) if !gap && matches!(last.shape, Shape::Quote) => {
                last.text.push(' ');
                last.text.push_str(words);
            }
            _ => out.push(Block {
                shape,
                text: words.to_owned(),
                tight: !gap,
            }),
        }
        gap = false;
    }
    out
}

fn shape(line: &str, depth: usize) -> (Shape, &str) {
    if let Some(rest) = line.strip_prefix("> ") {
        return (Shape::Quote, rest);
    }
    if line.starts_with('|') {
        return (Shape::Table, line);
    }
    if line.starts_with('#') {
        let rest = line.trim_start_matches('#');
        if rest.starts_with(' ') {
            return (Shape::Heading, rest.trim());
        }
    }
    for mark in ["- ", "* ", "+ "] {
        if let Some(rest) = line.strip_prefix(mark) {
            let mark = "-".to_owned();
            return (Shape::Item { mark, depth }, rest);
        }
    }
    if let Some((number, rest)) = line.split_once(". ")
        && !number.is_empty()
        && number.len() < 3
        && number.bytes().all(|b| b.is_ascii_digit())
    {
        let mark = format!("{number}.");
        return (Shape::Item { mark, depth }, rest);
    }
    (Shape::Paragraph, line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_are_broken_between_words() {
        let text = "A pod is the smallest\nthing there is.\n\nIt has `one address`.";
        assert_eq!(
            prose(text, 20, false),
            [
                "A pod is the",
                "smallest thing there",
                "is.",
                "",
                "It has `one",
                "address`."
            ]
        );
    }

    #[test]
    fn lists_hang() {
        let text = "Three things:\n- one two three\n- four\n1. five\n\nEnd.";
        assert_eq!(
            prose(text, 11, false),
            [
                "Three",
                "things:",
                "- one two",
                "  three",
                "- four",
                "1. five",
                "",
                "End."
            ]
        );
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let text = "See **this** and https://kubernetes.io/docs/concepts/workloads/pods/ or \
                    `kubectl get pods -o jsonpath={.items[*].metadata.name}`, and so on.\n\n\
                    - also in_a_list_with_a_word_that_is_far_too_long_for_anything ok\n";
        for width in [20, 24, 40, 80] {
            for colour in [false, true] {
                for line in prose(text, width, colour) {
                    assert!(measure_text_width(&line) <= width, "{width}: {line}");
                }
            }
        }
        let all = prose(text, 20, false).concat().replace([' ', '\n'], "");
        assert!(all.contains("https://kubernetes.io/docs/concepts/workloads/pods/"));
    }

    #[test]
    fn colour_takes_the_place_of_marks() {
        let line = prose("run `kubectl`, **now**", 80, true).concat();
        assert!(!line.contains('`') && !line.contains("**"), "{line}");
        assert_eq!(console::strip_ansi_codes(&line), "run kubectl, now");
        let line = prose("a \\* b `c", 80, false).concat();
        assert_eq!(line, "a * b `c");
    }
}
