//! Links by netlink: the bridge and the host ends of the pods' veth pairs.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::net::{IpAddr, Ipv4Addr};

use futures::TryStreamExt as _;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::{Handle, LinkBridge, LinkBridgePort, LinkUnspec, LinkVeth, RouteHandle};

use crate::NetworkError;

/// Prefix of the host ends, by which strays are recognised.
const HOST_PREFIX: &str = "cdt";

/// Name of the host end for a pod; at most 15 bytes, the kernel's limit.
pub(crate) fn host_end(key: &str) -> String {
    format!("{HOST_PREFIX}{}", short_hash(key))
}

/// Name of the pod end while it is still in the host's namespace.
pub(crate) fn pod_end(key: &str) -> String {
    format!("cdp{}", short_hash(key))
}

/// Twelve hex digits. SipHash with fixed keys: the same in every process of one build;
/// after an upgrade old links are merely strays of pods that get re-attached.
fn short_hash(key: &str) -> String {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    format!("{:012x}", hasher.finish() & 0xffff_ffff_ffff)
}

/// A locally administered hardware address made from an IPv4 address: whoever gets the
/// address later has the same one, so no neighbour keeps a stale entry.
pub(crate) fn hardware_address(address: Ipv4Addr) -> Vec<u8> {
    let [a, b, c, d] = address.octets();
    vec![0x0a, 0x58, a, b, c, d]
}

/// A netlink connection to the host's network namespace.
#[derive(Debug, Clone)]
pub(crate) struct Links {
    handle: Handle,
}

impl Links {
    /// Opens netlink in the calling thread's network namespace. Must be called inside a
    /// tokio runtime, which then drives the connection.
    pub(crate) fn open() -> Result<Self, NetworkError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(NetworkError::Socket)?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Makes the bridge if it is not there, and tells whether it was not.
    pub(crate) async fn ensure_bridge(
        &self,
        name: &str,
        address: Ipv4Addr,
        prefix: u8,
    ) -> Result<bool, NetworkError> {
        let is_new = self.find(name).await?.is_none();
        if is_new {
            // A fixed hardware address: otherwise the bridge takes its ports' lowest,
            // which changes as pods come and go and breaks the pods' gateway entry.
            let bridge = LinkBridge::new(name)
                .address(hardware_address(address))
                .forward_delay(0)
                .build();
            self.handle
                .link()
                .add(bridge)
                .execute()
                .await
                .map_err(failed(format!("create the bridge {name}")))?;
        }
        self.configure(name, None, address, prefix).await?;
        Ok(is_new)
    }

    /// Gives a link its address and sets it up, renaming it first if asked.
    pub(crate) async fn configure(
        &self,
        name: &str,
        rename: Option<&str>,
        address: Ipv4Addr,
        prefix: u8,
    ) -> Result<(), NetworkError> {
        let index = self.index(name).await?;
        if let Some(new_name) = rename {
            let message = LinkUnspec::new_with_index(index)
                .name(new_name.to_owned())
                .build();
            self.set(message, format!("rename {name} to {new_name}"))
                .await?;
        }
        self.handle
            .address()
            .add(index, IpAddr::V4(address), prefix)
            .replace()
            .execute()
            .await
            .map_err(failed(format!(
                "give {name} the address {address}/{prefix}"
            )))?;
        self.set_up(index, name).await
    }

    pub(crate) async fn bring_up(&self, name: &str) -> Result<(), NetworkError> {
        let index = self.index(name).await?;
        self.set_up(index, name).await
    }

    /// Makes a veth pair; the pod's end carries the hardware address of its IP address.
    pub(crate) async fn make_pair(
        &self,
        host_end: &str,
        pod_end: &str,
        address: Ipv4Addr,
    ) -> Result<(), NetworkError> {
        self.handle
            .link()
            .add(LinkVeth::new(host_end, pod_end).build())
            .execute()
            .await
            .map_err(failed(format!("create the link pair {host_end}")))?;
        let index = self.index(pod_end).await?;
        let message = LinkUnspec::new_with_index(index)
            .address(hardware_address(address))
            .build();
        self.set(message, format!("set the hardware address of {pod_end}"))
            .await
    }

    pub(crate) async fn move_to_process(&self, name: &str, pid: u32) -> Result<(), NetworkError> {
        let index = self.index(name).await?;
        let message = LinkUnspec::new_with_index(index).setns_by_pid(pid).build();
        self.set(
            message,
            format!("move {name} into the namespace of process {pid}"),
        )
        .await
    }

    pub(crate) async fn join_bridge(&self, name: &str, bridge: &str) -> Result<(), NetworkError> {
        let bridge_index = self.index(bridge).await?;
        let index = self.index(name).await?;
        let message = LinkUnspec::new_with_index(index)
            .controller(bridge_index)
            .up()
            .build();
        self.set(message, format!("attach {name} to {bridge}"))
            .await?;
        // Where bridged packets are filtered as well (`bridge-nf-call-iptables`), those for a
        // Service are turned round in the bridge, and one to the pod itself must get out by
        // the port it came in by. Elsewhere they are routed, and this changes nothing.
        self.handle
            .link()
            .set_port(LinkBridgePort::new(index).hairpin(true).build())
            .execute()
            .await
            .map_err(failed(format!("let {name} reach itself")))
    }

    pub(crate) async fn is_on_bridge(
        &self,
        name: &str,
        bridge: &str,
    ) -> Result<bool, NetworkError> {
        let bridge_index = self.index(bridge).await?;
        let Some(link) = self.find(name).await? else {
            return Ok(false);
        };
        Ok(link.attributes.iter().any(
            |attribute| matches!(attribute, LinkAttribute::Controller(c) if *c == bridge_index),
        ))
    }

    pub(crate) async fn remove(&self, name: &str) -> Result<(), NetworkError> {
        let Some(link) = self.find(name).await? else {
            return Ok(());
        };
        match self.handle.link().del(link.header.index).execute().await {
            // Gone between the two calls: its namespace was being torn down.
            Err(error) if is_missing(&error) => Ok(()),
            other => other.map_err(failed(format!("remove the link {name}"))),
        }
    }

    /// Names of all host ends of pods.
    pub(crate) async fn ours(&self) -> Result<Vec<String>, NetworkError> {
        let links: Vec<LinkMessage> = self
            .handle
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(failed("list the network links"))?;
        Ok(links
            .iter()
            .filter_map(name_of)
            .filter(|n| is_ours(n))
            .collect())
    }

    /// The way out of a pod, whose own range has no other address in it.
    pub(crate) async fn default_route(
        &self,
        name: &str,
        gateway: Ipv4Addr,
    ) -> Result<(), NetworkError> {
        let route = rtnetlink::RouteMessageBuilder::<Ipv4Addr>::new()
            .output_interface(self.index(name).await?)
            .gateway(gateway)
            .onlink()
            .build();
        self.handle
            .route()
            .add(route)
            .replace()
            .execute()
            .await
            .map_err(failed(format!("add the default route by {gateway}")))
    }

    /// Name of the link with this hardware address, as its maker gave it.
    pub(crate) async fn with_address(&self, bytes: &[u8]) -> Result<Option<String>, NetworkError> {
        let links: Vec<LinkMessage> = self
            .handle
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(failed("list the network links"))?;
        let has = |link: &&LinkMessage| {
            link.attributes
                .iter()
                .any(|attribute| matches!(attribute, LinkAttribute::Address(own) if own == bytes))
        };
        Ok(links.iter().find(has).and_then(name_of))
    }

    pub(crate) fn routes(&self) -> RouteHandle {
        self.handle.route()
    }

    async fn find(&self, name: &str) -> Result<Option<LinkMessage>, NetworkError> {
        let mut found = self.handle.link().get().match_name(name).execute();
        match found.try_next().await {
            Ok(link) => Ok(link),
            Err(error) if is_missing(&error) => Ok(None),
            Err(source) => Err(NetworkError::Netlink {
                act: format!("look up the link {name}"),
                source,
            }),
        }
    }

    async fn index(&self, name: &str) -> Result<u32, NetworkError> {
        match self.find(name).await? {
            Some(link) => Ok(link.header.index),
            None => Err(NetworkError::NoLink(name.into())),
        }
    }

    async fn set_up(&self, index: u32, name: &str) -> Result<(), NetworkError> {
        let message = LinkUnspec::new_with_index(index).up().build();
        self.set(message, format!("set {name} up")).await
    }

    async fn set(&self, message: LinkMessage, act: String) -> Result<(), NetworkError> {
        self.handle
            .link()
            .set(message)
            .execute()
            .await
            .map_err(failed(act))
    }
}

pub(crate) fn failed(act: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> NetworkError {
    let act = act.into();
    move |source| NetworkError::Netlink { act, source }
}

/// Whether the kernel answered "no such device".
fn is_missing(error: &rtnetlink::Error) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message)
        if message.raw_code() == -nix::libc::ENODEV)
}

fn name_of(link: &LinkMessage) -> Option<String> {
    link.attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        })
}

fn is_ours(name: &str) -> bool {
    name.strip_prefix(HOST_PREFIX)
        .is_some_and(|rest| rest.len() == 12 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernel_and_differ_by_pod() {
        let a = host_end("0b1c");
        assert_eq!(a, host_end("0b1c"));
        assert_ne!(a, host_end("0b1d"));
        assert!(a.len() <= 15 && pod_end("0b1c").len() <= 15);
        assert_ne!(a, pod_end("0b1c"));
    }

    #[test]
    fn only_our_links_count_as_strays() {
        assert!(is_ours(&host_end("x")));
        for other in ["cadet0", "docker0", "veth0b1c2d3", "cdt", "cdtunnel12345"] {
            assert!(!is_ours(other), "{other}");
        }
    }

    #[test]
    fn hardware_addresses_are_local_and_unicast() {
        let mac = hardware_address(Ipv4Addr::new(10, 244, 0, 7));
        assert_eq!(mac, [0x0a, 0x58, 10, 244, 0, 7]);
        assert_eq!(mac[0] & 0b11, 0b10);
    }
}
