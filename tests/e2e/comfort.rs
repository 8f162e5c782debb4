//! Everyday commands in a real machine: pause and the clock, files, a lent folder, the disk,
//! what happens and who uses what.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::support::{Run, Sealed, eventually};

const MINUTE: Duration = Duration::from_secs(60);

/// Plays it; the machine runs before and after, with a tunnel in the background.
pub fn play(home: &Sealed) {
    clock(home);
    files(home);
    lent(home);
    disk(home);
    told(home);
    addons(home);
}

/// A machine that stood still has its clock put right, and status says so.
fn clock(home: &Sealed) {
    home.ok(&["pause"]);
    let status = home.run(&["status"]);
    assert_eq!(status.code, 7, "{status}");
    assert!(status.out.contains("Paused"), "{status}");
    assert!(status.out.contains("next: cadet unpause"), "{status}");
    home.run(&["ssh", "true"]).fails_with("GUEST_PAUSED", 83);
    home.ok(&["pause"]);
    // The time that passes is what is looked at.
    std::thread::sleep(Duration::from_secs(8));
    let unpause = home.ok(&["unpause"]).out;
    assert!(unpause.contains("clock corrected"), "{unpause}");
    let before = seconds();
    let guest: u64 = home
        .ok(&["ssh", "--", "date", "+%s"])
        .out
        .trim()
        .parse()
        .unwrap();
    assert!(
        guest + 3 >= before && guest <= seconds() + 3,
        "{guest} {before}"
    );
    eventually("the node is Ready again", MINUTE * 3, || {
        (home.run(&["status"]).code == 0).then_some(())
    });
    let status = home.ok(&["status"]).out;
    assert!(status.contains("(asleep "), "{status}");
}

fn seconds() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap().as_secs()
}

fn files(home: &Sealed) {
    let dir = home.dir.path().join("files");
    std::fs::create_dir_all(dir.join("tree/deep")).unwrap();
    let bytes: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(dir.join("one"), &bytes).unwrap();
    std::fs::write(dir.join("tree/deep/two"), "2").unwrap();
    let here = |name: &str| dir.join(name).display().to_string();
    home.ok(&["cp", &here("one"), "node:/srv/"]);
    home.ok(&["cp", "node:/srv/one", &here("back")]);
    assert_eq!(std::fs::read(dir.join("back")).unwrap(), bytes);
    home.ok(&["cp", &here("tree"), "node:/srv/tree"]);
    home.ok(&["cp", "node:/srv/tree", &here("tree-back")]);
    let two = std::fs::read_to_string(dir.join("tree-back/deep/two"));
    assert_eq!(two.unwrap(), "2");
    home.run(&["cp", "node:/nowhere/x", &here("none")])
        .fails_with("GUEST_SSH", 89);
    assert!(!dir.join("none").exists());
    home.ok(&["ssh", "--", "sudo", "rm", "-r", "/srv/one", "/srv/tree"]);
}

/// What is changed at one end is seen at the other; nothing is left when it ends.
fn lent(home: &Sealed) {
    let dir = home.dir.path().join("lent");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("page"), "from the laptop").unwrap();
    let what = format!("{}:/mnt/lent", dir.display());
    let mut mount = home
        .command(&["mount", &what])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(mount.stdout.take().unwrap()).lines();
    let first = told.next().unwrap().unwrap();
    assert!(first.contains("/mnt/lent in the machine"), "{first}");
    let inside = |command: &str| home.ok(&["ssh", "--", command]).out;
    assert_eq!(inside("cat /mnt/lent/page"), "from the laptop");
    inside(
        "sudo sh -c 'mkdir /mnt/lent/sub && echo inside >/mnt/lent/sub/new && mv /mnt/lent/sub/new /mnt/lent/new'",
    );
    let new = std::fs::read_to_string(dir.join("new")).unwrap();
    assert_eq!(new, "inside\n");
    assert!(Path::new(&dir).join("sub").is_dir());
    inside("sudo dd if=/dev/urandom of=/mnt/lent/large bs=64k count=32 2>/dev/null");
    let sum = inside("sha256sum </mnt/lent/large");
    let ours = Run::of(Command::new("sha256sum").arg(dir.join("large"))).out;
    assert_eq!(sum.split(' ').next(), ours.split(' ').next());
    let pid = mount.id().to_string();
    Run::of(Command::new("kill").args(["-INT", &pid]));
    assert!(mount.wait().unwrap().success());
    let left = home.run(&["ssh", "--", "mountpoint -q /mnt/lent"]);
    assert_ne!(left.code, 0, "it is still mounted");
}

fn disk(home: &Sealed) {
    let show = || -> Value {
        let told = home.ok(&["disk", "show", "-o", "json"]).out;
        serde_json::from_str(&told).unwrap()
    };
    let before = show();
    let size = before["sizeGiB"].as_u64().unwrap() + 1;
    home.ok(&["disk", "grow", &format!("{size}g")]);
    let after = show();
    assert_eq!(after["sizeGiB"], size);
    let inside = |of: &Value| of["insideBytes"].as_u64().unwrap();
    assert!(
        inside(&after) > inside(&before) + (900 << 20),
        "{before} {after}"
    );
    home.run(&["disk", "grow", "4g"])
        .fails_with("RESOURCE_DISK", 24);
}

fn told(home: &Sealed) {
    let ip = home.ok(&["ip"]).out;
    assert!(ip.trim().parse::<std::net::Ipv4Addr>().is_ok(), "{ip}");
    let events = home.ok(&["events"]).out;
    assert!(events.contains("pod/telescope-pod"), "{events}");
    eventually("somebody was measured", MINUTE * 2, || {
        let top = home.run(&["top", "pods"]).out;
        top.contains("telescope-pod").then_some(())
    });
    let top = home.ok(&["top"]).out;
    assert!(top.contains(" %"), "{top}");
}

/// What is switched off is gone and says how it comes back; what is made of objects comes and goes.
fn addons(home: &Sealed) {
    home.ok(&["addons", "disable", "metrics"]);
    let refused = eventually("metrics are refused", MINUTE * 2, || {
        let top = home.run(&["top"]);
        top.err.contains("switched off").then_some(top.err)
    });
    assert!(refused.contains("cadet addons enable metrics"), "{refused}");
    home.ok(&["addons", "enable", "metrics"]);
    eventually("metrics are back", MINUTE * 2, || {
        (home.run(&["top"]).code == 0).then_some(())
    });
    let registry = |words: &[&str]| {
        let mut command = home.command(&["kubectl", "--", "-n", "kube-system", "get"]);
        Run::of(command.args(words).args(["-o", "name"])).out
    };
    home.ok(&["addons", "enable", "registry"]);
    let made = registry(&["deployment/cadet-registry", "service/cadet-registry"]);
    assert_eq!(made.lines().count(), 2, "{made}");
    home.ok(&["addons", "disable", "registry"]);
    assert_eq!(registry(&["deployment/cadet-registry"]), "");
}
