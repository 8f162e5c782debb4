//! What is done for the learner: commands, files and scripts, one after the other, told while
//! they are done.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::sources::{News, Post};
use crate::event::{Doing, Event};
use crate::model::{Block, Command, Lesson, Mistake, Script, Step};
use crate::world::{Sink, Stream, World, WorldError};

/// Says events; nobody need listen.
#[derive(Clone)]
pub(crate) struct Voice(pub mpsc::UnboundedSender<Event>);

impl Voice {
    pub fn say(&self, event: Event) {
        // A UI that is gone has dropped its end, and the lesson goes on without it.
        let _ = self.0.send(event);
    }

    pub fn trouble(&self, error: &WorldError) {
        self.say(Event::Trouble {
            what: error.what.clone(),
            fix: error.fix.clone(),
        });
    }

    /// Where commands pour their output.
    pub fn sink(&self) -> Sink {
        let voice = self.clone();
        Arc::new(move |stream: Stream, text: &str| {
            let text = text.to_owned();
            voice.say(Event::Output { stream, text });
        })
    }
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    Write {
        path: String,
        content: String,
    },
    Restore {
        path: String,
        original: Option<Vec<u8>>,
    },
    Run {
        command: Command,
        fails: bool,
    },
    Start(Command),
    Guest(String),
}

/// Why work is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// What the step shows.
    Run,
    Solve,
    Reset,
    /// All steps, and the place itself.
    ResetLesson,
}

/// Work under way.
pub(crate) struct Work {
    pub purpose: Purpose,
    pub task: JoinHandle<()>,
    pub began: SystemTime,
}

/// How work ended: well, or with the first thing that did not end as it should, in words.
pub(crate) type Outcome = Result<(), String>;

/// What Enter does in a step.
pub(crate) fn of_run(step: &Step) -> Vec<Action> {
    step.blocks.iter().flat_map(of_block).collect()
}

/// What solves a step: its files and scripts, then its solution, which stands in for the `run`
/// blocks. A script that has run is not run again.
pub(crate) fn of_solve(step: &Step, scripted: bool) -> Vec<Action> {
    if step.solve.is_none() && step.solve_guest.is_none() {
        return of_run(step);
    }
    let mut out: Vec<Action> = step
        .blocks
        .iter()
        .filter(|block| match block {
            Block::File(_) => true,
            Block::Guest(_) => !scripted,
            _ => false,
        })
        .flat_map(of_block)
        .collect();
    out.extend(step.solve_guest.iter().cloned().map(Action::Guest));
    out.extend(step.solve.iter().flat_map(of_script));
    out
}

/// What brings the cluster and the lesson folder back to how step number `index` found them.
pub(crate) fn of_reset(lesson: &Lesson, index: usize) -> Vec<Action> {
    let step = &lesson.steps[index];
    let scripts = step.reset_guest.iter().cloned().map(Action::Guest);
    let mut out: Vec<Action> = scripts.collect();
    out.extend(step.reset.iter().flat_map(of_script));
    let own = step.file_blocks().map(|file| &file.path);
    let mistaken = step
        .mistakes
        .iter()
        .flat_map(|mistake| mistake.files.keys());
    let mut paths: Vec<&String> = own.chain(mistaken).collect();
    paths.sort();
    paths.dedup();
    out.extend(paths.into_iter().map(|path| restore(lesson, index, path)));
    out
}

/// What plants a mistake.
pub(crate) fn of_mistake(mistake: &Mistake) -> Vec<Action> {
    let files = mistake.files.iter().map(|(path, content)| Action::Write {
        path: path.clone(),
        content: content.clone(),
    });
    let mut out: Vec<Action> = files.collect();
    out.extend(mistake.guest.iter().cloned().map(Action::Guest));
    out.extend(mistake.run.iter().flat_map(of_script));
    out
}

/// What takes a mistake of step number `index` back.
pub(crate) fn of_undo(lesson: &Lesson, index: usize, mistake: &Mistake) -> Vec<Action> {
    let mut out: Vec<Action> = mistake.undo.iter().flat_map(of_script).collect();
    out.extend(
        mistake
            .files
            .keys()
            .map(|path| restore(lesson, index, path)),
    );
    out
}

/// The file as an earlier step wrote it, else as the lesson hands it out.
fn restore(lesson: &Lesson, index: usize, path: &str) -> Action {
    let earlier = lesson.steps[..index].iter().rev();
    let written = earlier
        .flat_map(Step::file_blocks)
        .find(|file| file.path == path)
        .map(|file| file.content.clone().into_bytes());
    Action::Restore {
        path: path.to_owned(),
        original: written.or_else(|| lesson.files.get(path).cloned()),
    }
}

fn of_block(block: &Block) -> Vec<Action> {
    match block {
        Block::Prose { .. } | Block::Shown { .. } => Vec::new(),
        Block::Run(run) => {
            let commands = run.script.commands().cloned();
            commands
                .map(|command| match run.background {
                    true => Action::Start(command),
                    false => Action::Run {
                        command,
                        fails: run.fails,
                    },
                })
                .collect()
        }
        Block::File(file) => vec![Action::Write {
            path: file.path.clone(),
            content: file.content.clone(),
        }],
        Block::Guest(guest) => vec![Action::Guest(guest.script.clone())],
    }
}

fn of_script(script: &Script) -> Vec<Action> {
    let commands = script.commands().cloned();
    commands
        .map(|command| Action::Run {
            command,
            fails: false,
        })
        .collect()
}

/// Does one thing after the other. A command that fails does not keep the next from being run, as
/// in a terminal; only when the world itself fails, all ends.
pub(crate) async fn perform(
    world: &dyn World,
    actions: Vec<Action>,
    voice: &Voice,
    post: &Post,
) -> Outcome {
    let mut outcome = Ok(());
    for action in actions {
        match one(world, action, voice, post).await {
            Ok(None) => {}
            Ok(Some(failed)) => outcome = outcome.and(Err(failed)),
            Err(error) => {
                voice.trouble(&error);
                return Err(error.what);
            }
        }
    }
    outcome
}

/// What ended as it should not, in words.
async fn one(
    world: &dyn World,
    action: Action,
    voice: &Voice,
    post: &Post,
) -> Result<Option<String>, WorldError> {
    let sink = voice.sink();
    let began = world.now();
    let doing = |doing: Doing, what: &str| {
        let what = what.to_owned();
        voice.say(Event::Doing { doing, what });
    };
    let ended = |what: &str, code: i32| {
        let seconds = since(world, began).as_secs_f64();
        let what = what.to_owned();
        voice.say(Event::Ended {
            what,
            code,
            seconds,
        });
    };
    match action {
        Action::Write { path, content } => {
            doing(Doing::File, &path);
            world.write_file(&path, &content).await?;
        }
        Action::Restore { path, original } => {
            world.restore_file(&path, original.as_deref()).await?;
        }
        Action::Run { command, fails } => {
            doing(Doing::Command, &command.text);
            let code = world.run(&command, &sink).await?.code;
            ended(&command.text, code);
            match (code == 0, fails) {
                (true, true) => {
                    return Ok(Some(format!(
                        "`{}` was to be refused, and was not",
                        command.text
                    )));
                }
                (false, false) => {
                    return Ok(Some(format!(
                        "`{}` ended with exit code {code}",
                        command.text
                    )));
                }
                _ => {}
            }
        }
        Action::Start(command) => {
            doing(Doing::Background, &command.text);
            let running = world.start(&command, &sink).await?;
            post.send(News::Started(running));
        }
        Action::Guest(script) => {
            doing(Doing::Guest, "guest");
            let code = world.guest(&script, &sink).await?.code;
            ended("guest", code);
            if code != 0 {
                let failed = format!("the script in the machine ended with exit code {code}");
                return Ok(Some(failed));
            }
            post.send(News::Scripted);
        }
    }
    Ok(None)
}

/// Time since `began`; a clock that was set back counts as none.
pub(crate) fn since(world: &dyn World, began: SystemTime) -> std::time::Duration {
    world.now().duration_since(began).unwrap_or_default()
}
