#!/bin/sh
# Last act of the first boot (cloud-init's runcmd). Everything cloud-init had to do is on
# the disk now, and loading it again would cost every later boot several seconds.
set -eu
# sudo and others ask for the machine's own name; there is no name service here that knows it.
grep -q "[[:space:]]$(hostname)\$" /etc/hosts || echo "127.0.1.1 $(hostname)" >>/etc/hosts
if systemctl is-enabled --quiet cadet-seed.service; then
    touch /etc/cloud/cloud-init.disabled
fi
