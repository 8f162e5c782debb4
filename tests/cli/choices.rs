//! What a user chooses once for all commands: the current profile, defaults of `start`, the
//! context in the kubeconfig.

use crate::support::Sealed;

#[test]
fn the_current_profile_is_kept_until_it_is_deleted() {
    let home = Sealed::new();
    assert_eq!(home.ok(&["profile"]).out.trim(), "cadet");
    assert!(home.files().is_empty(), "asking must not write");
    home.run(&["profile", "class"])
        .fails_with("GUEST_NOT_FOUND", 85);
    home.profile("cadet");
    home.profile("class");
    home.credentials("class");
    home.ok(&["profile", "class"]);
    assert_eq!(home.ok(&["profile"]).out.trim(), "class");
    assert!(home.run(&["status"]).out.starts_with("class"));
    assert!(
        home.run(&["status", "-p", "cadet"])
            .out
            .starts_with("cadet")
    );
    // What is to be typed next names the profile that is meant, and only if it must.
    assert!(home.run(&["status"]).out.contains("next: cadet start"));
    let other = home.run(&["status", "-p", "cadet"]).out;
    assert!(other.contains("next: cadet -p cadet start"), "{other}");
    let list = home.ok(&["profile", "list"]).out;
    assert!(list.contains("class *"), "{list}");
    let kubeconfig = std::fs::read_to_string(home.kubeconfig()).unwrap();
    assert!(
        kubeconfig.contains("current-context: class"),
        "{kubeconfig}"
    );
    home.ok(&["delete", "--yes"]);
    assert_eq!(home.ok(&["profile"]).out.trim(), "cadet");
}

#[test]
fn settings_are_checked_kept_used_and_forgotten() {
    let home = Sealed::new();
    home.run(&["config", "set", "memory", "100m"])
        .fails_with("RESOURCE_MEMORY", 24);
    home.run(&["config", "set", "image", "windows-95"])
        .fails_with("IMAGE_UNKNOWN", 65);
    assert!(home.files().is_empty(), "a refusal must not write");
    home.ok(&["config", "set", "memory", "1g"]);
    home.ok(&["config", "set", "cpus", "1"]);
    home.ok(&["config", "set", "disk", "9g"]);
    home.ok(&["config", "set", "image", "debian-13"]);
    assert_eq!(home.ok(&["config", "get", "disk-size"]).out.trim(), "9g");
    let plan = home.ok(&["start", "--dry-run"]).out;
    assert!(plan.contains("1 cores, 1.0 GiB, a disk of 9 GiB"), "{plan}");
    let plan = home.ok(&["start", "--dry-run", "--disk-size", "8g"]).out;
    assert!(plan.contains("a disk of 8 GiB"), "a flag wins: {plan}");
    let view: serde_json::Value =
        serde_json::from_str(&home.ok(&["config", "view", "-o", "json"]).out).unwrap();
    assert_eq!(view["memory"], "1g");
    home.ok(&["config", "unset", "memory"]);
    home.run(&["config", "get", "memory"])
        .fails_with("PROGRAM_USAGE", 14);
    let list = home.ok(&["config", "list"]).out;
    assert!(list.contains("memory     2g"), "{list}");
}

#[test]
fn a_damaged_settings_file_is_told_and_mended_without_loss() {
    let home = Sealed::new();
    std::fs::create_dir_all(home.home()).unwrap();
    std::fs::write(home.state().settings(), "{ \"profile\": ").unwrap();
    home.run(&["status"]).fails_with("HOST_STATE_CORRUPT", 38);
    // One that is named needs no settings.
    home.run(&["status", "-p", "cadet"])
        .fails_with("GUEST_NOT_FOUND", 85);
    let told = home.run(&["doctor"]).out;
    assert!(told.contains("✗ settings"), "{told}");
    home.run(&["doctor", "--fix"]);
    home.run(&["status"]).fails_with("GUEST_NOT_FOUND", 85);
    let kept = home.files();
    let aside = kept
        .iter()
        .find(|f| f.to_string_lossy().contains("damaged"));
    assert!(aside.is_some(), "{kept:?}");
}

#[test]
fn a_lost_context_is_written_again() {
    let home = Sealed::new();
    home.profile("cadet");
    home.run(&["update-context"])
        .fails_with("GUEST_NOT_RUNNING", 83);
    home.credentials("cadet");
    home.ok(&["update-context"]);
    let text = std::fs::read_to_string(home.kubeconfig()).unwrap();
    assert!(text.contains("https://127.0.0.1:1"), "{text}");
    let again = home.ok(&["update-context", "-o", "json"]).out;
    let again: serde_json::Value = serde_json::from_str(&again).unwrap();
    assert_eq!(again["changed"], false);
}

#[test]
fn an_addon_is_switched_for_the_next_start() {
    let home = Sealed::new();
    home.profile("cadet");
    let on = |name: &str| {
        let told = home.ok(&["addons", "list", "-o", "json"]).out;
        let rows = told.lines().map(|line| serde_json::from_str(line).unwrap());
        let rows: Vec<serde_json::Value> = rows.collect();
        rows.iter().find(|row| row["addon"] == name).unwrap()["on"] == true
    };
    assert!(on("ingress") && on("metrics"));
    let off = home.ok(&["addons", "disable", "ingress"]).out;
    assert!(off.contains("off from the next start on"), "{off}");
    assert!(!on("ingress") && on("metrics"));
    home.ok(&["addons", "enable", "ingress"]);
    assert!(on("ingress"));
    for addon in ["dashboard", "metrics"] {
        home.ok(&["addons", "disable", addon]);
        assert!(!on(addon) && on("ingress"));
        home.ok(&["addons", "enable", addon]);
    }
    assert!(!on("registry"));
    home.ok(&["addons", "enable", "registry"]);
    assert!(on("registry"));
    for fixed in ["dns", "storage"] {
        home.run(&["addons", "disable", fixed])
            .fails_with("PROGRAM_USAGE", 14);
        assert!(on(fixed));
    }
}
