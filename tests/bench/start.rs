//! `scripts/bench start`: how long it takes from `cadet start` to a cluster that can be used, in
//! the stages of minikube's time-to-k8s: the command, the API, the node, names, the first pod.
//!
//! Three ways lead there: a new profile as the copy of a template, a suspended one that wakes, a
//! new one that boots. Each round begins where the one before left nothing: its own profile, or
//! the same one suspended again. Stages come one after the other, as for a person who types them.

// A program, not the library: printing is its job.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::PathBuf;
use std::process::{Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const USAGE: &str = "usage: scripts/bench start [options]
  --cadet FILE     the program to measure
  --json FILE      write the figures there as well
  --rounds N       how often each way is gone (10)
  --ways LIST      copy, wake, boot; in this order (copy,wake)
  --memory SIZE    of the machine (2g)
  --image NAME     of the guest (debian-13)
  --idle N         how long idling is watched at the end, seconds (20)";

/// In a test home of its own; only images and templates are the user's.
const PROFILE: &str = "bench";
const IMAGE: &str = "example.test/bench:1";
const STAGES: [&str; 5] = ["command", "api", "node", "dns", "pod"];
/// For each stage; a boot under emulation takes half a minute.
const PATIENCE: Duration = Duration::from_secs(300);

struct Options {
    cadet: PathBuf,
    json: Option<PathBuf>,
    rounds: usize,
    ways: Vec<String>,
    memory: String,
    image: String,
    idle: u64,
}

fn main() -> ExitCode {
    match options().and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench start: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options> {
    let mut options = Options {
        cadet: "cadet".into(),
        json: None,
        rounds: 10,
        ways: vec!["copy".into(), "wake".into()],
        memory: "2g".into(),
        image: "debian-13".into(),
        idle: 20,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
        match word.as_str() {
            "--cadet" => options.cadet = value()?.into(),
            "--json" => options.json = Some(value()?.into()),
            "--rounds" => options.rounds = value()?.parse()?,
            "--ways" => options.ways = value()?.split(',').map(str::to_owned).collect(),
            "--memory" => options.memory = value()?,
            "--image" => options.image = value()?,
            "--idle" => options.idle = value()?.parse()?,
            _ => return Err(USAGE.into()),
        }
    }
    let known = |way: &String| ["copy", "wake", "boot"].contains(&way.as_str());
    if options.rounds == 0 || !options.ways.iter().all(known) {
        return Err(USAGE.into());
    }
    Ok(options)
}

fn run(options: &Options) -> Result<()> {
    let home = tempfile::Builder::new().prefix("cadet-b").tempdir()?;
    let bench = Bench {
        options,
        home: home.path().to_path_buf(),
    };
    let outcome = bench.all();
    // Whatever happened, nothing stays but the template.
    let deleted = bench.cadet(&["delete", "--all", "--yes"])?;
    let figures = outcome?;
    if !deleted.status.success() {
        return Err(said(&deleted).into());
    }
    if let Some(file) = &options.json {
        std::fs::write(file, format!("{figures:#}\n"))?;
    }
    Ok(())
}

struct Bench<'a> {
    options: &'a Options,
    home: PathBuf,
}

impl Bench<'_> {
    fn all(&self) -> Result<Value> {
        // Image and template are made once, before anything is measured.
        self.must(&["image", "build", &self.options.image])?;
        self.must(&self.start(&["--download-only"]))?;
        let mut ways = serde_json::Map::new();
        println!(
            "{:<6} {:>9} {:>9} {:>9} {:>9} {:>9}   seconds, medians of {} (least to most)",
            "way", "command", "api", "node", "dns", "pod", self.options.rounds
        );
        for way in &self.options.ways {
            let mut rounds = Vec::new();
            if way == "wake" {
                self.must(&["delete", "--all", "--yes"])?;
                self.must(&self.start(&[]))?;
                self.bring_image()?;
            }
            for round in 0..self.options.rounds {
                let stages = self.round(way)?;
                eprintln!("{way} {}: {stages:.2?}", round + 1);
                rounds.push(stages);
            }
            let columns: Vec<Column> = (0..STAGES.len())
                .map(|stage| Column::of(rounds.iter().map(|round| round[stage])))
                .collect();
            let medians = columns.iter().map(|c| format!("{:>9.2}", c.median));
            let spread = columns
                .iter()
                .map(|c| format!("{:.2}-{:.2}", c.least, c.most));
            println!(
                "{way:<6} {}   ({})",
                medians.collect::<Vec<_>>().join(" "),
                spread.collect::<Vec<_>>().join(" ")
            );
            let named = STAGES.iter().zip(&columns);
            let named: serde_json::Map<_, _> = named
                .map(|(stage, column)| ((*stage).to_owned(), column.json()))
                .collect();
            ways.insert(way.clone(), json!({"rounds": rounds, "stages": named}));
        }
        let idle = self.idle()?;
        println!(
            "idle   {:.1} % of a processor, {} MiB of the laptop's memory ({} MiB of it its own)",
            idle["cpuPercent"].as_f64().unwrap_or_default(),
            idle["residentMiB"],
            idle["ownMiB"]
        );
        Ok(
            json!({"ways": ways, "idle": idle, "memory": self.options.memory,
            "image": self.options.image, "n": self.options.rounds}),
        )
    }

    /// One way once: seconds from the command to the end of each stage.
    fn round(&self, way: &str) -> Result<[f64; 5]> {
        let more: &[&str] = match way {
            "boot" => &["--cold"],
            _ => &[],
        };
        if way == "wake" {
            let _ = self.kubectl(&["delete", "pod", "first", "--now", "--wait=true"])?;
            self.must(&["stop"])?;
        } else {
            self.must(&["delete", "--all", "--yes"])?;
        }
        let began = Instant::now();
        let mut stages = [0.0; 5];
        let started = if way == "wake" {
            self.cadet(&["start"])?
        } else {
            self.cadet(&self.start(more))?
        };
        let text = said(&started);
        if !started.status.success() {
            return Err(text.into());
        }
        let expected = match way {
            "wake" => "awake after",
            "copy" => "copied from the template",
            _ => "boots",
        };
        if !text.contains(expected) {
            return Err(format!("it did not {way}: {text}").into());
        }
        stages[0] = began.elapsed().as_secs_f64();
        self.until("api", &|| self.succeeds(&["get", "--raw", "/readyz"]))?;
        stages[1] = began.elapsed().as_secs_f64();
        self.until("node", &|| {
            let nodes = self.kubectl(&["get", "nodes", "--no-headers"])?;
            Ok(said(&nodes).contains(" Ready "))
        })?;
        stages[2] = began.elapsed().as_secs_f64();
        self.until("dns", &|| {
            let name = "kubernetes.default.svc.cluster.local";
            Ok(self
                .cadet(&["ssh", "--", "getent", "hosts", name])?
                .status
                .success())
        })?;
        stages[3] = began.elapsed().as_secs_f64();
        // Bringing the image in is no part of it: clusters of others pull theirs beforehand.
        let pause = Instant::now();
        if way != "wake" {
            self.bring_image()?;
        }
        let paused = pause.elapsed().as_secs_f64();
        self.create_pod()?;
        self.until("pod", &|| {
            let path = "jsonpath={.status.phase}";
            let phase = self.kubectl(&["get", "pod", "first", "-o", path])?;
            Ok(said(&phase).contains("Running"))
        })?;
        stages[4] = began.elapsed().as_secs_f64() - paused;
        Ok(stages)
    }

    fn start<'w>(&'w self, more: &[&'w str]) -> Vec<&'w str> {
        let mut words = vec!["start", "--memory", &self.options.memory];
        words.extend(["--image", &self.options.image, "--wait-timeout", "20m"]);
        words.extend(more);
        words
    }

    fn cadet_command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.options.cadet);
        command
            .args(["-p", PROFILE])
            .args(words)
            .env("CADET_HOME", &self.home)
            .env("CADET_CACHE", cache())
            .env("KUBECONFIG", self.home.join("kubeconfig"))
            .stdin(Stdio::null());
        command
    }

    fn cadet(&self, words: &[&str]) -> Result<Output> {
        Ok(self.cadet_command(words).output()?)
    }

    fn must(&self, words: &[&str]) -> Result<()> {
        let output = self.cadet(words)?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("cadet {}: {}", words.join(" "), said(&output)).into())
    }

    fn kubectl(&self, words: &[&str]) -> Result<Output> {
        let mut command = Command::new("kubectl");
        command
            .args(["--context", PROFILE, "--request-timeout=10s"])
            .args(words)
            .env("KUBECONFIG", self.home.join("kubeconfig"))
            .stdin(Stdio::null());
        Ok(command.output()?)
    }

    fn succeeds(&self, words: &[&str]) -> Result<bool> {
        Ok(self.kubectl(words)?.status.success())
    }

    /// Asks until it is so.
    fn until(&self, what: &str, is: &dyn Fn() -> Result<bool>) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while !is()? {
            if Instant::now() > end {
                return Err(format!("{what}: not within {} s", PATIENCE.as_secs()).into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Brings an image of one program into the machine's engine.
    fn bring_image(&self) -> Result<()> {
        let folder = self.home.join("image");
        let bin = folder.join("bin");
        if !bin.exists() {
            std::fs::create_dir_all(&bin)?;
            std::fs::copy("/bin/busybox", bin.join("busybox"))?;
        }
        let mut tar = Command::new("tar")
            .arg("-C")
            .arg(&folder)
            .args(["-c", "."])
            .stdout(Stdio::piped())
            .spawn()?;
        let from = tar.stdout.take().ok_or("tar has no output")?;
        let words = ["ssh", "--", "sudo", "docker", "import", "-", IMAGE];
        let output = self.cadet_command(&words).stdin(from).output()?;
        tar.wait()?;
        if output.status.success() {
            return Ok(());
        }
        Err(said(&output).into())
    }

    fn create_pod(&self) -> Result<()> {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "first"},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [{
                "name": "app", "image": IMAGE, "imagePullPolicy": "Never",
                "command": ["/bin/busybox", "sleep", "86400"],
            }]},
        });
        let file = self.home.join("pod.json");
        std::fs::write(&file, pod.to_string())?;
        let made = self.kubectl(&["create", "-f", &file.display().to_string()])?;
        if made.status.success() {
            return Ok(());
        }
        Err(said(&made).into())
    }

    /// What the machine's process takes while nobody asks anything.
    fn idle(&self) -> Result<Value> {
        let pid = self.qemu()?;
        let before = ticks(&pid)?;
        std::thread::sleep(Duration::from_secs(self.options.idle));
        let used = ticks(&pid)? - before;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let mib = |name: &str| -> u64 {
            let line = status.lines().find_map(|l| l.strip_prefix(name));
            let kib = line.and_then(|l| l.split_whitespace().nth(1)?.parse::<u64>().ok());
            kib.unwrap_or_default() / 1024
        };
        // proc(5): of 100 ticks a second on every Linux there is.
        #[allow(clippy::cast_precision_loss)]
        let percent = used as f64 / self.options.idle.max(1) as f64;
        Ok(
            json!({"cpuPercent": percent, "residentMiB": mib("VmRSS"), "ownMiB": mib("RssAnon"),
            "seconds": self.options.idle}),
        )
    }

    fn qemu(&self) -> Result<String> {
        let mine = self.home.display().to_string();
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            if line.contains("qemu-system") && line.contains(&mine) {
                return Ok(entry.file_name().to_string_lossy().into_owned());
            }
        }
        Err("QEMU does not run".into())
    }
}

/// Where the user's images and templates are.
fn cache() -> PathBuf {
    if let Some(named) = std::env::var_os("CADET_CACHE") {
        return named.into();
    }
    let base = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache"),
        PathBuf::from,
    );
    base.join("cadet")
}

/// utime and stime, fields 14 and 15 of proc(5)'s stat.
fn ticks(pid: &str) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, after) = stat.rsplit_once(") ").ok_or("no stat")?;
    let fields: Vec<&str> = after.split(' ').collect();
    let field = |n: usize| -> Result<u64> { Ok(fields.get(n - 3).ok_or("no field")?.parse()?) };
    Ok(field(14)? + field(15)?)
}

fn said(output: &Output) -> String {
    let both = [&output.stdout, &output.stderr];
    both.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .concat()
}

/// Figures of one stage.
struct Column {
    least: f64,
    median: f64,
    most: f64,
}

impl Column {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        } else {
            sorted[middle]
        };
        Self {
            least: sorted[0],
            median,
            most: sorted[sorted.len() - 1],
        }
    }

    fn json(&self) -> Value {
        json!({"least": self.least, "median": self.median, "most": self.most})
    }
}
