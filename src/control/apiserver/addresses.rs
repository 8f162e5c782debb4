//! Cluster IPs of Services: one range, no address twice.
//!
//! What is in use is read from the Services themselves, so it is as durable as they are
//! and nothing must be given back; addresses of Services on their way into the store
//! are held here until they can be read there.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::world::World;

/// How many addresses at the start of the range are given out last, so that manifests
/// with a fixed address find theirs free (upstream keeps between 16 and 256).
const STATIC_BAND_MAX: u32 = 256;

/// The range and the addresses on their way.
#[derive(Debug)]
pub struct Addresses {
    network: u32,
    size: u32,
    pending: Arc<Mutex<HashSet<u32>>>,
}

/// An address held for a Service that is being stored; dropping it lets go.
#[derive(Debug)]
pub struct Held {
    pub address: Ipv4Addr,
    pending: Arc<Mutex<HashSet<u32>>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        lock(&self.pending).remove(&u32::from(self.address));
    }
}

/// Why an address cannot be had; the text is what validation says about the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("failed to allocate IP {0}: provided IP is already allocated")]
    Taken(Ipv4Addr),
    #[error(
        "failed to allocate IP {asked}: the provided IP ({asked}) is not in the valid range. The range of valid IPs is {range}"
    )]
    Outside { asked: String, range: String },
    #[error("failed to allocate a serviceIP: range is full")]
    Full,
}

impl Addresses {
    /// Reads a range such as `10.96.0.0/12`; the error says what is wrong with it.
    pub fn new(cidr: &str) -> Result<Addresses, String> {
        let (address, bits) = cidr.split_once('/').ok_or("no / in it")?;
        let address: Ipv4Addr = address
            .parse()
            .map_err(|_| "no IPv4 address before the /")?;
        let bits: u32 = bits.parse().map_err(|_| "no number after the /")?;
        if !(8..=29).contains(&bits) {
            return Err("the prefix must have 8 to 29 bits".to_owned());
        }
        let size = 1 << (32 - bits);
        let network = u32::from(address) & !(size - 1);
        Ok(Addresses {
            network,
            size,
            pending: Arc::default(),
        })
    }

    /// The address of the `kubernetes` Service: the first of the range.
    pub fn first(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.network + 1)
    }

    fn range(&self) -> String {
        format!(
            "{}/{}",
            Ipv4Addr::from(self.network),
            32 - self.size.trailing_zeros()
        )
    }

    /// Holds the address a client asks for.
    pub fn hold(&self, world: &World, asked: &str) -> Result<Held, AddressError> {
        let outside = || AddressError::Outside {
            asked: asked.to_owned(),
            range: self.range(),
        };
        let address: Ipv4Addr = asked.parse().map_err(|_| outside())?;
        let number = u32::from(address);
        // Neither the network's own address nor its broadcast address.
        if number <= self.network || number >= self.network + self.size - 1 {
            return Err(outside());
        }
        let mut pending = lock(&self.pending);
        if used(world).contains(&number) || !pending.insert(number) {
            return Err(AddressError::Taken(address));
        }
        Ok(Held {
            address,
            pending: Arc::clone(&self.pending),
        })
    }

    /// Holds any free address. `seed` spreads the choice, so that a new Service does not
    /// inherit the address of the one deleted a moment ago.
    pub fn hold_any(&self, world: &World, seed: u32) -> Result<Held, AddressError> {
        let mut pending = lock(&self.pending);
        let used = used(world);
        let band = (self.size / 16)
            .clamp(16, STATIC_BAND_MAX)
            .min(self.size / 2);
        let last = self.size - 1;
        let dynamic = last - band;
        let upper = (0..dynamic).map(|n| band + (seed % dynamic + n) % dynamic);
        // Address 1 is the API server's own even before its Service exists.
        let mut candidates = upper.chain(2..band).map(|offset| self.network + offset);
        let number = candidates
            .find(|number| !used.contains(number) && !pending.contains(number))
            .ok_or(AddressError::Full)?;
        pending.insert(number);
        Ok(Held {
            address: Ipv4Addr::from(number),
            pending: Arc::clone(&self.pending),
        })
    }
}

fn used(world: &World) -> HashSet<u32> {
    let Some(services) = cadet_api::resource::find("", "v1", "services") else {
        return HashSet::new();
    };
    world
        .list(services, None)
        .objects
        .iter()
        .filter_map(|service| service.field("spec.clusterIP")?.parse::<Ipv4Addr>().ok())
        .map(u32::from)
        .collect()
}

fn lock(pending: &Mutex<HashSet<u32>>) -> std::sync::MutexGuard<'_, HashSet<u32>> {
    pending.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cadet_store::{LocalStore, MemoryDisk, Options};

    fn empty_world() -> World {
        let store = LocalStore::open(MemoryDisk, Options::default()).expect("store");
        World::load(Arc::new(store), 10, 10).expect("world")
    }

    #[test]
    fn a_small_range_is_given_out_to_the_last_address_and_no_further() {
        let world = empty_world();
        let addresses = Addresses::new("10.0.0.0/28").expect("range");
        assert_eq!(addresses.first(), Ipv4Addr::new(10, 0, 0, 1));
        let mut held: Vec<Held> = vec![];
        for seed in 0..13 {
            held.push(addresses.hold_any(&world, seed * 7).expect("free"));
        }
        let distinct: HashSet<_> = held.iter().map(|h| h.address).collect();
        assert_eq!(distinct.len(), 13);
        assert!(!distinct.contains(&Ipv4Addr::new(10, 0, 0, 0)));
        assert!(!distinct.contains(&addresses.first()));
        assert!(!distinct.contains(&Ipv4Addr::new(10, 0, 0, 15)));
        assert_eq!(
            addresses.hold_any(&world, 3).err(),
            Some(AddressError::Full)
        );
        let gone = held.pop().map(|h| h.address);
        assert_eq!(addresses.hold_any(&world, 3).ok().map(|h| h.address), gone);
    }

    #[test]
    fn a_fixed_address_is_held_once_and_only_inside_the_range() {
        let world = empty_world();
        let addresses = Addresses::new("10.96.0.0/12").expect("range");
        let held = addresses.hold(&world, "10.96.0.10").expect("free");
        assert_eq!(
            addresses.hold(&world, "10.96.0.10").err(),
            Some(AddressError::Taken(held.address))
        );
        drop(held);
        assert!(addresses.hold(&world, "10.96.0.10").is_ok());
        for outside in ["10.95.255.255", "10.96.0.0", "10.111.255.255", "::1", "x"] {
            assert!(matches!(
                addresses.hold(&world, outside),
                Err(AddressError::Outside { .. })
            ));
        }
    }

    #[test]
    fn odd_ranges_are_refused_in_words() {
        for cidr in [
            "10.0.0.0",
            "x/8",
            "10.0.0.0/x",
            "10.0.0.0/31",
            "10.0.0.0/4",
            "::/64",
        ] {
            assert!(Addresses::new(cidr).is_err(), "{cidr}");
        }
    }
}
