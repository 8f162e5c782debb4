#!/bin/sh
# Runs inside the new root after all packages are in. Must need no network.
set -eu

# Nothing that identifies a machine may be shared between profiles.
rm -f /etc/ssh/ssh_host_*
: > /etc/machine-id
rm -f /var/lib/dbus/machine-id /etc/hostname
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' > /etc/hosts
printf 'LABEL=root / ext4 rw,relatime,errors=panic,discard 0 1\n' > /etc/fstab
# QEMU's user network answers names at this address, whatever the host's resolver is.
rm -f /etc/resolv.conf
printf 'nameserver 10.0.2.3\n' > /etc/resolv.conf
passwd --lock root

systemctl enable systemd-networkd.service ssh.service docker.service
# Start the engine before the first client asks: no socket activation delay.
systemctl disable docker.socket || true
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
    e2scrub_reap.service systemd-pstore.service cloud-init-hotplugd.socket \
    systemd-networkd-persistent-storage.service; do
    systemctl mask "$unit"
done

# The host boots this kernel directly from files it keeps beside the disk.
kernel=$(find /boot -maxdepth 1 -name 'vmlinuz-*' | sort -V | tail -n 1)
version=${kernel#/boot/vmlinuz-}
test -n "$version"
[ -e "/boot/initrd.img-$version" ] || update-initramfs -c -k "$version"
cp "$kernel" /boot/vmlinuz.out
cp "/boot/initrd.img-$version" /boot/initrd.out
# A kernel upgraded inside the guest would never be booted, and would take its modules away.
dpkg-query -W -f '${Package}\n' 'linux-image-*' | xargs apt-mark hold

dpkg-query -W -f '${Package} ${Version}\n' | sort > /usr/share/cadet-packages
# /tmp and apt's lists stay: mmdebstrap keeps its own apt configuration there and, were it
# gone, its last clean-up would fall on the host's lists instead.
rm -rf /var/cache/debconf/*-old /var/cache/ldconfig/* /var/log/* /var/tmp/* \
    /usr/share/doc/* /usr/share/man/* /usr/share/info/*
rm -f /etc/apt/apt.conf.d/*proxy*
