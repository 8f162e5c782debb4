//! Sample broken laptops, and what `doctor` finds and mends on each. They have no QEMU either:
//! trying accelerators takes long and is looked at elsewhere.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::support::{Run, Sealed};

/// What doctor says there, by subject.
fn examined(home: &Sealed, fix: bool, variables: &[(&str, &str)]) -> (i32, Vec<Value>) {
    let mut command = home.command(&["doctor", "-o", "json"]);
    if fix {
        command.arg("--fix");
    }
    for proxy in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
        command.env_remove(proxy);
    }
    let nothing = home.dir.path().join("nothing");
    std::fs::create_dir_all(&nothing).unwrap();
    command.env("PATH", nothing).envs(variables.iter().copied());
    let run = Run::of(&mut command);
    let lines = run.out.lines().map(serde_json::from_str);
    let findings: Result<Vec<Value>, _> = lines.collect();
    (run.code, findings.unwrap_or_else(|e| panic!("{e}: {run}")))
}

#[track_caller]
fn about<'a>(findings: &'a [Value], subject: &str) -> &'a Value {
    let mut found = findings.iter().filter(|f| f["subject"] == subject);
    found
        .next()
        .unwrap_or_else(|| panic!("{subject}: {findings:?}"))
}

#[test]
fn every_bad_finding_has_a_cause_and_a_next_command() {
    let home = Sealed::new();
    let broken = [
        ("HTTPS_PROXY", "http://me:secret@127.0.0.1:1"),
        ("CADET_CA_FILE", "/nowhere/ca.pem"),
    ];
    let (code, findings) = examined(&home, false, &broken);
    assert_eq!(code, 1);
    for (subject, id) in [
        ("qemu", "DRIVER_QEMU_MISSING"),
        ("proxy", "INET_UNREACHABLE"),
        ("authorities", "INET_UNREACHABLE"),
        ("kubectl", "HOST_KUBECTL_MISSING"),
    ] {
        let finding = about(&findings, subject);
        assert_eq!(finding["id"], id, "{finding}");
    }
    for finding in findings.iter().filter(|f| f["ok"] == false) {
        assert!(
            finding["why"].is_string() && finding["fix"].is_string(),
            "{finding}"
        );
        assert!(!finding.to_string().contains("secret"), "{finding}");
    }
    for subject in ["memory", "disk", "ports", "routes", "clock", "bases"] {
        about(&findings, subject);
    }
    assert!(home.files().is_empty(), "{:?}", home.files());
}

#[test]
fn machines_that_lost_their_record_get_it_back() {
    let home = Sealed::new();
    home.profile("kept");
    std::fs::remove_dir_all(home.state().database()).unwrap();
    let (_, findings) = examined(&home, false, &[]);
    let state = about(&findings, "state");
    assert_eq!(state["id"], "HOST_STATE_CORRUPT");
    assert!(state["message"].as_str().unwrap().contains("kept"));
    assert!(!home.ok(&["list"]).out.contains("kept"), "nothing unasked");
    let (_, findings) = examined(&home, true, &[]);
    assert_eq!(about(&findings, "state")["ok"], true);
    assert!(home.ok(&["list"]).out.contains("kept"));
}

#[test]
fn a_kubeconfig_open_to_others_is_closed_when_asked() {
    let home = Sealed::new();
    let file = home.kubeconfig();
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "apiVersion: v1\nkind: Config\n").unwrap();
    let mode = || std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    let (_, findings) = examined(&home, false, &[]);
    let fix = about(&findings, "kubeconfig")["fix"].as_str().unwrap();
    assert!(fix.starts_with("chmod 600 "), "{fix}");
    assert_eq!(mode(), 0o644);
    let mirror = [("CADET_KUBECTL_MIRROR", "http://127.0.0.1:1")];
    examined(&home, true, &mirror);
    assert_eq!(mode(), 0o600);
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text, "apiVersion: v1\nkind: Config\n");
}

#[test]
fn a_disk_whose_base_is_gone_is_told_by_its_profile() {
    let home = Sealed::new();
    let profile = json!({
        "name": "class", "created": 1, "phase": "stopped",
        "spec": {"cpus": 1, "memoryMib": 1024, "diskGib": 8, "image": "debian-13"},
        "base": {"id": "debian-13-amd64-x", "title": "t", "disk": "/nowhere/disk.qcow2",
            "kernel": "/nowhere/k", "initrd": "/nowhere/i", "cmdline": ""},
    });
    let profile = serde_json::from_value(profile).unwrap();
    cadet_state::Store::open(&home.state())
        .unwrap()
        .put(&profile)
        .unwrap();
    let (_, findings) = examined(
        &home,
        true,
        &[("CADET_KUBECTL_MIRROR", "http://127.0.0.1:1")],
    );
    let disks = about(&findings, "disks");
    assert_eq!(disks["id"], "IMAGE_CORRUPT");
    assert!(disks["message"].as_str().unwrap().contains("class"));
    // --fix deletes nothing, and cannot mend this one.
    assert!(home.ok(&["list"]).out.contains("class"));
}

#[test]
fn an_image_cache_that_is_damaged_is_told() {
    let home = Sealed::new();
    let base = home.home().join("cache/images/bases/debian-13-amd64-x");
    std::fs::create_dir_all(&base).unwrap();
    std::fs::write(base.join("manifest.json"), "{").unwrap();
    let downloads = home.home().join("cache/images/downloads");
    std::fs::create_dir_all(&downloads).unwrap();
    std::fs::write(downloads.join("ubuntu.img.partial"), "half").unwrap();
    let (_, findings) = examined(&home, false, &[]);
    assert_eq!(about(&findings, "bases")["id"], "IMAGE_CORRUPT");
    let left = about(&findings, "downloads");
    assert!(left["message"].as_str().unwrap().contains("broken off"));
    assert!(base.join("manifest.json").exists());
}
