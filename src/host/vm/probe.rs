//! Two tiny kernels that prove a virtual machine can execute instructions.
//!
//! An accelerator that opens is not one that works: nested hosts exist where `/dev/kvm`
//! opens, QEMU starts, and the guest dies at the first instruction the outer hypervisor
//! leaves to software. So a guest of a few instructions is run to its end.

use crate::config::Arch;

/// Exit status of QEMU when the amd64 probe got to its end:
/// `isa-debug-exit` turns the byte `v` written to its port into `v * 2 + 1`.
pub const AMD64_EXIT: i32 = 0x2a * 2 + 1;

/// What the arm64 probe writes to the serial port before it powers off.
pub const ARM64_MARK: u8 = b'C';

/// A kernel file for `-kernel`.
pub fn image(arch: Arch) -> Vec<u8> {
    match arch {
        Arch::Amd64 => amd64(),
        Arch::Arm64 => arm64(),
    }
}

/// Flags that make the probe's end visible: status [`AMD64_EXIT`], or status 0 and
/// [`ARM64_MARK`] on stdout.
pub fn flags(arch: Arch) -> &'static [&'static str] {
    match arch {
        Arch::Amd64 => &["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"],
        Arch::Arm64 => &["-serial", "stdio"],
    }
}

/// Multiboot header (loaded at 1 MiB, entered in 32-bit mode), then: if the processor
/// says it has BMI2, one `shlx` (an instruction software emulation of a broken KVM does
/// not know); a short loop; the byte 0x2a to port 0xf4.
fn amd64() -> Vec<u8> {
    const MAGIC: u32 = 0x1bad_b002;
    const ADDRESSES_GIVEN: u32 = 1 << 16;
    const BASE: u32 = 0x10_0000;
    const HEADER: u32 = 32;
    let checksum = 0u32.wrapping_sub(MAGIC).wrapping_sub(ADDRESSES_GIVEN);
    // header, load, load end (all), bss end (none), entry
    let addresses = [BASE, BASE, 0, 0, BASE + HEADER];
    let mut image = Vec::with_capacity(80);
    for word in [MAGIC, ADDRESSES_GIVEN, checksum] {
        image.extend_from_slice(&word.to_le_bytes());
    }
    for word in addresses {
        image.extend_from_slice(&word.to_le_bytes());
    }
    image.extend_from_slice(&[
        0x31, 0xc0, // xor  eax, eax
        0x0f, 0xa2, // cpuid                 highest leaf
        0x83, 0xf8, 0x07, // cmp  eax, 7
        0x72, 0x14, // jb   loop
        0xb8, 0x07, 0, 0, 0, // mov  eax, 7
        0x31, 0xc9, // xor  ecx, ecx
        0x0f, 0xa2, // cpuid
        0x0f, 0xba, 0xe3, 0x08, // bt   ebx, 8    BMI2
        0x73, 0x05, // jnc  loop
        0xc4, 0xe2, 0x71, 0xf7, 0xc1, // shlx eax, ecx, ecx
        0xb9, 0xe8, 0x03, 0, 0,    // loop: mov ecx, 1000
        0x49, // dec  ecx
        0x75, 0xfd, // jnz  back to dec
        0xb0, 0x2a, // mov  al, 0x2a
        0xe6, 0xf4, // out  0xf4, al
        0xf4, // hlt
        0xeb, 0xfd, // jmp  back to hlt
    ]);
    image
}

/// Raw code for the `virt` board: one letter to its serial port, then PSCI SYSTEM_OFF.
fn arm64() -> Vec<u8> {
    let code: [u32; 7] = [
        0xd2a1_2001,                              // movz x1, #0x0900, lsl 16   PL011
        0x5280_0000 | ((ARM64_MARK as u32) << 5), // movz w0, #mark
        0x3900_0020,                              // strb w0, [x1]
        0x5280_0100,                              // movz w0, #0x0008
        0x72b0_8000,                              // movk w0, #0x8400, lsl 16   SYSTEM_OFF
        0xd400_0002,                              // hvc  #0
        0x1400_0000,                              // b    .
    ];
    code.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_multiboot_header_sums_to_zero_and_enters_behind_itself() {
        let image = amd64();
        let word = |i: usize| u32::from_le_bytes(image[i * 4..i * 4 + 4].try_into().unwrap());
        assert_eq!(word(0).wrapping_add(word(1)).wrapping_add(word(2)), 0);
        assert_eq!(word(7) - word(3), 32);
        assert_eq!(image[32..34], [0x31, 0xc0]);
        assert_eq!(image.len(), 76);
    }

    #[test]
    fn jumps_land_on_instruction_starts() {
        let image = amd64();
        let jb = 32 + 7;
        let target = jb + 2 + image[jb + 1] as usize;
        assert_eq!(image[target], 0xb9, "jb must land on the loop's mov ecx");
        let jnc = 32 + 22;
        assert_eq!(image[jnc], 0x73);
        assert_eq!(jnc + 2 + image[jnc + 1] as usize, target);
    }
}
