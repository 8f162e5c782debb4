//! What only starting needs is let go of: pages of the program's own code.
//!
//! Starting runs most of the program once, and what was touched once stays mapped: 27 of 35 MiB
//! of an idle server. Unmapped, the pages stay in the kernel's cache until somebody needs the
//! memory, and what is needed again is mapped again without reading (madvise(2), `MADV_DONTNEED`
//! of a private mapping of a file that nobody writes to).

use std::time::Duration;

/// By then every list is read and the first heartbeats are sent.
const STARTED: Duration = Duration::from_secs(20);

/// Lets go of the code once starting is over.
pub async fn after_start() {
    tokio::time::sleep(STARTED).await;
    match let_go() {
        Ok(bytes) => tracing::debug!(bytes, "code of the start let go of"),
        Err(error) => tracing::debug!(%error, "code stays mapped"),
    }
}

/// Unmaps the program's code pages; bytes of address space they take.
fn let_go() -> std::io::Result<usize> {
    let program = std::fs::read_link("/proc/self/exe")?;
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let mut bytes = 0;
    for (start, length) in code(&maps, &program.to_string_lossy()) {
        let address = std::ptr::with_exposed_provenance_mut(start);
        // SAFETY: executable pages of the program's file are never written to, so what is read
        // back is what was there; a running instruction faults and is mapped again.
        if unsafe { libc::madvise(address, length, libc::MADV_DONTNEED) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
        bytes += length;
    }
    Ok(bytes)
}

/// Start and length of the executable mappings of `program` (proc_pid_maps(5)).
fn code<'a>(maps: &'a str, program: &'a str) -> impl Iterator<Item = (usize, usize)> + 'a {
    maps.lines().filter_map(move |line| {
        let (range, rest) = line.split_once(' ')?;
        let ours = rest.starts_with("r-xp ") && rest.ends_with(program);
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
    fn only_code_of_the_program_itself_is_found() {
        let maps = "\
7f00001000-7f00003000 r--p 00000000 fe:00 7    /usr/local/bin/cadet-node
7f00003000-7f0000a000 r-xp 00002000 fe:00 7    /usr/local/bin/cadet-node
7f0000a000-7f0000b000 r--p 00009000 fe:00 7    /usr/local/bin/cadet-node
7f0000c000-7f0000d000 rw-p 00000000 00:00 0
7f0000e000-7f0000f000 r-xp 00000000 fe:00 8    /usr/lib/libc.so.6
7ffc000000-7ffc001000 r-xp 00000000 00:00 0    [vdso]
";
        let found: Vec<_> = code(maps, "/usr/local/bin/cadet-node").collect();
        assert_eq!(found, [(0x7f_0000_3000, 0x7000)]);
    }

    #[test]
    fn the_program_runs_on_without_its_pages() {
        assert!(let_go().unwrap() > 0);
    }
}
