//! What `scripts/bench api` measures.

use super::figures::Row;

/// Upstream is kube-apiserver 1.36 with etcd on two cores.
pub const ROWS: &[Row] = &[
    ("ready_ms", "start to /readyz, ms", "2130", 100.0, false),
    (
        "create16_per_s",
        "create 1 KiB, 16 connections, per s",
        "1604",
        5000.0,
        true,
    ),
    ("create16_p99_ms", "  p99, ms", "34", 10.0, false),
    ("create16_cpu_ms", "  CPU each, ms", "0.9", 0.15, false),
    (
        "create64_per_s",
        "create 1 KiB, 64 connections, per s",
        "2059",
        10_000.0,
        true,
    ),
    ("create64_p99_ms", "  p99, ms", "111", 20.0, false),
    ("create64_cpu_ms", "  CPU each, ms", "0.9", 0.15, false),
    (
        "get_per_s",
        "GET, 16 connections, per s",
        "5155",
        25_000.0,
        true,
    ),
    ("get_p99_ms", "  p99, ms", "11.5", 2.0, false),
    ("get_cpu_ms", "  CPU each, ms", "0.34", 0.04, false),
    ("list_ms", "LIST 5,000 pods, ms", "119", 20.0, false),
    ("list_cpu_ms", "  CPU each, ms", "140", 15.0, false),
    ("list_mb", "  size, MB", "11", f64::NAN, true),
    (
        "watch_p50_ms",
        "create to event, 100 watchers, p50, ms",
        "",
        f64::NAN,
        false,
    ),
    ("watch_p99_ms", "  p99, ms", "7.5-13.4", 3.0, false),
    ("idle_rss_mib", "resident idle, MiB", "277+43", 30.0, false),
    (
        "pods_rss_mib",
        "resident with 5,000 pods, MiB",
        "447+",
        80.0,
        false,
    ),
    (
        "listed_rss_mib",
        "  after 30 lists of them, MiB",
        "",
        f64::NAN,
        false,
    ),
    (
        "idle_cpu_s_per_min",
        "CPU idle, s per minute",
        "1.4",
        0.05,
        false,
    ),
];
