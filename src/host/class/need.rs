//! Who needs the teacher: one row per learner, the most urgent first. Pure.
//!
//! First those who asked, in the order of asking; then those who are long on their step, by how
//! much longer than others, or long on the way to the first one; then those at work, those who are
//! away, and those who are done.

use serde::Serialize;

use crate::message::{Report, StepReport, StepState};
use crate::pace::{self, Paces};
use crate::roll::{Learner, Moment, Roll};

/// A lesson as the teacher's laptop knows it, for titles.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outline {
    pub name: String,
    pub title: String,
    /// Titles of its steps.
    pub steps: Vec<String>,
    /// How long it takes, as its author says.
    pub minutes: u32,
}

/// After this many seconds without a word somebody is away.
pub const AWAY: u64 = 90;
/// Nobody is stuck sooner, in seconds.
const SOONEST: u32 = 180;
/// What a step takes where nothing is known, in seconds.
const USUAL: u32 = 240;

/// Everybody is in the first lesson this many seconds after joining; whoever is not needs somebody.
const LATE: u64 = 15 * 60;
/// Who came to no lesson in so many seconds has gone home.
const GONE: u64 = 2 * 3600;

/// How a learner is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Asked for help.
    Asks,
    /// Long on the step, or on the way to the first one.
    Stuck,
    Working,
    /// Joined, and nothing is known: they have not begun, or do not report.
    Silent,
    /// Was in a lesson, and is not heard of.
    Away,
    /// Through with the lesson.
    Done,
}

/// One line of the board.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    pub id: String,
    pub name: String,
    pub state: State,
    pub reports: bool,
    /// Name and title of the lesson.
    pub lesson: Option<String>,
    pub lesson_title: Option<String>,
    /// From 1.
    pub step: Option<usize>,
    pub steps: Option<usize>,
    pub step_title: Option<String>,
    /// Seconds on this step.
    pub seconds: Option<u64>,
    /// Seconds that others take for it.
    pub usual: Option<u32>,
    /// Hints used on this step.
    pub hints: u8,
    pub asked_since: Option<Moment>,
    pub words: String,
    pub seen: Moment,
}

/// The rows of the board, the most urgent first.
pub fn rows(roll: &Roll, outlines: &[Outline], paces: &Paces, now: Moment) -> Vec<Row> {
    let here = roll.learners().filter(|(_, learner)| !learner.left);
    let mut rows: Vec<Row> = here
        .map(|(id, learner)| row(id, learner, outlines, paces, now))
        .collect();
    rows.sort_by(|a, b| {
        let order = a.state.cmp(&b.state);
        order
            .then_with(|| match a.state {
                State::Asks => a.asked_since.cmp(&b.asked_since),
                State::Stuck | State::Working => lag(b).cmp(&lag(a)),
                State::Silent | State::Away | State::Done => std::cmp::Ordering::Equal,
            })
            .then_with(|| a.name.to_lowercase().cmp(&b.name.to_lowercase()))
            .then_with(|| a.id.cmp(&b.id))
    });
    rows
}

/// How far beyond the usual, in hundredths of it; each hint counts for a quarter.
fn lag(row: &Row) -> u64 {
    let usual = u64::from(row.usual.unwrap_or(USUAL).max(1));
    row.seconds.unwrap_or(0) * 100 / usual + u64::from(row.hints) * 25
}

fn row(id: &str, learner: &Learner, outlines: &[Outline], paces: &Paces, now: Moment) -> Row {
    let standing = learner
        .lesson
        .as_ref()
        .and_then(|name| Some((name, learner.lessons.get(name)?)));
    let outline = standing.and_then(|(name, _)| outlines.iter().find(|o| o.name == *name));
    let silence = now.saturating_sub(learner.seen);
    let mut row = Row {
        id: id.to_owned(),
        name: learner.name.clone(),
        state: State::Silent,
        reports: learner.reports,
        lesson: standing.map(|(name, _)| name.clone()),
        lesson_title: outline.map(|o| o.title.clone()),
        step: None,
        steps: None,
        step_title: None,
        seconds: None,
        usual: None,
        hints: 0,
        asked_since: learner.help.as_ref().map(|help| help.since),
        words: learner
            .help
            .as_ref()
            .map_or(String::new(), |help| help.words.clone()),
        seen: learner.seen,
    };
    if let Some((name, standing)) = standing {
        row.steps = Some(standing.steps.len());
        row.state = match standing.steps.get(standing.step) {
            None => State::Done,
            Some(step) => {
                row.step = Some(standing.step + 1);
                row.step_title = outline.and_then(|o| o.steps.get(standing.step).cloned());
                row.hints = step.hints;
                // Between two reports the time goes on.
                let since = if learner.open && silence <= AWAY {
                    silence
                } else {
                    0
                };
                let seconds = u64::from(step.seconds) + since;
                row.seconds = Some(seconds);
                let usual = usual(paces, outline, name, standing.step);
                row.usual = Some(usual);
                let long = u64::from(usual.saturating_mul(2).max(SOONEST));
                if !learner.open || silence > AWAY {
                    State::Away
                } else if step.state == StepState::Open && seconds > long {
                    State::Stuck
                } else {
                    State::Working
                }
            }
        };
    } else if learner.reports && (LATE..GONE).contains(&silence) {
        // The download hangs, or the machine.
        row.state = State::Stuck;
        row.seconds = Some(silence);
    }
    if learner.help.is_some() {
        row.state = State::Asks;
    }
    row
}

/// What others take, else the author's minutes, shared among the steps.
fn usual(paces: &Paces, outline: Option<&Outline>, lesson: &str, step: usize) -> u32 {
    if let Some(median) = pace::median(paces, lesson, step) {
        return median.max(1);
    }
    outline.map_or(USUAL, |o| {
        let steps = u32::try_from(o.steps.len().max(1)).unwrap_or(1);
        (o.minutes.saturating_mul(60) / steps).max(30)
    })
}

/// A report that says: this many of so many steps are done. For tests and benchmarks.
pub fn after(lesson: &str, step: usize, total: usize, seconds: u32) -> Report {
    let steps = (0..total).map(|i| StepReport {
        seconds: if i <= step { seconds } else { 0 },
        hints: 0,
        state: if i < step {
            StepState::Done
        } else {
            StepState::Open
        },
    });
    Report {
        lesson: lesson.to_owned(),
        step,
        steps: steps.collect(),
        open: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Identity, PublicKey};
    use crate::message::{Call, Joining};

    struct Class {
        roll: Roll,
        number: u64,
    }

    impl Class {
        fn joins(&mut self, name: &str) -> PublicKey {
            let key = PublicKey::parse(&Identity::generate().unwrap().public()).unwrap();
            let joining = Joining {
                name: name.into(),
                reports: true,
            };
            self.number += 1;
            self.roll.join(&key, self.number, &joining, 0).unwrap();
            key
        }

        fn reports(&mut self, key: &PublicKey, step: usize, seconds: u32, at: Moment) {
            self.number += 1;
            let report = after("telescope", step, 4, seconds);
            self.roll.report(key, self.number, report, at).unwrap();
        }

        fn asks(&mut self, key: &PublicKey, at: Moment) {
            self.number += 1;
            let call = Call {
                asks: true,
                words: "it hangs".into(),
            };
            self.roll.call(key, self.number, &call, at).unwrap();
        }

        fn names(&self, now: Moment) -> Vec<(String, State)> {
            let paces = pace::paces(&self.roll);
            let rows = rows(&self.roll, &[], &paces, now);
            rows.into_iter().map(|row| (row.name, row.state)).collect()
        }
    }

    #[test]
    fn those_who_need_the_teacher_stand_first() {
        let mut class = Class {
            roll: Roll::default(),
            number: 0,
        };
        let now = 10_000;
        let done = class.joins("Done");
        class.reports(&done, 4, 60, now);
        class.joins("Silent");
        let away = class.joins("Away");
        class.reports(&away, 1, 60, now - AWAY - 1);
        let quick = class.joins("Quick");
        class.reports(&quick, 1, 10, now);
        let slow = class.joins("Slow");
        class.reports(&slow, 1, 100, now);
        let stuck = class.joins("Stuck");
        class.reports(&stuck, 1, 900, now);
        let (late, early) = (class.joins("Late"), class.joins("Early"));
        class.asks(&late, now - 5);
        class.asks(&early, now - 50);
        let order = class.names(now);
        let expected = [
            ("Early", State::Asks),
            ("Late", State::Asks),
            ("Stuck", State::Stuck),
            ("Slow", State::Working),
            ("Quick", State::Working),
            ("Silent", State::Silent),
            ("Away", State::Away),
            ("Done", State::Done),
        ];
        let expected: Vec<_> = expected.map(|(n, s)| (n.to_owned(), s)).into();
        assert_eq!(order, expected);
    }

    #[test]
    fn who_comes_to_no_lesson_is_stuck_before_the_first_one() {
        let mut class = Class {
            roll: Roll::default(),
            number: 0,
        };
        class.joins("Ada");
        let key = PublicKey::parse(&Identity::generate().unwrap().public()).unwrap();
        let quiet = Joining {
            name: "Quiet".into(),
            reports: false,
        };
        class.roll.join(&key, 1, &quiet, 0).unwrap();
        let ada = |now| class.names(now)[0].clone();
        assert_eq!(ada(LATE - 1), ("Ada".to_owned(), State::Silent));
        assert_eq!(ada(LATE), ("Ada".to_owned(), State::Stuck));
        assert_eq!(ada(GONE), ("Ada".to_owned(), State::Silent));
        // Of who does not report nothing is known, and nothing is said.
        for now in [0, LATE, GONE] {
            assert_eq!(class.names(now)[1], ("Quiet".to_owned(), State::Silent));
        }
    }

    #[test]
    fn time_goes_on_between_reports_and_not_while_away() {
        let mut class = Class {
            roll: Roll::default(),
            number: 0,
        };
        let ada = class.joins("Ada");
        class.reports(&ada, 0, 100, 1000);
        let seconds = |now| {
            let paces = pace::paces(&class.roll);
            rows(&class.roll, &[], &paces, now)[0].seconds
        };
        assert_eq!(seconds(1030), Some(130));
        assert_eq!(seconds(9000), Some(100));
    }

    #[test]
    fn the_usual_time_is_what_others_took_or_what_the_author_says() {
        let outline = Outline {
            name: "telescope".into(),
            title: "T".into(),
            steps: vec!["a".into(), "b".into(), "c".into(), "d".into()],
            minutes: 8,
        };
        let mut class = Class {
            roll: Roll::default(),
            number: 0,
        };
        let ada = class.joins("Ada");
        class.reports(&ada, 0, 5, 10);
        let usual = |class: &Class| {
            let paces = pace::paces(&class.roll);
            rows(&class.roll, std::slice::from_ref(&outline), &paces, 10)
                .into_iter()
                .find(|row| row.name == "Ada")
                .and_then(|row| row.usual)
        };
        assert_eq!(usual(&class), Some(120));
        for name in ["B", "C", "D"] {
            let key = class.joins(name);
            class.reports(&key, 2, 40, 10);
        }
        assert_eq!(usual(&class), Some(40));
    }
}
