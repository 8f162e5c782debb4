#!/bin/sh
# From a tar archive of a root file system to an ext4 image labelled `root`.
# Runs as root or inside a user namespace that maps a range of ids; uses no loop device.
# assemble.sh TAR SCRATCH-FOLDER IMAGE SIZE
set -eu
archive=$1 tree=$2 image=$3 size=$4
trap 'rm -rf "$tree"' EXIT
trap 'exit 143' TERM INT
mkdir "$tree"
# No device nodes: a user namespace may not make them, and the kernel fills /dev at every boot.
tar -C "$tree" --exclude='./dev/*' --numeric-owner --xattrs --xattrs-include='*' -xpf "$archive"
rm -f "$archive"
truncate -s "$size" "$image"
# One percent for root is enough to rescue a full disk; inode tables are written when first used.
mke2fs -q -t ext4 -L root -m 1 -E lazy_itable_init=1,lazy_journal_init=1 -d "$tree" "$image"
