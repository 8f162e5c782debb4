//! Which of the kernel's UDP connections lead to endpoints that Services no longer have.

use std::collections::{HashMap, HashSet};

pub use cadet_conntrack::{Flow, forget};

use crate::services::Front;
use crate::table::{Backend, Protocol};

/// Whether a flow leads to an endpoint that its front no longer has.
#[must_use]
pub fn is_stale(flow: &Flow, answers: &HashMap<Front, HashSet<Backend>>) -> bool {
    let (ip, port) = flow.to;
    let from = Backend {
        ip: flow.from.0,
        port: flow.from.1,
    };
    let by_address = answers.get(&Front::Address(ip, Protocol::Udp, port));
    if let Some(known) = by_address {
        return !known.contains(&from);
    }
    // A node port may have been reached by any address of the node.
    let by_port = answers.get(&Front::NodePort(Protocol::Udp, port));
    by_port.is_some_and(|known| !known.contains(&from))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn flows_to_endpoints_of_others_are_stale_and_strangers_are_not() {
        let service = Ipv4Addr::new(10, 96, 0, 10);
        let pod = Backend {
            ip: Ipv4Addr::new(10, 244, 0, 2),
            port: 5353,
        };
        let flow = Flow {
            to: (service, 53),
            from: (pod.ip, pod.port),
            raw: Vec::new(),
        };
        let here = || HashSet::from([pod]);
        let gone = HashSet::new;
        let address = Front::Address(service, Protocol::Udp, 53);
        let port = Front::NodePort(Protocol::Udp, 53);
        assert!(!is_stale(
            &flow,
            &HashMap::from([(address, here()), (port, gone())])
        ));
        assert!(is_stale(&flow, &HashMap::from([(address, gone())])));
        assert!(is_stale(&flow, &HashMap::from([(port, gone())])));
        assert!(!is_stale(&flow, &HashMap::new()));
    }
}
