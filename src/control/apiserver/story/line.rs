//! One line of a story.

use cadet_store::Revision;
use serde::Serialize;

use crate::moment::Moment;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    pub time: Moment,
    /// Whether the time is true to the microsecond; times that objects themselves keep have
    /// whole seconds.
    pub exact: bool,
    /// `you`, `controller`, `scheduler`, `agent`, `service`, `server`, or a user's name.
    pub who: String,
    /// Which part of it: the tool, the controller, the engine.
    pub part: String,
    /// One stable word, for programs.
    pub act: &'static str,
    pub text: String,
    /// What it happened to.
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// 0 where nothing was written.
    pub revision: Revision,
    /// How long it took, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

/// What is told of a change, before it is known by whom and when.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    pub act: &'static str,
    pub text: String,
}

impl Told {
    pub fn new(act: &'static str, text: impl Into<String>) -> Told {
        Told {
            act,
            text: text.into(),
        }
    }
}
