//! `scripts/bench class`: a class of real clients behind one shaped link, in network namespaces of
//! its own, so it needs root, `ip` and `tc`.
//!
//! ```text
//!  server ── veth, shaped (tbf), lossy and disordered (netem) ── bridge ──┬── learner 0
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

const USAGE: &str = "usage: scripts/bench class [--json FILE] [--learners N] [--megabytes N] [--mbit N] [--loss PERCENT] [--cut SECONDS]
  --learners N    how many fetch and report at once, at most 200 (30)
  --megabytes N   of the bundle (20)
  --mbit N        of the link they share (100)
  --loss PERCENT  of the packets to them (0.1)
  --cut SECONDS   the link is cut in the middle, 0 for never (0)";

pub struct Options {
    json: Option<PathBuf>,
    pub learners: usize,
    pub megabytes: u64,
    pub mbit: u64,
    pub loss: f64,
    pub cut: u64,
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options> {
    let mut options = Options {
        json: None,
        learners: 30,
        megabytes: 20,
        mbit: 100,
        loss: 0.1,
        cut: 0,
    };
    while let Some(name) = arguments.next() {
        let value = arguments
            .next()
            .ok_or_else(|| format!("{name} wants a value\n{USAGE}"))?;
        match name.as_str() {
            "--json" => options.json = Some(value.into()),
            "--learners" => options.learners = value.parse()?,
            "--megabytes" => options.megabytes = value.parse()?,
            "--mbit" => options.mbit = value.parse()?,
            "--loss" => options.loss = value.parse()?,
            "--cut" => options.cut = value.parse()?,
            _ => return Err(format!("unknown option {name}\n{USAGE}").into()),
        }
    }
    if !(1..=200).contains(&options.learners) {
        return Err("--learners must be from 1 to 200".into());
    }
    if options.megabytes == 0 || options.mbit == 0 {
        return Err("a bundle and a link of nothing measure nothing".into());
    }
    Ok(options)
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.peek().map(String::as_str) == Some("serve") {
        let arguments: Vec<String> = arguments.skip(1).collect();
        return serve::run(&arguments);
    }
    let options = options(arguments)?;
    if !nix::unistd::geteuid().is_root() {
        return Err("network namespaces need root".into());
    }
    let mut figures = Figures::default();
    class::measure(&options, &mut figures)?;
    print!("{}", figures.table("", rows::ROWS));
    if let Some(file) = &options.json {
        std::fs::write(file, figures.json(rows::ROWS))?;
    }
    Ok(())
}
