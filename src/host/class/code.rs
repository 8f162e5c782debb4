//! The join code: where the teacher is, how to know them, and which class it is.
//!
//! ```text
//!  bits  01 kk p 000   version 1, kind of address, whether a port follows
//!  bytes address       2 (192.168.x.y), 3 (10.x.y.z), 4 (IPv4) or 16 (IPv6)
//!        port          2, left out for 7433
//!        pin           8, see `key::pin_of`
//!        token         5, the right to take part
//!        check         1, first byte of the SHA-256 of all before
//! ```
//! In Crockford's base 32 that is 28 letters at home and 29 to 31 in most schools.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ring::digest;

use crate::error::{ClassError, Result};
use crate::text;

/// The port that needs no letters.
pub const DEFAULT_PORT: u16 = 7433;

/// Bytes of a pin.
pub const PIN: usize = 8;
/// Bytes of a token.
pub const TOKEN: usize = 5;

const VERSION: u8 = 0b0100_0000;
const HAS_PORT: u8 = 0b0000_1000;

/// What a learner types.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct JoinCode {
    /// The teacher's address.
    pub address: SocketAddr,
    /// Proof of the teacher's key.
    pub pin: [u8; PIN],
    /// The right to take part.
    pub token: [u8; TOKEN],
}

impl JoinCode {
    /// Reads a code as typed: any case, with or without dashes and blanks.
    ///
    /// # Errors
    /// [`ClassError::Code`] with what is wrong.
    pub fn parse(text: &str) -> Result<Self> {
        let bytes = text::bytes32(text).map_err(ClassError::Code)?;
        let (check, bytes) = bytes
            .split_last()
            .ok_or(ClassError::Code("nothing was typed"))?;
        if *check != check_of(bytes) {
            return Err(ClassError::Code("a letter is wrong or missing"));
        }
        let mut rest = Rest(bytes);
        let [head] = rest.take::<1>()?;
        if head & 0b1100_0111 != VERSION {
            return Err(ClassError::Code("it is of another version of Cadet"));
        }
        let ip: IpAddr = match (head >> 4) & 3 {
            0 => {
                let [c, d] = rest.take()?;
                Ipv4Addr::new(192, 168, c, d).into()
            }
            1 => {
                let [b, c, d] = rest.take()?;
                Ipv4Addr::new(10, b, c, d).into()
            }
            2 => Ipv4Addr::from(rest.take::<4>()?).into(),
            _ => Ipv6Addr::from(rest.take::<16>()?).into(),
        };
        let port = if head & HAS_PORT != 0 {
            u16::from_be_bytes(rest.take()?)
        } else {
            DEFAULT_PORT
        };
        let code = Self {
            address: SocketAddr::new(ip, port),
            pin: rest.take()?,
            token: rest.take()?,
        };
        if !rest.0.is_empty() {
            return Err(ClassError::Code("it is too long"));
        }
        Ok(code)
    }

    fn bytes(&self) -> Vec<u8> {
        let (kind, address) = match self.address.ip() {
            IpAddr::V4(ip) => match ip.octets() {
                [192, 168, c, d] => (0, vec![c, d]),
                [10, b, c, d] => (1, vec![b, c, d]),
                all => (2, all.to_vec()),
            },
            IpAddr::V6(ip) => (3u8, ip.octets().to_vec()),
        };
        let port = self.address.port();
        let mut bytes = vec![VERSION | (kind << 4)];
        bytes.extend(address);
        if port != DEFAULT_PORT {
            bytes[0] |= HAS_PORT;
            bytes.extend(port.to_be_bytes());
        }
        bytes.extend(self.pin);
        bytes.extend(self.token);
        bytes.push(check_of(&bytes));
        bytes
    }
}

/// In groups, as it is printed.
impl fmt::Display for JoinCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::grouped(&text::base32(&self.bytes())))
    }
}

/// Without the token: a code in a log lets nobody in.
impl fmt::Debug for JoinCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinCode({})", self.address)
    }
}

/// The token as the first part of the class's paths.
pub fn token_text(token: &[u8; TOKEN]) -> String {
    text::base32(token)
}

/// Bytes in the same letters, without groups.
pub fn letters(bytes: &[u8]) -> String {
    text::base32(bytes)
}

fn check_of(bytes: &[u8]) -> u8 {
    digest::digest(&digest::SHA256, bytes).as_ref()[0]
}

struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(ClassError::Code("it is too short"))?;
        self.0 = rest;
        Ok(*taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(address: &str) -> JoinCode {
        JoinCode {
            address: address.parse().unwrap(),
            pin: [1, 2, 3, 4, 5, 6, 7, 255],
            token: [9, 8, 7, 6, 5],
        }
    }

    #[test]
    fn codes_are_short_and_survive_typing() {
        for (address, letters) in [
            ("192.168.1.20:7433", 28),
            ("10.3.200.7:7433", 29),
            ("172.20.0.4:7433", 31),
            ("192.168.1.20:8443", 31),
            ("[fd00::17]:7433", 50),
        ] {
            let code = code(address);
            let text = code.to_string();
            assert_eq!(text.replace('-', "").len(), letters, "{text}");
            assert_eq!(JoinCode::parse(&text).unwrap(), code);
            let spoken = text.to_lowercase().replace('-', " ").replace('0', "o");
            assert_eq!(JoinCode::parse(&spoken).unwrap(), code);
        }
    }

    #[test]
    fn a_wrong_letter_is_noticed() {
        let text = code("192.168.1.20:7433").to_string().replace('-', "");
        let mut missed = 0;
        for place in 0..text.len() {
            let mut letters: Vec<char> = text.chars().collect();
            letters[place] = if letters[place] == '7' { '8' } else { '7' };
            let typed: String = letters.into_iter().collect();
            missed += usize::from(JoinCode::parse(&typed).is_ok());
        }
        // One byte of check: about one slip in 256 gets by, and then the pin or the token fails.
        assert!(missed <= 2, "{missed} of {} got by", text.len());
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        for bad in ["", "-", "7", "cadet", "0000-0000", "!!", &"Z".repeat(500)] {
            assert!(
                matches!(JoinCode::parse(bad), Err(ClassError::Code(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_log_does_not_let_anybody_in() {
        let code = code("192.168.1.20:7433");
        assert!(!format!("{code:?}").contains(&token_text(&code.token)));
    }
}
