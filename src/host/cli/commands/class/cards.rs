//! `cadet class cards`: a page of join cards to print and to hand out.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use cadet_bundle::qr::Qr;
use cadet_class::{ClassError, JoinCode};
use clap::Args;
use serde_json::json;

use crate::Context;
use crate::error::{CliError, Result};
use crate::machine;

/// Begins every page of cards, so that nothing else is written over.
const MARK: &str = "<!doctype html><!-- join cards of a cadet class -->";
/// Longest name on a card.
const LONGEST_NAME: usize = 40;
/// More cards than any class needs.
const MOST: usize = 1000;
/// Nothing is loaded from anywhere: the page is printed where there is no internet.
const STYLE: &str = "\
@page{size:A4;margin:10mm}\
*{box-sizing:border-box}\
body{margin:0;font:11pt/1.35 system-ui,sans-serif;color:#000;background:#fff}\
main{display:grid;grid-template-columns:1fr 1fr}\
article{display:grid;grid-template-columns:1fr 36mm;gap:4mm;height:68mm;padding:6mm;\
border:1px dashed #888;break-inside:avoid;overflow:hidden}\
h1{margin:0;font-size:10pt;font-weight:600}\
h2{margin:3mm 0;font-size:15pt;min-height:8mm;border-bottom:1px solid #000;overflow-wrap:anywhere}\
p{margin:0 0 1mm}\
code{display:block;font:bold 10.5pt/1.4 ui-monospace,monospace;overflow-wrap:anywhere}\
svg{width:36mm;height:36mm}\
@media(max-width:180mm){main{grid-template-columns:1fr}}";

/// Flags of `cadet class cards`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cadet class cards CODE                         24 cards, names to be written by hand\n  cadet class cards CODE --names names.txt       a card for each line of the file\n\n`cadet class serve` shows the code. The page opens in every browser and prints on A4,\neight cards on a sheet."
)]
pub struct CardsArgs {
    /// The join code of the class
    #[arg(value_name = "CODE", value_parser = code)]
    code: String,
    /// File with the learners' names, one on a line
    #[arg(long, value_name = "FILE")]
    names: Option<PathBuf>,
    /// How many cards without a name
    #[arg(long, value_name = "N", conflicts_with = "names", value_parser = clap::value_parser!(u16).range(1..=1000), default_value = "24")]
    count: u16,
    /// What the class is called
    #[arg(long, default_value = "Cadet class")]
    title: String,
    /// File to write
    #[arg(long, value_name = "FILE", default_value = "join-cards.html")]
    out: PathBuf,
}

/// A join code as it is printed. A slip would be on every card.
fn code(text: &str) -> Result<String, String> {
    match JoinCode::parse(text) {
        Ok(code) => Ok(code.to_string()),
        Err(ClassError::Code(why)) => Err(format!("{why}; `cadet class serve` shows the code")),
        Err(e) => Err(e.to_string()),
    }
}

/// Writes the page.
pub fn run(cx: &Context, args: &CardsArgs) -> Result<u8> {
    let names = match &args.names {
        Some(file) => read_names(file)?,
        None => vec![String::new(); usize::from(args.count)],
    };
    if args.title.chars().count() > LONGEST_NAME * 2 || args.title.chars().any(char::is_control) {
        return Err(
            CliError::new("PROGRAM_USAGE", "the title does not fit a card")
                .why("80 letters in one line do")
                .fix("cadet class cards CODE --title \"Tuesday\""),
        );
    }
    free(&args.out)?;
    let page = page(&args.title, &args.code, &names)?;
    std::fs::write(&args.out, page).map_err(|e| machine::io("write", &args.out, &e))?;
    let out = args.out.display();
    if cx.ui.json() {
        cx.ui
            .object(&json!({"type": "done", "file": args.out, "cards": names.len()}));
    } else {
        let s = if names.len() == 1 { "" } else { "s" };
        cx.ui.line(format!("{} card{s} in {out}.", names.len()));
        cx.ui.line("  next: open it in a browser and print it");
    }
    Ok(0)
}

fn read_names(file: &Path) -> Result<Vec<String>> {
    let usage = |why: String| {
        Err(CliError::new(
            "PROGRAM_USAGE",
            format!("{} cannot be used as a list of names", file.display()),
        )
        .why(why)
        .fix("a text file with one name on a line"))
    };
    let text = match std::fs::read(file) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return usage("there is no such file".into());
        }
        Err(e) => return Err(machine::io("read", file, &e)),
    };
    let Ok(text) = String::from_utf8(text) else {
        return usage("it is not UTF-8 text".into());
    };
    let text = text.trim_start_matches('\u{feff}');
    let names: Vec<String> = text
        .lines()
        .map(|line| line.trim().to_owned())
        .filter(|line| !line.is_empty())
        .collect();
    if names.is_empty() || names.len() > MOST {
        return usage(format!("it has {} names; 1 to {MOST} can be", names.len()));
    }
    let odd = names
        .iter()
        .find(|n| n.chars().count() > LONGEST_NAME || n.chars().any(char::is_control));
    match odd {
        Some(odd) => usage(format!(
            "{:?} is too long or has odd characters",
            odd.chars().take(LONGEST_NAME).collect::<String>()
        )),
        None => Ok(names),
    }
}

/// Keeps from writing over anything but older cards.
fn free(file: &Path) -> Result<()> {
    let there = match std::fs::read(file) {
        Ok(there) => there,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        // A folder, or no right to look: nothing to write over.
        Err(e) => return Err(machine::io("write", file, &e)),
    };
    if there.starts_with(MARK.as_bytes()) {
        return Ok(());
    }
    Err(CliError::new(
        "PROGRAM_USAGE",
        format!("{} is there and is no page of cards", file.display()),
    )
    .why("only older cards are written over")
    .fix("cadet class cards CODE --out OTHER.html"))
}

fn page(title: &str, code: &str, names: &[String]) -> Result<String> {
    let svg = Qr::of(code)?.svg();
    let (title, code) = (escaped(title), escaped(code));
    let mut page = format!(
        "{MARK}\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}: join cards</title><style>{STYLE}</style></head><body><main>\n"
    );
    for name in names {
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "<article><div><h1>{title}</h1><h2>{}</h2>\
             <p>In a terminal, on the class's network:</p>\
             <code>cadet class join {code}</code></div>{svg}</article>",
            escaped(name)
        );
    }
    page.push_str("</main></body></html>\n");
    Ok(page)
}

/// Text as HTML shows it, in content and in attributes.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_in_a_name_stays_a_name() {
        let names = ["<script>alert(1)</script>".to_owned(), "Åsa & Bo".into()];
        let page = page("A \"class\"", "K3Q9-7ZQ3", &names).unwrap();
        assert!(!page.contains("<script"));
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
        assert!(page.contains("Åsa &amp; Bo"));
        assert_eq!(page.matches("<article>").count(), 2);
        assert_eq!(page.matches("cadet class join K3Q9-7ZQ3").count(), 2);
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere() {
        let page = page("t", "K3Q9-7ZQ3", &[String::new()]).unwrap();
        for word in ["src=", "href=", "url(", "@import"] {
            assert!(!page.contains(word), "{word}");
        }
        // The name of SVG's namespace is the only address in it.
        assert_eq!(page.matches("http").count(), 1);
    }

    #[test]
    fn a_slip_in_the_code_is_on_no_card() {
        let right = JoinCode {
            address: ([192, 168, 1, 20], 7433).into(),
            pin: [7; 8],
            token: [3; 5],
        };
        let right = right.to_string();
        // As it was read aloud.
        let typed = right.to_lowercase().replace('-', " ");
        assert_eq!(code(&typed).unwrap(), right);
        let last = if right.ends_with('0') { "1" } else { "0" };
        let slip = format!("{}{last}", &right[..right.len() - 1]);
        for bad in ["", "K3Q9", "K3Q9-7ZQ3", &right[1..], &slip, "<b>"] {
            assert!(code(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lists_of_names_are_read_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("names.txt");
        let read = |bytes: &[u8]| {
            std::fs::write(&file, bytes).unwrap();
            read_names(&file)
        };
        let names = read("\u{feff}Ada\r\n\n  Grace Hopper \n".as_bytes()).unwrap();
        assert_eq!(names, ["Ada", "Grace Hopper"]);
        let long = "x".repeat(41);
        let many = "x\n".repeat(1001);
        for bad in [
            &b""[..],
            b"\n \n",
            b"\xff\xfe",
            b"a\x1bb",
            long.as_bytes(),
            many.as_bytes(),
        ] {
            assert_eq!(read(bad).unwrap_err().topic.id, "PROGRAM_USAGE");
        }
        let none = read_names(&dir.path().join("none")).unwrap_err();
        assert_eq!(none.topic.id, "PROGRAM_USAGE");
    }

    #[test]
    fn only_cards_are_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.html");
        free(&file).unwrap();
        std::fs::write(&file, page("t", "K3Q9-7ZQ3", &[]).unwrap()).unwrap();
        free(&file).unwrap();
        std::fs::write(&file, "my thesis").unwrap();
        assert!(free(&file).is_err());
        assert!(free(dir.path()).is_err());
    }
}
