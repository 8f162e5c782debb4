//! `cadet tutorial play`: lessons without a learner, as CI plays them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use cadet_state::LessonLock;
use cadet_tutorial::Event;
use cadet_tutorial::event::Doing;
use cadet_tutorial::model::Lesson;
use cadet_tutorial::play::{Options, Report, play};
use serde_json::json;
use tokio::sync::mpsc;

use super::{PlayArgs, start};
use crate::Context;
use crate::error::{CliError, Result};
use crate::lessons::classroom::Classroom;
use crate::lessons::events;
use crate::lessons::folder::Folder;
use crate::lessons::library;
use crate::machine;
use crate::ui::count;

/// Lines of a step's output that are shown when it fails.
const TAIL: usize = 60;

/// Plays them, one after the other; all must do what they promise.
pub async fn run(cx: &Context, args: PlayArgs) -> Result<u8> {
    let lessons = if args.all {
        let folders = library::folders(&cx.world)?;
        folders
            .iter()
            .map(library::lesson)
            .collect::<Result<Vec<_>>>()?
    } else {
        let names = args.names.iter();
        names
            .map(|name| library::find(&cx.world, name))
            .collect::<Result<Vec<_>>>()?
    };
    machine::running(cx).await?;
    let _lock = LessonLock::take(&cx.world.home, &cx.name, "tutorial play")?;
    tokio::select! {
        outcome = all(cx, &args, lessons) => outcome,
        signal = crate::interrupted() => Err(CliError::new("PROGRAM_INTERRUPTED", signal)
            .why("the lesson that was played has left its objects in the cluster")
            .fix("kubectl get all")),
    }
}

async fn all(cx: &Context, args: &PlayArgs, lessons: Vec<Lesson>) -> Result<u8> {
    let began = Instant::now();
    let (mut good, mut bad, mut left_out) = (0, Vec::new(), 0);
    let total = lessons.len();
    for (place, lesson) in lessons.into_iter().enumerate() {
        match start::fits(cx, &lesson).await {
            Ok(lacks) => lacks.iter().for_each(|text| cx.ui.warn(&lesson.name, text)),
            Err(e) if e.topic.id == "LESSON_CLUSTER" && args.all => {
                left_out += 1;
                skipped(cx, &lesson, &e.what);
                continue;
            }
            Err(e) => return Err(e),
        }
        // What the others did is undone; what the last one did may stay.
        let keep = args.keep && place + 1 == total;
        let name = lesson.name.clone();
        let report = one(cx, args, lesson, keep).await?;
        if report.ok() {
            good += 1;
        } else {
            bad.push(name);
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    if cx.ui.json() {
        cx.ui
            .object(&json!({"type": "done", "played": good, "failed": bad,
            "leftOut": left_out, "seconds": (seconds * 10.0).round() / 10.0}));
    }
    if bad.is_empty() {
        if !cx.ui.json() {
            let out = match left_out {
                0 => String::new(),
                n => format!("; {n} left out"),
            };
            cx.ui.line(format!(
                "{} played in {seconds:.0} s{out}.",
                count(good, "lesson")
            ));
        }
        return Ok(0);
    }
    Err(CliError::new(
        "LESSON_FAILED",
        format!(
            "{} of {} failed: {}",
            bad.len(),
            count(good + bad.len(), "lesson"),
            bad.join(", ")
        ),
    )
    .why("the lines above say which step, and what was missing")
    .fix(format!("cadet tutorial play {} --keep", bad[0])))
}

fn skipped(cx: &Context, lesson: &Lesson, why: &str) {
    if cx.ui.json() {
        cx.ui
            .object(&json!({"type": "left.out", "lesson": lesson.name, "message": why}));
    } else {
        cx.ui.line(format!("- {:<12} left out: {why}", lesson.name));
    }
}

async fn one(cx: &Context, args: &PlayArgs, lesson: Lesson, keep: bool) -> Result<Report> {
    let root = cx.world.files(&cx.name).play().join(&lesson.name);
    machine::remove_dir(&root)?;
    let folder = Folder::new(root.clone(), lesson.files.clone());
    let (tell, mut heard) = mpsc::unbounded_channel();
    let (note, mut notes) = mpsc::unbounded_channel();
    let world = Classroom::new(Arc::new(cx.again()), folder, false, note);
    let options = Options {
        mistakes: args.mistakes,
        keep,
        deadline: args.timeout,
    };
    let lesson = Arc::new(lesson);
    let mut teller = Teller::new(cx, &lesson);
    let playing = play(Arc::new(world), lesson.clone(), options, tell);
    let mut playing = std::pin::pin!(playing);
    let report = loop {
        tokio::select! {
            biased;
            Some(event) = heard.recv() => teller.event(&event),
            // Nobody changed a file here; what a step wrote over was written by the lesson.
            Some(_) = notes.recv() => {}
            report = &mut playing => break report,
        }
    };
    while let Ok(event) = heard.try_recv() {
        teller.event(&event);
    }
    teller.closing(&report);
    if !keep {
        machine::remove_dir(&root)?;
    }
    Ok(report)
}

/// Tells how a lesson goes, a line a step.
struct Teller<'a> {
    cx: &'a Context,
    lesson: &'a Lesson,
    since: Instant,
    /// The end of what the present step printed.
    tail: VecDeque<String>,
}

impl<'a> Teller<'a> {
    fn new(cx: &'a Context, lesson: &'a Lesson) -> Self {
        if !cx.ui.json() {
            cx.ui.line(format!(
                "{}, {}",
                lesson.name,
                count(lesson.steps.len(), "step")
            ));
        }
        Self {
            cx,
            lesson,
            since: Instant::now(),
            tail: VecDeque::new(),
        }
    }

    fn event(&mut self, event: &Event) {
        if self.cx.ui.json() {
            let mut line = events::named(event);
            line["lesson"] = json!(self.lesson.name);
            self.cx.ui.object(&line);
            return;
        }
        match event {
            Event::StepShown { step, .. } => {
                if *step == 0 {
                    self.line("✓", "-", "the place is ready");
                }
                self.since = Instant::now();
                self.tail.clear();
            }
            Event::Completed { step, total, .. } => {
                let number = format!("{}/{total}", step + 1);
                let title = self
                    .lesson
                    .steps
                    .get(*step)
                    .map_or("", |s| s.title.as_str());
                self.line("✓", &number, title);
            }
            Event::Doing { doing, what } => {
                let sign = match doing {
                    Doing::Command | Doing::Background => "$",
                    Doing::File => "file",
                    Doing::Guest => "guest",
                };
                self.keep(&format!("{sign} {what}\n"));
            }
            Event::Output { text, .. } => self.keep(text),
            Event::NotYet { reason, .. } => self.keep(&format!("not yet, because {reason}\n")),
            Event::Trouble { what, .. } => self.keep(&format!("trouble: {what}\n")),
            Event::Ended { code, .. } if *code != 0 => {
                self.keep(&format!("(exit code {code})\n"));
            }
            _ => {}
        }
    }

    fn keep(&mut self, text: &str) {
        for piece in text.split_inclusive('\n') {
            match self.tail.back_mut() {
                Some(last) if !last.ends_with('\n') => last.push_str(piece),
                _ => self.tail.push_back(piece.to_owned()),
            }
        }
        while self.tail.len() > TAIL {
            self.tail.pop_front();
        }
    }

    fn line(&self, sign: &str, number: &str, title: &str) {
        let seconds = self.since.elapsed().as_secs_f64();
        let start = format!("{sign} {number:>5}  {title}");
        let start = console::truncate_str(&start, 68, "…");
        let pad = 68_usize.saturating_sub(console::measure_text_width(&start));
        let gap = " ".repeat(pad);
        self.cx.ui.line(format!("{start}{gap} {seconds:>7.1} s"));
    }

    /// What came of the lesson.
    fn closing(&self, report: &Report) {
        if self.cx.ui.json() {
            let mut line = json!(report);
            line["type"] = json!("report");
            line["ok"] = json!(report.ok());
            self.cx.ui.object(&line);
            return;
        }
        for step in &report.steps {
            for note in &step.notes {
                let number = step.step + 1;
                self.cx.ui.line(format!("  note  step {number}: {note}"));
            }
            for failure in &step.failures {
                self.cx
                    .ui
                    .line(format!("✗ step {} · {}", step.step + 1, step.title));
                self.cx.ui.line(format!("  {failure}"));
            }
        }
        for failure in &report.failures {
            self.cx.ui.line(format!("✗ {failure}"));
        }
        if !report.ok() {
            self.cx.ui.line("  what was said last:");
            for line in &self.tail {
                self.cx.ui.line(format!("  | {}", line.trim_end()));
            }
        }
        let mistakes: usize = report.steps.iter().map(|step| step.mistakes).sum();
        let sign = if report.ok() { "✓" } else { "✗" };
        self.cx.ui.line(format!(
            "{sign} {}: {} of {}, {} told, {:.0} s",
            report.lesson,
            report
                .steps
                .iter()
                .filter(|step| step.failures.is_empty())
                .count(),
            count(self.lesson.steps.len(), "step"),
            count(mistakes, "mistake"),
            report.seconds,
        ));
    }
}
