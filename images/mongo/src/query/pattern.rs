//! Regular expressions of queries, on Rust's engine: linear time, no look-around.

use bson::Regex as BsonRegex;

use crate::refusal::{Answer, Refusal};

/// Compiled size limit of one expression, so that a query cannot eat the memory.
const SIZE_LIMIT: usize = 1 << 20;

/// A compiled pattern, which remembers its source for comparing with stored patterns.
#[derive(Debug, Clone)]
pub struct Pattern {
    source: BsonRegex,
    compiled: regex::Regex,
}

impl Pattern {
    /// Compiles `pattern` with MongoDB's option letters `i`, `m`, `s`, `x` and `u`.
    pub fn new(pattern: &str, options: &str) -> Answer<Self> {
        let mut builder = regex::RegexBuilder::new(pattern);
        builder.size_limit(SIZE_LIMIT);
        for option in options.chars() {
            match option {
                'i' => builder.case_insensitive(true),
                'm' => builder.multi_line(true),
                's' => builder.dot_matches_new_line(true),
                'x' => builder.ignore_whitespace(true),
                'u' => &mut builder,
                other => {
                    return Err(Refusal::bad_value(format!(
                        "invalid flag in regex options: {other}"
                    )));
                }
            };
        }
        let compiled = builder.build().map_err(|e| {
            Refusal::bad_value(format!(
                "the regular expression cannot be used (the stand-in knows no look-around and no back-references): {e}"
            ))
        })?;
        let source = BsonRegex {
            pattern: pattern
                .try_into()
                .map_err(|_| Refusal::bad_value("the regular expression holds a zero byte"))?,
            options: options.try_into().map_err(|_| {
                Refusal::bad_value("the regular expression's options hold a zero byte")
            })?,
        };
        Ok(Self { source, compiled })
    }

    /// Compiles a pattern that came as a BSON value.
    pub fn from_value(value: &BsonRegex) -> Answer<Self> {
        Self::new(value.pattern.as_str(), value.options.as_str())
    }

    /// True for text the pattern finds something in.
    pub fn finds(&self, text: &str) -> bool {
        self.compiled.is_match(text)
    }

    /// True for the same pattern stored as a value.
    pub fn is_same(&self, value: &BsonRegex) -> bool {
        self.source == *value
    }
}
