//! How long the steps take, over all learners. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::message::StepState;
use crate::roll::Roll;

/// So few times say nothing yet about what is usual.
const ENOUGH: usize = 3;

/// Figures of one step.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pace {
    /// Learners who are in it now.
    pub here: usize,
    /// Learners who did it themselves.
    pub done: usize,
    /// Whom `solve` helped.
    pub solved: usize,
    pub skipped: usize,
    /// Hints used, by all.
    pub hints: usize,
    /// Seconds of those who did it: the middle one, and the one that nine of ten are below.
    pub median: Option<u32>,
    pub ninety: Option<u32>,
}

/// Figures by lesson and step.
pub type Paces = BTreeMap<String, Vec<Pace>>;

/// The figures of all who report, those who left included.
pub fn paces(roll: &Roll) -> Paces {
    let mut paces = Paces::new();
    let mut times: BTreeMap<(&str, usize), Vec<u32>> = BTreeMap::new();
    for (_, learner) in roll.learners() {
        for (lesson, standing) in &learner.lessons {
            let figures = paces.entry(lesson.clone()).or_default();
            if figures.len() < standing.steps.len() {
                figures.resize(standing.steps.len(), Pace::default());
            }
            for (index, step) in standing.steps.iter().enumerate() {
                let figure = &mut figures[index];
                let now = learner.lesson.as_ref() == Some(lesson) && !learner.left;
                figure.here += usize::from(now && standing.step == index);
                figure.hints += usize::from(step.hints);
                match step.state {
                    StepState::Open => {}
                    StepState::Skipped => figure.skipped += 1,
                    StepState::Solved => figure.solved += 1,
                    StepState::Done => {
                        figure.done += 1;
                        let all = times.entry((lesson.as_str(), index)).or_default();
                        all.push(step.seconds);
                    }
                }
            }
        }
    }
    for ((lesson, index), mut all) in times {
        all.sort_unstable();
        if let Some(figure) = paces.get_mut(lesson).and_then(|f| f.get_mut(index)) {
            figure.median = quantile(&all, 50);
            figure.ninety = quantile(&all, 90);
        }
    }
    paces
}

/// What is usual for a step, once enough did it.
pub fn median(paces: &Paces, lesson: &str, step: usize) -> Option<u32> {
    let figure = paces.get(lesson)?.get(step)?;
    figure.median.filter(|_| figure.done >= ENOUGH)
}

/// The value that `percent` of the sorted values do not exceed (nearest rank).
fn quantile(sorted: &[u32], percent: usize) -> Option<u32> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Identity, PublicKey};
    use crate::message::{Joining, Report, StepReport};

    #[test]
    fn quantiles_are_values_that_were_there() {
        assert_eq!(quantile(&[], 50), None);
        assert_eq!(quantile(&[7], 90), Some(7));
        let ten: Vec<u32> = (1..=10).collect();
        assert_eq!(quantile(&ten, 50), Some(5));
        assert_eq!(quantile(&ten, 90), Some(9));
    }

    #[test]
    fn each_way_through_a_step_is_counted_apart() {
        let mut roll = Roll::default();
        let ways = [
            (StepState::Done, 10),
            (StepState::Done, 30),
            (StepState::Done, 20),
            (StepState::Solved, 500),
            (StepState::Skipped, 1),
            (StepState::Open, 99),
        ];
        for (state, seconds) in ways {
            let key = PublicKey::parse(&Identity::generate().unwrap().public()).unwrap();
            let joining = Joining {
                name: "x".into(),
                reports: true,
            };
            roll.join(&key, 1, &joining, 1).unwrap();
            let step = StepReport {
                seconds,
                hints: 1,
                state,
            };
            let report = Report {
                lesson: "t".into(),
                step: usize::from(state != StepState::Open),
                steps: vec![step, StepReport::default()],
                open: true,
            };
            roll.report(&key, 2, report, 1).unwrap();
        }
        let paces = paces(&roll);
        let first = &paces["t"][0];
        assert_eq!((first.done, first.solved, first.skipped), (3, 1, 1));
        assert_eq!((first.here, first.hints), (1, 6));
        assert_eq!((first.median, first.ninety), (Some(20), Some(30)));
        assert_eq!(paces["t"][1].here, 5);
        assert_eq!(median(&paces, "t", 0), Some(20));
        assert_eq!(median(&paces, "t", 1), None);
        assert_eq!(median(&paces, "other", 0), None);
    }
}
