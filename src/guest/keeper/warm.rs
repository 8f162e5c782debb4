//! What every copy of a template does in its first second is done once in the template, so that it
//! is in the memory that is frozen: programs read, modules of the kernel loaded, the pause image
//! built. Nothing of it is a machine's own, and nothing is lost where it fails: a copy then does it
//! itself.

use std::path::Path;

use super::command::{run, try_run};

/// This program.
const PROGRAM: &str = "usr/local/bin/cadet-node";
/// Programs a copy runs first, and folders of which it needs most: what SSH lets in with.
const READ: [&str; 8] = [
    PROGRAM,
    "usr/sbin/sshd",
    "usr/lib/openssh",
    "usr/lib/x86_64-linux-gnu/security",
    "usr/lib/aarch64-linux-gnu/security",
    "usr/bin/bash",
    "usr/bin/crun",
    "usr/bin/containerd-shim-runc-v2",
];
/// Programs that are run, for the libraries and tables they read.
const RUN: [&[&str]; 4] = [
    &["iptables", "-w", "-S"],
    &["ip", "link", "show"],
    &["sudo", "-n", "true"],
    &["nft", RULES],
];
/// A table with one of each kind of rule that pod and service network make, and its end in the same
/// transaction: the kernel loads a module for each, and no packet ever meets them.
const RULES: &str = "add table ip warm; \
    add map ip warm m { type ipv4_addr . inet_proto . inet_service : verdict; }; \
    add set ip warm s { type ipv4_addr . ipv4_addr; }; \
    add chain ip warm in { type nat hook prerouting priority dstnat; policy accept; }; \
    add chain ip warm out { type nat hook postrouting priority srcnat; policy accept; }; \
    add chain ip warm raw { type filter hook prerouting priority raw; policy accept; }; \
    add chain ip warm forward { type filter hook forward priority -10; policy accept; }; \
    add chain ip warm idle; \
    add rule ip warm forward ct state new jump idle; \
    add rule ip warm idle ip daddr . meta l4proto . th dport vmap @m; \
    add rule ip warm idle ip saddr . ip daddr @s reject; \
    add rule ip warm idle fib daddr type local reject; \
    add rule ip warm in ip daddr 192.0.2.1 meta l4proto tcp \
        dnat to numgen random mod 2 map { 0 : 192.0.2.2, 1 : 192.0.2.3 }; \
    add rule ip warm out ip saddr 192.0.2.1 masquerade fully-random; \
    add rule ip warm raw ip daddr 192.0.2.1 notrack; \
    delete table ip warm";

/// Does all of it.
pub fn up(root: &Path) {
    for line in RUN {
        try_run(line);
    }
    pause_image(root);
    for name in READ {
        read(&root.join(name));
    }
}

/// Builds the image that the first pod of every node needs, as the agent does. In a process of its
/// own: what it takes in memory would be this one's in all copies.
fn pause_image(root: &Path) {
    let program = root.join(PROGRAM);
    if let Err(error) = run(&[&*program.to_string_lossy(), "pause-image"]) {
        tracing::warn!(%error, "the template has no pause image");
    }
}

/// Reads a file, or those of a folder. What an image has elsewhere is read when it is needed.
fn read(path: &Path) {
    if let Ok(listed) = std::fs::read_dir(path) {
        for entry in listed.flatten().filter(|e| e.path().is_file()) {
            read(&entry.path());
        }
    } else if let Ok(mut file) = std::fs::File::open(path) {
        // What cannot be read here is missed by nobody.
        let _ = std::io::copy(&mut file, &mut std::io::sink());
    }
}
