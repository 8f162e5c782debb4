//! Plays a lesson unattended and says whether it is true: no step is complete before anything is
//! done, each mistake is told, each solution solves.
//!
//! Mistakes are planted behind the engine's back, as a learner would in their own terminal; the
//! engine that watches is the very one a learner has.

use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};

use crate::engine::rehearse;
use crate::engine::sources::Post;
use crate::engine::work::{self, Action, Voice};
use crate::event::{Event, How, LiveCondition, Verb};
use crate::model::{Lesson, Mistake};
use crate::progress::LessonProgress;
use crate::world::{World, WorldError};

/// How to play.
#[derive(Debug, Clone)]
pub struct Options {
    /// Plant every mistake of a step before it is solved.
    pub mistakes: bool,
    /// Leave the cluster as the lesson leaves it.
    pub keep: bool,
    /// How long one thing (a mistake told, a step completed) may take.
    pub deadline: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            mistakes: false,
            keep: false,
            deadline: Duration::from_secs(300),
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub lesson: String,
    /// The steps that were played; fewer than the lesson has when one of them failed.
    pub steps: Vec<StepReport>,
    /// What went wrong besides the steps: the place, the reset.
    pub failures: Vec<String>,
    pub seconds: f64,
}

/// What came of one step.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StepReport {
    /// From 0.
    pub step: usize,
    pub title: String,
    /// From the beginning of its solution to its completion.
    pub seconds: f64,
    /// How many mistakes were planted and told.
    pub mistakes: usize,
    pub failures: Vec<String>,
    /// Worth knowing, and no failure: commands that ended with another code than 0.
    pub notes: Vec<String>,
}

impl Report {
    /// Whether nothing failed.
    pub fn ok(&self) -> bool {
        self.failures.is_empty() && self.steps.iter().all(|step| step.failures.is_empty())
    }
}

/// Plays `lesson` from its first step; everything the engine says goes to `events` as well.
pub async fn play(
    world: Arc<dyn World>,
    lesson: Arc<Lesson>,
    options: Options,
    events: mpsc::UnboundedSender<Event>,
) -> Report {
    let began = Instant::now();
    let mut report = Report {
        lesson: lesson.name.clone(),
        steps: Vec::new(),
        failures: Vec::new(),
        seconds: 0.0,
    };
    let now = world.now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let progress = LessonProgress::new(&lesson, now.as_secs());
    let (verbs, verbs_end) = mpsc::channel(8);
    let (events_end, heard) = mpsc::unbounded_channel();
    let engine = tokio::spawn(rehearse(
        Arc::clone(&world),
        Arc::clone(&lesson),
        progress,
        verbs_end,
        events_end,
    ));
    let mut player = Player {
        world: Arc::clone(&world),
        lesson: Arc::clone(&lesson),
        deadline: options.deadline,
        verbs,
        heard,
        voice: Voice(events),
        reason: String::new(),
        live: Vec::new(),
        codes: Vec::new(),
        troubles: Vec::new(),
    };
    let mut played = 0;
    // Images are built and loaded here, which takes its time.
    let shown = |event: &Event| matches!(event, Event::StepShown { .. });
    let ready = player
        .hear("the place to be made ready", PREPARING, shown)
        .await;
    let ready = ready
        .map_err(|failure| report.failures.push(failure))
        .is_ok();
    while ready && played < lesson.steps.len() {
        let step = player.step(played, &options).await;
        let failed = !step.failures.is_empty();
        report.steps.push(step);
        played += 1;
        if failed {
            break;
        }
    }
    // Where the engine is through it is gone already, and hears nothing.
    player.ask(Verb::Quit).await;
    match player.end(engine).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => report.failures.push(error.what),
        Err(error) => report
            .failures
            .push(format!("the engine ended early: {error}")),
    }
    if !options.keep {
        report.failures.extend(player.reset(played).await);
    }
    report.seconds = began.elapsed().as_secs_f64();
    report
}

/// How the engine ends.
type Ended = Result<LessonProgress, WorldError>;

/// How many deadlines making the place ready may take.
const PREPARING: u32 = 4;

/// The learner's part, played.
struct Player {
    world: Arc<dyn World>,
    lesson: Arc<Lesson>,
    deadline: Duration,
    verbs: mpsc::Sender<Verb>,
    heard: mpsc::UnboundedReceiver<Event>,
    /// Where everything heard is passed on to.
    voice: Voice,
    /// The last that was heard of each.
    reason: String,
    live: Vec<LiveCondition>,
    /// Commands that ended with another code than 0.
    codes: Vec<String>,
    troubles: Vec<String>,
}

/// Why waiting ended without what was waited for.
enum Missed {
    Time,
    /// The engine has ended.
    End,
}

impl Player {
    async fn step(&mut self, index: usize, options: &Options) -> StepReport {
        let lesson = Arc::clone(&self.lesson);
        let step = &lesson.steps[index];
        let mut report = StepReport {
            step: index,
            title: step.title.clone(),
            ..StepReport::default()
        };
        if let Err(failure) = self.untouched(index).await {
            report.failures.push(failure);
            return report;
        }
        if options.mistakes {
            for mistake in &step.mistakes {
                match self.mistake(index, mistake).await {
                    Ok(()) => report.mistakes += 1,
                    Err(failure) => {
                        let text = format!("mistake in line {}: {failure}", mistake.line);
                        report.failures.push(text);
                        break;
                    }
                }
            }
            if !report.failures.is_empty() {
                return report;
            }
        }
        self.codes.clear();
        let began = Instant::now();
        self.ask(Verb::Solve).await;
        let solved = self
            .hear(
                "the step to complete",
                1,
                |event| matches!(event, Event::Completed { step, .. } if *step == index),
            )
            .await;
        report.seconds = began.elapsed().as_secs_f64();
        report.notes.append(&mut self.codes);
        let failure = match solved {
            Ok(Event::Completed {
                how: How::Solved, ..
            }) => None,
            // What undoes a mistake must not be what the step waits for.
            Ok(_) => Some(format!(
                "step {} completes by itself, before it is solved",
                index + 1
            )),
            Err(failure) => Some(failure),
        };
        if let Some(failure) = failure {
            report.failures.push(failure);
            return report;
        }
        self.ask(Verb::Next).await;
        let went_on = self
            .hear("the next step", 1, |event| match event {
                Event::StepShown { step, .. } => *step == index + 1,
                Event::LessonCompleted { .. } => true,
                _ => false,
            })
            .await;
        report.failures.extend(went_on.err());
        report
    }

    /// Waits until the step is judged and is not complete: one that is says nothing about what
    /// the learner does in it.
    async fn untouched(&mut self, index: usize) -> Result<(), String> {
        self.ask(Verb::Check).await;
        let heard = self
            .hear("the first look at the step", 1, |event| {
                matches!(event, Event::Checked { .. } | Event::Completed { .. })
            })
            .await?;
        match heard {
            Event::Checked { holds: false, .. } => Ok(()),
            Event::Completed {
                how: How::Already, ..
            }
            | Event::Checked { .. } => Err(format!(
                "step {} is complete before anything is done in it: {}",
                index + 1,
                self.standing()
            )),
            other => Err(format!("step {} completed by itself: {other:?}", index + 1)),
        }
    }

    async fn mistake(&mut self, index: usize, mistake: &Mistake) -> Result<(), String> {
        let lesson = Arc::clone(&self.lesson);
        // A planted command may well fail: that is the mistake.
        let planted = self.perform(work::of_mistake(mistake)).await;
        if let Err(why) = &planted {
            self.voice.say(Event::Trouble {
                what: format!("planted: {why}"),
                fix: None,
            });
        }
        let told = self.told(mistake).await;
        let undone = self.perform(work::of_undo(&lesson, index, mistake)).await;
        told?;
        undone.map_err(|why| format!("it was not undone: {why}"))
    }

    /// Waits until the reason has the words of the mistake; the step must not complete.
    async fn told(&mut self, mistake: &Mistake) -> Result<(), String> {
        let wanted = mistake.says.to_lowercase();
        // Said again even where it has not changed.
        self.ask(Verb::Status).await;
        let waited = format!("\"not yet, because\" to have \"{}\"", mistake.says);
        let heard = self
            .hear(&waited, 1, |event| match event {
                Event::NotYet { reason, .. } => reason.to_lowercase().contains(&wanted),
                Event::Completed { .. } => true,
                _ => false,
            })
            .await?;
        let mut completes = matches!(heard, Event::Completed { .. });
        if !completes {
            // Not even with everything asked anew.
            self.ask(Verb::Check).await;
            let judged =
                |event: &Event| matches!(event, Event::Checked { .. } | Event::Completed { .. });
            let heard = self.hear("a look at the mistake", 1, judged).await?;
            completes = !matches!(heard, Event::Checked { holds: false, .. });
        }
        match completes {
            true => Err("the step completes although the mistake was made".to_owned()),
            false => Ok(()),
        }
    }

    async fn perform(&self, actions: Vec<Action>) -> Result<(), String> {
        // Mistakes start nothing in the background: nobody needs hear of it.
        let (to, _nobody) = mpsc::unbounded_channel();
        let post = Post { to, turn: 0 };
        work::perform(self.world.as_ref(), actions, &self.voice, &post).await
    }

    /// Brings back what the first `played` steps have done, last first, and the place itself.
    async fn reset(&self, played: usize) -> Vec<String> {
        let mut failures = Vec::new();
        for index in (0..played).rev() {
            let done = self.perform(work::of_reset(&self.lesson, index)).await;
            let failure = |why: String| format!("step {} cannot be reset: {why}", index + 1);
            failures.extend(done.err().map(failure));
        }
        let cleaned = self.world.clean(&self.lesson, &self.voice.sink()).await;
        failures.extend(cleaned.err().map(|error| error.what));
        failures
    }

    async fn ask(&self, verb: Verb) {
        // An engine that has ended hears nothing; whoever waits for an answer notices.
        let _ = self.verbs.send(verb).await;
    }

    /// Waits for an event that `wanted` takes, so many deadlines.
    async fn hear(
        &mut self,
        what: &str,
        deadlines: u32,
        wanted: impl Fn(&Event) -> bool,
    ) -> Result<Event, String> {
        let until = tokio::time::Instant::now() + self.deadline * deadlines;
        loop {
            let missed = match tokio::time::timeout_at(until, self.heard.recv()).await {
                Ok(Some(event)) => {
                    self.note(&event);
                    if wanted(&event) {
                        return Ok(event);
                    }
                    continue;
                }
                Ok(None) => Missed::End,
                Err(_) => Missed::Time,
            };
            let mut text = match missed {
                Missed::Time => format!(
                    "waited {} s in vain for {what}; {}",
                    (self.deadline * deadlines).as_secs(),
                    self.standing()
                ),
                Missed::End => format!("the engine ended before {what}"),
            };
            for trouble in &self.troubles {
                text = format!("{text}; {trouble}");
            }
            return Err(text);
        }
    }

    fn note(&mut self, event: &Event) {
        match event {
            Event::NotYet { reason, .. } => self.reason.clone_from(reason),
            Event::Live { conditions } => self.live.clone_from(conditions),
            Event::StepShown { .. } => {
                self.reason.clear();
                self.live.clear();
            }
            Event::Ended { what, code, .. } if *code != 0 => {
                self.codes
                    .push(format!("`{what}` ended with exit code {code}"));
            }
            Event::Trouble { what, .. } => self.troubles.push(what.clone()),
            _ => {}
        }
        self.voice.say(event.clone());
    }

    /// Waits for the engine to end, and passes on what it said last.
    async fn end(&mut self, mut engine: JoinHandle<Ended>) -> Result<Ended, JoinError> {
        let ended = loop {
            tokio::select! {
                ended = &mut engine => break ended,
                Some(event) = self.heard.recv() => self.note(&event),
            }
        };
        while let Ok(event) = self.heard.try_recv() {
            self.note(&event);
        }
        ended
    }

    /// Where the step stands, for a failure's text.
    fn standing(&self) -> String {
        let mut parts: Vec<String> = self
            .live
            .iter()
            .map(|c| {
                let mark = if c.holds { "holds" } else { "does not hold" };
                format!("{} {mark} ({})", c.wanted, c.lines.join("; "))
            })
            .collect();
        if !self.reason.is_empty() {
            parts.push(format!("not yet, because {}", self.reason));
        }
        match parts.is_empty() {
            true => "nothing is known of it".to_owned(),
            false => parts.join("; "),
        }
    }
}
