//! A client, a node and a server that has very many addresses.

use std::net::TcpListener;

use nix::sys::socket::{Backlog, listen};

use crate::Result;
use crate::services::TARGET;
use crate::space::Space;

pub struct World {
    pub client: Space,
    /// Packets of the client pass here.
    pub node: Space,
    /// Kept: its namespace goes with it.
    _server: Space,
}

impl World {
    pub fn new() -> Self {
        let (client, node, server) = (Space::new(), Space::new(), Space::new());
        node.sh(&format!(
            "ip link add near type veth peer name c0 && ip link set c0 netns {} &&
             ip addr add 10.244.0.1/24 dev near && ip link set near up &&
             ip link add far type veth peer name s0 && ip link set s0 netns {} &&
             ip addr add 192.0.2.1/24 dev far && ip link set far up &&
             ip route add 10.244.128.0/17 via 192.0.2.2 &&
             echo 1 > /proc/sys/net/ipv4/ip_forward",
            client.id, server.id
        ));
        client.sh("ip addr add 10.244.0.2/24 dev c0 && ip link set c0 up &&
             ip route add default via 10.244.0.1 &&
             echo 1024 65535 > /proc/sys/net/ipv4/ip_local_port_range");
        server.sh("ip addr add 192.0.2.2/24 dev s0 && ip link set s0 up &&
             ip route add local 10.244.128.0/17 dev lo &&
             ip route add default via 192.0.2.1");
        server.run(|_| serve()).expect("a server");
        Self {
            client,
            node,
            _server: server,
        }
    }

    /// The kernel remembers a connection that was reset for ten seconds; at thousands a
    /// second its memory would be full. The setting may come only with rules that need it.
    pub fn forget_soon(&self) {
        let setting = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close";
        self.node.sh(&format!("echo 1 > {setting}"));
    }
}

/// Accepts connections and closes them.
fn serve() -> Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", TARGET))?;
    // As many as the kernel allows, 4096: more than come at once, so that no client waits for
    // this thread to be scheduled.
    listen(&listener, Backlog::MAXALLOWABLE)?;
    // It is in the namespace and ends with the process.
    std::thread::spawn(move || for _ in listener.incoming() {});
    Ok(())
}
