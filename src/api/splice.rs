//! Where members stand in the text of a JSON object, and more members put behind them: what
//! changes little of an object need not read all of it.
//!
//! For texts the server has written itself, in which keys have no escapes they could do
//! without and stand once. Of any other text nothing wrong is made: it is refused, or a member
//! is not found.

use std::ops::Range;

/// The places of the values of these members in the object that `text` is; `None` if it is no
/// object.
pub fn members<const N: usize>(text: &[u8], names: [&str; N]) -> Option<[Option<Range<usize>>; N]> {
    let mut found: [Option<Range<usize>>; N] = std::array::from_fn(|_| None);
    let mut at = blanks(text, 0);
    if text.get(at)? != &b'{' {
        return None;
    }
    at = blanks(text, at + 1);
    let mut next = match text.get(at)? {
        b'}' => None,
        _ => Some(at),
    };
    while let Some(key) = next {
        if text.get(key)? != &b'"' {
            return None;
        }
        let behind = string(text, key)?;
        let name = &text[key + 1..behind - 1];
        let colon = blanks(text, behind);
        if text.get(colon)? != &b':' {
            return None;
        }
        let begin = blanks(text, colon + 1);
        let end = value(text, begin)?;
        if let Some(wanted) = names.iter().position(|wanted| wanted.as_bytes() == name) {
            found[wanted] = Some(begin..end);
        }
        at = blanks(text, end);
        next = match text.get(at)? {
            b',' => Some(blanks(text, at + 1)),
            b'}' => None,
            _ => return None,
        };
    }
    match blanks(text, at + 1) == text.len() {
        true => Some(found),
        false => None,
    }
}

/// The text with one more member, as JSON without the braces, at the end of each of these
/// objects in it. None of the objects lies in another.
pub fn with_members<const N: usize>(
    text: &[u8],
    mut more: [(Range<usize>, String); N],
) -> Option<Vec<u8>> {
    more.sort_by_key(|(object, _)| object.start);
    let added: usize = more.iter().map(|(_, member)| member.len() + 1).sum();
    let mut out = Vec::with_capacity(text.len() + added);
    let mut done = 0;
    for (object, member) in more {
        let inside = object.start + 1..object.end.checked_sub(1)?;
        out.extend_from_slice(text.get(done..inside.end)?);
        let is_empty = text.get(inside.clone())?.iter().all(is_blank);
        if !is_empty {
            out.push(b',');
        }
        out.extend_from_slice(member.as_bytes());
        done = inside.end;
    }
    out.extend_from_slice(text.get(done..)?);
    Some(out)
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn blanks(text: &[u8], from: usize) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    from + rest.iter().take_while(|byte| is_blank(byte)).count()
}

/// The end of the string whose first quote stands at `from`.
fn string(text: &[u8], from: usize) -> Option<usize> {
    let mut at = from + 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// The end of the value that begins at `from`.
fn value(text: &[u8], from: usize) -> Option<usize> {
    let mut open = 0_usize;
    let mut at = from;
    loop {
        match text.get(at)? {
            b'"' => at = string(text, at)?,
            b'{' | b'[' => {
                open += 1;
                at += 1;
                continue;
            }
            b'}' | b']' => {
                open = open.checked_sub(1)?;
                at += 1;
            }
            b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' if open > 0 => {
                at += 1;
                continue;
            }
            b',' | b':' => return None,
            // A number or a word.
            _ => {
                let rest = text.get(at..)?;
                at += rest
                    .iter()
                    .take_while(|byte| {
                        !matches!(byte, b',' | b':' | b'}' | b']') && !is_blank(byte)
                    })
                    .count();
            }
        }
        if open == 0 {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn members_are_found_whatever_stands_around_them() {
        let object = json!({"a": 1, "b": {"x": "}\"]{", "y": [1, {"z": null}]}, "c": [],
            "d": "\\", "e": {}, "f": true, "ü": -1.5e3});
        for text in [object.to_string(), format!("{object:#}\n")] {
            let text = text.as_bytes();
            let names = ["a", "b", "c", "d", "e", "f", "ü", "x"];
            let found = members(text, names).expect("an object");
            for (name, place) in names.iter().zip(found) {
                let read = place.map(|p| serde_json::from_slice::<Value>(&text[p]).expect("json"));
                assert_eq!(read.as_ref(), object.get(name), "{name}");
            }
        }
        assert_eq!(members(b" {} ", ["a"]), Some([None]));
    }

    #[test]
    fn what_is_no_object_has_no_members() {
        for text in [
            "",
            "[]",
            "1",
            "{",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1",
            "{\"a\":{}",
            "{\"a\":1]",
            "{a:1}",
            "{\"a\":1}}",
            "{\"a\":1,}",
            "{\"a\":\"",
            "{\"a\":]}",
            "{\"a\" 1}",
            "{,}",
        ] {
            assert_eq!(members(text.as_bytes(), ["a"]), None, "{text}");
        }
    }

    #[test]
    fn members_are_added_to_full_and_to_empty_objects() {
        let text = br#"{"a":{},"b":{"x":1},"c":{ }}"#;
        let [a, b, c] = members(text, ["a", "b", "c"]).expect("an object");
        let more = [b, a, c].map(|place| (place.expect("there"), "\"n\":2".to_owned()));
        let out = with_members(text, more).expect("objects");
        let read: Value = serde_json::from_slice(&out).expect("json");
        assert_eq!(
            read,
            json!({"a": {"n": 2}, "b": {"x": 1, "n": 2}, "c": {"n": 2}})
        );
    }
}
