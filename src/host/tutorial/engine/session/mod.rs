//! The one task that drives a lesson: it takes verbs and news, one at a time, and says events.
//! [`verbs`] is what each verb does, [`doing`] what is done for the learner.

mod doing;
mod verbs;

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use tokio::sync::mpsc;

use super::sources::{News, Post};
use super::turn::{Standing, Turn};
use super::work::{Purpose, Voice, Work, since};
use crate::event::{Event, How, LiveCondition, Reason, Verb};
use crate::model::{Lesson, Step};
use crate::progress::{LessonProgress, StepProgress, StepState};
use crate::world::{Background, Change, World, WorldError};

/// What goes on after a verb or news.
#[derive(PartialEq, Eq)]
enum Flow {
    On,
    /// The lesson is left.
    Leave,
}

pub(super) struct Session {
    world: Arc<dyn World>,
    lesson: Arc<Lesson>,
    progress: LessonProgress,
    voice: Voice,
    to_self: mpsc::UnboundedSender<(u64, News)>,
    inbox: mpsc::UnboundedReceiver<(u64, News)>,
    turns: u64,
    turn: Option<Turn>,
    work: Option<Work>,
    /// Work that waits until the step knows what was there before it.
    pending: Option<Purpose>,
    backgrounds: Vec<Box<dyn Background>>,
    /// Whether progress is kept: a lesson that is tested is nobody's progress.
    keep: bool,
    /// A check was asked for and not yet answered.
    checking: bool,
    said_live: Vec<LiveCondition>,
    said_reason: Option<(String, Reason)>,
}

impl Session {
    pub fn new(
        world: Arc<dyn World>,
        lesson: Arc<Lesson>,
        progress: LessonProgress,
        events: mpsc::UnboundedSender<Event>,
        keep: bool,
    ) -> Session {
        let (to_self, inbox) = mpsc::unbounded_channel();
        Session {
            world,
            lesson,
            progress,
            voice: Voice(events),
            to_self,
            inbox,
            turns: 0,
            turn: None,
            work: None,
            pending: None,
            backgrounds: Vec::new(),
            keep,
            checking: false,
            said_live: Vec::new(),
            said_reason: None,
        }
    }

    pub async fn play(
        mut self,
        mut verbs: mpsc::Receiver<Verb>,
    ) -> Result<LessonProgress, WorldError> {
        self.progress.adopt(&self.lesson);
        if self.progress.step >= self.lesson.steps.len() {
            self.finish();
            return Ok(self.progress);
        }
        let Some(early) = self.prepare(&mut verbs).await? else {
            return Ok(self.progress);
        };
        self.open(self.progress.step).await;
        let mut flow = Flow::On;
        for verb in early {
            if flow == Flow::On {
                flow = self.verb(verb).await;
            }
        }
        while flow == Flow::On {
            flow = tokio::select! {
                verb = verbs.recv() => match verb {
                    Some(verb) => self.verb(verb).await,
                    None => Flow::Leave,
                },
                // The session holds a sender itself, so this never ends.
                Some((turn, news)) = self.inbox.recv() => self.news(turn, news).await,
            };
        }
        self.close().await;
        self.save();
        Ok(self.progress)
    }

    /// Makes the place ready; what is asked for meanwhile waits for the first step. None when the
    /// learner leaves.
    async fn prepare(
        &self,
        verbs: &mut mpsc::Receiver<Verb>,
    ) -> Result<Option<Vec<Verb>>, WorldError> {
        let lesson = self.lesson.name.clone();
        self.voice.say(Event::Preparing { lesson });
        let sink = self.voice.sink();
        let mut early = Vec::new();
        let mut ready = self.world.prepare(&self.lesson, &sink);
        loop {
            tokio::select! {
                done = &mut ready => return done.map(|()| Some(early)),
                verb = verbs.recv() => match verb {
                    Some(Verb::Quit | Verb::Interrupt) | None => return Ok(None),
                    Some(verb) => early.push(verb),
                },
            }
        }
    }

    fn step(&self) -> Option<&Step> {
        let turn = self.turn.as_ref()?;
        self.lesson.steps.get(turn.index)
    }

    fn kept(&mut self, index: usize) -> &mut StepProgress {
        &mut self.progress.steps[index]
    }

    /// Leaves the present step, if there is one, and opens another.
    async fn open(&mut self, index: usize) {
        self.close().await;
        self.turns += 1;
        let post = Post {
            to: self.to_self.clone(),
            turn: self.turns,
        };
        self.said_live.clear();
        self.said_reason = None;
        self.progress.step = index;
        let step = &self.lesson.steps[index];
        self.voice.say(Event::StepShown {
            step: index,
            total: self.lesson.steps.len(),
            title: step.title.clone(),
        });
        let kept = &self.progress.steps[index];
        let world = Arc::clone(&self.world);
        self.turn = Some(Turn::open(world, step, index, kept, post));
        self.save();
        self.judge();
    }

    /// Ends all that belongs to the present step.
    async fn close(&mut self) {
        if let Some(work) = self.work.take() {
            work.task.abort();
        }
        self.pending = None;
        self.turn = None;
        for background in self.backgrounds.drain(..) {
            background.stop().await;
        }
    }

    async fn leave(&mut self) -> Flow {
        let Some(index) = self.turn.as_ref().map(|turn| turn.index) else {
            return Flow::On;
        };
        if index + 1 < self.lesson.steps.len() {
            self.open(index + 1).await;
            return Flow::On;
        }
        self.progress.step = self.lesson.steps.len();
        self.progress.finished = Some(self.seconds_now());
        self.finish();
        Flow::Leave
    }

    fn finish(&self) {
        let steps = &self.progress.steps;
        let skipped = steps.iter().filter(|step| step.state == StepState::Skipped);
        self.voice.say(Event::LessonCompleted {
            seconds: steps.iter().map(|step| step.seconds).sum(),
            skipped: skipped.count(),
        });
    }

    fn seconds_now(&self) -> u64 {
        let now = self.world.now().duration_since(UNIX_EPOCH);
        now.map_or(0, |time| time.as_secs())
    }

    fn save(&self) {
        if self.keep
            && let Err(error) = self.world.save(&self.progress)
        {
            self.voice.trouble(&error);
        }
    }

    async fn news(&mut self, of: u64, news: News) -> Flow {
        // A background command that started just when its step was left ends with it.
        let news = match news {
            News::Started(background) if of != self.turns => {
                background.stop().await;
                return Flow::On;
            }
            News::Started(background) => {
                self.backgrounds.push(background);
                return Flow::On;
            }
            News::Worked(outcome) if of == self.turns => {
                self.worked(outcome).await;
                return Flow::On;
            }
            other => other,
        };
        let Some(turn) = self.turn.as_mut().filter(|_| of == self.turns) else {
            return Flow::On;
        };
        match news {
            News::Changed(_, Change::Lost(why)) => {
                let what = format!("the cluster does not answer: {why}");
                self.voice.trouble(&WorldError::new(what));
                return Flow::On;
            }
            News::Changed(need, change) => {
                if !turn.changed(&need, change) {
                    return Flow::On;
                }
            }
            News::Journal(mark) => {
                turn.journal_is_open();
                let kept = &mut self.progress.steps[turn.index];
                kept.mark.get_or_insert(mark);
            }
            News::Asked(asked) => turn.facts.asked.push(asked),
            News::Fetched(probe, fetched) => turn.fetched(probe, fetched),
            News::Why(object, said) => turn.told_why(&object, said),
            News::Paused => turn.paused(),
            News::Trouble(error) => {
                self.voice.trouble(&error);
                return Flow::On;
            }
            News::Scripted => {
                turn.scripted = true;
                self.progress.steps[turn.index].scripted = true;
            }
            News::Started(_) | News::Worked(_) => {}
        }
        self.judge();
        Flow::On
    }

    /// Looks at everything known and says what is new.
    fn judge(&mut self) {
        let lesson = Arc::clone(&self.lesson);
        let Some(turn) = &mut self.turn else {
            return;
        };
        let index = turn.index;
        if !turn.armed() {
            return;
        }
        if turn.facts.before.is_none() {
            let before = turn.facts.uids();
            self.progress.steps[index].before = Some(before.iter().cloned().collect());
            turn.facts.before = Some(before);
            self.save();
        }
        if let Some(purpose) = self.pending.take() {
            self.begin_work(purpose);
        }
        let Some(turn) = &mut self.turn else {
            return;
        };
        let Standing {
            holds,
            live,
            reason,
        } = turn.look(&lesson.steps[index]);
        let (settled, left) = (turn.settled(), turn.left);
        if live != self.said_live {
            self.said_live.clone_from(&live);
            let conditions = live.clone();
            self.voice.say(Event::Live { conditions });
        }
        if self.checking && settled {
            self.checking = false;
            self.voice.say(Event::Checked {
                holds,
                conditions: live,
                reason: reason.as_ref().map(|(reason, _)| reason.clone()),
            });
        }
        if left {
            return;
        }
        if holds && settled && self.work.is_none() {
            self.complete();
            return;
        }
        if let Some(turn) = self.turn.as_mut().filter(|_| settled) {
            turn.first = false;
        }
        if reason.is_some() && reason != self.said_reason {
            self.said_reason.clone_from(&reason);
            if let Some((reason, by)) = reason {
                self.voice.say(Event::NotYet { reason, by });
            }
        }
    }

    fn complete(&mut self) {
        let Some(turn) = &mut self.turn else {
            return;
        };
        turn.left = true;
        let how = match (turn.solved, turn.first && !turn.acted && !turn.facts.said) {
            (true, _) => How::Solved,
            (false, true) => How::Already,
            (false, false) => How::Done,
        };
        let (index, total) = (turn.index, self.lesson.steps.len());
        let seconds = since(self.world.as_ref(), turn.began).as_secs();
        let kept = self.kept(index);
        kept.state = StepState::Completed(how);
        kept.seconds += seconds;
        let seconds = kept.seconds;
        // Whoever leaves now comes back to the next step.
        self.progress.step = index + 1;
        if index + 1 == total {
            self.progress.finished = Some(self.seconds_now());
        }
        self.save();
        self.voice.say(Event::Completed {
            step: index,
            total,
            seconds,
            how,
        });
    }
}
