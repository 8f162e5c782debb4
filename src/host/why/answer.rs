//! What is said: the cause in plain words, the evidence, the next command.

use crate::cause::{Cause, Mood};

/// An answer to "why".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// One sentence, with the object's name in it.
    pub headline: String,
    pub cause: Cause,
    /// Label and text, the weightiest first.
    pub evidence: Vec<(String, String)>,
    /// How long it has been so, in words.
    pub since: Option<String>,
    /// Commands that can be pasted, the likeliest first.
    pub next: Vec<String>,
    /// Whether the evidence proves the cause; if not, the headline says "may".
    pub confident: bool,
}

impl Answer {
    #[must_use]
    pub fn new(cause: Cause, headline: impl Into<String>) -> Answer {
        Answer {
            headline: headline.into(),
            cause,
            evidence: Vec::new(),
            since: None,
            next: Vec::new(),
            confident: cause.mood() != Mood::Unknown,
        }
    }

    /// Adds evidence, unless there is nothing to say or it was said.
    #[must_use]
    pub fn with(mut self, label: &str, text: impl Into<String>) -> Answer {
        let text = text.into();
        let is_new = self.evidence.iter().all(|(_, known)| *known != text);
        if !text.trim().is_empty() && is_new {
            self.evidence.push((label.to_owned(), text));
        }
        self
    }

    #[must_use]
    pub fn since(mut self, since: Option<String>) -> Answer {
        self.since = self.since.or(since);
        self
    }

    /// Adds a command to type.
    #[must_use]
    pub fn then(mut self, command: impl Into<String>) -> Answer {
        let command = command.into();
        if !self.next.contains(&command) {
            self.next.push(command);
        }
        self
    }

    /// The evidence does not prove it.
    #[must_use]
    pub fn unsure(mut self) -> Answer {
        self.confident = false;
        self
    }

    #[must_use]
    pub fn is_fault(&self) -> bool {
        self.cause.mood() == Mood::Fault
    }

    /// The same cause, told of another object.
    #[must_use]
    pub fn told_as(mut self, headline: String) -> Answer {
        self.headline = headline;
        self
    }
}
