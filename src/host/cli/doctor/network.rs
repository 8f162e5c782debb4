//! Proxies and routes of a laptop, judged.

use super::Finding;
use crate::error::CliError;
use crate::ranges::Net;

/// Judges the routes in the text of /proc/net/route (proc_net(5)): numbers are in hexadecimal,
/// in the processor's byte order.
pub fn routes(table: &str) -> Finding {
    let mut clashes = Vec::new();
    let mut device = "";
    for line in table.lines().skip(1) {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [name, base, ..] = fields[..] else {
            continue;
        };
        let number = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::from_be);
        let mask = fields.get(7).copied().and_then(number);
        let (Some(base), Some(mask)) = (number(base), mask) else {
            continue;
        };
        // The default route leads everywhere and so nowhere in particular.
        if mask == 0 {
            continue;
        }
        let net = Net::masked(base, mask);
        for (ours, who) in net.taken() {
            device = name;
            clashes.push(format!("{name} leads to {net}, and {who} live in {ours}"));
        }
    }
    if clashes.is_empty() {
        return Finding::Good("none leads where the cluster lives".into());
    }
    Finding::note_with(
        format!(
            "{}; pods cannot reach what else has such an address",
            clashes.join("; ")
        ),
        format!(
            "ip route show dev {device}      a VPN's? Then use the cluster without it, or names there from here"
        ),
    )
}

/// Judges the proxy variables, pairs of name and value. `answers` tells whether something
/// listens at a host and port, or why not.
pub fn proxy(
    variables: &[(&str, String)],
    mut answers: impl FnMut(&str, u16) -> Result<(), String>,
) -> Finding {
    let set: Vec<_> = variables.iter().filter(|(_, v)| !v.is_empty()).collect();
    let mut seen: Vec<(String, u16)> = Vec::new();
    for (name, value) in &set {
        let Some((host, port)) = address(value) else {
            return Finding::Bad(
                CliError::new(
                    "INET_UNREACHABLE",
                    format!("{name} is no address of a proxy"),
                )
                .why(format!("it is {:?}", without_password(value)))
                .fix(format!("export {name}=http://proxy.example:3128")),
            );
        };
        if seen.iter().any(|(h, p)| *h == host && *p == port) {
            continue;
        }
        if let Err(why) = answers(&host, port) {
            return Finding::Bad(
                CliError::new(
                    "INET_UNREACHABLE",
                    format!("the proxy {host}:{port} of {name} does not answer"),
                )
                .why(why)
                .fix(format!("unset {name}      if you are not behind it now")),
            );
        }
        seen.push((host, port));
    }
    let Some((host, port)) = seen.first() else {
        return Finding::Good("none is set".into());
    };
    if seen.len() > 1 {
        let names: Vec<_> = set.iter().map(|(name, _)| *name).collect();
        return Finding::note_with(
            format!("{} name different proxies", names.join(", ")),
            "env | grep -i _proxy",
        );
    }
    Finding::Good(format!("{host}:{port} answers"))
}

/// Host and port of a proxy's address, which may lack its scheme (curl(1) allows that).
fn address(value: &str) -> Option<(String, u16)> {
    let (scheme, rest) = value.split_once("://").unwrap_or(("http", value));
    let usual = match scheme {
        "http" => 80,
        "https" => 443,
        "socks4" | "socks4a" | "socks5" | "socks5h" => 1080,
        _ => return None,
    };
    let rest = rest.split(['/', '?', '#']).next()?;
    let rest = rest.rsplit('@').next()?;
    let (host, port) = match rest.strip_prefix('[') {
        Some(v6) => {
            let (host, port) = v6.split_once(']')?;
            (host, port.strip_prefix(':'))
        }
        None => match rest.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        },
    };
    let port = port.map_or(Some(usual), |port| port.parse().ok())?;
    let is_host = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
    (!host.is_empty() && host.chars().all(is_host)).then(|| (host.to_owned(), port))
}

/// What may be shown: passwords stand before an @.
fn without_password(value: &str) -> &str {
    value.rsplit('@').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

    fn row(name: &str, base: [u8; 4], bits: u32) -> String {
        let hex = |n: u32| format!("{:08X}", n.to_be());
        let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
        let base = hex(u32::from_be_bytes(base));
        format!(
            "{name}\t{base}\t00000000\t0001\t0\t0\t0\t{}\t0\t0\t0\n",
            hex(mask)
        )
    }

    fn at_home() -> String {
        let rows = [
            row("wlan0", [0, 0, 0, 0], 0),
            row("wlan0", [192, 168, 1, 0], 24),
            row("docker0", [172, 17, 0, 0], 16),
        ];
        format!("{HEAD}{}", rows.concat())
    }

    #[test]
    fn a_vpn_that_takes_the_clusters_addresses_is_named() {
        assert!(matches!(routes(&at_home()), Finding::Good(_)));
        assert!(matches!(routes(""), Finding::Good(_)));
        for (base, bits, who) in [
            ([10, 0, 0, 0], 8, "pods live in 10.244.0.0/16"),
            ([10, 244, 7, 0], 24, "pods"),
            ([10, 96, 0, 0], 12, "Services live in 10.96.0.0/16"),
            ([10, 0, 2, 0], 25, "the machine itself"),
        ] {
            let found = routes(&format!("{}{}", at_home(), row("tun0", base, bits)));
            let Finding::Note { text, fix } = found else {
                panic!("{found:?}");
            };
            assert!(text.contains(who) && text.contains("tun0"), "{text}");
            assert!(fix.unwrap().contains("tun0"));
        }
        let aside = format!("{}{}", at_home(), row("tun0", [10, 8, 0, 0], 24));
        assert!(matches!(routes(&aside), Finding::Good(_)));
    }

    #[test]
    fn proxies_that_are_none_or_do_not_answer() {
        let there = |_: &str, _: u16| Ok(());
        let gone = |_: &str, _: u16| Err("connection refused".to_owned());
        let set = |value: &str| [("HTTPS_PROXY", value.to_owned())];
        assert!(matches!(proxy(&[], gone), Finding::Good(_)));
        assert!(matches!(proxy(&set(""), gone), Finding::Good(_)));
        assert!(matches!(
            proxy(&set("http://p:3128"), there),
            Finding::Good(_)
        ));
        let Finding::Bad(e) = proxy(&set("http://me:secret@p:3128/"), gone) else {
            panic!("a proxy that is gone");
        };
        assert!(e.what.contains("p:3128") && !e.what.contains("secret"));
        let Finding::Bad(e) = proxy(&set("http://me:secret@p:port"), there) else {
            panic!("an address that is none");
        };
        assert!(!e.why.unwrap().contains("secret"));
        let two = [
            ("HTTP_PROXY", "http://a:1".to_owned()),
            ("https_proxy", "http://b:1".to_owned()),
        ];
        assert!(matches!(proxy(&two, there), Finding::Note { .. }));
    }

    #[test]
    fn addresses_of_proxies_as_people_write_them() {
        for (value, host, port) in [
            ("http://proxy:3128", "proxy", 3128),
            ("proxy:3128", "proxy", 3128),
            ("proxy.corp", "proxy.corp", 80),
            ("socks5h://[::1]:9050/", "::1", 9050),
            ("https://u:p@proxy", "proxy", 443),
        ] {
            assert_eq!(address(value), Some((host.to_owned(), port)), "{value}");
        }
        for bad in ["", "ftp://x", "http://", "http://a b:1", "http://x:99999"] {
            assert_eq!(address(bad), None, "{bad}");
        }
    }
}
