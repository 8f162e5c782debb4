//! A learner's long session with the real kubectl, scripted in `session/*.txt`, in every version.
//!
//! The head of `session/day.txt` says how a script is written. Every version gets a server and a
//! home folder of its own; all that went wrong is reported together.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::program::{kubectls, texts};
use crate::support::app;
use crate::tls::Served;
use futures::StreamExt as _;
use serde_json::Value;

/// What kubectl says when it works around a server that is not like the real one.
const NOISE: [&str; 7] = [
    "unable to",
    "deprecated client",
    "falling back",
    "fallback",
    "couldn't get",
    "memcache.go",
    "panic",
];

enum Step {
    /// Writes the indented lines to a file of this name.
    File { name: String, text: String },
    /// Runs a shell line; the indented lines must be found in what it prints, in this order.
    Command {
        line: usize,
        words: String,
        succeeds: bool,
        expected: Vec<String>,
    },
}

fn steps(script: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (number, text) in script.lines().enumerate() {
        let command = |words: &str, succeeds| Step::Command {
            line: number + 1,
            words: words.to_owned(),
            succeeds,
            expected: Vec::new(),
        };
        if let Some(words) = text.strip_prefix("$ ") {
            steps.push(command(words, true));
        } else if let Some(words) = text.strip_prefix("! ") {
            steps.push(command(words, false));
        } else if let Some(name) = text.strip_prefix("> ") {
            let (name, text) = (name.to_owned(), String::new());
            steps.push(Step::File { name, text });
        } else if let Some(content) = text.strip_prefix("    ") {
            match steps.last_mut() {
                Some(Step::File { text, .. }) => {
                    text.push_str(content);
                    text.push('\n');
                }
                Some(Step::Command { expected, .. }) => expected.push(content.trim().to_owned()),
                None => panic!("line {}: belongs to nothing", number + 1),
            }
        } else {
            let ignored = text.is_empty() || text.starts_with('#');
            assert!(ignored, "line {}: what is {text:?}?", number + 1);
        }
    }
    steps
}

/// What is wrong with a command's answer, if anything.
fn fault(success: (bool, bool), out: &str, err: &str, expected: &[String]) -> Option<String> {
    if success.0 != success.1 {
        let word = if success.0 { "failed" } else { "succeeded" };
        return Some(word.to_owned());
    }
    // What the script expects is no noise.
    let unexpected = expected.iter().fold(err.to_owned(), |err, wanted| {
        err.replace(wanted.as_str(), "")
    });
    if let Some(noise) = NOISE.iter().find(|noise| unexpected.contains(**noise)) {
        return Some(format!("noise {noise:?}"));
    }
    let both = format!("{out}{err}");
    let mut rest = both.as_str();
    for wanted in expected {
        match rest.find(wanted.as_str()) {
            Some(at) => rest = &rest[at + wanted.len()..],
            None => return Some(format!("no {wanted:?}")),
        }
    }
    None
}

/// Runs a script with one kubectl; gives one text for each command that went wrong.
fn play(steps: &[Step], program: &Path, kubeconfig: &Value) -> Vec<String> {
    let home = tempfile::tempdir().expect("home");
    let at = |name: &str| home.path().join(name);
    std::fs::write(at("config"), kubeconfig.to_string()).expect("kubeconfig");
    std::fs::create_dir(at("bin")).expect("folder");
    std::os::unix::fs::symlink(program, at("bin/kubectl")).expect("link");
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", at("bin").display());
    let mut faults = Vec::new();
    for step in steps {
        let (line, words, succeeds, expected) = match step {
            Step::File { name, text } => {
                std::fs::write(at(name), text).expect("file");
                continue;
            }
            Step::Command {
                line,
                words,
                succeeds,
                expected,
            } => (line, words, *succeeds, expected),
        };
        // By QUIT a kubectl that hangs tells where.
        let output = Command::new("timeout")
            .args(["-s", "QUIT", "-k", "5", "240", "sh", "-c", words])
            .env("PATH", &path)
            .env("HOME", home.path())
            .env("KUBECONFIG", at("config"))
            .current_dir(home.path())
            .stdin(Stdio::null())
            .output()
            .expect("run");
        let (out, err) = texts(&output);
        let success = (succeeds, output.status.success());
        if let Some(fault) = fault(success, &out, &err, expected) {
            let name = program.file_name().unwrap_or_default().to_string_lossy();
            faults.push(format!(
                "line {line}, {name}: {fault}\n$ {words}\n{out}{err}"
            ));
        }
    }
    faults
}

/// Plays a script with every kubectl, each against a server of its own.
async fn play_everywhere(script: &str) {
    // KUBECTL=path plays with that one only, SCRIPT=path plays another script: while one is
    // being written.
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/api/session"));
    let script = std::env::var_os("SCRIPT").map_or_else(|| folder.join(script), PathBuf::from);
    let steps = Arc::new(steps(&std::fs::read_to_string(script).expect("script")));
    let programs = match std::env::var_os("KUBECTL") {
        Some(one) => vec![PathBuf::from(one)],
        None => kubectls(),
    };
    let at_once = std::thread::available_parallelism().map_or(2, usize::from);
    let faults: Vec<Vec<String>> = futures::stream::iter(programs)
        .map(|program| play_one(steps.clone(), program))
        .buffer_unordered(at_once)
        .collect()
        .await;
    let faults = faults.concat();
    let count = faults.len();
    let all = faults.join("\n");
    assert!(faults.is_empty(), "{count} went wrong:\n\n{all}");
}

async fn play_one(steps: Arc<Vec<Step>>, program: PathBuf) -> Vec<String> {
    let served = Served::start(app().await).await;
    let kubeconfig = served.kubeconfig(&served.identity("cadet-admin", "system:masters"));
    let playing = tokio::task::spawn_blocking(move || play(&steps, &program, &kubeconfig));
    let faults = playing.await.expect("play");
    served.stop().await;
    faults
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learners_day_of_over_a_hundred_commands() {
    play_everywhere("day.txt").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_is_created_shown_and_described() {
    play_everywhere("kinds.txt").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tricks_that_books_teach() {
    play_everywhere("tricks.txt").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_of_the_table_of_commands_in_its_other_forms() {
    play_everywhere("table.txt").await;
}
