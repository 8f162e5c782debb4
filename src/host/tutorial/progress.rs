//! What is remembered of a learner, as versioned JSON; the caller keeps the bytes.

use serde::{Deserialize, Serialize};

use crate::event::How;
use crate::model::Lesson;

/// The version this program writes. Others are told, never overwritten unasked.
pub const FORMAT: u32 = 1;

/// Progress in one lesson.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LessonProgress {
    pub format: u32,
    /// The lesson's name, without its number.
    pub lesson: String,
    /// Digest of the text the steps below belong to.
    pub digest: String,
    /// The step the learner is in, from 0; as many as there are steps when all are done.
    pub step: usize,
    pub steps: Vec<StepProgress>,
    /// Seconds since 1970.
    pub started: u64,
    /// Seconds since 1970; set when the last step was left.
    #[serde(default)]
    pub finished: Option<u64>,
}

/// Progress in one step.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepProgress {
    /// The heading: steps are found again by it when the text changes.
    pub title: String,
    #[serde(default)]
    pub state: StepState,
    /// Seconds spent until it was completed.
    #[serde(default)]
    pub seconds: u64,
    /// Hints that were given.
    #[serde(default)]
    pub hints: usize,
    /// Whether what the step shows was done here.
    #[serde(default)]
    pub ran: bool,
    /// Whether the scripts of the step have run in the machine.
    #[serde(default)]
    pub scripted: bool,
    /// The uids of the watched objects that were there when the step began; None before.
    #[serde(default)]
    pub before: Option<Vec<String>>,
    /// The journal's mark of when the step began.
    #[serde(default)]
    pub mark: Option<String>,
}

/// How far a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StepState {
    #[default]
    Open,
    Completed(How),
    Skipped,
}

impl StepState {
    /// Whether the learner is through with it.
    pub fn left(self) -> bool {
        self != StepState::Open
    }
}

/// Why kept progress cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProgressError {
    /// Written by another version of the program; the bytes are good.
    #[error("the progress of this lesson has format {found}; this program reads format {FORMAT}")]
    Version { found: u64 },
    #[error("the progress of this lesson cannot be read: {0}")]
    Damaged(String),
}

impl LessonProgress {
    /// Nothing done yet. `now` in seconds since 1970.
    pub fn new(lesson: &Lesson, now: u64) -> LessonProgress {
        LessonProgress {
            format: FORMAT,
            lesson: lesson.name.clone(),
            digest: lesson.digest.clone(),
            step: 0,
            steps: fresh(lesson),
            started: now,
            finished: None,
        }
    }

    /// Reads what [`LessonProgress::encode`] wrote.
    ///
    /// # Errors
    /// [`ProgressError::Version`] when another program wrote it, [`ProgressError::Damaged`] when
    /// it is not progress at all.
    pub fn decode(bytes: &[u8]) -> Result<LessonProgress, ProgressError> {
        let damaged = |e: serde_json::Error| ProgressError::Damaged(e.to_string());
        let value: serde_json::Value = serde_json::from_slice(bytes).map_err(damaged)?;
        match value.get("format").and_then(serde_json::Value::as_u64) {
            Some(found) if found == u64::from(FORMAT) => {
                serde_json::from_value(value).map_err(damaged)
            }
            Some(found) => Err(ProgressError::Version { found }),
            None => Err(ProgressError::Damaged("it has no format number".to_owned())),
        }
    }

    /// As JSON.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers are JSON")
    }

    /// Takes the progress to the lesson as it reads now: steps that still exist, by title, keep
    /// what was done; the place is the first step that is open. True when the text had changed.
    pub fn adopt(&mut self, lesson: &Lesson) -> bool {
        let titles = |steps: &[StepProgress]| -> Vec<String> {
            steps.iter().map(|step| step.title.clone()).collect()
        };
        let wanted = fresh(lesson);
        let changed = self.digest != lesson.digest;
        if titles(&wanted) != titles(&self.steps) {
            let old = std::mem::take(&mut self.steps);
            let kept = |new: StepProgress| {
                let same = old.iter().find(|step| step.title == new.title);
                same.cloned().unwrap_or(new)
            };
            self.steps = wanted.into_iter().map(kept).collect();
            self.step = self.first_open();
        }
        self.step = self.step.min(self.steps.len());
        self.digest.clone_from(&lesson.digest);
        if self.step < self.steps.len() {
            self.finished = None;
        }
        changed
    }

    /// The first step that is neither completed nor skipped, or the number of steps.
    pub fn first_open(&self) -> usize {
        let open = self.steps.iter().position(|step| !step.state.left());
        open.unwrap_or(self.steps.len())
    }

    /// Steps the learner is through with.
    pub fn left(&self) -> usize {
        self.steps.iter().filter(|step| step.state.left()).count()
    }
}

fn fresh(lesson: &Lesson) -> Vec<StepProgress> {
    let steps = lesson.steps.iter();
    steps
        .map(|step| StepProgress {
            title: step.title.clone(),
            ..StepProgress::default()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::{Folder, LESSON};

    fn lesson(titles: &[&str]) -> Lesson {
        let mut text = "---\nformat: 1\ntitle: T\nsummary: S\nminutes: 1\n---\n".to_owned();
        for title in titles {
            text.push_str(&format!(
                "## {title}\n\nWords.\n\n```watch\n- done: true\n```\n"
            ));
        }
        let files = std::collections::BTreeMap::from([(LESSON.to_owned(), text.into_bytes())]);
        crate::load::sound(&Folder::from_files("01-t", files)).unwrap()
    }

    #[test]
    fn progress_survives_its_bytes() {
        let mut progress = LessonProgress::new(&lesson(&["One", "Two"]), 7);
        progress.steps[0].state = StepState::Completed(How::Solved);
        progress.steps[1].before = Some(vec!["u".to_owned()]);
        let again = LessonProgress::decode(&progress.encode()).unwrap();
        assert_eq!(again, progress);
        assert_eq!((again.left(), again.first_open()), (1, 1));
    }

    #[test]
    fn other_versions_are_told() {
        let mut value: serde_json::Value =
            serde_json::from_slice(&LessonProgress::new(&lesson(&["One"]), 0).encode()).unwrap();
        value["format"] = 2.into();
        let decode = |value: &serde_json::Value| {
            LessonProgress::decode(value.to_string().as_bytes()).unwrap_err()
        };
        assert_eq!(decode(&value), ProgressError::Version { found: 2 });
        value["format"] = 1.into();
        value["steps"] = "many".into();
        assert!(matches!(decode(&value), ProgressError::Damaged(_)));
        assert!(matches!(
            LessonProgress::decode(b"{}"),
            Err(ProgressError::Damaged(_))
        ));
        assert!(matches!(
            LessonProgress::decode(b"\0"),
            Err(ProgressError::Damaged(_))
        ));
    }

    #[test]
    fn a_changed_text_keeps_the_steps_it_still_has() {
        let mut progress = LessonProgress::new(&lesson(&["One", "Two", "Three"]), 0);
        progress.steps[0].state = StepState::Completed(How::Done);
        progress.steps[2].hints = 2;
        progress.step = 1;
        let new = lesson(&["Zero", "One", "Three"]);
        assert!(progress.adopt(&new));
        let titles: Vec<&str> = progress.steps.iter().map(|s| s.title.as_str()).collect();
        assert_eq!(titles, ["Zero", "One", "Three"]);
        assert_eq!(progress.step, 0);
        assert!(progress.steps[1].state.left());
        assert_eq!(progress.steps[2].hints, 2);
        assert!(!progress.adopt(&new), "nothing changed since");
    }

    #[test]
    fn a_finished_lesson_that_grew_is_open_again() {
        let mut progress = LessonProgress::new(&lesson(&["One"]), 0);
        progress.steps[0].state = StepState::Completed(How::Done);
        progress.step = 1;
        progress.finished = Some(5);
        progress.adopt(&lesson(&["One", "Two"]));
        assert_eq!((progress.step, progress.finished), (1, None));
    }
}
