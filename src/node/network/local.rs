//! An address of the Service range that this machine answers at itself: the cluster's DNS.
//!
//! The address is the bridge's second one, so it is there before any pod and goes with the
//! bridge. Packets to and from its port 53 pass untracked, before any rule for Services could
//! send them elsewhere; upstream's node-local DNS cache does the same.

use std::net::Ipv4Addr;

use crate::link::Links;
use crate::{BRIDGE, NetworkError, firewall};

/// Gives the bridge the address and replaces the rules, in one transaction.
pub(crate) async fn apply(links: &Links, address: Ipv4Addr) -> Result<(), NetworkError> {
    links.configure(BRIDGE, None, address, 32).await?;
    firewall::run("nft", &["-f", "-"], &ruleset(address)).await
}

fn ruleset(address: Ipv4Addr) -> String {
    let to = format!("ip daddr {address} meta l4proto {{ tcp, udp }} th dport 53 notrack");
    let from = format!("ip saddr {address} meta l4proto {{ tcp, udp }} th sport 53 notrack");
    format!(
        "table ip cadet-dns {{}}\n\
         delete table ip cadet-dns\n\
         table ip cadet-dns {{\n\
         \x20 chain prerouting {{\n\
         \x20   type filter hook prerouting priority raw; policy accept;\n\
         \x20   {to}\n\
         \x20 }}\n\
         \x20 chain output {{\n\
         \x20   type filter hook output priority raw; policy accept;\n\
         \x20   {to}\n\
         \x20   {from}\n\
         \x20 }}\n\
         }}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_dns_pass_before_all_other_rules() {
        assert_eq!(
            ruleset(Ipv4Addr::new(10, 96, 0, 10)),
            r#"table ip cadet-dns {}
delete table ip cadet-dns
table ip cadet-dns {
  chain prerouting {
    type filter hook prerouting priority raw; policy accept;
    ip daddr 10.96.0.10 meta l4proto { tcp, udp } th dport 53 notrack
  }
  chain output {
    type filter hook output priority raw; policy accept;
    ip daddr 10.96.0.10 meta l4proto { tcp, udp } th dport 53 notrack
    ip saddr 10.96.0.10 meta l4proto { tcp, udp } th sport 53 notrack
  }
}
"#
        );
    }
}
