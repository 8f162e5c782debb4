//! The whole of Cadet on a plain Linux machine: the real `cadet-node up`, a real Docker
//! Engine, the real kubectl. A machine is a network and a mount namespace of its own; it
//! needs root, `dockerd` and a static busybox, which scripts/test installs.
//!
//! One cluster carries a day of all areas; each area is a file, and says when it fails.

#[path = "../../../../tests/areas/mod.rs"]
mod areas;
#[allow(dead_code)] // a part of it is enough here
#[path = "../docker/engine.rs"]
mod engine;
mod failures;
mod machine;
mod troubles;
mod undone;

use std::panic::{AssertUnwindSafe, catch_unwind};

use machine::{Machine, play};

/// The areas share a cluster; the last of it breaks things.
#[test]
fn a_day_on_one_cluster() {
    play(|| {
        let mut cluster = Machine::new().up();
        let mut failed = areas::play(&cluster);
        if catch_unwind(AssertUnwindSafe(|| failures::play(&mut cluster))).is_err() {
            failed.push("failures");
        }
        if !failed.is_empty() {
            cluster.tell();
        }
        assert!(failed.is_empty(), "{failed:?}");
    });
}
