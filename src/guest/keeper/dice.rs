//! The kernel's random numbers, made different in every copy of one state.

use std::os::fd::AsRawFd;

/// random(4): adds bytes and says how much they are worth.
const RNDADDENTROPY: u64 = 0x4008_5203;
/// random(4): begins anew with what was added.
const RNDRESEEDCRNG: u64 = 0x5207;
/// Most bytes taken.
const MOST: usize = 512;

/// struct rand_pool_info of linux/random.h with room for the bytes.
#[repr(C)]
struct PoolInfo {
    entropy_bits: libc::c_int,
    size: libc::c_int,
    bytes: [u8; MOST],
}

/// Mixes the bytes in and makes the generator begin anew with them; no bytes, nothing to do.
///
/// # Errors
/// Without the right to do so.
pub fn shake(seed: &[u8]) -> std::io::Result<()> {
    if seed.is_empty() {
        return Ok(());
    }
    let device = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/urandom")?;
    let length = seed.len().min(MOST);
    let mut info = PoolInfo {
        entropy_bits: libc::c_int::try_from(length * 8).map_err(std::io::Error::other)?,
        size: libc::c_int::try_from(length).map_err(std::io::Error::other)?,
        bytes: [0; MOST],
    };
    info.bytes[..length].copy_from_slice(&seed[..length]);
    // SAFETY: the kernel reads the two numbers and `size` bytes behind them, which are there.
    let added = unsafe {
        libc::ioctl(
            device.as_raw_fd(),
            RNDADDENTROPY as libc::Ioctl,
            &raw const info,
        )
    };
    if added != 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: it takes no argument.
    if unsafe { libc::ioctl(device.as_raw_fd(), RNDRESEEDCRNG as libc::Ioctl) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_is_what_the_kernel_reads() {
        assert_eq!(std::mem::offset_of!(PoolInfo, bytes), 8);
        // _IOW('R', 3, int[2]): the direction, the size of the head, the letter, the number.
        assert_eq!(RNDADDENTROPY, (1 << 30) | (8 << 16) | (0x52 << 8) | 3);
        assert_eq!(RNDRESEEDCRNG, (0x52 << 8) | 7);
    }

    #[test]
    fn no_bytes_need_no_rights() {
        shake(&[]).unwrap();
    }
}
