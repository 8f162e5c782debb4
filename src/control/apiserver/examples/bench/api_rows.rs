//! What `scripts/bench api` measures.

use super::figures::{Row, row};

/// Upstream is kube-apiserver 1.36 with etcd on two cores.
pub const ROWS: &[Row] = &[
    row("ready_ms", "start to /readyz, ms")
        .said("2130")
        .at_most(100.0),
    row("create16_per_s", "create 1 KiB, 16 connections, per s")
        .said("1604")
        .at_least(5000.0),
    row("create16_p99_ms", "  p99, ms").said("34").at_most(10.0),
    row("create16_cpu_ms", "  CPU each, ms")
        .said("0.9")
        .at_most(0.15),
    row("create64_per_s", "create 1 KiB, 64 connections, per s")
        .said("2059")
        .at_least(10_000.0),
    row("create64_p99_ms", "  p99, ms")
        .said("111")
        .at_most(20.0),
    row("create64_cpu_ms", "  CPU each, ms")
        .said("0.9")
        .at_most(0.15),
    row("get_per_s", "GET, 16 connections, per s")
        .said("5155")
        .at_least(25_000.0),
    row("get_p99_ms", "  p99, ms").said("11.5").at_most(2.0),
    row("get_cpu_ms", "  CPU each, ms")
        .said("0.34")
        .at_most(0.04),
    row("list_ms", "LIST 5,000 pods, ms")
        .said("119")
        .at_most(20.0),
    row("list_cpu_ms", "  CPU each, ms")
        .said("140")
        .at_most(15.0),
    row("list_mb", "  size, MB").said("11"),
    row("watch_p50_ms", "create to event, 100 watchers, p50, ms"),
    row("watch_p99_ms", "  p99, ms")
        .said("7.5-13.4")
        .at_most(3.0),
    row("idle_rss_mib", "resident idle, MiB")
        .said("277+43")
        .at_most(30.0),
    row("pods_rss_mib", "resident with 5,000 pods, MiB")
        .said("447+")
        .at_most(80.0),
    row("listed_rss_mib", "  after 30 lists of them, MiB"),
    row("idle_cpu_s_per_min", "CPU idle, s per minute")
        .said("1.4")
        .at_most(0.05),
];
