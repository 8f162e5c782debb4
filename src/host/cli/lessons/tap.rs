//! What a program prints: shown while it comes, and kept up to a limit.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use cadet_tutorial::world::{Sink, Stream};
use tokio::io::AsyncWrite;

/// No more is kept of one stream; all of it is shown.
const KEPT: usize = 64 << 10;

/// One stream of a program's output.
pub struct Tap {
    show: Option<Sink>,
    stream: Stream,
    kept: String,
    /// The beginning of a character whose end has not come yet.
    part: Vec<u8>,
}

impl Tap {
    /// A stream that is shown by `show`, or only kept.
    pub fn new(show: Option<Sink>, stream: Stream) -> Self {
        Self {
            show,
            stream,
            kept: String::new(),
            part: Vec::new(),
        }
    }

    /// Takes bytes as they come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.part.extend_from_slice(bytes);
        let mut whole = self.part.len();
        // A character has four bytes at most: what is cut off at the end waits for its rest.
        if let Err(e) = std::str::from_utf8(&self.part)
            && e.error_len().is_none()
        {
            whole = e.valid_up_to();
        }
        let rest = self.part.split_off(whole);
        let text = std::mem::replace(&mut self.part, rest);
        self.say(&String::from_utf8_lossy(&text));
    }

    /// All that was kept.
    pub fn end(mut self) -> String {
        let rest = std::mem::take(&mut self.part);
        self.say(&String::from_utf8_lossy(&rest));
        self.kept
    }

    fn say(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        if let Some(show) = &self.show {
            show(self.stream, text);
        }
        let mut end = KEPT.saturating_sub(self.kept.len()).min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.kept.push_str(&text[..end]);
    }
}

impl AsyncWrite for Tap {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn characters_cut_in_two_are_put_together_again() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shown = seen.clone();
        let show: Sink = Arc::new(move |_, text| shown.lock().unwrap().push(text.to_owned()));
        let mut tap = Tap::new(Some(show), Stream::Out);
        let bytes = "aé✓".as_bytes();
        for byte in bytes {
            tap.push(&[*byte]);
        }
        tap.push(&[0xff, b'x']);
        assert_eq!(tap.end(), "aé✓\u{fffd}x");
        let seen = seen.lock().unwrap();
        assert_eq!(seen[..3], ["a", "é", "✓"]);
    }

    #[test]
    fn no_more_than_the_limit_is_kept() {
        let mut tap = Tap::new(None, Stream::Error);
        for _ in 0..40 {
            tap.push("é".repeat(1000).as_bytes());
        }
        tap.push(b"x");
        assert!(tap.end().len() <= KEPT);
    }
}
