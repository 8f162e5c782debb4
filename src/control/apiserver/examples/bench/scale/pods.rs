//! Pods as a watch shows them: when each was bound, and when it ran.

use std::time::{Duration, Instant};

use memchr::memmem;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::super::Result;
use super::super::client::{self, Client, Connection};

/// Digits of a pod's number in its name.
const DIGITS: usize = 6;

/// The name of a pod.
pub fn name(series: &str, number: usize) -> String {
    format!("{series}-{number:0DIGITS$}")
}

/// How far a pod is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Bound,
    Running,
}

/// What is looked for in each line.
struct Marks<'a> {
    name: memmem::Finder<'a>,
    bound: memmem::Finder<'a>,
    running: memmem::Finder<'a>,
}

#[derive(Clone, Default)]
struct Seen {
    bound: Vec<Option<Instant>>,
    running: Vec<Option<Instant>>,
    counts: [usize; 2],
}

impl Seen {
    fn line(&mut self, line: &[u8], marks: &Marks<'_>, now: Instant) {
        let Some(at) = marks.name.find(line) else {
            return;
        };
        let digits = line
            .get(at + marks.name.needle().len()..)
            .and_then(|l| l.get(..DIGITS));
        let number = digits.and_then(|d| std::str::from_utf8(d).ok()?.parse::<usize>().ok());
        let Some(number) = number.filter(|n| *n < self.bound.len()) else {
            return;
        };
        if self.bound[number].is_none() && marks.bound.find(line).is_some() {
            self.bound[number] = Some(now);
            self.counts[Stage::Bound as usize] += 1;
        }
        if self.running[number].is_none() && marks.running.find(line).is_some() {
            self.running[number] = Some(now);
            self.counts[Stage::Running as usize] += 1;
        }
    }
}

/// Pods of one series while they are followed.
pub struct Pods {
    task: JoinHandle<Result<Seen>>,
    counts: watch::Receiver<[usize; 2]>,
    enough: watch::Sender<bool>,
    expected: usize,
}

impl Pods {
    /// Begins to watch; pods created afterwards are seen.
    pub async fn follow(client: &Client, series: &str, expected: usize) -> Result<Pods> {
        let mut connection = client.connect().await?;
        connection
            .begin(&client::get("/api/v1/pods?watch=true"))
            .await?;
        let (report, counts) = watch::channel([0, 0]);
        let (enough, ended) = watch::channel(false);
        let series = series.to_owned();
        let task =
            tokio::spawn(async move { read(connection, &series, expected, &report, ended).await });
        Ok(Pods {
            task,
            counts,
            enough,
            expected,
        })
    }

    /// Waits until all pods are so far, and gives when each was.
    pub async fn until(mut self, stage: Stage, patience: Duration) -> Result<Vec<Instant>> {
        let at = stage as usize;
        let expected = self.expected;
        let all = self.counts.wait_for(|counts| counts[at] >= expected);
        let waited = tokio::time::timeout(patience, all).await.map(drop);
        let reached = *self.counts.borrow();
        self.enough.send_replace(true);
        let seen = self.task.await??;
        if waited.is_err() {
            let [bound, running] = reached;
            return Err(format!("of {expected} pods {bound} are bound, {running} run").into());
        }
        let times = match stage {
            Stage::Bound => seen.bound,
            Stage::Running => seen.running,
        };
        Ok(times.into_iter().flatten().collect())
    }
}

async fn read(
    mut connection: Connection,
    series: &str,
    expected: usize,
    report: &watch::Sender<[usize; 2]>,
    mut ended: watch::Receiver<bool>,
) -> Result<Seen> {
    let name = format!("\"name\":\"{series}-");
    let marks = Marks {
        name: memmem::Finder::new(&name),
        bound: memmem::Finder::new("\"nodeName\":\""),
        running: memmem::Finder::new("\"phase\":\"Running\""),
    };
    let mut seen = Seen {
        bound: vec![None; expected],
        running: vec![None; expected],
        counts: [0, 0],
    };
    loop {
        let lines = tokio::select! {
            _ = ended.wait_for(|ended| *ended) => return Ok(seen),
            lines = connection.chunk() => lines?,
        };
        let now = Instant::now();
        for line in lines.split(|byte| *byte == b'\n') {
            seen.line(line, &marks, now);
        }
        report.send_replace(seen.counts);
    }
}
