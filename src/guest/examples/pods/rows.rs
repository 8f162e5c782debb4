//! What `scripts/bench pods` measures.

use super::figures::{Row, row};

/// The rival is the bare engine in the same run.
pub const ROWS: &[Row] = &[
    row("up_ready_ms", "up to node Ready, ms").at_most(1000.0),
    row("up_running_ms", "  to a first pod Running, ms").at_most(1500.0),
    row("first_up_ready_ms", "the very first up to Ready, ms"),
    row("first_up_running_ms", "  to a first pod Running, ms"),
    row("pod_p50_ms", "create to Running, one at a time, p50, ms")
        .against("bare_p50_ms")
        .ratio_at_most(1.2),
    row("pod_p99_ms", "  p99, ms").against("bare_p99_ms"),
    row("pods_all_ms", "30 at once, the last, ms")
        .against("bare_all_ms")
        .ratio_at_most(1.2),
    row("pods_p50_ms", "  p50, ms").against("bare_each_p50_ms"),
    row("replaced_p50_ms", "deleted to another Running, p50, ms").at_most(2000.0),
    row("replaced_p99_ms", "  p99, ms").at_most(2000.0),
    row("memory_mb", "memory of all programs, 10 pods, MB").at_most(45.0),
    row("idle_cpu_s_per_min", "CPU idle with 10 pods, s per minute").at_most(0.1),
];
