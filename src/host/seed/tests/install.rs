//! The installer on the seed disk, run for real into a folder.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

const INSTALL: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../../cloud-init/install.sh"
);

fn install(seed: &Path, root: &Path) -> String {
    let out = Command::new("sh")
        .arg(INSTALL)
        .arg(seed)
        .env("CADET_ROOT", root)
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn it_installs_once_updates_and_removes() {
    let dir = tempfile::tempdir().unwrap();
    let (seed, root) = (dir.path().join("seed"), dir.path().join("root"));
    fs::create_dir_all(seed.join("lessons")).unwrap();
    fs::create_dir_all(seed.join("units")).unwrap();
    let put = |name: &str, text: &str| fs::write(seed.join(name), text).unwrap();
    for name in ["cadet-node", "node.json", "lessons.json", "seed.sh"] {
        put(name, name);
    }
    put("lessons/telescope.tar", "one");
    put("lessons/old.tar", "old");
    put("units/cadet-server.service", "[Unit]");

    assert_eq!(install(&seed, &root).matches("installed").count(), 7);
    let mode = |path: &str| fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("usr/local/bin/cadet-node"), 0o755);
    assert_eq!(mode("etc/cadet/node.json"), 0o644);
    assert_eq!(mode("var/lib/cadet"), 0o700);
    assert_eq!(
        install(&seed, &root),
        "",
        "the second run changed something"
    );

    put("cadet-node", "newer");
    fs::remove_file(seed.join("lessons/old.tar")).unwrap();
    let said = install(&seed, &root);
    assert_eq!(
        said,
        "cadet-seed: installed /usr/local/bin/cadet-node\n\
         cadet-seed: removed /usr/lib/cadet/lessons/old.tar\n"
    );
    assert_eq!(
        fs::read_to_string(root.join("usr/local/bin/cadet-node")).unwrap(),
        "newer"
    );
    assert!(root.join("usr/lib/cadet/lessons/telescope.tar").exists());
}

#[test]
fn a_workers_keys_are_roots_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (seed, root) = (dir.path().join("seed"), dir.path().join("root"));
    fs::create_dir_all(seed.join("units")).unwrap();
    fs::create_dir_all(seed.join("pki")).unwrap();
    let put = |name: &str, text: &str| fs::write(seed.join(name), text).unwrap();
    for name in ["cadet-node", "node.json", "nodes.network"] {
        put(name, name);
    }
    put("pki/ca.crt", "authority");
    put("pki/node.key", "one");
    assert_eq!(install(&seed, &root).matches("installed").count(), 5);
    let mode = |path: &str| fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("var/lib/cadet/pki"), 0o700);
    assert_eq!(mode("var/lib/cadet/pki/node.key"), 0o600);
    assert_eq!(mode("var/lib/cadet"), 0o700);
    assert_eq!(mode("etc/systemd/network/05-cadet-nodes.network"), 0o644);
    assert_eq!(
        install(&seed, &root),
        "",
        "the second run changed something"
    );
    put("pki/node.key", "renewed");
    assert_eq!(
        install(&seed, &root),
        "cadet-seed: installed /var/lib/cadet/pki/node.key\n"
    );
}

#[test]
fn a_server_gets_what_tells_how_to_take_it_back() {
    let dir = tempfile::tempdir().unwrap();
    let (seed, root) = (dir.path().join("seed"), dir.path().join("root"));
    fs::create_dir_all(seed.join("units")).unwrap();
    for name in ["up.json", "cadet-node", "node.json"] {
        fs::write(seed.join(name), name).unwrap();
    }
    fs::write(seed.join("units/cadet-agent.service"), "[Unit]").unwrap();
    let said = install(&seed, &root);
    assert!(
        said.starts_with("cadet-seed: installed /var/lib/cadet/up.json\n"),
        "before anything that it tells of: {said}"
    );
    let mode = |path: &str| fs::metadata(root.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("var/lib/cadet"), 0o700);
    assert_eq!(mode("var/lib/cadet/up.json"), 0o600);
}

#[test]
fn a_template_gets_the_program_and_no_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let (seed, root) = (dir.path().join("seed"), dir.path().join("root"));
    fs::create_dir_all(seed.join("units")).unwrap();
    fs::write(seed.join("cadet-node"), "program").unwrap();
    fs::write(seed.join("units/cadet-keeper.service"), "[Unit]").unwrap();
    assert_eq!(install(&seed, &root).matches("installed").count(), 2);
    assert!(!root.join("etc/cadet/node.json").exists());
    assert!(
        root.join("etc/systemd/system/cadet-keeper.service")
            .exists()
    );
}

#[test]
fn a_seed_without_its_program_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (seed, root) = (dir.path().join("seed"), dir.path().join("root"));
    fs::create_dir_all(&seed).unwrap();
    fs::write(seed.join("node.json"), "{}").unwrap();
    let out = Command::new("sh")
        .arg(INSTALL)
        .arg(&seed)
        .env("CADET_ROOT", &root)
        .output()
        .unwrap();
    assert!(!out.status.success());
    assert!(!root.join("etc/cadet/node.json").exists());
}
