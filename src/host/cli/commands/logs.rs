//! `cadet logs`: what the control plane, the agent and the machine itself say.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use clap::Args;
use serde_json::json;

use crate::error::{CliError, Result};
use crate::nodes::{self, Node};
use crate::{Context, line, machine, servers, ui};

/// Flags of `cadet logs`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cadet logs                 server and agent\n  cadet logs -f\n  cadet logs --machine       the machine's console, also when it is off\n  cadet logs -o json         the journal's own fields, one object a line"
)]
pub struct LogsArgs {
    /// Machine of a profile that has several [default: the first]
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Go on as new lines come
    #[arg(short, long)]
    follow: bool,
    /// How many of the last lines
    #[arg(short = 'n', long, default_value_t = 100, value_name = "LINES")]
    tail: u32,
    /// The machine's console and QEMU's own words
    #[arg(long, conflicts_with = "follow")]
    machine: bool,
}

/// Prints them.
pub async fn run(cx: &Context, args: LogsArgs) -> Result<u8> {
    let profile = machine::profile(cx)?;
    if args.machine && profile.server.is_some() {
        return Err(servers::no_machine(
            "show its console",
            "only its owner sees that; its journal tells what its system says",
            &machine::again(cx, "ssh -- sudo journalctl -b -n 100"),
        ));
    }
    if args.machine {
        let node = match &args.node {
            Some(name) => nodes::find(cx, &profile, name)?,
            None => Node::first(&profile.name),
        };
        let files = node.files(&cx.world.files(&cx.name));
        for (title, file) in [("console", files.serial_log()), ("QEMU", files.qemu_log())] {
            let text = last_lines(&file, args.tail as usize)
                .map_err(|e| machine::io("read", &file, &e))?;
            if !cx.ui.json() {
                cx.ui.line(format!("== {title} ({})", file.display()));
            }
            for line in text {
                // The console may hold anything: escape sequences must not reach the terminal.
                let plain = line.chars().filter(|c| !c.is_control() || *c == '\t');
                let plain: String = plain.collect();
                if cx.ui.json() {
                    cx.ui.object(&json!({
                        "type": "log", "node": node.name, "source": title, "file": file,
                        "line": plain}));
                } else {
                    ui::say(&plain);
                }
            }
        }
        return Ok(0);
    }
    let tunnel = line::connect_to(cx, args.node.as_deref()).await?;
    let follow = if args.follow { " -f" } else { "" };
    // One object a line, with the fields of systemd.journal-fields(7).
    let shape = match cx.ui.json() {
        true => "json --output-fields=MESSAGE,PRIORITY,_SYSTEMD_UNIT",
        false => "short-iso",
    };
    let command = format!(
        "sudo journalctl --no-pager -o {shape} -n {}{follow} -u cadet-server -u cadet-agent",
        args.tail
    );
    let status = tunnel
        .exec_streams(
            &command,
            tokio::io::empty(),
            tokio::io::stdout(),
            tokio::io::stderr(),
        )
        .await?;
    if status.success() {
        Ok(0)
    } else {
        Err(CliError::exit_like(status.shell_code()))
    }
}

/// The last `count` lines of `file`, which may be large; a missing file has none.
fn last_lines(file: &Path, count: usize) -> std::io::Result<Vec<String>> {
    const MOST: u64 = 1 << 20;
    let mut file = match std::fs::File::open(file) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MOST)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().map(str::to_string).collect();
    Ok(lines[lines.len().saturating_sub(count)..].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_a_log_is_shown() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("log");
        assert!(last_lines(&file, 3).unwrap().is_empty());
        std::fs::write(&file, "a\nb\r\n\u{fffd}c\nd").unwrap();
        assert_eq!(last_lines(&file, 2).unwrap(), ["\u{fffd}c", "d"]);
        assert_eq!(last_lines(&file, 9).unwrap().len(), 4);
    }
}
