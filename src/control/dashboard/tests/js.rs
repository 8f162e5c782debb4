//! The page's own tests, run by node as they are: nothing is installed for them.

use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn the_pages_modules_keep_what_they_promise() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/js");
    let files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().ends_with(".test.js"))
        .collect();
    assert!(files.len() > 3, "{files:?}");
    let mut command = Command::new("node");
    let run = command.arg("--test").args(files).output();
    let run = run.expect("node: apt-get install nodejs");
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(
        run.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&run.stderr)
    );
    assert!(said.contains("fail 0"), "{said}");
}
