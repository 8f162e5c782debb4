//! Bytes as short text that people read aloud and type: Crockford's base 32, and hexadecimal.

/// Crockford's alphabet: no I, L, O and U.
const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The bytes in letters; the last letter is filled up with zero bits.
pub(crate) fn base32(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(5) * 8);
    let (mut held, mut bits) = (0u32, 0);
    for byte in bytes {
        held = (held << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            out.push(letter(held >> bits));
        }
        held &= (1 << bits) - 1;
    }
    if bits > 0 {
        out.push(letter(held << (5 - bits)));
    }
    out
}

fn letter(value: u32) -> char {
    char::from(LETTERS[(value & 31) as usize])
}

/// The bytes of letters in any case; `-` and blanks are nothing, O is 0, I and L are 1.
pub(crate) fn bytes32(text: &str) -> Result<Vec<u8>, &'static str> {
    let mut out = Vec::new();
    let (mut held, mut bits) = (0u32, 0);
    for c in text.chars() {
        let c = match c.to_ascii_uppercase() {
            '-' | ' ' | '\t' => continue,
            'O' => '0',
            'I' | 'L' => '1',
            c => c,
        };
        let value = LETTERS.iter().position(|l| char::from(*l) == c);
        let Some(value) = value.and_then(|v| u32::try_from(v).ok()) else {
            return Err("it has a letter that is in no code");
        };
        held = (held << 5) | value;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            out.push((held >> bits) as u8);
        }
        held &= (1 << bits) - 1;
        if out.len() > 64 {
            return Err("it is too long");
        }
    }
    if held != 0 || bits >= 5 {
        return Err("its end is missing or wrong");
    }
    Ok(out)
}

/// Letters in groups of five, as they are printed.
pub(crate) fn grouped(letters: &str) -> String {
    let mut out = String::with_capacity(letters.len() * 6 / 5);
    for (i, c) in letters.chars().enumerate() {
        if i > 0 && i % 5 == 0 {
            out.push('-');
        }
        out.push(c);
    }
    out
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut out, b| {
        // Writing to a String cannot fail.
        let _ = write!(out, "{b:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_their_letters() {
        for length in 0..40u8 {
            let bytes: Vec<u8> = (0..length).map(|i| i.wrapping_mul(83) ^ 0x5a).collect();
            let letters = base32(&bytes);
            assert_eq!(bytes32(&letters).unwrap(), bytes);
            assert_eq!(bytes32(&grouped(&letters).to_lowercase()).unwrap(), bytes);
        }
    }

    #[test]
    fn letters_that_look_alike_are_the_same() {
        assert_eq!(bytes32("OIL-0O").unwrap(), bytes32("01100").unwrap());
        assert!(bytes32("U").is_err());
        assert!(bytes32("é").is_err());
        assert!(bytes32(&"0".repeat(200)).is_err());
    }
}
