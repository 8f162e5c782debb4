//! What is wrong with a text that should be JSON, in the words of Go's decoder: those are
//! what people search for.

/// Deepest nesting Go's decoder takes.
const MAX_DEPTH: usize = 10_000;
const END: &str = "unexpected end of JSON input";

/// The first mistake, or `None` if Go finds none: numbers out of range and broken Unicode
/// are no matter of syntax.
pub fn mistake(text: &[u8]) -> Option<String> {
    Scanner { text, at: 0 }.document().err()
}

#[derive(Clone, Copy, PartialEq)]
enum Open {
    Object,
    Array,
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn document(&mut self) -> Result<(), String> {
        let mut open: Vec<Open> = vec![];
        // Whether what was just opened may be closed at once.
        let mut fresh = false;
        'value: loop {
            self.spaces();
            if open.last() == Some(&Open::Object) {
                match self.peek()? {
                    b'}' if fresh => {}
                    b'"' => {
                        self.string()?;
                        self.spaces();
                        match self.peek()? {
                            b':' => self.at += 1,
                            other => return Err(invalid(other, "after object key")),
                        }
                        self.spaces();
                        if self.value(&mut open)? {
                            fresh = true;
                            continue 'value;
                        }
                    }
                    other => {
                        return Err(invalid(other, "looking for beginning of object key string"));
                    }
                }
            } else if !(fresh && self.peek()? == b']') && self.value(&mut open)? {
                fresh = true;
                continue 'value;
            }
            fresh = false;
            // A value is complete: close what ends with it, until another is to come.
            loop {
                self.spaces();
                let Some(innermost) = open.last() else {
                    return match self.text.get(self.at) {
                        None => Ok(()),
                        Some(other) => Err(invalid(*other, "after top-level value")),
                    };
                };
                match (innermost, self.peek()?) {
                    (_, b',') => {
                        self.at += 1;
                        continue 'value;
                    }
                    (Open::Object, b'}') | (Open::Array, b']') => {
                        self.at += 1;
                        open.pop();
                    }
                    (Open::Object, other) => {
                        return Err(invalid(other, "after object key:value pair"));
                    }
                    (Open::Array, other) => return Err(invalid(other, "after array element")),
                }
            }
        }
    }

    fn peek(&self) -> Result<u8, String> {
        self.text
            .get(self.at)
            .copied()
            .ok_or_else(|| END.to_owned())
    }

    fn spaces(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// Passes over a value; true if it was only opened.
    fn value(&mut self, open: &mut Vec<Open>) -> Result<bool, String> {
        let kind = match self.peek()? {
            b'{' => Open::Object,
            b'[' => Open::Array,
            b'"' => return self.string().map(|()| false),
            b'-' | b'0'..=b'9' => return self.number().map(|()| false),
            b't' => return self.literal("true").map(|()| false),
            b'f' => return self.literal("false").map(|()| false),
            b'n' => return self.literal("null").map(|()| false),
            other => return Err(invalid(other, "looking for beginning of value")),
        };
        self.at += 1;
        open.push(kind);
        match open.len() > MAX_DEPTH {
            true => Err("exceeded max depth".to_owned()),
            false => Ok(true),
        }
    }

    fn literal(&mut self, word: &str) -> Result<(), String> {
        for expected in word.bytes() {
            match self.peek()? {
                byte if byte == expected => self.at += 1,
                other => {
                    let place = format!("in literal {word} (expecting {})", quoted(expected));
                    return Err(invalid(other, &place));
                }
            }
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), String> {
        self.at += 1;
        loop {
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b'"' => return Ok(()),
                b'\\' => self.escape()?,
                byte if byte < b' ' => return Err(invalid(byte, "in string literal")),
                _ => {}
            }
        }
    }

    fn escape(&mut self) -> Result<(), String> {
        let byte = self.peek()?;
        self.at += 1;
        match byte {
            b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => Ok(()),
            b'u' => (0..4).try_for_each(|_| match self.peek()? {
                byte if byte.is_ascii_hexdigit() => {
                    self.at += 1;
                    Ok(())
                }
                other => Err(invalid(other, "in \\u hexadecimal character escape")),
            }),
            other => Err(invalid(other, "in string escape code")),
        }
    }

    fn number(&mut self) -> Result<(), String> {
        if self.peek()? == b'-' {
            self.at += 1;
        }
        match self.peek()? {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.digits(),
            other => return Err(invalid(other, "in numeric literal")),
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.some_digits("after decimal point in numeric literal")?;
        }
        if let Some(b'e' | b'E') = self.text.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.text.get(self.at) {
                self.at += 1;
            }
            self.some_digits("in exponent of numeric literal")?;
        }
        Ok(())
    }

    fn digits(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }

    fn some_digits(&mut self, place: &str) -> Result<(), String> {
        match self.peek()? {
            b'0'..=b'9' => {
                self.digits();
                Ok(())
            }
            other => Err(invalid(other, place)),
        }
    }
}

fn invalid(byte: u8, place: &str) -> String {
    format!("invalid character {} {place}", quoted(byte))
}

/// A byte as Go quotes a character.
fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => "'\\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b'\n' => "'\\n'".to_owned(),
        b'\r' => "'\\r'".to_owned(),
        b'\t' => "'\\t'".to_owned(),
        b'\\' => "'\\\\'".to_owned(),
        0..0x20 | 0x7f => format!("'\\x{byte:02x}'"),
        // Latin-1's controls and its invisible space and hyphen.
        0x80..=0xa0 | 0xad => format!("'\\u{byte:04x}'"),
        byte => format!("'{}'", char::from(byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_read_like_gos() {
        for (text, want) in [
            ("", END),
            ("{", END),
            ("{\"a\":", END),
            ("[1,", END),
            ("\"a", END),
            ("-", END),
            ("tru", END),
            (
                "{a: 1}",
                "invalid character 'a' looking for beginning of object key string",
            ),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            (
                "{\"a\": 1 2}",
                "invalid character '2' after object key:value pair",
            ),
            (
                "{\"a\": 1,}",
                "invalid character '}' looking for beginning of object key string",
            ),
            ("[1 2]", "invalid character '2' after array element"),
            (
                "[1,]",
                "invalid character ']' looking for beginning of value",
            ),
            ("{} x", "invalid character 'x' after top-level value"),
            (
                "nul!",
                "invalid character '!' in literal null (expecting 'l')",
            ),
            (
                "NaN",
                "invalid character 'N' looking for beginning of value",
            ),
            ("01", "invalid character '1' after top-level value"),
            ("-a", "invalid character 'a' in numeric literal"),
            (
                "1.x",
                "invalid character 'x' after decimal point in numeric literal",
            ),
            (
                "1ex",
                "invalid character 'x' in exponent of numeric literal",
            ),
            ("\"\\x\"", "invalid character 'x' in string escape code"),
            (
                "\"\\u12g\"",
                "invalid character 'g' in \\u hexadecimal character escape",
            ),
            ("\"a\nb\"", "invalid character '\\n' in string literal"),
            (
                "\u{feff}{}",
                "invalid character 'ï' looking for beginning of value",
            ),
            (
                "\0",
                "invalid character '\\x00' looking for beginning of value",
            ),
        ] {
            assert_eq!(mistake(text.as_bytes()).as_deref(), Some(want), "{text:?}");
        }
        let deep = "[".repeat(20_000);
        assert_eq!(
            mistake(deep.as_bytes()).as_deref(),
            Some("exceeded max depth")
        );
        for good in [
            "{}",
            "[]",
            " {\"a\": [1, {\"b\": -0.5e+3}, [], {}], \"\\ud800\": null} ",
            "1e999",
        ] {
            assert_eq!(mistake(good.as_bytes()), None, "{good}");
        }
    }
}
