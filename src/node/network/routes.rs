//! Routes to the pods of other nodes, each by its node's address in a network they share.
//!
//! Ours are told from others' by their protocol number (rtnetlink(7)), so nothing needs to be
//! remembered: what is there is read, what differs is changed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use futures::TryStreamExt as _;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope,
};

use crate::NetworkError;
use crate::cidr::Cidr;
use crate::link::{Links, failed};

/// Marks our routes; none of the numbers that /usr/share/iproute2/rt_protos gives to others.
const OURS: RouteProtocol = RouteProtocol::Other(202);

/// A range of pods and the address of their node.
pub(crate) type Way = (Cidr, Ipv4Addr);

/// What is to be done, given what is there: routes to remove, routes to put in.
fn changes(there: &BTreeSet<Way>, wanted: &BTreeSet<Way>) -> (Vec<Way>, Vec<Way>) {
    let to: BTreeMap<Cidr, Ipv4Addr> = wanted.iter().copied().collect();
    // One that leads elsewhere now is replaced, never missing in between.
    let gone = there.iter().filter(|(range, _)| !to.contains_key(range));
    let new = to.into_iter().filter(|way| !there.contains(way));
    (gone.copied().collect(), new.collect())
}

/// Makes our routes those that are wanted.
pub(crate) async fn apply(links: &Links, wanted: &BTreeSet<Way>) -> Result<(), NetworkError> {
    let there = list(links).await?;
    let (gone, new) = changes(&there, wanted);
    for (range, by) in gone {
        let removed = links.routes().del(message((range, by))).execute().await;
        removed.map_err(failed(format!("remove the route to {range} by {by}")))?;
        tracing::info!(%range, %by, "a node is no longer led to");
    }
    let mut first = Ok(());
    for (range, by) in new {
        let request = links.routes().add(message((range, by))).replace();
        match request.execute().await {
            Ok(()) => tracing::info!(%range, %by, "the pods of another node are led to"),
            // One node that cannot be reached must not keep the others.
            Err(error) if first.is_ok() => {
                first = Err(failed(format!("add the route to {range} by {by}"))(error));
            }
            Err(_) => {}
        }
    }
    first
}

fn message((range, by): Way) -> RouteMessage {
    RouteMessageBuilder::<Ipv4Addr>::new()
        .protocol(OURS)
        .destination_prefix(range.nth(0), range.prefix())
        .gateway(by)
        .build()
}

async fn list(links: &Links) -> Result<BTreeSet<Way>, NetworkError> {
    let all = RouteMessageBuilder::<Ipv4Addr>::new().build();
    let routes: Vec<RouteMessage> = links
        .routes()
        .get(all)
        .execute()
        .try_collect()
        .await
        .map_err(failed("list the routes"))?;
    Ok(routes.iter().filter_map(ours).collect())
}

/// The range and the way of a route that is ours.
fn ours(route: &RouteMessage) -> Option<Way> {
    let header = &route.header;
    if header.protocol != OURS || header.scope != RouteScope::Universe {
        return None;
    }
    let mut range = None;
    let mut by = None;
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(base)) => {
                range = format!("{base}/{}", header.destination_prefix_length)
                    .parse()
                    .ok();
            }
            RouteAttribute::Gateway(RouteAddress::Inet(gateway)) => by = Some(*gateway),
            _ => {}
        }
    }
    Some((range?, by?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(range: &str, last: u8) -> Way {
        (range.parse().unwrap(), Ipv4Addr::new(10, 89, 0, last))
    }

    #[test]
    fn only_what_differs_is_changed() {
        let there = [
            way("10.244.1.0/24", 2),
            way("10.244.2.0/24", 3),
            way("10.244.3.0/24", 4),
        ]
        .into();
        let wanted = [
            way("10.244.1.0/24", 2),
            way("10.244.2.0/24", 7),
            way("10.244.4.0/24", 5),
        ]
        .into();
        let (gone, new) = changes(&there, &wanted);
        assert_eq!(gone, [way("10.244.3.0/24", 4)]);
        assert_eq!(new, [way("10.244.2.0/24", 7), way("10.244.4.0/24", 5)]);
        assert_eq!(changes(&wanted, &wanted), (vec![], vec![]));
    }

    #[test]
    fn our_routes_are_told_by_their_protocol() {
        let own = way("10.244.1.0/24", 2);
        let mut route = message(own);
        assert_eq!(ours(&route), Some(own));
        route.header.protocol = RouteProtocol::Static;
        assert_eq!(ours(&route), None);
    }
}
