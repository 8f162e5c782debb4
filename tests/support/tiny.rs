//! A guest of a few bytes that counts: what it says shows whether anything of it was lost.

/// A multiboot kernel that prints one byte after the other on the first serial port, for ever:
/// 0x41, 0x42 … 0xff, 0x00 …, some a second.
pub fn counting() -> Vec<u8> {
    const BASE: u32 = 0x10_0000;
    let mut code = vec![0x66, 0xba, 0xf8, 0x03]; // mov dx, 0x3f8
    code.extend([0xb0, 0x41]); // mov al, 'A'
    code.push(0xee); // next: out dx, al
    code.extend([0xfe, 0xc0]); // inc al
    code.push(0xb9); // mov ecx, count
    code.extend(20_000_000_u32.to_le_bytes());
    code.extend([0xe2, 0xfe]); // loop here
    code.extend([0xeb, 0xf4]); // jmp next
    let (magic, flags) = (0x1bad_b002_u32, 1u32 << 16);
    let sum = 0u32.wrapping_sub(magic).wrapping_sub(flags);
    let header = [magic, flags, sum, BASE, BASE, 0, 0, BASE + 32];
    let mut image: Vec<u8> = header.iter().flat_map(|w| w.to_le_bytes()).collect();
    image.extend(code);
    image
}

/// Checks that each number follows the one before, and `before` the first.
#[track_caller]
pub fn follows(before: u8, said: &[u8]) {
    let mut last = before;
    for number in said {
        assert_eq!(*number, last.wrapping_add(1), "{said:?} after {before}");
        last = *number;
    }
}
