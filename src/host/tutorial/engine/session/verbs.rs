//! What each verb of the learner does.

use super::{Flow, Session};
use crate::condition::{Condition, What};
use crate::engine::work::{Purpose, since};
use crate::event::{Event, Verb};
use crate::progress::StepState;
use crate::world::WorldError;

/// Exit code of a command that Ctrl-C ended, as shells tell it.
const INTERRUPTED: i32 = 130;

impl Session {
    pub(super) async fn verb(&mut self, verb: Verb) -> Flow {
        let left = self.turn.as_ref().is_some_and(|turn| turn.left);
        match verb {
            Verb::Run | Verb::Next if left && self.work.is_none() => return self.leave().await,
            Verb::Run if self.is_a_riddle() => {
                let what = "this step shows no command: it is yours to find out; hints help";
                self.voice.trouble(&WorldError::new(what));
            }
            Verb::Run => self.ask_work(Purpose::Run),
            Verb::Solve => self.ask_work(Purpose::Solve),
            Verb::Next => self.go_on(),
            Verb::Check => {
                self.checking = true;
                if let Some(turn) = &mut self.turn {
                    turn.fetch_all();
                }
                self.judge();
            }
            Verb::Hint => self.hint(),
            Verb::Skip => return self.skip().await,
            Verb::Reset => self.ask_work(Purpose::Reset),
            Verb::ResetLesson => self.ask_work(Purpose::ResetLesson),
            Verb::GoTo(index) if index < self.lesson.steps.len() => self.open(index).await,
            Verb::GoTo(_) => self.voice.trouble(&WorldError::new(format!(
                "this lesson has {} steps",
                self.lesson.steps.len()
            ))),
            Verb::Status => self.status(),
            Verb::Interrupt => self.interrupt(),
            Verb::Quit => return Flow::Leave,
        }
        Flow::On
    }

    /// Whether the step waits for the learner's word.
    fn waits_for_word(&self) -> bool {
        let done = |condition: &Condition| condition.what == What::Done;
        self.step().is_some_and(|step| step.watch.iter().any(done))
    }

    /// Whether Enter has nothing to do here, and nothing to say either.
    fn is_a_riddle(&self) -> bool {
        !self.waits_for_word() && self.step().is_some_and(|step| !step.has_actions())
    }

    fn go_on(&mut self) {
        if let (true, Some(turn)) = (self.waits_for_word(), &mut self.turn) {
            turn.facts.said = true;
        }
        // What does not complete now is answered with its reason.
        self.said_reason = None;
        self.judge();
    }

    fn hint(&mut self) {
        let Some(turn) = &self.turn else {
            return;
        };
        let index = turn.index;
        let hints = &self.lesson.steps[index].hints;
        let total = hints.len();
        let given = self.progress.steps[index].hints;
        match hints.get(given).cloned() {
            Some(text) => {
                self.kept(index).hints += 1;
                self.save();
                let number = given + 1;
                self.voice.say(Event::Hint {
                    number,
                    total,
                    text,
                });
            }
            None => self.voice.say(Event::NoMoreHints { total }),
        }
    }

    async fn skip(&mut self) -> Flow {
        let Some(turn) = &self.turn else {
            return Flow::On;
        };
        let index = turn.index;
        if !turn.left {
            self.kept(index).state = StepState::Skipped;
            self.voice.say(Event::Skipped { step: index });
        }
        let flow = self.leave().await;
        self.save();
        flow
    }

    fn status(&mut self) {
        if let (Some(turn), Some(step)) = (&self.turn, self.step()) {
            self.voice.say(Event::StepShown {
                step: turn.index,
                total: self.lesson.steps.len(),
                title: step.title.clone(),
            });
        }
        self.said_live.clear();
        self.said_reason = None;
        self.judge();
    }

    fn interrupt(&mut self) {
        self.pending = None;
        if let Some(work) = self.work.take() {
            work.task.abort();
            let seconds = since(self.world.as_ref(), work.began).as_secs_f64();
            self.voice.say(Event::Ended {
                what: "interrupted".to_owned(),
                code: INTERRUPTED,
                seconds,
            });
            self.judge();
        }
    }
}
