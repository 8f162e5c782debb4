//! The only image of the areas: a static busybox under all its names, and a `/tmp`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

/// Lays the image's files out below `root`.
pub fn lay_out(root: &Path) {
    let bin = root.join("bin");
    std::fs::create_dir(&bin).expect("folder");
    std::fs::copy("/bin/busybox", bin.join("busybox")).expect("busybox-static is installed");
    let listed = Command::new("/bin/busybox").arg("--list").output();
    let listed = String::from_utf8(listed.expect("busybox").stdout).expect("names");
    for applet in listed.lines().filter(|name| *name != "busybox") {
        std::os::unix::fs::symlink("busybox", bin.join(applet)).expect("link");
    }
    let tmp = root.join("tmp");
    std::fs::create_dir(&tmp).expect("folder");
    std::fs::set_permissions(&tmp, std::fs::Permissions::from_mode(0o1777)).expect("rights");
}

/// The files below `root` as a tar archive.
pub fn pack(root: &Path) -> Vec<u8> {
    let mut tar = Command::new("tar");
    let packed = tar.arg("-C").arg(root).args(["-c", "."]).output();
    let packed = packed.expect("tar");
    assert!(packed.status.success(), "{packed:?}");
    packed.stdout
}
