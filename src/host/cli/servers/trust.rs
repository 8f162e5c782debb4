//! Whether the key that a server shows at first sight is its own: a file tells, the user tells,
//! or a flag says to take what is shown. From then on no other is accepted.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use cadet_tunnel::keys;

use super::Address;
use super::facts::ssh_words;
use crate::error::{CliError, Result};
use crate::{Context, machine};

/// How a key comes to be trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// It is in this file: public key lines, or lines of a known_hosts.
    File(PathBuf),
    /// It is the one that is shown.
    Shown,
    /// The user compares its fingerprint.
    Ask,
}

impl Trust {
    /// What the flags say.
    pub fn of(host_key: Option<&Path>, accept: bool) -> Self {
        match (host_key, accept) {
            (Some(file), _) => Self::File(file.to_path_buf()),
            (None, true) => Self::Shown,
            (None, false) => Self::Ask,
        }
    }

    /// Trusts the key line `shown` of `server`, or says why not.
    ///
    /// # Errors
    /// SERVER_HOST_KEY, SERVER_HOST_KEY_UNKNOWN, HOST_NOT_READABLE, PROGRAM_INTERRUPTED.
    pub fn judge(&self, cx: &Context, server: &Address, shown: &str) -> Result<()> {
        let print = keys::fingerprint(shown)?;
        match self {
            Self::Shown => Ok(()),
            Self::File(file) => {
                let text =
                    std::fs::read_to_string(file).map_err(|e| machine::io("read", file, &e))?;
                if listed(&text, server).any(|key| is_same(key, shown)) {
                    return Ok(());
                }
                Err(CliError::new(
                    "SERVER_HOST_KEY",
                    format!(
                        "{server} shows a host key that is not in {}",
                        file.display()
                    ),
                )
                .why(format!("it shows {print} (ed25519)"))
                .fix(compare(server)))
            }
            Self::Ask => ask(cx, server, &print),
        }
    }
}

/// The error for a server of a profile that shows another key than it did.
pub fn changed(profile: &str, server: &Address, shown: &str, pinned: &str) -> CliError {
    CliError::new(
        "SERVER_HOST_KEY",
        format!("{server} shows another host key than before"),
    )
    .why(format!(
        "it shows {shown} and had {pinned}: it was made anew, or another one answers in its place"
    ))
    .fix(format!(
        "{}\ncadet -p {profile} start --accept-host-key      once you know that it is right",
        compare(server)
    ))
}

fn ask(cx: &Context, server: &Address, print: &str) -> Result<()> {
    let can_ask =
        !cx.ui.json() && std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if !can_ask {
        return Err(CliError::new(
            "SERVER_HOST_KEY_UNKNOWN",
            format!("{server} was never seen before, and nobody is here to be asked"),
        )
        .why(format!("it shows the host key {print} (ed25519)"))
        .fix(format!(
            "{}\n--host-key FILE         takes only a key that FILE lists\n--accept-host-key       takes the key that is shown",
            compare(server)
        )));
    }
    cx.ui.line(format!(
        "{server} shows the host key {print} (ed25519).\n  compare  {}",
        compare(server)
    ));
    let sure = dialoguer::Confirm::new()
        .with_prompt("Is it the right one?")
        .default(false)
        .interact()
        .map_err(|e| CliError::new("PROGRAM_INTERRUPTED", "not answered").why(e.to_string()))?;
    if sure {
        return Ok(());
    }
    Err(
        CliError::new("SERVER_HOST_KEY", format!("{server} is not trusted"))
            .why("you said that its host key is not the right one; nothing was said to it")
            .fix(compare(server)),
    )
}

/// What tells the true fingerprint, on a way that is trusted.
fn compare(server: &Address) -> String {
    format!(
        "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub      on the server's own console, or where you trust the way: ssh {} ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
        ssh_words(&server.to_string())
    )
}

/// Keys that a file lists for `server`: lines of public keys, and of a known_hosts (sshd(8))
/// those that name it. Names that are hashed or patterns name nobody here.
fn listed<'a>(text: &'a str, server: &Address) -> impl Iterator<Item = &'a str> {
    let name = match server.port {
        22 => server.host.clone(),
        port => format!("[{}]:{port}", server.host),
    };
    text.lines().filter_map(move |line| {
        let line = line.trim();
        let (first, rest) = line.split_once(char::is_whitespace)?;
        if first == "ssh-ed25519" {
            return Some(line);
        }
        let names_it = first.split(',').any(|n| n.eq_ignore_ascii_case(&name));
        (names_it && rest.trim_start().starts_with("ssh-ed25519 ")).then_some(rest)
    })
}

/// Whether two lines hold one key; comments differ.
fn is_same(a: &str, b: &str) -> bool {
    let key = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
    key(a).is_some() && key(a) == key(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    fn server(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn files_list_keys_plainly_or_by_the_servers_name() {
        let key = format!("{KEY} root@box");
        let box_ = server("ann@box");
        let other = server("ann@box:2222");
        for (text, of_box, of_other) in [
            (key.clone(), 1, 1),
            (format!("# a comment\n\n  {key}\n{key}\n"), 2, 2),
            (format!("box,10.0.0.4 {KEY}"), 1, 0),
            (format!("[box]:2222 {KEY}"), 0, 1),
            (format!("Box {KEY}"), 1, 0),
            (format!("boxes {KEY}"), 0, 0),
            (format!("|1|abc=|def= {KEY}"), 0, 0),
            (format!("* {KEY}"), 0, 0),
            ("box ssh-rsa AAAA".into(), 0, 0),
            ("".into(), 0, 0),
        ] {
            assert_eq!(listed(&text, &box_).count(), of_box, "{text}");
            assert_eq!(listed(&text, &other).count(), of_other, "{text}");
            assert!(
                listed(&text, &box_).all(|line| is_same(line, KEY)),
                "{text}"
            );
        }
        assert!(!is_same("ssh-ed25519 BBBB", KEY));
        assert!(!is_same("", ""));
    }

    #[test]
    fn flags_say_how_to_trust() {
        let file = Path::new("/k");
        assert_eq!(Trust::of(Some(file), true), Trust::File(file.into()));
        assert_eq!(Trust::of(None, true), Trust::Shown);
        assert_eq!(Trust::of(None, false), Trust::Ask);
    }

    #[test]
    fn a_changed_key_is_told_with_both_fingerprints() {
        let error = changed("shop", &server("ann@box:2222"), "SHA256:new", "SHA256:old");
        assert_eq!(error.topic.id, "SERVER_HOST_KEY");
        let why = error.why.unwrap();
        assert!(why.contains("SHA256:new") && why.contains("SHA256:old"));
        let fix = error.fix.unwrap();
        assert!(fix.contains("cadet -p shop start --accept-host-key"));
    }
}
