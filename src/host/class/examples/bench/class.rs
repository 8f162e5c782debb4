//! A class from the first join to the last report, measured.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use cadet_class::JoinCode;
use cadet_class::client::Teacher;

use crate::figures::{Figures, percentile};
use crate::learner::{self, Day, Signals};
use crate::room::{self, Room};
use crate::serve::TEACHER;
use crate::{Options, Result};

/// How often the board is asked for.
const BOARDS: usize = 50;

pub fn measure(options: &Options, figures: &mut Figures) -> Result<()> {
    let room = Room::new(options)?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("bundle");
    let size = options.megabytes * 1_000_000;
    std::fs::write(&file, vec![0x5a; usize::try_from(size)?])?;
    let mut server = Server::start(&file)?;
    let signals = Arc::new(Signals {
        joined: Barrier::new(options.learners + 1),
        fetched: Barrier::new(options.learners + 1),
        over: AtomicBool::new(false),
    });
    let code = server.code;
    let learners: Vec<_> = (0..options.learners)
        .map(|n| {
            let signals = signals.clone();
            std::thread::spawn(move || learner::run(n, code, size, &signals))
        })
        .collect();
    signals.joined.wait();
    let (sent, cpu, began) = (room.sent()?, server.cpu()?, Instant::now());
    if options.cut > 0 {
        std::thread::sleep(Duration::from_secs(5));
        room.cut(true)?;
        std::thread::sleep(Duration::from_secs(options.cut));
        room.cut(false)?;
    }
    signals.fetched.wait();
    let took = began.elapsed().as_secs_f64();
    let sent = room.sent()? - sent;
    let cpu = server.cpu()? - cpu;
    let boards = boards(code);
    signals.over.store(true, Ordering::Relaxed);
    let days: Vec<Day> = learners
        .into_iter()
        .map(|thread| thread.join().map_err(|_| "a learner panicked")?)
        .collect::<Result<_>>()?;
    let all = days.len() as f64 * size as f64;
    let mut times: Vec<f64> = days.iter().map(|day| day.fetched.as_secs_f64()).collect();
    let mean = times.iter().sum::<f64>() / times.len() as f64;
    figures.set("wire_ratio", sent as f64 / all);
    figures.set("mean_s", mean);
    figures.set("slowest_ratio", percentile(&mut times, 100.0) / mean);
    figures.set("rate_mbit", all * 8.0 / took / 1e6);
    figures.set("cpu_percent", cpu / took * 100.0);
    figures.set("resident_mib", server.resident()?);
    figures.set(
        "restarts",
        days.iter().map(|day| f64::from(day.restarts)).sum(),
    );
    figures.set(
        "resumed",
        days.iter().map(|day| f64::from(day.resumed)).sum(),
    );
    let mut joins: Vec<f64> = days
        .iter()
        .map(|day| day.join.as_secs_f64() * 1000.0)
        .collect();
    figures.set("join_ms", percentile(&mut joins, 100.0));
    let mut reports: Vec<f64> = days.into_iter().flat_map(|day| day.reports).collect();
    figures.set("report_ms", percentile(&mut reports, 99.0));
    let (mut board, bytes) = boards?;
    figures.set("board_ms", percentile(&mut board, 100.0));
    figures.set("board_kib", bytes as f64 / 1024.0);
    server.end()
}

/// Asks for the board from the teacher's own laptop, while all report.
fn boards(code: JoinCode) -> Result<(Vec<f64>, usize)> {
    let thread = std::thread::spawn(move || -> Result<(Vec<f64>, usize)> {
        let space = std::fs::File::open(format!("/run/netns/{}", room::SPACE))?;
        nix::sched::setns(&space, nix::sched::CloneFlags::CLONE_NEWNET)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let teacher = Teacher::of_code(&code)?;
            let url = format!("https://{}/board/data", code.address);
            let (mut times, mut bytes) = (Vec::new(), 0);
            for _ in 0..BOARDS {
                let asked = Instant::now();
                let request = teacher.http().get(&url);
                let request = request.header("authorization", format!("Bearer {TEACHER}"));
                let answer = request.send().await?.error_for_status()?;
                bytes = answer.bytes().await?.len();
                times.push(asked.elapsed().as_secs_f64() * 1000.0);
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            // The first one makes the connection.
            times.remove(0);
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>((times, bytes))
        })
    });
    thread.join().map_err(|_| "the teacher panicked")?
}

struct Server {
    child: Child,
    code: JoinCode,
}

impl Server {
    fn start(file: &std::path::Path) -> Result<Self> {
        let mut child = Command::new("ip")
            .args(["netns", "exec", room::SPACE])
            .arg(std::env::current_exe()?)
            .arg("serve")
            .arg(file)
            .arg(format!("{}:7433", room::SERVER))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take().ok_or("no output")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let code = JoinCode::parse(line.trim())?;
        Ok(Self { child, code })
    }

    /// Seconds of processor so far (proc_pid_stat(5)); `ip netns exec` becomes the program.
    fn cpu(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let rest = stat.rsplit(')').next().ok_or("stat has another form")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks = |at: usize| -> Result<f64> {
            let field = fields.get(at).ok_or("stat has another form")?;
            Ok(field.parse::<f64>()?)
        };
        // Fields 14 and 15 of all; Linux counts them in hundredths of a second (USER_HZ).
        Ok((ticks(11)? + ticks(12)?) / 100.0)
    }

    /// The most that was resident, in MiB.
    fn resident(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        let kib = line.and_then(|l| l.split_whitespace().next());
        Ok(kib.ok_or("status has no VmHWM")?.parse::<f64>()? / 1024.0)
    }

    fn end(&mut self) -> Result<()> {
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("the server ended with {status}").into())
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended, if all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
