//! Flags out of range, odd names, missing or old QEMU, taken ports, read-only homes.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::support::{Run, Sealed};

#[test]
fn unknown_words_are_told_with_an_id() {
    let home = Sealed::new();
    for args in [
        &["fly"][..],
        &["start", "--fast"],
        &["open"],
        &["start", "--memory"],
        &["-o", "xml", "list"],
        &["top", "volumes"],
        &["config", "set", "colour", "red"],
        &["config", "get", "memory"],
        &["config", "set", "cpus", "two"],
        &["config", "set", "disk-size", "1500m"],
        &["profile", "a/b"],
        &["port-forward"],
        &["port-forward", "node/cadet"],
        &["port-forward", "svc/web", "0"],
        &["port-forward", "svc/web", "x:80"],
    ] {
        home.run(args).fails_with("PROGRAM_USAGE", 14);
    }
}

#[test]
fn profile_names_are_host_names() {
    let home = Sealed::new();
    let long = "x".repeat(41);
    for name in [
        "", "-a", "A", "a b", "a/b", "../etc", "ä", "a.b", "a;reboot", "$(id)", &long,
    ] {
        for verb in ["start", "status", "delete", "stop", "tunnel"] {
            let flag = format!("--profile={name}");
            home.run(&[verb, &flag]).fails_with("PROGRAM_USAGE", 14);
        }
    }
    assert!(home.files().is_empty(), "{:?}", home.files());
}

#[test]
fn every_size_out_of_range_is_refused_before_anything_is_made() {
    let home = Sealed::new();
    for (flag, value, id, code) in [
        ("--cpus", "0", "RESOURCE_CPUS", 24),
        ("--cpus", "4096", "RESOURCE_CPUS", 24),
        ("--cpus", "-1", "PROGRAM_USAGE", 14),
        ("--cpus", "two", "PROGRAM_USAGE", 14),
        ("--memory", "100m", "RESOURCE_MEMORY", 24),
        ("--memory", "0", "RESOURCE_MEMORY", 24),
        ("--memory", "900t", "RESOURCE_MEMORY", 24),
        ("--memory", "2x", "PROGRAM_USAGE", 14),
        ("--memory", "18446744073709551615g", "PROGRAM_USAGE", 14),
        ("--disk-size", "1g", "RESOURCE_DISK", 24),
        ("--disk-size", "5000g", "RESOURCE_DISK", 24),
        ("--image", "windows-95", "IMAGE_UNKNOWN", 65),
        ("--nodes", "0", "RESOURCE_NODES", 24),
        ("--nodes", "10", "RESOURCE_NODES", 24),
        ("--nodes", "18446744073709551615", "RESOURCE_NODES", 24),
        ("--nodes", "-1", "PROGRAM_USAGE", 14),
        ("--nodes", "many", "PROGRAM_USAGE", 14),
        ("--wait-timeout", "0", "PROGRAM_USAGE", 14),
        ("--wait-timeout", "9d", "PROGRAM_USAGE", 14),
    ] {
        home.run(&["start", &format!("{flag}={value}")])
            .fails_with(id, code);
    }
    home.run(&["status"]).fails_with("GUEST_NOT_FOUND", 85);
    home.profile("cadet");
    for size in ["0", "1500m", "5000g"] {
        home.run(&["disk", "grow", size])
            .fails_with("RESOURCE_DISK", 24);
    }
    // A size that is one needs a machine that runs.
    home.run(&["disk", "grow", "40g"])
        .fails_with("GUEST_NOT_RUNNING", 83);
}

#[test]
fn verbs_on_a_profile_that_does_not_exist_say_so() {
    let home = Sealed::new();
    for args in [
        &["stop"][..],
        &["pause"],
        &["unpause"],
        &["delete"],
        &["status"],
        &["ssh"],
        &["logs"],
        &["kubectl", "get", "pods"],
        &["tunnel"],
        &["tunnel", "--stop"],
        &["open", "pod/x"],
        &["node", "list"],
        &["node", "add"],
        &["node", "start", "cadet-2"],
        &["node", "stop", "cadet-2"],
        &["node", "delete", "cadet-2"],
        &["ssh", "--node", "cadet-2", "true"],
        &["logs", "--node", "cadet-2"],
        &["ip"],
        &["events"],
        &["top"],
        &["top", "pods"],
        &["update-context"],
        &["service", "x"],
        &["service", "x", "--url"],
        &["docker-env"],
        &["image", "list", "--cluster"],
        &["image", "rm", "--cluster", "hello:1"],
        &["image", "load", "hello:1"],
        &["image", "pull", "hello:1"],
        &["image", "save", "hello:1"],
        &["image", "prune"],
        &["disk", "show"],
        &["disk", "grow", "40g"],
        &["cp", "web:/etc/hosts", "."],
        &["cp", "node:/etc/hosts", "."],
        &["mount", ".:/mnt/x"],
        &["addons", "list"],
        &["addons", "disable", "ingress"],
        &["stop", "--poweroff"],
        &["snapshot", "create"],
        &["snapshot", "list"],
        &["snapshot", "restore", "x"],
        &["snapshot", "delete", "x"],
    ] {
        home.run(args).fails_with("GUEST_NOT_FOUND", 85);
    }
    assert!(home.ok(&["list"]).out.contains("cadet start"));
}

#[test]
fn the_first_machine_is_not_one_of_the_others() {
    let home = Sealed::new();
    home.profile_of("cadet", &[2, 3]);
    for verb in ["stop", "start", "delete"] {
        let run = home.run(&["node", verb, "cadet"]);
        run.fails_with("GUEST_FIRST_NODE", 84);
        assert!(run.err.contains("control plane"), "{run}");
        assert!(run.err.contains(&format!("cadet {verb} ")), "{run}");
        // One bad name among good ones, and nothing is done.
        home.run(&["node", verb, "cadet-2", "cadet"])
            .fails_with("GUEST_FIRST_NODE", 84);
    }
    let list = home.ok(&["node", "list"]).out;
    assert!(
        list.contains("cadet-2") && list.contains("cadet-3"),
        "{list}"
    );
}

#[test]
fn machines_that_are_not_there_are_told_from_those_that_are() {
    let home = Sealed::new();
    home.profile_of("shop", &[2]);
    for name in [
        "shop-3",
        "cadet-2",
        "shop-02",
        "2",
        "",
        "../shop-2",
        "Shop-2",
    ] {
        for verb in ["start", "stop", "delete"] {
            let run = home.run(&["-p", "shop", "node", verb, name]);
            run.fails_with("GUEST_NODE_NOT_FOUND", 85);
            assert!(run.err.contains("shop, shop-2"), "{run}");
        }
    }
    for args in [
        &["ssh", "--node", "shop-3", "true"][..],
        &["logs", "--node", "shop-3"],
        &["logs", "--machine", "--node", "shop-3"],
    ] {
        let mut all = vec!["-p", "shop"];
        all.extend(args);
        home.run(&all).fails_with("GUEST_NODE_NOT_FOUND", 85);
    }
    for verb in ["start", "stop", "delete"] {
        home.run(&["node", verb]).fails_with("PROGRAM_USAGE", 14);
    }
}

#[test]
fn a_machine_of_an_impossible_size_is_not_added() {
    let home = Sealed::new();
    home.profile("cadet");
    for (flag, value, id) in [
        ("--cpus", "0", "RESOURCE_CPUS"),
        ("--memory", "100m", "RESOURCE_MEMORY"),
        ("--disk-size", "1g", "RESOURCE_DISK"),
    ] {
        home.run(&["node", "add", &format!("{flag}={value}")])
            .fails_with(id, 24);
    }
    let list = home.ok(&["node", "list", "-o", "json"]).out;
    assert_eq!(list.lines().count(), 1, "{list}");
    home.profile_of("full", &[2, 3, 4, 5, 6, 7, 8, 9]);
    home.run(&["-p", "full", "node", "add"])
        .fails_with("RESOURCE_NODES", 24);
}

#[test]
fn more_memory_than_there_is_is_refused_for_all_machines_together() {
    let home = Sealed::new();
    let text = std::fs::read_to_string("/proc/meminfo").unwrap();
    let kib: u64 = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .unwrap();
    // Nine of them are more than the computer has, one is not.
    let each = (kib / 1024 / 4).max(768);
    let run = home.run(&["start", "--nodes=9", &format!("--memory={each}m")]);
    run.fails_with("RESOURCE_MEMORY", 24);
    assert!(home.ok(&["list"]).out.contains("No profiles"), "{run}");
}

#[test]
fn without_qemu_the_way_to_get_it_is_told() {
    let home = Sealed::new();
    let empty = home.dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    Run::of(home.command(&["start"]).env("PATH", &empty)).fails_with("DRIVER_QEMU_MISSING", 55);
}

#[test]
fn a_qemu_of_yesteryear_is_refused() {
    let home = Sealed::new();
    let bin = home.dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    for name in ["qemu-system-x86_64", "qemu-system-aarch64"] {
        let file = bin.join(name);
        std::fs::write(
            &file,
            "#!/bin/sh\necho 'QEMU emulator version 6.2.0 (old)'\n",
        )
        .unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let run = Run::of(home.command(&["start"]).env("PATH", path));
    run.fails_with("DRIVER_QEMU_TOO_OLD", 56);
    assert!(run.err.contains("6.2.0"), "{run}");
}

#[test]
fn a_home_that_cannot_be_written_is_an_error_not_a_panic() {
    let home = Sealed::new();
    // /proc refuses new folders even to root, as a read-only disk does.
    let run = Run::of(home.command(&["start"]).env("CADET_HOME", "/proc/cadet"));
    run.fails_with("HOST_NOT_READABLE", 37);
}

#[test]
fn a_full_disk_leaves_nothing_half_written() {
    let home = Sealed::new();
    let dir = home.home();
    std::fs::create_dir_all(&dir).unwrap();
    // A small disk of its own, in a mount namespace that ends with the command.
    let script = "mount -t tmpfs -o size=200k none \"$CADET_HOME\" && \"$@\"; code=$?; \
                  find \"$CADET_HOME\" -name '*.new' -o -name '*.partial' >&2; exit $code";
    let inner = home.command(&["start", "--image=debian-13"]);
    let mut command = Command::new("unshare");
    let root = Command::new("id")
        .arg("-u")
        .output()
        .unwrap()
        .stdout
        .starts_with(b"0");
    command
        .arg(if root { "-m" } else { "-rm" })
        .args(["sh", "-c", script, "sh"]);
    command
        .arg(inner.get_program())
        .args(inner.get_args())
        .stdin(Stdio::null())
        .env_clear();
    for (key, value) in inner.get_envs() {
        command.env(key, value.unwrap_or_default());
    }
    let run = Run::of(&mut command);
    run.fails_with("HOST_DISK_FULL", 31);
    assert!(!run.err.contains(".partial"), "{run}");
}

#[test]
fn a_taken_port_is_named() {
    let home = Sealed::new();
    home.profile("cadet");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let run = home.run(&["tunnel", "--port", &port]);
    // The port is looked at first: a machine that is off is the next thing to say.
    run.fails_with("NET_PORT_TAKEN", 71);
    assert!(run.err.contains(&port), "{run}");
    home.run(&["tunnel", "--port", "0"])
        .fails_with("PROGRAM_USAGE", 14);
    home.run(&["tunnel", "--port", "70000"])
        .fails_with("PROGRAM_USAGE", 14);
}

#[test]
fn names_that_are_none_are_refused_before_anything_is_asked() {
    let home = Sealed::new();
    home.profile("cadet");
    let folder = home.dir.path().join("app");
    std::fs::create_dir(&folder).unwrap();
    let folder = folder.to_str().unwrap();
    for args in [
        &["service", ""][..],
        &["service", "a/b"],
        &["service", "pod/x"],
        &["service", "x", "-n", "../kube-system"],
        &["docker-env", "--shell", "csh"],
        &["image", "load", "nowhere.tar"],
        &["image", "load", folder],
        &["image", "load", "--", "-q"],
        &["image", "rm", "--cluster", "a b"],
        &["image", "pull", "a b"],
        &["image", "save", "--", "-q"],
        &["cp", "a", "b"],
        &["cp", "node:/a", "node:/b"],
        &["cp", "/nowhere/at/all", "node:/b"],
        &["cp", folder, "node:b"],
        &["disk", "grow", "much"],
        &["mount", folder],
        &["mount", "/nowhere/at/all:/mnt/x"],
        &["mount", ".:/etc"],
        &["addons", "enable", "teapot"],
        &["mount", ".:mnt"],
        &["image", "build", "-t", "a;b", folder],
        // No Dockerfile, no folder, no name.
        &["image", "build", "-t", "hello:1", folder],
        &["image", "build", "-t", "hello:1", "/nowhere/at/all"],
        &["image", "build", folder],
        &["image", "build", "--no-cache", folder],
    ] {
        home.run(args).fails_with("PROGRAM_USAGE", 14);
    }
    // The old form means a base image, as ever.
    home.run(&["image", "build", "windows-95"])
        .fails_with("IMAGE_UNKNOWN", 65);
}

#[test]
fn docker_env_prints_nothing_a_shell_would_run_when_it_fails() {
    let home = Sealed::new();
    home.profile("cadet");
    let run = home.run(&["docker-env"]);
    run.fails_with("GUEST_NOT_RUNNING", 83);
    assert!(run.out.is_empty(), "{run}");
    for (shell, wanted) in [
        ("bash", "unset DOCKER_HOST;"),
        ("zsh", "unset DOCKER_HOST;"),
        ("fish", "set -e DOCKER_HOST;"),
        (
            "powershell",
            "Remove-Item Env:DOCKER_HOST -ErrorAction SilentlyContinue",
        ),
        ("cmd", "SET DOCKER_HOST="),
    ] {
        let back = home.ok(&["docker-env", "--unset", "--shell", shell]);
        assert_eq!(back.out.trim_end(), wanted);
    }
}
