//! Whom this machine asks: the `nameserver` lines of resolv.conf(5).

use std::net::{IpAddr, SocketAddr};

/// Port of DNS servers.
const PORT: u16 = 53;
/// As many as the C library asks.
const MOST: usize = 3;

/// The servers a text names, without our `own` doors: asking ourselves would never end. A server
/// may be written with its port, `[192.0.2.1]:5353`, as OpenBSD's resolv.conf(5) has it.
#[must_use]
pub fn read(text: &str, own: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut servers = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        let server = words.next().and_then(server);
        if let Some(server) = server.filter(|server| !own.contains(server))
            && !servers.contains(&server)
        {
            servers.push(server);
        }
    }
    servers.truncate(MOST);
    servers
}

fn server(word: &str) -> Option<SocketAddr> {
    let (address, port) = match word
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("]:"))
    {
        Some((address, port)) => (address, port.parse().ok()?),
        None => (word, PORT),
    };
    // A zone (fe80::1%eth0) is of no use without the interface's number.
    let address: IpAddr = address.parse().ok()?;
    Some(SocketAddr::new(address.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_in_their_order_without_ourselves() {
        let text = "# none of ours\nnameserver 10.96.0.10\nnameserver 192.168.1.1\n\
            nameserver\tfd00::1 \nsearch lan\nnameserver fe80::1%eth0\nnameserver 192.168.1.1\n\
            nameserver 9.9.9.9\nnameserver 8.8.8.8\noptions edns0\n";
        let own = ["10.96.0.10:53".parse().unwrap()];
        let seen: Vec<String> = read(text, &own).iter().map(ToString::to_string).collect();
        assert_eq!(seen, ["192.168.1.1:53", "[fd00::1]:53", "9.9.9.9:53"]);
        assert_eq!(read("nameserver [127.0.0.1]:5353", &[])[0].port(), 5353);
    }
}
