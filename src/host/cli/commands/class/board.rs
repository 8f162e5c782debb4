//! `cadet class board`: the board's address, for this laptop and a phone; the pace of a class, and
//! its table without names, while it is served and afterwards.

use std::path::{Path, PathBuf};

use cadet_bundle::qr::Qr;
use cadet_class::{export, pace, server};
use clap::Args;
use serde_json::{Value, json};

use crate::Context;
use crate::class::book::Book;
use crate::class::open::{self, Open};
use crate::error::{CliError, Result};
use crate::machine;

/// Flags of `cadet class board`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cadet class board                       the address of the board\n  cadet class board --phone               the same for your phone, as a QR code\n  cadet class board --pace                how long the steps take\n  cadet class board --export steps.csv    every step of every learner, without names\n\nWhoever has the board's address is the teacher: do not put its QR code on the wall."
)]
pub struct BoardArgs {
    /// Show the address for a phone in the same Wi-Fi, as a QR code
    #[arg(long, conflicts_with_all = ["pace", "export"])]
    phone: bool,
    /// Show how long the steps take
    #[arg(long, conflicts_with = "export")]
    pace: bool,
    /// Write a table without names (CSV) to a new file
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
}

/// Shows it.
pub async fn run(cx: &Context, args: BoardArgs) -> Result<u8> {
    let served = open::read(cx)?;
    if let Some(file) = &args.export {
        return write(cx, served.as_ref(), file).await;
    }
    if args.pace {
        return pace_of(cx, served.as_ref()).await;
    }
    let served = served.ok_or_else(open::none)?;
    // A file that a crash left behind is found out here.
    ask(Some(&served), async |desk| desk.board().await)
        .await?
        .ok_or_else(open::none)?;
    if args.phone {
        return phone(cx, &served);
    }
    if cx.ui.json() {
        cx.ui
            .object(&json!({"type": "board", "url": served.board(), "phone": served.phone()}));
    } else {
        cx.ui.line(format!(
            "{}\n  Your browser warns once: the certificate is this laptop's own.\n  next: cadet class board --phone",
            served.board()
        ));
    }
    Ok(0)
}

fn phone(cx: &Context, served: &Open) -> Result<u8> {
    let url = served.phone().ok_or_else(open::none)?;
    if cx.ui.json() {
        cx.ui.object(&json!({"type": "board", "phone": url}));
        return Ok(0);
    }
    for line in Qr::of(&url)?.lines() {
        cx.ui.line(format!("  {line}"));
    }
    cx.ui.line(url);
    cx.ui
        .line("Scan it with a phone in the same Wi-Fi; its browser warns once. This is the");
    cx.ui.line("teacher's own address: keep it off the wall.");
    Ok(0)
}

/// Asks the class that is served; None if none is, though a file says so.
async fn ask<T>(
    served: Option<&Open>,
    question: impl AsyncFnOnce(cadet_class::desk::Desk) -> Result<T, cadet_class::ClassError>,
) -> Result<Option<T>> {
    let Some(served) = served else {
        return Ok(None);
    };
    match question(served.desk()?).await {
        Ok(answer) => Ok(Some(answer)),
        Err(cadet_class::ClassError::Silent { .. }) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// The class as it was left.
fn left(cx: &Context) -> Result<cadet_class::roll::Roll> {
    if !cx.world.home.class_rows().exists() {
        return Err(
            CliError::new("CLASS_NOT_SERVED", "no class was served from this laptop")
                .why("there are no figures of one")
                .fix("cadet class serve"),
        );
    }
    let book = Book::open(cx)?;
    Ok(server::load(book.as_ref())?)
}

async fn write(cx: &Context, served: Option<&Open>, file: &Path) -> Result<u8> {
    let asked = ask(served, async |desk| desk.export().await).await?;
    let table = match asked {
        Some(table) => table,
        None => export::steps(&left(cx)?)?.into_bytes(),
    };
    let mut options = std::fs::File::options();
    let opened = options.write(true).create_new(true).open(file);
    let mut out = match opened {
        Ok(out) => out,
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(CliError::new(
                "PROGRAM_USAGE",
                format!("{} is there already", file.display()),
            )
            .why("tables are written to new files only")
            .fix("cadet class board --export steps-2.csv"));
        }
        Err(e) => return Err(machine::io("write", file, &e)),
    };
    std::io::Write::write_all(&mut out, &table).map_err(|e| machine::io("write", file, &e))?;
    let rows = table
        .iter()
        .filter(|b| **b == b'\n')
        .count()
        .saturating_sub(1);
    if cx.ui.json() {
        cx.ui
            .object(&json!({"type": "done", "file": file, "rows": rows}));
    } else {
        cx.ui
            .line(format!("{rows} rows in {}, without names.", file.display()));
    }
    Ok(0)
}

async fn pace_of(cx: &Context, served: Option<&Open>) -> Result<u8> {
    let asked = ask(served, async |desk| desk.pace().await).await?;
    let lessons = match asked {
        Some(lessons) => lessons,
        None => {
            let paces = pace::paces(&left(cx)?);
            let lessons = paces
                .into_iter()
                .map(|(name, paces)| json!({"name": name, "title": name, "paces": paces}));
            Value::Array(lessons.collect())
        }
    };
    if cx.ui.json() {
        cx.ui.object(&json!({"type": "pace", "lessons": lessons}));
        return Ok(0);
    }
    let mut any = false;
    for lesson in lessons.as_array().into_iter().flatten() {
        let paces = lesson["paces"].as_array().map_or(&[][..], Vec::as_slice);
        if paces.is_empty() {
            continue;
        }
        any = true;
        cx.ui.line(lesson["title"].as_str().unwrap_or_default());
        cx.ui
            .line("  step   done   half took   9 of 10   solved   skipped   hints");
        for (index, pace) in paces.iter().enumerate() {
            cx.ui.line(format!(
                "  {:>4}   {:>4}   {:>9}   {:>7}   {:>6}   {:>7}   {:>5}",
                index + 1,
                number(&pace["done"]),
                time(&pace["median"]),
                time(&pace["ninety"]),
                number(&pace["solved"]),
                number(&pace["skipped"]),
                number(&pace["hints"]),
            ));
        }
    }
    if !any {
        cx.ui.line("Nobody has reported a step yet.");
    }
    Ok(0)
}

fn number(value: &Value) -> String {
    value.as_u64().map_or(String::new(), |n| n.to_string())
}

fn time(seconds: &Value) -> String {
    seconds
        .as_u64()
        .map_or(String::new(), |s| format!("{}:{:02}", s / 60, s % 60))
}
