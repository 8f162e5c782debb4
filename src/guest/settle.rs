//! What is not needed any more is let go of: pages of the program's own code and constants.
//!
//! Starting runs most of the program once, and what was touched once stays mapped: 27 of 35 MiB
//! of an idle server. Later work leaves its code behind as well. Unmapped, the pages stay in the
//! kernel's cache until somebody needs the memory, and what is needed again is mapped again
//! without reading, sixteen pages at a time (madvise(2), `MADV_DONTNEED` of a private mapping of
//! a file that nobody writes to). Pages in use count as such with the kernel all the while.

use std::time::Duration;

/// By the first time every list is read and the first heartbeats are sent.
const EVERY: Duration = Duration::from_secs(20);

/// Lets go of code and constants, again and again.
pub async fn run() {
    loop {
        tokio::time::sleep(EVERY).await;
        match let_go() {
            Ok(bytes) => tracing::trace!(bytes, "unused code let go of"),
            Err(error) => {
                tracing::debug!(%error, "code stays mapped");
                return;
            }
        }
    }
}

/// Unmaps the program's pages of code and constants; bytes of address space they take.
fn let_go() -> std::io::Result<usize> {
    let program = std::fs::read_link("/proc/self/exe")?;
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let mut bytes = 0;
    for (start, length) in unchanging(&maps, &program.to_string_lossy()) {
        let address = std::ptr::with_exposed_provenance_mut(start);
        // SAFETY: these pages of the program's file are never written to, so what is read back
        // is what was there; a running instruction or a reader faults and is mapped again.
        if unsafe { libc::madvise(address, length, libc::MADV_DONTNEED) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
        bytes += length;
    }
    Ok(bytes)
}

/// Start and length of the mappings of `program` that can be executed, and of the one that the
/// file begins with, if it can be read only (proc_pid_maps(5)). What lies behind the code is
/// read-only as well, but may have been written to at the start (`PT_GNU_RELRO`).
fn unchanging<'a>(maps: &'a str, program: &'a str) -> impl Iterator<Item = (usize, usize)> + 'a {
    maps.lines().filter_map(move |line| {
        let (range, rest) = line.split_once(' ')?;
        let kept = rest.starts_with("r-xp ") || rest.starts_with("r--p 00000000 ");
        let ours = kept && rest.ends_with(program);
        let (start, end) = range.split_once('-')?;
        let at = |text| usize::from_str_radix(text, 16).ok();
        let (start, end) = (at(start)?, at(end)?);
        ours.then(|| (start, end - start))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_program_itself_never_writes_to_is_found() {
        let maps = "\
7f00001000-7f00003000 r--p 00000000 fe:00 7    /usr/local/bin/cadet-node
7f00003000-7f0000a000 r-xp 00002000 fe:00 7    /usr/local/bin/cadet-node
7f0000a000-7f0000b000 r--p 00009000 fe:00 7    /usr/local/bin/cadet-node
7f0000c000-7f0000d000 rw-p 00000000 00:00 0
7f0000d000-7f0000e000 r--p 00000000 fe:00 8    /usr/lib/libc.so.6
7f0000e000-7f0000f000 r-xp 00000000 fe:00 8    /usr/lib/libc.so.6
7ffc000000-7ffc001000 r-xp 00000000 00:00 0    [vdso]
";
        let found: Vec<_> = unchanging(maps, "/usr/local/bin/cadet-node").collect();
        assert_eq!(found, [(0x7f_0000_1000, 0x2000), (0x7f_0000_3000, 0x7000)]);
    }

    #[test]
    fn the_program_runs_on_without_its_pages() {
        assert!(let_go().unwrap() > 0);
    }
}
