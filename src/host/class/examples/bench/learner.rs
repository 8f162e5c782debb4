//! A learner: a thread in a namespace of its own, with the program's own client.

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use cadet_class::client::Teacher;
use cadet_class::message::Joining;
use cadet_class::need::after;
use cadet_class::{Identity, JoinCode};
use nix::sched::{CloneFlags, setns};

use crate::serve::{LESSON, STEPS};
use crate::{Result, room};

/// What one of them measured.
#[derive(Debug, Default)]
pub struct Day {
    pub join: Duration,
    pub fetched: Duration,
    /// Times at which the bundle was begun anew, or gone on with.
    pub restarts: u32,
    pub resumed: u32,
    pub reports: Vec<f64>,
}

/// When learners go on together.
pub struct Signals {
    pub joined: Barrier,
    pub fetched: Barrier,
    /// Reports end.
    pub over: AtomicBool,
}

/// One learner's day.
pub fn run(n: usize, code: JoinCode, size: u64, signals: &Arc<Signals>) -> Result<Day> {
    let space = File::open(format!("/run/netns/{}", room::learner(n)))?;
    setns(&space, CloneFlags::CLONE_NEWNET)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut day = Day::default();
    let (teacher, me) = (Teacher::of_code(&code)?, Identity::generate()?);
    let joined = runtime.block_on(join(n, &teacher, &me));
    // Whoever fails keeps nobody waiting.
    signals.joined.wait();
    let fetched = match joined {
        Ok(took) => {
            day.join = took;
            let began = Instant::now();
            let fetched = runtime.block_on(fetch(&teacher, size, &mut day));
            day.fetched = began.elapsed();
            fetched
        }
        Err(e) => Err(e),
    };
    signals.fetched.wait();
    fetched?;
    runtime.block_on(async {
        let mut step = 0;
        while !signals.over.load(Ordering::Relaxed) {
            let asked = Instant::now();
            let report = after(LESSON, step % (STEPS + 1), STEPS, 30);
            teacher.report(&me, &report).await?;
            day.reports.push(asked.elapsed().as_secs_f64() * 1000.0);
            step += 1;
            tokio::time::sleep(Duration::from_secs(1).saturating_sub(asked.elapsed())).await;
        }
        Ok::<_, cadet_class::ClassError>(())
    })?;
    Ok(day)
}

async fn join(n: usize, teacher: &Teacher, me: &Identity) -> Result<Duration> {
    let began = Instant::now();
    let joining = Joining {
        name: format!("Learner {n}"),
        reports: true,
    };
    teacher.join(me, &joining).await?;
    Ok(began.elapsed())
}

/// The bundle to nowhere, going on after breaks.
async fn fetch(teacher: &Teacher, size: u64, day: &mut Day) -> Result<()> {
    let url = teacher.file("bundle");
    let mut done = 0u64;
    while done < size {
        let request = teacher
            .http()
            .get(&url)
            .header("range", format!("bytes={done}-"));
        let answer = match request.send().await {
            Ok(answer) if answer.status().is_success() => answer,
            Ok(_) | Err(_) => {
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        if answer.status() != 206 {
            done = 0;
            day.restarts += 1;
        }
        let mut answer = answer;
        // A line that breaks is gone on with.
        while let Ok(Some(chunk)) = answer.chunk().await {
            done += chunk.len() as u64;
        }
        if done < size {
            day.resumed += 1;
        }
    }
    Ok(())
}
