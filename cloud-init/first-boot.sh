#!/bin/sh
# Last act of the first boot (cloud-init's runcmd). Everything cloud-init had to do is on
# the disk now, and loading it again would cost every later boot several seconds.
set -eu
if systemctl is-enabled --quiet cadet-seed.service; then
    touch /etc/cloud/cloud-init.disabled
fi
