//! Which of a port's endpoints get connections: ready ones, near ones if asked, and those
//! about to end only where nobody else is left (KEP-1669).

use std::collections::BTreeSet;

use super::model::flag;
use crate::table::Backend;

/// The endpoints of one port of a Service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// For traffic that may go to any node.
    pub cluster: BTreeSet<Backend>,
    /// For traffic that must stay on this node.
    pub local: BTreeSet<Backend>,
    /// Those of both that are on this node.
    pub near: BTreeSet<Backend>,
}

impl Endpoints {
    /// Chooses among all endpoints, each with its bits of [`flag`].
    #[must_use]
    pub fn choose(all: &[(Backend, u8)]) -> Self {
        let ready: Vec<(Backend, u8)> = with(all, flag::READY);
        // Ready but for their end: only those still answer.
        let ending = with(all, flag::SERVING | flag::TERMINATING);
        let cluster = if ready.is_empty() {
            ending.clone()
        } else {
            nearest(&ready)
        };
        let at_home = |list: &[(Backend, u8)]| with(list, flag::LOCAL);
        let ready_here = at_home(&ready);
        let local = if ready_here.is_empty() {
            at_home(&ending)
        } else {
            ready_here
        };
        let mut near = set(&at_home(&cluster));
        near.extend(set(&local));
        Self {
            cluster: set(&cluster),
            local: set(&local),
            near,
        }
    }
}

fn with(all: &[(Backend, u8)], bits: u8) -> Vec<(Backend, u8)> {
    all.iter()
        .filter(|(_, flags)| flags & bits == bits)
        .copied()
        .collect()
}

fn set(list: &[(Backend, u8)]) -> BTreeSet<Backend> {
    list.iter().map(|(backend, _)| *backend).collect()
}

/// Hints count only if every ready endpoint has them and one is for us; otherwise traffic
/// could end up nowhere. Nodes come before zones (KEP-3015, KEP-4444).
fn nearest(ready: &[(Backend, u8)]) -> Vec<(Backend, u8)> {
    for (hint, ours) in [
        (flag::NODE_HINT, flag::OUR_NODE),
        (flag::ZONE_HINT, flag::OUR_ZONE),
    ] {
        if ready.iter().all(|(_, flags)| flags & hint != 0) {
            let chosen = with(ready, ours);
            if !chosen.is_empty() {
                return chosen;
            }
        }
    }
    ready.to_vec()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const UP: u8 = flag::READY | flag::SERVING;
    const ENDING: u8 = flag::SERVING | flag::TERMINATING;

    fn backend(n: u8) -> Backend {
        Backend {
            ip: Ipv4Addr::new(10, 0, 0, n),
            port: 80,
        }
    }

    fn chosen(flags: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let all: Vec<(Backend, u8)> = flags
            .iter()
            .zip(0..)
            .map(|(flags, n)| (backend(n), *flags))
            .collect();
        let Endpoints { cluster, local, .. } = Endpoints::choose(&all);
        let numbers =
            |set: BTreeSet<Backend>| set.iter().map(|b| b.ip.octets()[3]).collect::<Vec<_>>();
        (numbers(cluster), numbers(local))
    }

    #[test]
    fn ready_ones_and_of_them_the_local_ones() {
        let all = [UP, 0, UP | flag::LOCAL, ENDING, flag::TERMINATING];
        assert_eq!(chosen(&all), (vec![0, 2], vec![2]));
    }

    #[test]
    fn the_ending_answer_only_where_nobody_else_does() {
        assert_eq!(chosen(&[ENDING, flag::TERMINATING, 0]).0, [0]);
        // Elsewhere somebody is ready, here only one about to end.
        assert_eq!(chosen(&[UP, ENDING | flag::LOCAL]), (vec![0], vec![1]));
        assert_eq!(chosen(&[flag::TERMINATING, 0]), (vec![], vec![]));
    }

    #[test]
    fn hints_are_followed_when_all_have_them_and_one_is_for_us() {
        let (zone, here) = (UP | flag::ZONE_HINT, UP | flag::ZONE_HINT | flag::OUR_ZONE);
        assert_eq!(chosen(&[zone, here, here]).0, [1, 2]);
        assert_eq!(chosen(&[zone, zone]).0, [0, 1]);
        assert_eq!(chosen(&[here, UP]).0, [0, 1]);
        let node = here | flag::NODE_HINT;
        assert_eq!(chosen(&[node, node | flag::OUR_NODE]).0, [1]);
    }
}
