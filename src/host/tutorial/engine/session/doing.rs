//! What is done for the learner: begun here, told as it goes, taken in when it ended.

use std::sync::Arc;

use super::Session;
use crate::engine::sources::News;
use crate::engine::work::{self, Action, Outcome, Purpose, Voice, Work};
use crate::event::Event;
use crate::model::Lesson;
use crate::progress::{LessonProgress, StepProgress};
use crate::world::{World, WorldError};

impl Session {
    /// Begins work as soon as the step knows what was there before it.
    pub(super) fn ask_work(&mut self, purpose: Purpose) {
        if self.work.is_some() {
            let what = "a command is still running; interrupt it first";
            self.voice.trouble(&WorldError::new(what));
            return;
        }
        self.pending = Some(purpose);
        self.judge();
    }

    pub(super) fn begin_work(&mut self, purpose: Purpose) {
        let Some(turn) = &mut self.turn else {
            return;
        };
        let (index, post) = (turn.index, turn.post().clone());
        let lesson = Arc::clone(&self.lesson);
        let step = &lesson.steps[index];
        let mut whole = false;
        let actions: Vec<Action> = match purpose {
            Purpose::Run => work::of_run(step),
            Purpose::Solve => {
                turn.solved = true;
                work::of_solve(step, turn.scripted)
            }
            Purpose::Reset => work::of_reset(&lesson, index),
            Purpose::ResetLesson => {
                whole = true;
                let steps = (0..lesson.steps.len()).rev();
                let touched = |index: &usize| {
                    let kept = &self.progress.steps[*index];
                    *index <= turn.index || kept.ran || kept.state.left()
                };
                steps
                    .filter(touched)
                    .flat_map(|index| work::of_reset(&lesson, index))
                    .collect()
            }
        };
        turn.acted = true;
        turn.facts.failed = None;
        let world = Arc::clone(&self.world);
        let voice = self.voice.clone();
        let began = self.world.now();
        let task = tokio::spawn(async move {
            let mut outcome = work::perform(world.as_ref(), actions, &voice, &post).await;
            if whole {
                let again = anew(world.as_ref(), &lesson, &voice).await;
                outcome = outcome.and(again);
            }
            post.send(News::Worked(outcome));
        });
        self.work = Some(Work {
            purpose,
            task,
            began,
        });
    }

    pub(super) async fn worked(&mut self, outcome: Outcome) {
        let Some(work) = self.work.take() else {
            return;
        };
        let Some(index) = self.turn.as_ref().map(|turn| turn.index) else {
            return;
        };
        match work.purpose {
            Purpose::Run | Purpose::Solve => {
                if let Some(turn) = &mut self.turn {
                    turn.facts.ran |= outcome.is_ok();
                    turn.facts.failed = outcome.err();
                    self.progress.steps[index].ran = turn.facts.ran;
                    turn.fetch_all();
                }
                self.save();
                self.judge();
            }
            Purpose::Reset => {
                self.progress.finished = None;
                let title = self.lesson.steps[index].title.clone();
                *self.kept(index) = StepProgress {
                    title,
                    ..StepProgress::default()
                };
                self.was_reset(vec![index], outcome);
                self.open(index).await;
            }
            Purpose::ResetLesson => {
                self.progress = LessonProgress::new(&self.lesson, self.seconds_now());
                let steps = (0..self.lesson.steps.len()).rev().collect();
                self.was_reset(steps, outcome);
                self.open(0).await;
            }
        }
    }

    fn was_reset(&self, steps: Vec<usize>, outcome: Outcome) {
        if let Err(what) = outcome {
            self.voice.trouble(&WorldError::new(what));
        }
        self.voice.say(Event::WasReset { steps });
    }
}

/// Undoes the place and makes it anew.
async fn anew(world: &dyn World, lesson: &Lesson, voice: &Voice) -> Outcome {
    let sink = voice.sink();
    let cleaned = world.clean(lesson, &sink).await;
    let ready = match cleaned {
        Ok(()) => {
            let name = lesson.name.clone();
            voice.say(Event::Preparing { lesson: name });
            world.prepare(lesson, &sink).await
        }
        Err(error) => Err(error),
    };
    ready.map_err(|error| {
        voice.trouble(&error);
        error.what
    })
}
