//! `scripts/bench class`: a class of real clients behind one shaped link, in network namespaces of
//! its own, so it needs root, `ip` and `tc`.
//!
//! ```text
//!  server ── veth, shaped (htb), lossy and disordered (nft) ── bridge ──┬── learner 0
//!                                                                         ├── learner 1 …
//! ```
//! The server is this program once more, as a process of its own, so that its memory and its
//! processor can be told from those of the learners.

// A program, not the library: printing is its job.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod class;
#[path = "../../../../../tests/support/figures.rs"]
mod figures;
mod learner;
mod room;
mod rows;
mod serve;

use std::path::PathBuf;

use figures::Figures;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const USAGE: &str = "usage: scripts/bench class [--json FILE] [--learners N,…] [--megabytes N] [--mbit N] [--loss PERCENT] [--cut SECONDS]
  --learners N,…  classes: how many fetch and report at once, at most 200 (30,100,200)
  --megabytes N   of the bundle (20)
  --mbit N        of the link they share (100)
  --loss PERCENT  of the packets to them (0.1)
  --cut SECONDS   the first class once more, the link cut in the middle; 0 for never (60)";

/// One class.
#[derive(Debug, Clone)]
pub struct Options {
    pub learners: usize,
    pub megabytes: u64,
    pub mbit: u64,
    pub loss: f64,
    pub cut: u64,
}

/// All classes of a run.
struct Wish {
    json: Option<PathBuf>,
    learners: Vec<usize>,
    cut: u64,
    /// What they have in common.
    class: Options,
}

impl Wish {
    /// The classes in their order, by the names they have in the figures.
    fn classes(&self) -> Vec<(String, Options)> {
        let class = |learners: usize, cut: u64| Options {
            learners,
            cut,
            ..self.class.clone()
        };
        let whole = self.learners.iter();
        let mut all: Vec<_> = whole
            .map(|n| (format!("{n} learners"), class(*n, 0)))
            .collect();
        if let Some(first) = self.learners.first().filter(|_| self.cut > 0) {
            let name = format!("{first} learners, the link cut for {} s", self.cut);
            all.push((name, class(*first, self.cut)));
        }
        all
    }
}

fn wish(mut arguments: impl Iterator<Item = String>) -> Result<Wish> {
    let mut wish = Wish {
        json: None,
        learners: vec![30, 100, 200],
        cut: 60,
        class: Options {
            learners: 0,
            megabytes: 20,
            mbit: 100,
            loss: 0.1,
            cut: 0,
        },
    };
    while let Some(name) = arguments.next() {
        let value = arguments
            .next()
            .ok_or_else(|| format!("{name} wants a value\n{USAGE}"))?;
        match name.as_str() {
            "--json" => wish.json = Some(value.into()),
            "--learners" => {
                let numbers = value.split(',').map(str::parse::<usize>);
                wish.learners = numbers.collect::<std::result::Result<_, _>>()?;
            }
            "--megabytes" => wish.class.megabytes = value.parse()?,
            "--mbit" => wish.class.mbit = value.parse()?,
            "--loss" => wish.class.loss = value.parse()?,
            "--cut" => wish.cut = value.parse()?,
            _ => return Err(format!("unknown option {name}\n{USAGE}").into()),
        }
    }
    if !wish.learners.iter().all(|n| (1..=200).contains(n)) {
        return Err("--learners must be from 1 to 200".into());
    }
    if wish.class.megabytes == 0 || wish.class.mbit == 0 {
        return Err("a bundle and a link of nothing measure nothing".into());
    }
    Ok(wish)
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.peek().map(String::as_str) == Some("serve") {
        let arguments: Vec<String> = arguments.skip(1).collect();
        return serve::run(&arguments);
    }
    let wish = wish(arguments)?;
    if !nix::unistd::geteuid().is_root() {
        return Err("network namespaces need root".into());
    }
    let mut told = serde_json::Map::new();
    for (name, options) in wish.classes() {
        eprintln!("== {name}");
        let mut figures = Figures::default();
        class::measure(&options, &mut figures)?;
        println!("\n{name}");
        print!("{}", figures.table("", rows::ROWS));
        let json: serde_json::Value = serde_json::from_str(&figures.json(rows::ROWS))?;
        told.insert(name, json);
    }
    if let Some(file) = &wish.json {
        std::fs::write(file, format!("{:#}\n", serde_json::Value::Object(told)))?;
    }
    Ok(())
}
