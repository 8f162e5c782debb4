//! The teacher's own commands as a live page, if they want that.
//!
//! Terminals that the teacher chose append each command to a file (`cadet class serve --live`
//! says how); the last lines of it are sent to whoever has the class's token. A line that begins
//! with a blank is the teacher's own business.

use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Class;
use super::answer::Refusal;
use crate::range;
use crate::roll::tidy;

/// Commands that are remembered, and characters of each.
const MOST: usize = 200;
const LONGEST: usize = 500;
/// Bytes of the file that are read at once; what a terminal writes faster is left out.
const READ: u64 = 64 * 1024;
/// How often the file is looked at. Watching files differs by system; one look costs microseconds.
const LOOK: Duration = Duration::from_millis(500);

/// What the teacher typed.
pub struct Commands {
    path: PathBuf,
    /// The lines there are, and the number of the first.
    lines: Mutex<(u64, VecDeque<String>)>,
    /// The number of the next line.
    next: watch::Sender<u64>,
}

impl Commands {
    /// Commands that appear in `path`; what is in it already is from another day.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            lines: Mutex::new((0, VecDeque::new())),
            next: watch::Sender::new(0),
        }
    }

    /// Follows the file until `stop`.
    pub async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let mut place = self.size();
        let mut rest = Vec::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
            let size = self.size();
            if size < place {
                // Emptied: begin anew.
                (place, rest) = (0, Vec::new());
            }
            let length = (size - place).min(READ);
            if length == 0 {
                continue;
            }
            let mut buffer = vec![0; usize::try_from(length).unwrap_or(0)];
            let read =
                File::open(&self.path).and_then(|file| range::read_at(&file, &mut buffer, place));
            if read.is_err() {
                // It went between two looks; the next one tells.
                continue;
            }
            place += length;
            rest.extend_from_slice(&buffer);
            self.take_lines(&mut rest);
        }
    }

    fn size(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |about| about.len())
    }

    /// Takes the whole lines out of `rest`.
    fn take_lines(&self, rest: &mut Vec<u8>) {
        let Some(end) = rest.iter().rposition(|b| *b == b'\n') else {
            // A line without an end is not kept for ever.
            if rest.len() as u64 > READ {
                rest.clear();
            }
            return;
        };
        let whole: Vec<u8> = rest.drain(..=end).collect();
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        for line in String::from_utf8_lossy(&whole).lines() {
            if line.starts_with([' ', '\t']) {
                continue;
            }
            let line = tidy(line, LONGEST);
            // bash says the line before once more in place of one that it keeps for itself.
            if line.is_empty() || lines.1.back() == Some(&line) {
                continue;
            }
            lines.1.push_back(line);
            if lines.1.len() > MOST {
                lines.1.pop_front();
                lines.0 += 1;
            }
        }
        let next = lines.0 + lines.1.len() as u64;
        drop(lines);
        self.next.send_if_modified(|known| {
            let is_new = *known != next;
            *known = next;
            is_new
        });
    }

    /// The lines from number `from` on, and the number of the next.
    fn since(&self, from: u64) -> (Vec<String>, u64) {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let skip = usize::try_from(from.saturating_sub(lines.0)).unwrap_or(usize::MAX);
        let new = lines.1.iter().skip(skip).cloned().collect();
        (new, lines.0 + lines.1.len() as u64)
    }
}

/// `GET /class/TOKEN/live`: the lines there are, and each new one.
pub(super) async fn stream(State(class): State<Arc<Class>>) -> Response {
    let Some(commands) = class.commands.clone() else {
        return Refusal::Missing.into_response();
    };
    let news = commands.next.subscribe();
    let stop = class.stop.clone();
    let begin = (commands, news, stop, 0u64, true);
    let lines = futures::stream::unfold(begin, |state| async move {
        let (commands, mut news, stop, from, first) = state;
        if !first {
            tokio::select! {
                () = stop.cancelled() => return None,
                changed = news.changed() => changed.ok()?,
            }
        }
        news.mark_unchanged();
        let (new, next) = commands.since(from);
        let event = Event::default().json_data(&new);
        Some((event, (commands, news, stop, next, false)))
    });
    Sse::new(lines)
        .keep_alive(KeepAlive::new().interval(Duration::from_secs(15)))
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_lines_are_shown_and_private_ones_are_not() {
        let commands = Commands::new(PathBuf::from("/nowhere"));
        let mut rest = b"kubectl get pods\n export SECRET=1\n\nkubectl ge".to_vec();
        commands.take_lines(&mut rest);
        assert_eq!(commands.since(0), (vec!["kubectl get pods".to_owned()], 1));
        rest.extend_from_slice(b"t nodes\n");
        commands.take_lines(&mut rest);
        assert_eq!(commands.since(1), (vec!["kubectl get nodes".to_owned()], 2));
        assert_eq!(commands.since(2), (vec![], 2));
    }

    #[test]
    fn old_lines_make_room() {
        let commands = Commands::new(PathBuf::from("/nowhere"));
        let mut many: Vec<u8> = (0..1000)
            .flat_map(|n| format!("c{n}\n").into_bytes())
            .collect();
        commands.take_lines(&mut many);
        let (lines, next) = commands.since(0);
        assert_eq!((lines.len(), next), (MOST, 1000));
        assert_eq!(lines[0], "c800");
        assert_eq!(commands.since(999).0, ["c999"]);
        let mut endless = vec![b'x'; 100_000];
        commands.take_lines(&mut endless);
        assert!(endless.is_empty());
    }
}
