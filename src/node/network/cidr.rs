//! An IPv4 range in CIDR notation.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// An IPv4 network: base address and prefix length, at most `/30`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    base: u32,
    prefix: u8,
}

/// Why a text is no usable range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// Not of the form `a.b.c.d/n`.
    #[error("{0:?} is no IPv4 range such as 10.244.0.0/24")]
    Malformed(String),
    /// The prefix leaves no room for a gateway and a pod.
    #[error("the range {0} is too small: the prefix must be between 8 and 30")]
    Size(String),
    /// Bits behind the prefix are set.
    #[error("{given} is no network address; did you mean {meant}?")]
    HostBits { given: String, meant: String },
}

impl Cidr {
    /// Length of the network prefix in bits.
    #[must_use]
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// The `n`th address of the range, 0 being the network address itself. Counts past
    /// the end stay at the last address.
    #[must_use]
    pub fn nth(self, n: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.base + n.min(self.size() - 1))
    }

    /// Number of addresses, network and broadcast address included.
    #[must_use]
    pub fn size(self) -> u32 {
        1 << (32 - u32::from(self.prefix))
    }

    /// Position of `address` in the range.
    #[must_use]
    pub fn index_of(self, address: Ipv4Addr) -> Option<u32> {
        let offset = u32::from(address).checked_sub(self.base)?;
        (offset < self.size()).then_some(offset)
    }

    /// Whether some address lies in both ranges.
    #[must_use]
    pub fn overlaps(self, other: Cidr) -> bool {
        self.contains(other.nth(0)) || other.contains(self.nth(0))
    }

    /// Whether `address` lies in the range.
    #[must_use]
    pub fn contains(self, address: Ipv4Addr) -> bool {
        self.index_of(address).is_some()
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let malformed = || CidrError::Malformed(text.into());
        let (address, prefix) = text.split_once('/').ok_or_else(malformed)?;
        let address: Ipv4Addr = address.parse().map_err(|_| malformed())?;
        let prefix: u8 = prefix.parse().map_err(|_| malformed())?;
        if !(8..=30).contains(&prefix) {
            return Err(CidrError::Size(text.into()));
        }
        let mask = u32::MAX << (32 - u32::from(prefix));
        let base = u32::from(address) & mask;
        if base != u32::from(address) {
            return Err(CidrError::HostBits {
                given: text.into(),
                meant: Cidr { base, prefix }.to_string(),
            });
        }
        Ok(Self { base, prefix })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.base), self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints() {
        let cidr: Cidr = "10.244.3.0/24".parse().unwrap();
        assert_eq!(cidr.to_string(), "10.244.3.0/24");
        assert_eq!(cidr.nth(1), Ipv4Addr::new(10, 244, 3, 1));
        assert_eq!(cidr.size(), 256);
        assert!(cidr.contains(Ipv4Addr::new(10, 244, 3, 255)));
        assert!(!cidr.contains(Ipv4Addr::new(10, 244, 4, 0)));
        assert!(!cidr.contains(Ipv4Addr::new(10, 244, 2, 255)));
    }

    #[test]
    fn ranges_overlap_or_not() {
        let cidr = |text: &str| text.parse::<Cidr>().unwrap();
        for (a, b, overlap) in [
            ("10.244.0.0/16", "10.244.3.0/24", true),
            ("10.244.3.0/24", "10.244.3.0/24", true),
            ("10.244.3.0/24", "10.244.4.0/24", false),
            ("10.96.0.0/12", "10.112.0.0/24", false),
        ] {
            assert_eq!(cidr(a).overlaps(cidr(b)), overlap, "{a} {b}");
            assert_eq!(cidr(b).overlaps(cidr(a)), overlap, "{b} {a}");
        }
    }

    #[test]
    fn a_range_at_the_top_of_the_space_does_not_overflow() {
        let cidr: Cidr = "255.255.255.0/24".parse().unwrap();
        assert_eq!(cidr.nth(1000), Ipv4Addr::BROADCAST);
        assert_eq!(cidr.index_of(Ipv4Addr::BROADCAST), Some(255));
    }

    #[test]
    fn refuses_what_is_no_network() {
        for text in ["", "10.0.0.0", "10.0.0/8", "10.0.0.0/x", "::/64"] {
            assert_eq!(text.parse::<Cidr>(), Err(CidrError::Malformed(text.into())));
        }
        for text in ["10.0.0.0/31", "0.0.0.0/0", "10.0.0.0/33"] {
            assert_eq!(text.parse::<Cidr>(), Err(CidrError::Size(text.into())));
        }
        let error = "10.244.0.7/16".parse::<Cidr>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "10.244.0.7/16 is no network address; did you mean 10.244.0.0/16?"
        );
    }
}
