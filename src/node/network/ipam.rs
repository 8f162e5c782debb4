//! Which addresses of the node's range are in use. Pure; rebuilt at every start from
//! the pods that run.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use crate::cidr::Cidr;

/// Why an address cannot be given out or kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IpamError {
    /// Every address is in use.
    #[error("all {0} pod addresses of this node ({1}) are in use")]
    Exhausted(u32, String),
    /// The address belongs to another range (the node's pod CIDR was changed).
    #[error("{0} does not belong to this node's pod range {1}")]
    Foreign(Ipv4Addr, String),
    /// Two pods claim the address.
    #[error("{0} is already in use by another pod")]
    Taken(Ipv4Addr),
}

/// Addresses handed out from one range.
#[derive(Debug)]
pub(crate) struct Ipam {
    cidr: Cidr,
    used: HashSet<u32>,
    /// Where the next search starts, so that a freed address rests as long as possible
    /// and late packets to a dead pod do not reach a new one.
    next: u32,
}

/// Network address and gateway come first.
const FIRST: u32 = 2;

impl Ipam {
    pub(crate) fn new(cidr: Cidr) -> Self {
        Self {
            cidr,
            used: HashSet::new(),
            next: FIRST,
        }
    }

    /// Number of addresses pods can have: all but network, gateway and broadcast.
    fn capacity(&self) -> u32 {
        self.cidr.size() - FIRST - 1
    }

    pub(crate) fn allocate(&mut self) -> Result<Ipv4Addr, IpamError> {
        let capacity = self.capacity();
        let start = self.next - FIRST;
        let free = (0..capacity)
            .map(|step| FIRST + (start + step) % capacity)
            .find(|index| !self.used.contains(index))
            .ok_or_else(|| IpamError::Exhausted(capacity, self.cidr.to_string()))?;
        self.take(free);
        Ok(self.cidr.nth(free))
    }

    pub(crate) fn reserve(&mut self, address: Ipv4Addr) -> Result<(), IpamError> {
        let index = self
            .cidr
            .index_of(address)
            .filter(|index| (FIRST..FIRST + self.capacity()).contains(index))
            .ok_or_else(|| IpamError::Foreign(address, self.cidr.to_string()))?;
        if self.used.contains(&index) {
            return Err(IpamError::Taken(address));
        }
        self.take(index);
        Ok(())
    }

    pub(crate) fn release(&mut self, address: Ipv4Addr) {
        if let Some(index) = self.cidr.index_of(address) {
            self.used.remove(&index);
        }
    }

    fn take(&mut self, index: u32) {
        self.used.insert(index);
        let following = index + 1;
        self.next = if following < FIRST + self.capacity() {
            following
        } else {
            FIRST
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipam(cidr: &str) -> Ipam {
        Ipam::new(cidr.parse().unwrap())
    }

    #[test]
    fn gives_every_usable_address_once_and_never_gateway_or_broadcast() {
        let mut ipam = ipam("10.0.0.0/29");
        let given: Vec<u8> = (0..5)
            .map(|_| ipam.allocate().unwrap().octets()[3])
            .collect();
        assert_eq!(given, [2, 3, 4, 5, 6]);
        assert_eq!(
            ipam.allocate(),
            Err(IpamError::Exhausted(5, "10.0.0.0/29".into()))
        );
    }

    #[test]
    fn the_smallest_range_has_one_pod() {
        let mut ipam = ipam("10.0.0.0/30");
        let only = ipam.allocate().unwrap();
        assert_eq!(only, Ipv4Addr::new(10, 0, 0, 2));
        assert!(ipam.allocate().is_err());
        ipam.release(only);
        assert_eq!(ipam.allocate(), Ok(only));
    }

    #[test]
    fn a_freed_address_rests() {
        let mut ipam = ipam("10.0.0.0/24");
        let first = ipam.allocate().unwrap();
        ipam.release(first);
        assert_ne!(ipam.allocate().unwrap(), first);
    }

    #[test]
    fn reserved_addresses_are_not_given_out() {
        let mut ipam = ipam("10.0.0.0/29");
        ipam.reserve(Ipv4Addr::new(10, 0, 0, 3)).unwrap();
        let given: Vec<u8> = (0..4)
            .map(|_| ipam.allocate().unwrap().octets()[3])
            .collect();
        assert_eq!(given, [4, 5, 6, 2]);
    }

    #[test]
    fn foreign_and_double_claims_are_refused() {
        let mut ipam = ipam("10.0.0.0/24");
        for octet in [0, 1, 255] {
            let address = Ipv4Addr::new(10, 0, 0, octet);
            assert!(matches!(ipam.reserve(address), Err(IpamError::Foreign(..))));
        }
        assert!(ipam.reserve(Ipv4Addr::new(10, 1, 0, 5)).is_err());
        let address = Ipv4Addr::new(10, 0, 0, 9);
        ipam.reserve(address).unwrap();
        assert_eq!(ipam.reserve(address), Err(IpamError::Taken(address)));
    }
}
