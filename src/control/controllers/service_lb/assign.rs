//! Which Service of type LoadBalancer gets which address. Pure.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::Ipv4Addr;

/// Protocol and number, as the API writes them: `TCP`, 80.
pub type Port = (String, i32);

/// A Service that wants an address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    pub ports: BTreeSet<Port>,
    /// `spec.loadBalancerIP`.
    pub asks: Option<Ipv4Addr>,
    /// What its status has now.
    pub has: Vec<Ipv4Addr>,
}

/// Where addresses come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pool {
    /// From first to last; each belongs to one Service while there are enough.
    Range(Ipv4Addr, Ipv4Addr),
    /// Addresses of nodes, best first. Services share one if their ports differ, and never
    /// take a port the node itself needs.
    Nodes(Vec<Ipv4Addr>, BTreeSet<Port>),
}

impl Pool {
    /// From a range in CIDR notation, without its first and last address.
    #[must_use]
    pub fn range(cidr: &str) -> Option<Self> {
        let (base, prefix) = cidr.split_once('/')?;
        let base: Ipv4Addr = base.parse().ok()?;
        let prefix: u32 = prefix
            .parse()
            .ok()
            .filter(|prefix| (8..=30).contains(prefix))?;
        let size = 1_u32 << (32 - prefix);
        let base = u32::from(base) & !(size - 1);
        Some(Self::Range(
            Ipv4Addr::from(base + 1),
            Ipv4Addr::from(base + size - 2),
        ))
    }

    fn contains(&self, ip: Ipv4Addr) -> bool {
        match self {
            Self::Range(first, last) => (*first..=*last).contains(&ip),
            Self::Nodes(nodes, _) => nodes.contains(&ip),
        }
    }
}

/// Gives each Service, by namespace and name, an address or the reason why there is none.
/// Who has one keeps it.
#[must_use]
pub fn assign<'a>(
    pool: &Pool,
    wishes: &'a BTreeMap<String, Wish>,
) -> BTreeMap<&'a str, Result<Ipv4Addr, String>> {
    let mut books = Books::default();
    if let Pool::Nodes(nodes, needed) = pool {
        for node in nodes {
            books
                .ports
                .extend(needed.iter().map(|port| (*node, port.clone())));
        }
    }
    let mut given = BTreeMap::new();
    let mut open = Vec::new();
    for (name, wish) in wishes {
        let asked = wish.asks;
        let kept = wish.has.iter().copied().find(|ip| {
            pool.contains(*ip) && asked.is_none_or(|asked| asked == *ip) && books.fits(*ip, wish)
        });
        match kept {
            Some(ip) => {
                books.take(ip, wish);
                given.insert(name.as_str(), Ok(ip));
            }
            None => open.push((name.as_str(), wish)),
        }
    }
    // Those that ask for one first, so that no free choice takes it away.
    open.sort_by_key(|(_, wish)| wish.asks.is_none());
    for (name, wish) in open {
        let found = books.find(pool, wish);
        if let Ok(ip) = found {
            books.take(ip, wish);
        }
        given.insert(name, found);
    }
    given
}

/// What is taken.
#[derive(Default)]
struct Books {
    addresses: HashSet<Ipv4Addr>,
    ports: HashSet<(Ipv4Addr, Port)>,
}

impl Books {
    fn fits(&self, ip: Ipv4Addr, wish: &Wish) -> bool {
        let mut ports = wish.ports.iter();
        ports.all(|port| !self.ports.contains(&(ip, port.clone())))
    }

    fn take(&mut self, ip: Ipv4Addr, wish: &Wish) {
        self.addresses.insert(ip);
        self.ports
            .extend(wish.ports.iter().map(|port| (ip, port.clone())));
    }

    fn find(&self, pool: &Pool, wish: &Wish) -> Result<Ipv4Addr, String> {
        if let Some(asked) = wish.asks {
            return if !pool.contains(asked) {
                Err(format!("{asked} is no address this cluster can give"))
            } else if self.fits(asked, wish) {
                Ok(asked)
            } else {
                Err(format!("another Service has its ports on {asked}"))
            };
        }
        match pool {
            Pool::Range(first, last) => {
                let all = || (u32::from(*first)..=u32::from(*last)).map(Ipv4Addr::from);
                let unused = all().find(|ip| !self.addresses.contains(ip));
                unused
                    .or_else(|| all().find(|ip| self.fits(*ip, wish)))
                    .ok_or_else(|| format!("all addresses from {first} to {last} are in use"))
            }
            Pool::Nodes(nodes, _) if nodes.is_empty() => Err("there is no node".into()),
            Pool::Nodes(nodes, _) => {
                let mut nodes = nodes.iter().copied();
                nodes.find(|ip| self.fits(*ip, wish)).ok_or_else(|| {
                    let ports: Vec<String> = wish
                        .ports
                        .iter()
                        .map(|(protocol, number)| format!("{number}/{protocol}"))
                        .collect();
                    format!("no node has {} free", ports.join(", "))
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 112, 0, n)
    }

    fn wish(port: i32, has: &[u8]) -> Wish {
        Wish {
            ports: [("TCP".to_owned(), port)].into(),
            asks: None,
            has: has.iter().map(|n| ip(*n)).collect(),
        }
    }

    fn given(pool: &Pool, wishes: &[(&str, Wish)]) -> Vec<Result<u8, String>> {
        let wishes = wishes
            .iter()
            .map(|(n, w)| ((*n).to_owned(), w.clone()))
            .collect();
        let given = assign(pool, &wishes);
        given
            .into_values()
            .map(|found| found.map(|ip| ip.octets()[3]))
            .collect()
    }

    #[test]
    fn of_a_range_each_gets_its_own_while_they_last() {
        let pool = Pool::range("10.112.0.0/30").unwrap();
        assert_eq!(pool, Pool::Range(ip(1), ip(2)));
        let wishes = [
            ("a", wish(80, &[])),
            ("b", wish(80, &[1])),
            ("c", wish(81, &[])),
        ];
        assert_eq!(given(&pool, &wishes), [Ok(2), Ok(1), Ok(1)]);
        let full = [
            ("a", wish(80, &[1])),
            ("b", wish(80, &[2])),
            ("c", wish(80, &[])),
        ];
        let why = "all addresses from 10.112.0.1 to 10.112.0.2 are in use";
        assert_eq!(given(&pool, &full)[2], Err(why.into()));
        // One that is no longer of the range is changed.
        assert_eq!(given(&pool, &[("a", wish(80, &[9]))]), [Ok(1)]);
        for bad in ["10.112.0.0", "10.112.0.0/31", "x/24", "10.0.0.0/7"] {
            assert_eq!(Pool::range(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_address_asked_for_is_given_before_others_choose() {
        let pool = Pool::range("10.112.0.0/24").unwrap();
        let asks = |n| Wish {
            asks: Some(ip(n)),
            ..wish(80, &[])
        };
        assert_eq!(
            given(&pool, &[("a", wish(80, &[])), ("b", asks(1))]),
            [Ok(2), Ok(1)]
        );
        let far = Wish {
            asks: Some(Ipv4Addr::new(192, 0, 2, 1)),
            ..wish(80, &[])
        };
        let why = "192.0.2.1 is no address this cluster can give";
        assert_eq!(given(&pool, &[("a", far)]), [Err(why.into())]);
        let why = "another Service has its ports on 10.112.0.1";
        assert_eq!(
            given(&pool, &[("a", wish(80, &[1])), ("b", asks(1))])[1],
            Err(why.into())
        );
    }

    #[test]
    fn nodes_share_their_address_but_not_their_own_ports() {
        let needed = BTreeSet::from([("TCP".to_owned(), 22)]);
        let pool = Pool::Nodes(vec![ip(1), ip(2)], needed);
        let wishes = [
            ("a", wish(80, &[])),
            ("b", wish(80, &[])),
            ("c", wish(80, &[])),
            ("d", wish(81, &[])),
            ("e", wish(22, &[1])),
        ];
        let no = |port: i32| Err(format!("no node has {port}/TCP free"));
        assert_eq!(given(&pool, &wishes), [Ok(1), Ok(2), no(80), Ok(1), no(22)]);
        let none = Pool::Nodes(vec![], BTreeSet::new());
        assert_eq!(
            given(&none, &[("a", wish(80, &[]))]),
            [Err("there is no node".into())]
        );
    }
}
