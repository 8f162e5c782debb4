//! `cadet class join`: into the class, from a code to the first lesson.
//!
//! Each stage looks whether it is done already, so the same command, without the code, goes on
//! after any interruption: join, bundle, machine, images, lesson.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use cadet_class::client::Teacher;
use cadet_class::message::{Joining, LONGEST_NAME, Welcome};
use cadet_class::roll::tidy;
use cadet_class::{Identity, JoinCode, Membership};
use clap::Args;
use serde_json::json;

use super::install::{self, Trust};
use super::source::Source;
use crate::class::{images, member};
use crate::commands::start::{self, StartArgs};
use crate::commands::tutorial;
use crate::error::{CliError, Result};
use crate::lessons::progress;
use crate::{Context, machine, ui};

/// Steps that `install` shows.
const STEPS: usize = 4;

/// What is reported, in full.
const REPORTED: &str = "which lesson and step you are in, how long each step takes, and how many \
    hints you used";

/// Flags of `cadet class join`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cadet class join K7Q2M-…                      the code on the teacher's screen\n  cadet class join K7Q2M-… --name Ada --report   without questions\n  cadet class join                               goes on after an interruption\n\nIf you agree, the class sees which lesson and step you are in, how long each step takes\nand how many hints you used: nothing you type, nothing else. `cadet class leave` ends it."
)]
pub struct JoinArgs {
    /// The join code; none to go on with the class you joined
    #[arg(value_name = "CODE")]
    code: Option<String>,
    /// Your name on the teacher's board
    #[arg(long)]
    name: Option<String>,
    /// Agree to report steps, times and hints
    #[arg(long, conflicts_with = "no_report")]
    report: bool,
    /// Report nothing
    #[arg(long)]
    no_report: bool,
    /// Join and install, start no machine and no lesson
    #[arg(long)]
    only: bool,
}

/// Joins and goes on to the first lesson.
pub async fn run(cx: &Context, args: JoinArgs) -> Result<u8> {
    let only = args.only;
    let prepared = tokio::select! {
        prepared = prepare(cx, args) => prepared?,
        signal = crate::interrupted() => {
            return Err(CliError::new("PROGRAM_INTERRUPTED", signal)
                .why("what was fetched is kept")
                .fix(machine::again(cx, "class join      goes on where this stopped")));
        }
    };
    let lesson = match prepared {
        Next::Program(code) => return Ok(code),
        Next::Lesson(lesson) => lesson,
    };
    match lesson {
        Some(lesson) if !only => tutorial::begin(cx, &lesson).await,
        _ => {
            if !cx.ui.json() {
                let next = if only { "class join" } else { "tutorial" };
                cx.ui.line(format!("  next: {}", machine::again(cx, next)));
            }
            Ok(0)
        }
    }
}

/// What comes after the preparations.
enum Next {
    /// The bundle's own cadet went on, and ended with this code.
    Program(u8),
    /// The lesson to begin with, if the class has one.
    Lesson(Option<String>),
}

async fn prepare(cx: &Context, args: JoinArgs) -> Result<Next> {
    let (teacher, welcome, member) = enter(cx, &args).await?;
    if let Some(program) = install(cx, &teacher, &welcome).await? {
        return hand_over(cx, &program, args.only).map(Next::Program);
    }
    let lesson = first(cx, &welcome)?;
    if args.only {
        return Ok(Next::Lesson(lesson));
    }
    start(cx).await?;
    if let Some(authority) = &welcome.mirror {
        trust_images(cx, member.address, authority).await;
    }
    let mut member = member;
    member.ready = true;
    member::keep(cx, &member)?;
    Ok(Next::Lesson(lesson))
}

/// Finds the class and is in it afterwards.
async fn enter(cx: &Context, args: &JoinArgs) -> Result<(Teacher, Welcome, Membership)> {
    let code = args.code.as_deref().map(JoinCode::parse).transpose()?;
    let (teacher, member) = match code {
        Some(code) => by_code(cx, &code, member::usable(cx)?).await?,
        None => {
            let known = member::required(cx)?;
            (Teacher::of(&known)?, known)
        }
    };
    let welcome = teacher.welcome().await?;
    let mut member = member;
    let is_new = member.name.is_empty();
    member.title.clone_from(&welcome.title);
    member.lesson = welcome.lessons.first().cloned();
    if !cx.ui.json() {
        cx.ui.line(format!(
            "✓ class       \"{}\" at {}",
            welcome.title, member.address
        ));
    }
    let joining = Joining {
        name: name(cx, args, &member)?,
        reports: consent(cx, args, &member, is_new)?,
    };
    let mine = teacher.join(&member.me()?, &joining).await?;
    // The name as it was chosen: the board's number is the board's.
    member.name = joining.name;
    member.reports = mine.reports;
    member::keep(cx, &member)?;
    let live = welcome.live.then(|| teacher.live_page());
    told(cx, &mine.name, &member, live.as_deref());
    Ok((teacher, welcome, member))
}

/// The class of the code: the one that is known, at another address perhaps, or a new one.
async fn by_code(
    cx: &Context,
    code: &JoinCode,
    known: Option<Membership>,
) -> Result<(Teacher, Membership)> {
    let asked = Teacher::of_code(code)?;
    asked.welcome().await?;
    let fingerprint = asked.fingerprint().ok_or_else(|| {
        CliError::new(
            "PROGRAM_INTERNAL",
            "the class answered without showing its key",
        )
    })?;
    let member = match known {
        Some(mut known) if known.is_of(&fingerprint) => {
            known.moved(code);
            known
        }
        other => {
            if let Some(other) = other {
                let told = format!("you leave \"{}\" for this class", other.title);
                cx.ui.warn("class", &told);
            }
            let me = Identity::generate()?;
            Membership::new(code, fingerprint, &me, tutorial::now())
        }
    };
    Ok((Teacher::of(&member)?, member))
}

fn asks(cx: &Context) -> bool {
    !cx.ui.json() && std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

fn name(cx: &Context, args: &JoinArgs, member: &Membership) -> Result<String> {
    let usable = |text: &str| {
        let name = tidy(text, LONGEST_NAME);
        (!name.is_empty()).then_some(name)
    };
    if let Some(named) = &args.name {
        return usable(named).ok_or_else(|| {
            CliError::new("PROGRAM_USAGE", "the name has no letters")
                .why(format!(
                    "one to {LONGEST_NAME} letters are shown on the board"
                ))
                .fix(machine::again(cx, "class join CODE --name Ada"))
        });
    }
    if !member.name.is_empty() {
        return Ok(member.name.clone());
    }
    if !asks(cx) {
        return Err(
            CliError::new("PROGRAM_USAGE", "the class wants a name for you")
                .why("there is no terminal to ask at")
                .fix(machine::again(cx, "class join CODE --name Ada")),
        );
    }
    let typed: String = dialoguer::Input::new()
        .with_prompt("Your name on the teacher's board")
        .validate_with(|text: &String| {
            usable(text)
                .map(|_| ())
                .ok_or("a name has at least one letter")
        })
        .interact_text()
        .map_err(no_answer)?;
    usable(&typed).ok_or_else(|| no_answer("nothing was typed"))
}

fn consent(cx: &Context, args: &JoinArgs, member: &Membership, is_new: bool) -> Result<bool> {
    if args.report || args.no_report {
        return Ok(args.report);
    }
    if !is_new {
        return Ok(member.reports);
    }
    if !asks(cx) {
        return Ok(false);
    }
    let question =
        format!("May the class see {REPORTED}? Nothing else is sent, and no is a good answer too");
    cx.ui
        .line(ui::wrap(&question, ui::columns().saturating_sub(2)));
    dialoguer::Confirm::new()
        .with_prompt("Report")
        .default(false)
        .interact()
        .map_err(no_answer)
}

fn no_answer(why: impl ToString) -> CliError {
    CliError::new("PROGRAM_INTERRUPTED", "the question was not answered")
        .why(why.to_string())
        .fix("cadet class join CODE --name Ada")
}

fn told(cx: &Context, shown: &str, member: &Membership, live: Option<&str>) {
    if cx.ui.json() {
        cx.ui.object(
            &json!({"type": "joined", "class": member.title, "name": shown,
            "reports": member.reports, "live": live}),
        );
        return;
    }
    let reports = if member.reports {
        format!("it sees {REPORTED}")
    } else {
        "it sees nothing of what you do".into()
    };
    cx.ui.line(format!("✓ joined      as {shown}; {reports}"));
    cx.ui.line(format!(
        "              {} leaves, {} changes this",
        machine::again(cx, "class leave"),
        machine::again(
            cx,
            if member.reports {
                "class join --no-report"
            } else {
                "class join --report"
            }
        )
    ));
    if let Some(page) = live {
        cx.ui.line(format!(
            "  live        what the teacher types:  {page}\n              your browser warns once: the certificate is the teacher's own"
        ));
    }
}

/// Installs the class's bundle; gives the program to go on with if it is another than this.
async fn install(
    cx: &Context,
    teacher: &Teacher,
    welcome: &Welcome,
) -> Result<Option<std::path::PathBuf>> {
    let Some(bundle) = welcome.files.first() else {
        return Ok(None);
    };
    cx.ui.step_started("bundle", 1, STEPS);
    let url = teacher.file(&bundle.name);
    let source = Source::server(teacher.http().clone(), &url).await;
    let source = source.map_err(|e| from_class(cx, e))?;
    let outcome = install::install(cx, &source, &Trust::Way).await;
    let outcome = outcome.map_err(|e| from_class(cx, e))?;
    let own = std::env::current_exe().and_then(std::fs::canonicalize);
    let own = own.map_err(|e| machine::io("find", Path::new("cadet"), &e))?;
    let next = std::fs::canonicalize(&outcome.program)
        .map_err(|e| machine::io("find", &outcome.program, &e))?;
    Ok((next != own).then_some(next))
}

/// The bundle is the class's: `install` would know neither its key nor a file, `join` does.
fn from_class(cx: &Context, e: CliError) -> CliError {
    let is_install = e
        .fix
        .as_ref()
        .is_some_and(|fix| fix.contains("cadet class install"));
    if is_install {
        e.fix(machine::again(
            cx,
            "class join      goes on where this stopped",
        ))
    } else {
        e
    }
}

/// The bundle brings another version of cadet: that one goes on.
fn hand_over(cx: &Context, program: &Path, only: bool) -> Result<u8> {
    let mut command = std::process::Command::new(program);
    command.args(["class", "join", "--profile", cx.name.as_str()]);
    if only {
        command.arg("--only");
    }
    if cx.ui.json() {
        command.args(["--output", "json"]);
    }
    let status = command
        .status()
        .map_err(|e| machine::io("run", program, &e))?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1))
}

/// Starts the machine, if it does not run.
async fn start(cx: &Context) -> Result<()> {
    if machine::running(cx).await.is_ok() {
        return Ok(());
    }
    let args = StartArgs {
        keep_context: false,
        ..StartArgs::as_it_is(Duration::from_secs(360))
    };
    start::run(cx, args).await?;
    Ok(())
}

/// The class's images are a help; without them the machine asks the internet.
async fn trust_images(cx: &Context, address: SocketAddr, authority: &str) {
    if let Err(e) = images::use_class(cx, address, authority).await {
        let told = format!("the machine does not use the class's images: {}", e.what);
        cx.ui.warn("images", &told);
    }
}

/// The lesson the learner is in if it is one of the class's, else the first that is not done.
fn first(cx: &Context, welcome: &Welcome) -> Result<Option<String>> {
    let lessons = &welcome.lessons;
    if let Some(open) = progress::open(cx)?
        && lessons.contains(&open)
        && !is_done(cx, &open)
    {
        return Ok(Some(open));
    }
    let left = lessons.iter().find(|lesson| !is_done(cx, lesson));
    Ok(left.or(lessons.first()).cloned())
}

/// Progress that cannot be read is told when the lesson begins.
fn is_done(cx: &Context, lesson: &str) -> bool {
    matches!(progress::of(cx, lesson), Ok(Some(kept)) if kept.finished.is_some())
}
