//! The addresses a machine and its cluster take for themselves. Whoever has one of them outside is
//! out of reach from inside.

use std::net::Ipv4Addr;

/// Range of all pods, as everywhere (flannel's).
pub const PODS: Net = Net::new([10, 244, 0, 0], 16);
/// Range of Services. It begins where kubeadm's does and is a sixteenth of it: campus networks live
/// in 10.0.0.0/8 too, and what a node drops for being no Service should be little.
pub const SERVICES: Net = Net::new([10, 96, 0, 0], 16);
/// Range of load balancers' addresses.
pub const LOAD_BALANCERS: Net = Net::new([10, 112, 0, 0], 24);
/// QEMU's own (its manual, "-netdev user").
const MACHINE: Net = Net::new([10, 0, 2, 0], 24);

/// All of them, and what lives there.
const OURS: [(Net, &str); 4] = [
    (MACHINE, "the machine itself"),
    (PODS, "pods"),
    (SERVICES, "Services"),
    (LOAD_BALANCERS, "load balancers"),
];

/// A range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Net {
    base: u32,
    bits: u32,
}

impl Net {
    const fn new(base: [u8; 4], bits: u32) -> Self {
        Self {
            base: u32::from_be_bytes(base),
            bits,
        }
    }

    /// The range around an address, both in the processor's byte order.
    pub fn masked(base: u32, mask: u32) -> Self {
        Self {
            base,
            bits: mask.count_ones(),
        }
    }

    fn overlaps(self, other: Self) -> bool {
        let mask = u32::MAX.checked_shl(32 - self.bits.min(other.bits));
        let mask = mask.unwrap_or(0);
        self.base & mask == other.base & mask
    }

    /// The ranges of ours it shares addresses with, and what lives in each.
    pub fn taken(self) -> impl Iterator<Item = (Net, &'static str)> {
        OURS.into_iter()
            .filter(move |(ours, _)| self.overlaps(*ours))
    }
}

impl From<Ipv4Addr> for Net {
    fn from(address: Ipv4Addr) -> Self {
        Self::masked(address.to_bits(), u32::MAX)
    }
}

impl std::fmt::Display for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from_bits(self.base), self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_written_as_the_cluster_reads_them() {
        let written = [PODS, SERVICES, LOAD_BALANCERS].map(|net| net.to_string());
        assert_eq!(written, ["10.244.0.0/16", "10.96.0.0/16", "10.112.0.0/24"]);
    }

    #[test]
    fn an_address_has_one_owner_or_none() {
        let owner = |text: &str| {
            let address: Ipv4Addr = text.parse().unwrap();
            Net::from(address).taken().map(|(_, who)| who).next()
        };
        assert_eq!(owner("10.96.0.10"), Some("Services"));
        assert_eq!(owner("10.244.3.1"), Some("pods"));
        assert_eq!(owner("10.0.2.2"), Some("the machine itself"));
        for outside in ["10.97.0.1", "10.99.0.1", "192.168.1.7", "172.17.0.1"] {
            assert_eq!(owner(outside), None, "{outside}");
        }
    }
}
