#!/bin/sh
# Last step in the new root: the kernel has been copied out, its copies can go.
set -eu
rm -f /boot/vmlinuz* /boot/initrd* /boot/System.map-*
rm -f /cadet-customize /cadet-finish
