//! QEMU as it would be after an upgrade: the same program, which calls itself another.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use cadet_vm::Emulator;

/// Puts it into the folder `bin`: the `real` one under its own name, which says to be `version`.
pub fn upgraded(real: &Emulator, version: &str, bin: &Path) {
    let text = format!(
        "#!/bin/sh\nif [ \"$1\" = --version ]; then\n  echo 'QEMU emulator version {version} (next)'\n  exit\nfi\nexec {} \"$@\"\n",
        real.path.display()
    );
    std::fs::create_dir_all(bin).expect("folder");
    let file = bin.join(real.arch.emulator());
    std::fs::write(&file, text).expect("written");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&file, mode).expect("made a program");
}
