//! `user@server[:port]`, as the user types it. Pure.

use std::fmt;
use std::str::FromStr;

/// Port of SSH servers everywhere (RFC 4253, section 4.1).
const SSH: u16 = 22;

/// Whom to be, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub user: String,
    /// A name or an address; of IPv6 without its brackets.
    pub host: String,
    pub port: u16,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((user, place)) = text.rsplit_once('@') else {
            return Err("write USER@SERVER, with whom to be there".into());
        };
        let (host, port) = match place.strip_prefix('[') {
            Some(rest) => {
                let Some((host, after)) = rest.split_once(']') else {
                    return Err("the bracket is not closed: write USER@[fd00::1]:22".into());
                };
                if host.parse::<std::net::Ipv6Addr>().is_err() {
                    return Err(format!("{host:?} is no IPv6 address"));
                }
                match after.strip_prefix(':') {
                    Some(port) => (host, Some(port)),
                    None if after.is_empty() => (host, None),
                    None => return Err(format!("{after:?} after the bracket is no :PORT")),
                }
            }
            None if place.matches(':').count() > 1 => {
                return Err("write an IPv6 address in brackets: USER@[fd00::1]".into());
            }
            None => match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        // What useradd(8) lets a user be called, and what directory services add to that. It
        // never reaches a shell.
        let in_user = |c: char| c.is_ascii_alphanumeric() || "._-+@\\".contains(c);
        if user.is_empty() || user.starts_with('-') || !user.chars().all(in_user) {
            return Err(format!("{user:?} is no user's name"));
        }
        let in_host = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let is_name = !host.starts_with(['-', '.']) && host.chars().all(in_host);
        let is_v6 = place.starts_with('[');
        if host.is_empty() || host.len() > 253 || !(is_v6 || is_name) {
            return Err(format!("{host:?} is no server's name or address"));
        }
        let port = match port.map(str::parse::<u16>) {
            None => SSH,
            Some(Ok(port @ 1..)) => port,
            Some(_) => return Err("the port is a number from 1 to 65535".into()),
        };
        Ok(Self {
            user: user.into(),
            host: host.into(),
            port,
        })
    }
}

impl fmt::Display for Address {
    /// As it can be typed again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "{}@[{}]", self.user, self.host)?,
            false => write!(f, "{}@{}", self.user, self.host)?,
        }
        match self.port {
            SSH => Ok(()),
            port => write!(f, ":{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_ssh_users_write_them() {
        for (text, user, host, port) in [
            ("ann@box", "ann", "box", 22),
            ("root@192.168.1.7:2222", "root", "192.168.1.7", 2222),
            ("a.b_c-d@box.example.org", "a.b_c-d", "box.example.org", 22),
            ("ann@corp.example@box", "ann@corp.example", "box", 22),
            ("ann@[fd00::1]", "ann", "fd00::1", 22),
            ("ann@[fd00::1]:2222", "ann", "fd00::1", 2222),
        ] {
            let read: Address = text.parse().unwrap();
            let wanted = (user, host, port);
            assert_eq!(
                (read.user.as_str(), read.host.as_str(), read.port),
                wanted,
                "{text}"
            );
            assert_eq!(read.to_string(), text, "it can be typed again");
        }
    }

    #[test]
    fn what_is_none_is_told() {
        for text in [
            "",
            "box",
            "@box",
            "ann@",
            "ann@:22",
            "ann@box:",
            "ann@box:0",
            "ann@box:65536",
            "ann@box:ssh",
            "ann@fd00::1",
            "ann@[fd00::1",
            "ann@[box]",
            "ann@[fd00::1]22",
            "-oProxyCommand=x@box",
            "ann@-box",
            "a b@box",
            "ann@b ox",
            "ann@box/x",
            "ann;reboot@box",
            "ann@$(id)",
            "ä@box",
        ] {
            let told = text.parse::<Address>().unwrap_err();
            assert!(!told.is_empty(), "{text:?}");
        }
    }
}
