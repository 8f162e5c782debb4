//! What is measured, and what it is to be.

use crate::figures::{Row, row};

pub const ROWS: &[Row] = &[
    row("wire_ratio", "bytes on the wire / (learners x bundle)").at_most(1.05),
    row("slowest_ratio", "slowest learner / mean").at_most(1.2),
    row("mean_s", "bundle, mean of learners, s"),
    row("rate_mbit", "bundles, all together, Mbit/s"),
    row("cpu_percent", "server, % of a core at that rate").at_most(30.0),
    row("resident_mib", "server, resident at most, MiB").at_most(60.0),
    row("restarts", "bundles begun anew").at_most(0.0),
    row("resumed", "bundles gone on with after a break"),
    row("join_ms", "join, slowest, ms"),
    row("board_ms", "board with all reporting, slowest of 50, ms").at_most(200.0),
    row("board_kib", "board, KiB"),
    row("report_ms", "report meanwhile, 99 of 100, ms"),
];
