//! Ports of this machine that lead to a pod (`hostPort`): a table of their own, replaced
//! as a whole in one transaction. UDP clients of a port that leads elsewhere since are led there
//! as well.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::net::{Ipv4Addr, UdpSocket};

use cadet_conntrack::Flow;

use crate::{BRIDGE, NetworkError, firewall};

/// What carries a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        })
    }
}

/// One port of the machine and where it leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    pub protocol: Protocol,
    /// Address of the machine it listens at; `None` means all.
    pub host_ip: Option<Ipv4Addr>,
    pub host_port: u16,
    pub container_port: u16,
}

const TABLE: &str = "cadet-ports";
/// By which packets for loopback may come in: WSL has a second one for those of Windows.
const LOOPBACK: &str = "{ \"lo\", \"loopback0\" }";

/// Ports of pods, by the key of each, and whether the kernel has them.
#[derive(Debug)]
pub(crate) struct HostPorts {
    pods: BTreeMap<String, (Ipv4Addr, Vec<HostPort>)>,
    /// The kernel may have something else: it was not told yet, or refused.
    stale: bool,
    /// UDP ports that the kernel was told of, and the pods they led to.
    told: Led,
}

/// Pods by their UDP ports.
type Led = BTreeMap<HostPort, Ipv4Addr>;

impl Default for HostPorts {
    /// An earlier run may have left rules for pods that are gone since.
    fn default() -> Self {
        Self {
            pods: BTreeMap::new(),
            stale: true,
            told: Led::new(),
        }
    }
}

impl HostPorts {
    /// Notes a pod's ports.
    pub(crate) fn set(&mut self, key: &str, address: Ipv4Addr, ports: Vec<HostPort>) {
        if ports.is_empty() {
            self.remove(key);
            return;
        }
        let new = (address, ports);
        if self.pods.get(key) != Some(&new) {
            self.pods.insert(key.to_owned(), new);
            self.stale = true;
        }
    }

    /// Forgets a pod's ports.
    pub(crate) fn remove(&mut self, key: &str) {
        self.stale |= self.pods.remove(key).is_some();
    }

    /// Gives the kernel what it may not have.
    pub(crate) async fn apply(&mut self) -> Result<(), NetworkError> {
        if !self.stale {
            return Ok(());
        }
        // Closed before the rule that guards it goes, and opened only behind it.
        if self.pods.is_empty() {
            open_loopback(false)?;
        }
        firewall::run("nft", &["-f", "-"], &self.ruleset()).await?;
        if !self.pods.is_empty() {
            open_loopback(true)?;
        }
        self.stale = false;
        if let Err(error) = self.forget_flows().await {
            // The rules stand, and whoever pauses for a while is led right.
            tracing::warn!(%error, "UDP clients may still be sent to a pod that is gone");
        }
        Ok(())
    }

    /// Makes the kernel forget where it sent UDP clients of ports that have changed.
    async fn forget_flows(&mut self) -> Result<(), NetworkError> {
        let now = self.led();
        let before = std::mem::replace(&mut self.told, now.clone());
        if before == now {
            return Ok(());
        }
        let gone: Led = before
            .into_iter()
            .filter(|(port, pod)| now.get(port) != Some(pod))
            .collect();
        let forget = move || {
            cadet_conntrack::forget(|flow| was_led(&gone, flow) || is_led_astray(&now, flow))
        };
        let forgotten = tokio::task::spawn_blocking(forget)
            .await
            .map_err(|error| NetworkError::Conntrack(error.into()))?
            .map_err(NetworkError::Conntrack)?;
        if forgotten > 0 {
            tracing::info!(forgotten, "UDP connections to pods that are gone");
        }
        Ok(())
    }

    fn led(&self) -> Led {
        let ports = self.pods.values().flat_map(|(address, ports)| {
            let udp = ports.iter().filter(|port| port.protocol == Protocol::Udp);
            udp.map(|port| (*port, *address))
        });
        ports.collect()
    }

    /// Puts everything back if something took the table away or the bridge was made anew.
    pub(crate) async fn restore(&mut self) -> Result<(), NetworkError> {
        if self.pods.is_empty() {
            return self.apply().await;
        }
        let is_there = firewall::succeeds("nft", &["list", "table", "ip", TABLE]).await?;
        self.stale |= !is_there || !is_loopback_open()?;
        self.apply().await
    }

    fn ruleset(&self) -> String {
        let mut text = format!("table ip {TABLE} {{}}\ndelete table ip {TABLE}\n");
        if self.pods.is_empty() {
            return text;
        }
        let mut rules = String::new();
        for (address, ports) in self.pods.values() {
            for port in ports {
                let at = match port.host_ip {
                    Some(ip) => format!("ip daddr {ip}"),
                    None => "fib daddr type local".to_owned(),
                };
                let _ = writeln!(
                    rules,
                    "    {at} {} dport {} dnat to {address}:{}",
                    port.protocol, port.host_port, port.container_port
                );
            }
        }
        let own: BTreeSet<Ipv4Addr> = self.pods.values().map(|(address, _)| *address).collect();
        let own: Vec<String> = own.iter().map(|ip| format!("{ip} . {ip}")).collect();
        let own = own.join(", ");
        // A pod sees who calls. Only itself it could not answer, and loopback is everybody's.
        // The guard keeps loopback to this machine: a rule for one of its ports would catch
        // packets of neighbours before the kernel finds them impossible.
        let _ = write!(
            text,
            "table ip {TABLE} {{\n\
             \x20 chain guard {{\n\
             \x20   type filter hook prerouting priority raw; policy accept;\n\
             \x20   iifname != {LOOPBACK} ip daddr 127.0.0.0/8 drop\n\
             \x20 }}\n\
             \x20 chain prerouting {{\n\
             \x20   type nat hook prerouting priority dstnat; policy accept;\n\
             {rules}\
             \x20 }}\n\
             \x20 chain output {{\n\
             \x20   type nat hook output priority -100; policy accept;\n\
             {rules}\
             \x20 }}\n\
             \x20 chain postrouting {{\n\
             \x20   type nat hook postrouting priority srcnat; policy accept;\n\
             \x20   ip saddr 127.0.0.0/8 oifname \"{BRIDGE}\" masquerade\n\
             \x20   ip saddr . ip daddr {{ {own} }} masquerade\n\
             \x20 }}\n\
             }}\n"
        );
        text
    }
}

/// Whether a flow came by a port to the pod that it led to.
fn was_led(ports: &Led, flow: &Flow) -> bool {
    let mut all = ports.iter();
    all.any(|(port, pod)| flow.to.1 == port.host_port && flow.from == (*pod, port.container_port))
}

/// Whether a flow came by a port and not to the pod that it leads to: it is older than that.
fn is_led_astray(ports: &Led, flow: &Flow) -> bool {
    let (ip, number) = flow.to;
    let mut all = ports.iter();
    all.any(|(port, pod)| {
        number == port.host_port
            && flow.from != (*pod, port.container_port)
            && port.host_ip.map_or_else(|| is_own(ip), |own| own == ip)
    })
}

/// Whether an address is one of this machine's: no other can be bound.
fn is_own(ip: Ipv4Addr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

fn loopback_setting() -> String {
    format!("/proc/sys/net/ipv4/conf/{BRIDGE}/route_localnet")
}

fn refused(source: std::io::Error) -> NetworkError {
    NetworkError::Sysctl {
        setting: "route_localnet",
        source,
    }
}

fn is_loopback_open() -> Result<bool, NetworkError> {
    let text = std::fs::read_to_string(loopback_setting()).map_err(refused)?;
    Ok(text.trim() == "1")
}

/// Whether packets from this machine's loopback may leave for the pods. Pods then could call
/// what listens there as well (CVE-2020-8558), which the chain `guard` forbids.
fn open_loopback(open: bool) -> Result<(), NetworkError> {
    match std::fs::write(loopback_setting(), if open { "1\n" } else { "0\n" }) {
        // Without a bridge nothing is open.
        Err(error) if !open && error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        written => written.map_err(refused),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 5);

    fn web() -> HostPort {
        HostPort {
            protocol: Protocol::Tcp,
            host_ip: None,
            host_port: 8080,
            container_port: 80,
        }
    }

    #[test]
    fn ports_lead_to_their_pods_from_everywhere() {
        let mut ports = HostPorts::default();
        assert!(ports.ruleset().ends_with("delete table ip cadet-ports\n"));
        let dns = HostPort {
            protocol: Protocol::Udp,
            host_ip: Some(Ipv4Addr::LOCALHOST),
            host_port: 53,
            container_port: 5353,
        };
        ports.set("a", POD, vec![web(), dns]);
        let text = ports.ruleset();
        let to_web = "    fib daddr type local tcp dport 8080 dnat to 10.244.0.5:80\n";
        assert_eq!(text.matches(to_web).count(), 2, "{text}");
        let to_dns = "    ip daddr 127.0.0.1 udp dport 53 dnat to 10.244.0.5:5353\n";
        assert!(text.contains(to_dns), "{text}");
        assert!(text.contains("hook prerouting priority dstnat"));
    }

    #[test]
    fn only_loopback_and_a_pods_call_to_itself_lose_their_address() {
        let mut ports = HostPorts::default();
        ports.set("b", Ipv4Addr::new(10, 244, 0, 9), vec![web()]);
        ports.set("a", POD, vec![web()]);
        let text = ports.ruleset();
        let hidden: Vec<&str> = text
            .lines()
            .filter_map(|line| line.trim().strip_suffix(" masquerade"))
            .collect();
        assert_eq!(
            hidden,
            [
                "ip saddr 127.0.0.0/8 oifname \"cadet0\"",
                "ip saddr . ip daddr { 10.244.0.5 . 10.244.0.5, 10.244.0.9 . 10.244.0.9 }"
            ]
        );
        // Nor do pods and neighbours reach what listens on the machine's loopback.
        let guard = "    iifname != { \"lo\", \"loopback0\" } ip daddr 127.0.0.0/8 drop\n";
        assert!(text.contains(guard), "{text}");
    }

    #[test]
    fn connections_of_the_past_are_told_from_others() {
        let dns = HostPort {
            protocol: Protocol::Udp,
            host_ip: None,
            host_port: 53,
            container_port: 5353,
        };
        let mut ports = HostPorts::default();
        ports.set("a", POD, vec![web(), dns]);
        let led = ports.led();
        assert_eq!(led, Led::from([(dns, POD)]), "of UDP alone");
        let flow = |to: Ipv4Addr, from: (Ipv4Addr, u16)| Flow {
            to: (to, 53),
            from,
            raw: Vec::new(),
        };
        let (here, other) = (Ipv4Addr::LOCALHOST, Ipv4Addr::new(10, 244, 0, 6));
        let right = flow(here, (POD, 5353));
        assert!(was_led(&led, &right) && !is_led_astray(&led, &right));
        for from in [(other, 5353), (POD, 53), (here, 53)] {
            let astray = flow(here, from);
            assert!(is_led_astray(&led, &astray) && !was_led(&led, &astray));
        }
        // Somebody asks a server in the world (RFC 5737).
        let away = Ipv4Addr::new(192, 0, 2, 53);
        assert!(!is_led_astray(&led, &flow(away, (away, 53))));
        let loopback = HostPort {
            host_ip: Some(here),
            ..dns
        };
        let only = Led::from([(loopback, POD)]);
        assert!(is_led_astray(&only, &flow(here, (here, 53))));
        assert!(!is_led_astray(&only, &flow(other, (other, 53))));
    }

    #[test]
    fn what_the_kernel_may_not_have_is_known() {
        let mut ports = HostPorts::default();
        assert!(ports.stale, "of an earlier run");
        ports.stale = false;
        ports.remove("a");
        assert!(!ports.stale, "nothing new");
        ports.set("a", POD, vec![web()]);
        assert!(ports.stale);
        ports.stale = false;
        ports.set("a", POD, vec![web()]);
        assert!(!ports.stale, "nothing new");
        ports.set("a", POD, vec![]);
        // Until it is in force, however often it is asked for.
        ports.remove("a");
        assert!(ports.stale && ports.pods.is_empty());
    }
}
