//! What `scripts/bench scale` measures.

use super::super::figures::{Row, row};

/// Upstream is Kubernetes 1.36 on two cores: scheduler and all other processes.
pub const ROWS: &[Row] = &[
    row("bound_per_s", "pods created and bound per s")
        .said("347-368")
        .at_least(3000.0),
    row("bound_cpu_ms", "  CPU of the server each, ms")
        .said("5.3-5.6")
        .at_most(0.6),
    row("steady_p50_ms", "bound at 50 pods per s, p50, ms")
        .said("6.6")
        .at_most(3.0),
    row("steady_p99_ms", "  p99, ms").said("13.3"),
    row("nodes_ready_s", "hollow nodes all ready, s"),
    row(
        "nodes_cpu_s_per_min",
        "  CPU of the server idle, s per minute",
    ),
    row("nodes_rss_mib", "  resident, MiB"),
    row("running_p50_s", "create to Running, p50, s"),
    row("running_p99_s", "  p99, s").at_most(5.0),
    row("life_cpu_ms", "  CPU of the server per pod, ms"),
    row("create_p50_ms", "POST of a pod meanwhile, p50, ms"),
    row("create_p99_ms", "  p99, ms").at_most(1000.0),
    row("get_p50_ms", "GET of a pod, p50, ms"),
    row("get_p99_ms", "  p99, ms").at_most(1000.0),
    row("list_p50_ms", "LIST of 500 pods, p50, ms"),
    row("list_p99_ms", "  p99, ms").at_most(1000.0),
    row("patch_p50_ms", "PATCH of a pod, p50, ms"),
    row("patch_p99_ms", "  p99, ms").at_most(1000.0),
    row("delete_p50_ms", "DELETE of a ConfigMap, p50, ms"),
    row("delete_p99_ms", "  p99, ms").at_most(1000.0),
    row("list_all_ms", "LIST of all pods at the end, ms").at_most(1000.0),
    row("server_rss_mib", "server resident at the end, MiB").at_most(600.0),
    row("hollow_rss_mib", "hollow nodes resident, MiB"),
];
