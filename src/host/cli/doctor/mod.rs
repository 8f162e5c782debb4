//! What `cadet doctor` knows of laptops: facts in, findings out. Nothing here looks at the
//! laptop itself, so that sample broken ones can be judged as well; the verb gathers the facts.

pub mod cache;
pub mod laptop;
pub mod network;

use crate::error::CliError;

/// One finding.
#[derive(Debug)]
pub enum Finding {
    /// As it should be.
    Good(String),
    /// Worth knowing; nothing stands in the way. With the next command, if there is one.
    Note { text: String, fix: Option<String> },
    /// In the way.
    Bad(CliError),
}

impl Finding {
    /// Something worth knowing that nothing is to be done about.
    pub fn note(text: impl Into<String>) -> Self {
        Self::Note {
            text: text.into(),
            fix: None,
        }
    }

    /// Something worth knowing, and what to type.
    pub fn note_with(text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::Note {
            text: text.into(),
            fix: Some(fix.into()),
        }
    }
}

impl From<crate::error::Result<String>> for Finding {
    fn from(result: crate::error::Result<String>) -> Self {
        match result {
            Ok(text) => Self::Good(text),
            Err(e) => Self::Bad(e),
        }
    }
}
