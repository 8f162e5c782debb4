//! What goes over the line between a learner's laptop and the teacher's, as JSON.
//!
//! All paths of learners begin with `/class/TOKEN`. What a learner reports is all there is in
//! [`Report`], and it is sent only if they agreed.

use serde::{Deserialize, Serialize};

/// Longest body of a request of a learner, in bytes.
pub const LONGEST: usize = 32 * 1024;
/// Longest name, in characters.
pub const LONGEST_NAME: usize = 40;
/// Longest words of a call for help, in characters.
pub const LONGEST_WORDS: usize = 200;
/// Most steps a lesson may have.
pub const MOST_STEPS: usize = 100;

/// `GET /class/TOKEN`: what the class is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Welcome {
    /// What the teacher calls it.
    pub title: String,
    /// The teacher's version of Cadet.
    pub version: String,
    /// Names of its lessons, in order; the first is where learners begin.
    pub lessons: Vec<String>,
    /// Files of the bundle, at `/class/TOKEN/bundle/NAME`.
    pub files: Vec<Offer>,
    /// The teacher shows the commands they type, at `/live`.
    pub live: bool,
    /// The teacher keeps container images, at `/v2/`; this is the certificate to trust, as PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<String>,
}

/// One file to be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    pub name: String,
    pub size: u64,
}

/// `POST /class/TOKEN/join`: signed. Joining again with the same key changes name and consent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joining {
    pub name: String,
    /// The learner agrees to report.
    pub reports: bool,
}

/// The answer to [`Joining`], and to `POST /class/TOKEN/me`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mine {
    /// The name as the board shows it; a second Ada is "Ada 2".
    pub name: String,
    pub reports: bool,
    /// A call for help that the teacher has not yet answered.
    pub asked: bool,
}

/// `POST /class/TOKEN/report`: signed. How one lesson stands; each report replaces the one before,
/// so that a lost one is no loss.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub lesson: String,
    /// The step the learner is in, from 0; as many as there are steps when all are done.
    pub step: usize,
    pub steps: Vec<StepReport>,
    /// The lesson is open in a terminal now.
    pub open: bool,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StepReport {
    /// Seconds on it so far.
    pub seconds: u32,
    /// Hints used.
    pub hints: u8,
    pub state: StepState,
}

/// How a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepState {
    #[default]
    Open,
    /// The learner did it.
    Done,
    /// `solve` did it.
    Solved,
    Skipped,
}

/// `POST /class/TOKEN/help`: signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// False takes it back.
    pub asks: bool,
    #[serde(default)]
    pub words: String,
}

/// `POST /class/TOKEN/leave`: signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// The class forgets what it knows of this learner.
    pub forget: bool,
}

/// What is answered when something is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// `not-this-class`, `not-joined`, `signature`, `number`, `too-many`, `closed`, `full`,
    /// `malformed`, `teacher`, `missing`.
    pub id: String,
    pub message: String,
    /// With `number`: the last number that was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<u64>,
}
