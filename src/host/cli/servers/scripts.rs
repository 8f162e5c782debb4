//! What is done on a server, as scripts for its shell: they run as root, can be repeated, and end
//! at the first thing that fails. Pure.

use cadet_tunnel::exec::quote;

/// What the scripts share: programs of root's are found, words are those read here, and apt waits
/// for the upgrades that a young server makes by itself.
const HEAD: &str = "set -eu\n\
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
    LC_ALL=C DEBIAN_FRONTEND=noninteractive\n\
    export PATH LC_ALL DEBIAN_FRONTEND\n\
    umask 022\n\
    patient='-o DPkg::Lock::Timeout=300'\n";

/// Leaves the mark, then sees to what a node is made of. What apt is going to bring is noted before
/// it does, so that nothing else is ever taken away, whatever others install at the same time.
const PREPARE: &str = r#"
mkdir -p /etc/cadet
if [ -e /etc/cadet/mark ] && [ "$(cat /etc/cadet/mark)" != "$mark" ]; then
    echo "another profile has taken this server meanwhile: $(cat /etc/cadet/mark)" >&2
    exit 1
fi
printf '%s\n' "$mark" >/etc/cadet/mark.new
mv -f /etc/cadet/mark.new /etc/cadet/mark

bring() {
    plan=$(apt-get -s install --no-install-recommends "$@")
    touch /etc/cadet/packages
    # Of a package that is there and gets newer, the old version stands before the new one.
    printf '%s\n' "$plan" | sed -n 's/^Inst \([^ ]*\) (.*/\1/p' |
        sort -u - /etc/cadet/packages >/etc/cadet/packages.new
    mv -f /etc/cadet/packages.new /etc/cadet/packages
    apt-get $patient install -y -q --no-install-recommends "$@"
}

missing=
command -v dockerd >/dev/null || missing="$missing docker.io"
command -v docker >/dev/null || cli=wanted
command -v nft >/dev/null || missing="$missing nftables"
command -v iptables >/dev/null || missing="$missing iptables"
command -v sudo >/dev/null || missing="$missing sudo"
command -v ip >/dev/null || missing="$missing iproute2"
if [ -n "$missing" ] || [ -n "${cli:-}" ]; then
    apt-get update -q
    if [ -n "$missing" ]; then
        # shellcheck disable=SC2086 # names of packages, without blanks
        bring $missing
    fi
    # Debian 13 has the client in a package of its own.
    if ! command -v docker >/dev/null; then
        bring docker-cli
    fi
fi
systemctl is-active --quiet docker || systemctl start docker
if [ "$user" != root ] && ! id -nG "$user" | tr ' ' '\n' | grep -qx docker; then
    printf '%s\n' "$user" >>/etc/cadet/docker-user
    usermod -aG docker "$user"
fi
"#;

/// Unpacks what comes on standard input and puts it in place, whole or not at all.
const PLACE: &str = r#"
[ "$(cat /etc/cadet/mark)" = "$mark" ] || { echo "another profile has taken this server" >&2; exit 1; }
at=$(mktemp -d /var/tmp/cadet-place.XXXXXX)
trap 'rm -rf "$at"' EXIT
tar -x -f - -C "$at"
sh "$at/install.sh" "$at"
"#;

/// Stops server, agent and pods; data stays.
const STOP: &str = r#"
[ "$(cat /etc/cadet/mark)" = "$mark" ] || { echo "another profile has taken this server" >&2; exit 1; }
/usr/local/bin/cadet-node down
"#;

/// Takes everything back that the other scripts did, and nothing else. Prints what stays and why.
const REMOVE: &str = r#"
if [ "$(cat /etc/cadet/mark 2>/dev/null)" != "$mark" ]; then
    echo "nothing of this profile is there"
    exit 0
fi
if [ -f /var/lib/cadet/up.json ] && [ -x /usr/local/bin/cadet-node ]; then
    # Containers can only be removed by their engine.
    systemctl is-active --quiet docker || systemctl start docker || true
    /usr/local/bin/cadet-node down --purge >&2
fi
for unit in cadet-agent.service cadet-server.service; do
    [ -f "/etc/systemd/system/$unit" ] || continue
    systemctl disable --now "$unit"
    rm -f "/etc/systemd/system/$unit"
done
systemctl daemon-reload
rm -rf /usr/lib/cadet
rm -f /etc/cadet/node.json /usr/local/bin/cadet-node
rmdir /var/lib/cadet 2>/dev/null || true

if [ -f /etc/cadet/docker-user ]; then
    while read -r user; do
        gpasswd -d "$user" docker >/dev/null 2>&1 || true
    done </etc/cadet/docker-user
fi

if [ -s /etc/cadet/packages ]; then
    # What was never brought, or is gone since, says nothing about what is there in its place.
    dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' | sed -n 's/^ii //p' | sort -u |
        comm -12 - /etc/cadet/packages >/etc/cadet/packages.new
    mv -f /etc/cadet/packages.new /etc/cadet/packages
fi
if [ -s /etc/cadet/packages ]; then
    packages=$(cat /etc/cadet/packages)
    stays=
    docker=
    if grep -qx docker.io /etc/cadet/packages && command -v docker >/dev/null; then
        docker=ours
        # An engine that does not answer says nothing about what is in it.
        containers=$(docker ps -aq) && volumes=$(docker volume ls -q) ||
            stays="Docker does not answer"
        [ -z "${containers:-}${volumes:-}" ] || stays="Docker has containers or volumes of others"
    fi
    # shellcheck disable=SC2086 # names of packages, without blanks
    plan=$(apt-get -s purge $packages)
    also=$(printf '%s\n' "$plan" | sed -n 's/^\(Remv\|Purg\) \([^ ]*\) .*/\2/p' | sort -u |
        comm -23 - /etc/cadet/packages | tr '\n' ' ')
    [ -z "$also" ] || stays="they are needed by $also"
    if [ -n "$stays" ]; then
        echo "packages stay ($(echo $packages)): $stays"
    else
        if [ -n "$docker" ]; then
            systemctl stop docker.socket docker.service containerd.service 2>/dev/null || true
        fi
        # Root signs in by itself where sudo was not: it may go again (sudo's prerm asks).
        # shellcheck disable=SC2086
        SUDO_FORCE_REMOVE=yes apt-get $patient purge -y -q $packages >&2
        if [ -n "$docker" ]; then
            rm -rf /var/lib/docker /var/lib/containerd /etc/docker
            ip link del docker0 2>/dev/null || true
        fi
    fi
fi
rm -rf /etc/cadet
"#;

/// A line that runs `script` as root with words of ours in it, whatever the user's own shell is.
fn as_root(script: &str, words: &[(&str, &str)]) -> String {
    let mut text = String::from(HEAD);
    for (name, value) in words {
        text.push_str(&format!("{name}={}\n", quote(value)));
    }
    text.push_str(script.trim_start());
    // Root may be without sudo.
    let line = format!(
        "if [ \"$(id -u)\" = 0 ]; then exec sh -c {script}; fi; exec sudo -n sh -c {script}",
        script = quote(&text)
    );
    format!("exec sh -c {}", quote(&line))
}

/// See [`PREPARE`].
pub fn prepare(mark: &str, user: &str) -> String {
    as_root(PREPARE, &[("mark", mark), ("user", user)])
}

/// See [`PLACE`].
pub fn place(mark: &str) -> String {
    as_root(PLACE, &[("mark", mark)])
}

/// See [`STOP`].
pub fn stop(mark: &str) -> String {
    as_root(STOP, &[("mark", mark)])
}

/// See [`REMOVE`].
pub fn remove(mark: &str) -> String {
    as_root(REMOVE, &[("mark", mark)])
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_scripts_are_ones_a_shell_understands() {
        for script in [PREPARE, PLACE, STOP, REMOVE] {
            let text = format!("{HEAD}{script}");
            let check = Command::new("sh").args(["-n", "-c", &text]).status();
            assert!(check.unwrap().success(), "{script}");
        }
        for line in [prepare("a b", "it's"), place("m"), stop("m"), remove("m")] {
            let check = Command::new("sh").args(["-n", "-c", &line]).status();
            assert!(check.unwrap().success(), "{line}");
        }
    }

    #[test]
    fn words_survive_three_shells() {
        let nasty = "it's \"$HOME\" `id` \\ $(id)";
        let line = as_root("printf %s \"$word\"\n", &[("word", nasty)]);
        // Nobody may be root here: the line's last act is replaced by what it would run.
        let line = line.replace("exec sudo -n sh", "exec sh");
        let out = Command::new("sh").args(["-c", &line]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&out.stdout), nasty);
    }

    #[test]
    fn what_apt_is_to_bring_is_noted_before_it_comes_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (_, bring) = PREPARE.split_once("bring() {").unwrap();
        let (bring, _) = bring.split_once("\n}\n").unwrap();
        let place = dir.path().display().to_string();
        let bring = bring.replace("/etc/cadet", &place);
        let bring = bring.replace("apt-get", "apt_get");
        // An apt that knows what it would do, and then has no network.
        let apt = "apt_get() { [ \"$1\" = -s ] || exit 7; printf '%s\\n' \
            'Inst libc6 [2.36] (2.37 Debian [amd64])' 'Inst runc (1.1 Debian [amd64])' \
            'Inst docker.io (26 Debian [amd64])' 'Conf runc (1.1 Debian [amd64])'; }\n";
        std::fs::write(dir.path().join("packages"), "sudo\n").unwrap();
        let text = format!("{HEAD}{apt}bring() {{{bring}\n}}\nbring docker.io\n");
        let out = Command::new("sh").args(["-c", &text]).output().unwrap();
        assert_eq!(out.status.code(), Some(7), "{out:?}");
        let noted = std::fs::read_to_string(dir.path().join("packages")).unwrap();
        assert_eq!(noted, "docker.io\nrunc\nsudo\n");
    }

    #[test]
    fn nothing_is_taken_from_where_the_mark_is_anothers() {
        // Only the question: what follows it is not for this computer.
        let (ask, _) = REMOVE.split_once("\nfi\n").unwrap();
        let text = format!("{HEAD}mark='nobody 0'\n{ask}\nfi\necho went on\n");
        let out = Command::new("sh").args(["-c", &text]).output().unwrap();
        assert_eq!(out.stdout, b"nothing of this profile is there\n");
        assert!(out.status.success());
    }
}
