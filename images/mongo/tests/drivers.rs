//! The official drivers for Python and Node.js, as users have them, against the real binary.

mod support;

use std::process::Command;

use support::{Mongod, drivers, expect_success, tour};

#[test]
fn pymongo_takes_the_tour() {
    let python = drivers().join("venv/bin/python");
    let folder = tempfile::tempdir().unwrap();
    let server = Mongod::start(folder.path());
    let output = Command::new(python)
        .arg(tour("tour.py"))
        .arg(server.url())
        .output()
        .unwrap();
    expect_success(&output, &server);
}

#[test]
fn the_node_driver_takes_the_tour() {
    let folder = drivers();
    let data = tempfile::tempdir().unwrap();
    let server = Mongod::start(data.path());
    // Modules are looked for beside the script, so it goes where the driver is.
    let script = folder.join("node/tour.mjs");
    std::fs::copy(tour("tour.mjs"), &script).unwrap();
    let output = Command::new("node")
        .arg(script)
        .arg(server.url())
        .output()
        .unwrap();
    expect_success(&output, &server);
}
