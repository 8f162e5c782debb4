#!/bin/sh
# Puts what the seed disk carries in its place in the guest. Runs as root at every boot
# from the mounted disk (first by cloud-init's bootcmd, later by cadet-seed.service) and
# changes only what differs. Uses nothing but what every image has: sh, coreutils, cmp,
# systemctl.
set -eu
seed=${1:?usage: install.sh DIRECTORY}
root=${CADET_ROOT:-} # tests install into a folder
changed=

say() { echo "cadet-seed: $*"; }

# put FILE DESTINATION MODE: replace in one step, keep if equal.
put() {
    if [ -f "$root$2" ] && cmp -s "$1" "$root$2"; then
        return 0
    fi
    mkdir -p "$(dirname "$root$2")"
    cp "$1" "$root$2.cadet-new"
    chmod "$3" "$root$2.cadet-new"
    # The bytes must be on the disk before the name is: power can fail here.
    sync "$root$2.cadet-new"
    mv -f "$root$2.cadet-new" "$root$2"
    changed="$changed $2"
    say "installed $2"
}

# On a server that somebody had already: by this `cadet-node down` knows what to take back.
if [ -f "$seed/up.json" ]; then
    mkdir -p "$root/var/lib/cadet"
    chmod 0700 "$root/var/lib/cadet"
    put "$seed/up.json" /var/lib/cadet/up.json 0600
fi

put "$seed/cadet-node" /usr/local/bin/cadet-node 0755
# A template has none: what it becomes is told to its copies.
if [ -f "$seed/node.json" ]; then
    put "$seed/node.json" /etc/cadet/node.json 0644
fi

mkdir -p "$root/var/lib/cadet"
chmod 0700 "$root/var/lib/cadet"

if [ -f "$seed/lessons.json" ]; then
    put "$seed/lessons.json" /usr/lib/cadet/lessons.json 0644
fi
mkdir -p "$root/usr/lib/cadet/lessons"
for file in "$seed"/lessons/*.tar; do
    [ -f "$file" ] || continue
    put "$file" "/usr/lib/cadet/lessons/${file##*/}" 0644
done
for file in "$root"/usr/lib/cadet/lessons/*; do
    [ -e "$file" ] || continue
    if [ ! -f "$seed/lessons/${file##*/}" ]; then
        rm -f "$file"
        say "removed ${file#"$root"}"
    fi
done

# What a worker's agent proves itself with, made by the first machine.
if [ -d "$seed/pki" ]; then
    umask 077
    mkdir -p "$root/var/lib/cadet/pki"
    chmod 0700 "$root/var/lib/cadet/pki"
    for file in "$seed"/pki/*; do
        put "$file" "/var/lib/cadet/pki/${file##*/}" 0600
    done
    umask 022
fi

if [ -f "$seed/nodes.network" ]; then
    put "$seed/nodes.network" /etc/systemd/network/05-cadet-nodes.network 0644
fi

[ ! -f "$seed/seed.sh" ] || put "$seed/seed.sh" /usr/local/lib/cadet/seed.sh 0644

before=$changed
for file in "$seed"/units/*.service; do
    [ -f "$file" ] || continue
    put "$file" "/etc/systemd/system/${file##*/}" 0644
done
[ -z "$root" ] || exit 0
[ "$changed" = "$before" ] || systemctl daemon-reload

# A worker's seed has no server.
services=
wants=/etc/systemd/system/multi-user.target.wants
missing=
for name in cadet-keeper.service cadet-server.service cadet-agent.service; do
    [ -f "$seed/units/$name" ] || continue
    services="$services $name"
    [ -L "$wants/$name" ] || missing=yes
done
# A server has no seed disk to read at later boots.
seeded=
[ ! -f "$seed/units/cadet-seed.service" ] || seeded=cadet-seed.service
[ -z "$seeded" ] || [ -L "$wants/$seeded" ] || missing=yes
# Nothing new and all in place: the units start by themselves, and each systemctl costs an
# emulated guest half a second.
if [ -z "$changed" ] && [ -z "$missing" ]; then
    exit 0
fi
# --no-block: this runs inside a boot transaction that the units wait for.
[ -z "$seeded" ] || systemctl enable --quiet "$seeded"
if [ ! -f "$seed/node.json" ]; then
    # shellcheck disable=SC2086 # names of units, without blanks
    systemctl enable --quiet $services
    systemctl start --no-block cadet-keeper.service
    exit 0
fi
# shellcheck disable=SC2086
systemctl enable --quiet --now --no-block $services
case "$changed " in
*" /usr/local/bin/cadet-node "* | *" /etc/cadet/node.json "* | *" /var/lib/cadet/pki/"* | \
    *" /etc/systemd/system/cadet-"*)
    # Only those that run already; the others are being started with the new files.
    # shellcheck disable=SC2086
    systemctl try-restart --no-block $services
    ;;
esac
