//! Bytes that arrived faster than their reader takes them: a little memory, then a
//! temporary file.
//!
//! Why this exists: an SSH window is per connection, so a slow reader should stop only
//! its own stream. russh opens the window again when bytes arrive, not when they are
//! consumed, and waits for a full channel before it reads the next packet, so one slow
//! reader would stop all others. We therefore always take what arrives, up to a bound
//! in memory and a larger one on disk; only past both does the session wait.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use bytes::{Buf, Bytes};

/// Bytes read back from the file at a time.
const REFILL: usize = 256 << 10;

/// A queue of bytes with two bounds.
pub(crate) struct Backlog {
    memory: VecDeque<Bytes>,
    in_memory: usize,
    memory_bound: usize,
    spill: Option<Spill>,
    spill_bound: u64,
    spill_dir: Option<PathBuf>,
}

struct Spill {
    file: File,
    read: u64,
    written: u64,
}

impl Backlog {
    pub(crate) fn new(memory_bound: usize, spill_bound: u64, spill_dir: Option<PathBuf>) -> Self {
        Self {
            memory: VecDeque::new(),
            in_memory: 0,
            memory_bound,
            spill: None,
            spill_bound: if spill_dir.is_some() { spill_bound } else { 0 },
            spill_dir,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.in_memory == 0 && self.in_file() == 0
    }

    fn in_file(&self) -> u64 {
        self.spill.as_ref().map_or(0, |s| s.written - s.read)
    }

    /// False when both bounds are reached; then the stream must wait for its reader.
    pub(crate) fn has_room(&self) -> bool {
        match &self.spill {
            // Behind a file everything goes to the file, to stay in order.
            Some(spill) => spill.written < self.spill_bound,
            None => self.in_memory < self.memory_bound || self.spill_bound > 0,
        }
    }

    /// Appends; returns how many bytes went to the file.
    pub(crate) fn push(&mut self, data: Bytes) -> io::Result<usize> {
        let to_memory = self.spill.is_none()
            && (self.in_memory + data.len() <= self.memory_bound || self.spill_bound == 0);
        if to_memory {
            self.in_memory += data.len();
            self.memory.push_back(data);
            return Ok(0);
        }
        let spill = match &mut self.spill {
            Some(spill) => spill,
            None => {
                // Unlinked at once: nothing is left behind however we end.
                let file = match &self.spill_dir {
                    Some(dir) => tempfile::tempfile_in(dir)?,
                    None => tempfile::tempfile()?,
                };
                self.spill.insert(Spill {
                    file,
                    read: 0,
                    written: 0,
                })
            }
        };
        spill.file.seek(SeekFrom::Start(spill.written))?;
        spill.file.write_all(&data)?;
        spill.written += data.len() as u64;
        Ok(data.len())
    }

    /// The next bytes to hand to the reader; empty slices are left out. Reads back from
    /// the file when memory has run dry.
    pub(crate) fn slices<'a>(&'a mut self, out: &mut Vec<IoSlice<'a>>) -> io::Result<()> {
        if self.memory.is_empty() {
            self.refill()?;
        }
        // 64 slices is far below every system's limit and fills any socket buffer.
        out.extend(self.memory.iter().take(64).map(|chunk| IoSlice::new(chunk)));
        Ok(())
    }

    fn refill(&mut self) -> io::Result<()> {
        let Some(spill) = &mut self.spill else {
            return Ok(());
        };
        let left = usize::try_from(spill.written - spill.read).unwrap_or(usize::MAX);
        let mut chunk = vec![0; left.min(REFILL)];
        spill.file.seek(SeekFrom::Start(spill.read))?;
        spill.file.read_exact(&mut chunk)?;
        spill.read += chunk.len() as u64;
        if spill.read == spill.written {
            self.spill = None;
        }
        self.in_memory += chunk.len();
        self.memory.push_back(chunk.into());
        Ok(())
    }

    /// Drops `count` bytes the reader has taken.
    pub(crate) fn advance(&mut self, mut count: usize) {
        self.in_memory -= count;
        while count > 0 {
            let Some(front) = self.memory.front_mut() else {
                return;
            };
            if count < front.len() {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.memory.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(backlog: &mut Backlog, most: usize) -> Vec<u8> {
        let mut slices = Vec::new();
        backlog.slices(&mut slices).unwrap();
        let mut seen: Vec<u8> = slices.iter().flat_map(|s| s.to_vec()).collect();
        seen.truncate(most);
        backlog.advance(seen.len());
        seen
    }

    #[test]
    fn order_is_kept_across_memory_and_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut backlog = Backlog::new(1000, 1 << 20, Some(dir.path().into()));
        let all: Vec<u8> = (0..60_000u32).map(|i| (i % 251) as u8).collect();
        let mut spilled = 0;
        let mut seen = Vec::new();
        for (n, chunk) in all.chunks(700).enumerate() {
            spilled += backlog.push(Bytes::copy_from_slice(chunk)).unwrap();
            if n % 3 == 0 {
                seen.extend(take(&mut backlog, 333));
            }
        }
        assert!(spilled > 40_000, "{spilled}");
        assert!(backlog.in_memory < 1000 + REFILL);
        while !backlog.is_empty() {
            seen.extend(take(&mut backlog, 4096));
        }
        assert_eq!(seen, all);
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            0,
            "file was not unlinked"
        );
    }

    #[test]
    fn without_a_folder_memory_is_the_bound() {
        let mut backlog = Backlog::new(1000, 1 << 20, None);
        assert!(backlog.has_room());
        assert_eq!(backlog.push(Bytes::from(vec![1; 999])).unwrap(), 0);
        assert!(backlog.has_room());
        assert_eq!(backlog.push(Bytes::from(vec![1; 999])).unwrap(), 0);
        assert!(!backlog.has_room());
        take(&mut backlog, 1998);
        assert!(backlog.has_room() && backlog.is_empty());
    }

    #[test]
    fn a_full_file_makes_the_stream_wait_and_recovers() {
        let dir = tempfile::tempdir().unwrap();
        let mut backlog = Backlog::new(10, 100, Some(dir.path().into()));
        for _ in 0..20 {
            if backlog.has_room() {
                backlog.push(Bytes::from(vec![7; 10])).unwrap();
            }
        }
        assert!(!backlog.has_room());
        let mut total = 0;
        while !backlog.is_empty() {
            total += take(&mut backlog, usize::MAX).len();
        }
        assert_eq!(total, 110);
        assert!(backlog.has_room());
    }
}
