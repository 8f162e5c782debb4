//! A learner's conversation with the engine: keys and words go in, events come out, and Ctrl-C
//! ends the command that runs, or else the session.

use std::io::IsTerminal;
use std::pin::pin;
use std::sync::Arc;

use cadet_tutorial::model::Lesson;
use cadet_tutorial::{Event, LessonProgress, Verb, drive};
use tokio::sync::mpsc;

use super::back;
use super::classroom::Classroom;
use super::events::Events;
use super::folder::Folder;
use super::keys::{Keys, Typed, Wish};
use super::plain::Plain;
use super::report::Reporter;
use super::screen::Screen;
use crate::Context;
use crate::error::Result;

/// One way of telling a lesson.
pub trait Voice: Send {
    /// The session begins; `folder` is where the learner's files are, `whole` says that the
    /// lesson is begun and not gone on with.
    fn begin(&mut self, folder: &str, whole: bool);
    /// Something happened.
    fn event(&mut self, event: &Event);
    /// Something to know besides.
    fn note(&mut self, text: &str);
    /// True while a command runs that Ctrl-C should end.
    fn is_busy(&self) -> bool;
    /// The session is over: what waits for keys goes from the screen.
    fn end(&mut self);
}

/// Where wishes come from.
enum Input {
    Keys(Keys),
    Typed(Typed),
    /// Given beforehand; nobody is asked.
    None,
}

impl Input {
    async fn next(&mut self) -> Option<Wish> {
        match self {
            Self::Keys(keys) => keys.next().await,
            Self::Typed(typed) => typed.next().await,
            Self::None => std::future::pending().await,
        }
    }
}

/// How the lesson is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Drawn on a terminal, single keys.
    Screen,
    /// Lines.
    Plain,
    /// JSON.
    Json,
}

impl Manner {
    /// What fits: `plain` was asked for, or the terminal cannot be drawn on.
    pub fn of(cx: &Context, plain: bool) -> Self {
        if cx.ui.json() {
            return Self::Json;
        }
        let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        if plain || !terminal || console::is_dumb() {
            return Self::Plain;
        }
        Self::Screen
    }
}

/// How a session ended.
#[derive(Debug)]
pub struct Outcome {
    pub progress: LessonProgress,
    /// An answer came for which the session was held.
    pub answered: bool,
    /// The terminal or the system asked to end.
    pub interrupted: bool,
}

/// A session about to be held.
pub struct Session {
    pub cx: Arc<Context>,
    pub lesson: Arc<Lesson>,
    pub progress: LessonProgress,
    pub folder: Folder,
    pub manner: Manner,
}

/// What a session is held for.
pub enum Purpose {
    /// To learn: wishes come from the terminal.
    Learn,
    /// To have these wishes fulfilled: the session ends with the event that answers.
    Do(&'static [Verb], fn(&Event) -> bool),
}

impl Session {
    /// Holds it.
    ///
    /// # Errors
    /// The place cannot be made ready, progress cannot be kept.
    pub async fn hold(self, purpose: Purpose) -> Result<Outcome> {
        let learns = matches!(purpose, Purpose::Learn);
        let mut input = match (learns, self.manner) {
            (false, _) => Input::None,
            (true, Manner::Screen) => match Keys::listen() {
                Some(keys) => Input::Keys(keys),
                None => Input::Typed(Typed::listen()),
            },
            (true, Manner::Plain | Manner::Json) => Input::Typed(Typed::listen()),
        };
        let mut voice = self.voice(learns);
        let fresh = self.progress.left() == 0 && self.progress.step == 0;
        voice.begin(&self.folder.root().display().to_string(), learns && fresh);
        let (wish, verbs) = mpsc::channel(16);
        let (tell, mut events) = mpsc::unbounded_channel();
        let (note, mut notes) = mpsc::unbounded_channel();
        let reporter = Reporter::begin(&self.cx, &self.lesson, &self.progress, note.clone());
        // The engine takes wishes once it shows a step; what is typed before waits here.
        let mut early: Vec<Verb> = Vec::new();
        let mut ear = Ear {
            answers: None,
            answered: false,
            shown: false,
        };
        if let Purpose::Do(verbs, answers) = purpose {
            early.extend_from_slice(verbs);
            ear.answers = Some(answers);
        }
        let world = Classroom::new(self.cx.clone(), self.folder.clone(), true, note);
        let engine = drive(
            Arc::new(world),
            self.lesson.clone(),
            self.progress.clone(),
            verbs,
            tell,
        );
        let mut engine = pin!(engine);
        let mut stop = pin!(crate::interrupted());
        let mut interrupted = false;
        let mut listens = true;
        let ended = loop {
            tokio::select! {
                biased;
                Some(event) = events.recv() => {
                    voice.event(&event);
                    reporter.event(&event);
                    if ear.heard(&event) {
                        send(&wish, Verb::Quit);
                    }
                    if ear.shown {
                        early.drain(..).for_each(|verb| send(&wish, verb));
                    }
                }
                Some(text) = notes.recv() => voice.note(&text),
                ended = &mut engine => break ended,
                _ = &mut stop => {
                    stop.set(crate::interrupted());
                    if voice.is_busy() {
                        send(&wish, Verb::Interrupt);
                    } else if interrupted {
                        // Asked twice: whatever keeps the engine is not waited for.
                        return Err(crate::error::CliError::exit_like(130));
                    } else {
                        interrupted = true;
                        send(&wish, Verb::Quit);
                    }
                }
                asked = input.next(), if listens => {
                    let verb = match asked {
                        Some(Wish::Engine(verb)) => verb,
                        Some(Wish::Unknown) => continue,
                        // The end of the input: nobody can ask for anything more.
                        None => {
                            listens = false;
                            Verb::Quit
                        }
                    };
                    // Who presses a key to leave does not want to wait.
                    if ear.shown || (verb == Verb::Quit && self.manner == Manner::Screen) {
                        send(&wish, verb);
                    } else {
                        early.push(verb);
                    }
                }
            }
        };
        while let Ok(event) = events.try_recv() {
            voice.event(&event);
            reporter.event(&event);
            ear.heard(&event);
        }
        voice.end();
        // The terminal is itself again before anything else is said.
        drop(input);
        // The lesson is kept, whatever the class knows of it.
        if let Err(e) = reporter.end(&self.cx).await {
            self.cx.ui.warn("class", &e.what);
        }
        let progress = ended.map_err(back)?;
        Ok(Outcome {
            progress,
            answered: ear.answered,
            interrupted,
        })
    }

    /// The voice of this session's manner.
    pub fn voice(&self, asks: bool) -> Box<dyn Voice> {
        let lesson = self.lesson.clone();
        match self.manner {
            Manner::Screen if asks => Box::new(Screen::new(lesson)),
            Manner::Screen | Manner::Plain => Box::new(Plain::new(lesson, asks)),
            Manner::Json => Box::new(Events::new(lesson)),
        }
    }
}

/// What was heard so far.
struct Ear {
    answers: Option<fn(&Event) -> bool>,
    answered: bool,
    /// The engine shows a step, and so takes wishes.
    shown: bool,
}

impl Ear {
    /// True if this is the answer that was waited for.
    fn heard(&mut self, event: &Event) -> bool {
        self.shown |= matches!(event, Event::StepShown { .. });
        let is_answer = !self.answered && self.answers.is_some_and(|answers| answers(event));
        self.answered |= is_answer;
        is_answer
    }
}

/// The engine takes verbs as it comes to them; what does not fit its queue was pressed in vain.
fn send(wish: &mpsc::Sender<Verb>, verb: Verb) {
    let _ = wish.try_send(verb);
}
