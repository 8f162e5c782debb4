//! What the learner presses or types, as wishes.

use cadet_tutorial::Verb;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::sync::mpsc;

use crate::terminal;

/// A wish of the learner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    Engine(Verb),
    /// A key that means nothing.
    Unknown,
}

/// Single keys from a terminal. The terminal's mode is put back when this is dropped.
pub struct Keys {
    _mode: terminal::Keys,
    wishes: mpsc::Receiver<Wish>,
}

impl Keys {
    /// Starts to listen; None where single keys cannot be had.
    pub fn listen() -> Option<Self> {
        let mode = terminal::Keys::enter().ok()?;
        let (tell, wishes) = mpsc::channel(16);
        tokio::spawn(async move {
            let mut input = tokio::io::stdin();
            let mut buffer = [0; 64];
            while let Ok(read @ 1..) = input.read(&mut buffer).await {
                // What a key with a name sends (ESC …) is one key, and none of ours.
                let bytes = match buffer[..read].split_first() {
                    Some((0x1b, _)) => continue,
                    _ => &buffer[..read],
                };
                for byte in bytes {
                    if tell.send(of_key(*byte)).await.is_err() {
                        return;
                    }
                }
            }
            // The terminal is gone, and so is the learner; nobody left to tell is fine.
            let _ = tell.send(Wish::Engine(Verb::Quit)).await;
        });
        Some(Self {
            _mode: mode,
            wishes,
        })
    }

    /// The next wish.
    pub async fn next(&mut self) -> Option<Wish> {
        self.wishes.recv().await
    }
}

/// Lines from standard input, for `--plain`, pipes and `-o json`.
pub struct Typed {
    wishes: mpsc::Receiver<Wish>,
}

impl Typed {
    /// Starts to listen.
    pub fn listen() -> Self {
        let (tell, wishes) = mpsc::channel(16);
        tokio::spawn(async move {
            let mut lines = BufReader::new(tokio::io::stdin()).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if tell.send(of_line(&line)).await.is_err() {
                    return;
                }
            }
        });
        Self { wishes }
    }

    /// The next wish; None at the end of the input.
    pub async fn next(&mut self) -> Option<Wish> {
        self.wishes.recv().await
    }
}

fn of_key(byte: u8) -> Wish {
    match byte {
        b'\r' | b'\n' => Wish::Engine(Verb::Run),
        // Ctrl-D.
        4 => Wish::Engine(Verb::Quit),
        // A blank means nothing here, though it would be an empty line.
        0..=b' ' => Wish::Unknown,
        byte => of_line(&char::from(byte).to_string()),
    }
}

fn of_line(line: &str) -> Wish {
    Wish::Engine(match line.trim().to_lowercase().as_str() {
        "" | "run" => Verb::Run,
        "n" | "next" => Verb::Next,
        "c" | "check" => Verb::Check,
        "h" | "hint" | "?" => Verb::Hint,
        "s" | "solve" => Verb::Solve,
        "k" | "skip" => Verb::Skip,
        "r" | "reset" => Verb::Reset,
        "w" | "status" | "where" => Verb::Status,
        "i" | "interrupt" => Verb::Interrupt,
        "q" | "quit" | "leave" | "exit" => Verb::Quit,
        _ => return Wish::Unknown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_words_mean_the_same() {
        assert_eq!(of_key(b'\r'), Wish::Engine(Verb::Run));
        assert_eq!(of_key(b'h'), Wish::Engine(Verb::Hint));
        assert_eq!(of_key(b'H'), Wish::Engine(Verb::Hint));
        assert_eq!(of_key(4), Wish::Engine(Verb::Quit));
        assert_eq!(of_line(""), Wish::Engine(Verb::Run));
        assert_eq!(of_line(" Next "), Wish::Engine(Verb::Next));
        assert_eq!(of_line("x"), Wish::Unknown);
        for byte in [b' ', b'\t', 0, 0xff] {
            assert_eq!(of_key(byte), Wish::Unknown);
        }
    }
}
