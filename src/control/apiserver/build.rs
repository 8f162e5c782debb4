//! Collects the words of `kubectl explain`: what upstream's API documentation says of every
//! served type and field, read from the doc comments of a registry dependency
//! (k8s-openapi, Apache-2.0) at build time, so that no copy of them lives in this
//! repository.
//!
//! The sources are read as text: compiling that crate with its schema feature would cost
//! over a minute, reading it costs a tenth of a second. Output: `descriptions.zlib`, zlib
//! over records `definition US field US text RS`, the field empty for the type itself.

use std::collections::{HashMap, HashSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use flate2::Compression;
use flate2::write::ZlibEncoder;

/// The crate whose doc comments are read, and its module for the version we serve: that of
/// the feature in the workspace's manifest.
const CRATE: &str = "k8s-openapi";
const MODULE: &str = "src/v1_36";
/// The table of served types, in the crate that walks them.
const TYPES: &str = "../../api/schema/kinds.txt";

const UNIT: char = '\x1f';
const RECORD: char = '\x1e';

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={TYPES}");
    println!("cargo::rerun-if-changed=../../../Cargo.lock");
    let facts = fs::read_to_string(TYPES)?;
    let served: HashSet<&str> = facts
        .lines()
        .filter(|line| !line.starts_with([' ', '#']))
        .filter_map(|line| line.split(' ').next())
        .collect();
    let mut words = String::new();
    for file in sources(&crate_folder()?.join(MODULE))? {
        let text = fs::read_to_string(&file)?;
        if let Some(definition) = definition(&text).filter(|name| served.contains(name)) {
            collect(definition, &text, &mut words);
        }
    }
    if !words.contains("api.core.v1.HTTPGetAction") {
        return Err(format!("{CRATE} has no documentation in {MODULE} any more").into());
    }
    let out = PathBuf::from(env::var("OUT_DIR")?).join("descriptions.zlib");
    let mut packed = ZlibEncoder::new(fs::File::create(out)?, Compression::best());
    packed.write_all(words.as_bytes())?;
    packed.finish()?;
    Ok(())
}

/// Where cargo keeps the sources, in its registry or in a vendored folder.
fn crate_folder() -> Result<PathBuf, Failure> {
    let output = Command::new(env::var("CARGO")?)
        .args(["metadata", "--format-version=1", "--locked"])
        .arg(format!("--filter-platform={}", env::var("TARGET")?))
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let metadata = String::from_utf8(output.stdout)?;
    metadata
        .split("\"manifest_path\":\"")
        .filter_map(|rest| rest.split('"').next())
        .filter_map(|manifest| Path::new(manifest).parent())
        .find(|folder| {
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            name == CRATE || name.starts_with(&format!("{CRATE}-0."))
        })
        .map(Path::to_owned)
        .ok_or_else(|| format!("{CRATE} is not among the dependencies").into())
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let (mut found, mut todo) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(path);
            }
        }
    }
    // The same bytes on every machine.
    found.sort();
    Ok(found)
}

/// `api.core.v1.Pod`, from the first line of a generated file.
fn definition(text: &str) -> Option<&str> {
    text.lines()
        .next()?
        .strip_prefix("// Generated from definition io.k8s.")
}

/// Writes the records of the file's own type and of its fields.
fn collect(definition: &str, text: &str, words: &mut String) {
    let names = json_names(text);
    let mut comment = String::new();
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if let Some(doc) = line.strip_prefix("///") {
            comment.push_str(doc.strip_prefix(' ').unwrap_or(doc));
            comment.push('\n');
        } else if line.starts_with("pub struct ") {
            record(definition, "", &comment, words);
            comment.clear();
            inside = true;
        } else if let Some(field) = line.strip_prefix("pub ").filter(|_| inside) {
            let rust = field.split(':').next().unwrap_or_default();
            let rust = rust.strip_prefix("r#").unwrap_or(rust);
            let name = names.get(rust).copied().unwrap_or(rust);
            record(definition, name, &comment, words);
            comment.clear();
        } else if inside && line == "}" {
            return;
        } else if !line.starts_with("#[") {
            comment.clear();
        }
    }
}

/// JSON names by Rust names: the generated readers match one to the other.
fn json_names(text: &str) -> HashMap<&str, &str> {
    text.lines()
        .filter_map(|line| line.trim().split_once(" => Field::Key_"))
        .map(|(json, rust)| (rust.trim_end_matches(','), json.trim_matches('"')))
        .collect()
}

fn record(definition: &str, field: &str, comment: &str, words: &mut String) {
    let text = unescaped(comment.trim_end());
    if !text.is_empty() {
        words.push_str(&format!("{definition}{UNIT}{field}{UNIT}{text}{RECORD}"));
    }
}

/// Without the backslashes that keep rustdoc from reading brackets as links or HTML.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let escapes = letter == '\\' && letters.peek().is_some_and(char::is_ascii_punctuation);
        out.push(match escapes {
            true => letters.next().unwrap_or(letter),
            false => letter,
        });
    }
    out
}
