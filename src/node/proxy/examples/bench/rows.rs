//! What `scripts/bench proxy` measures.

use super::figures::{Row, row};

/// The rival is kube-proxy's way with the same Services in the same run. What one run says
/// of two connections that cost the same differs by some percent.
pub const ROWS: &[Row] = &[
    row("first_p50_ms", "all endpoints come, p50, ms")
        .against("kube_first_p50_ms")
        .at_most(100.0),
    row("first_p99_ms", "  p99, ms").against("kube_first_p99_ms"),
    row("more_p50_ms", "one endpoint more, p50, ms").against("kube_more_p50_ms"),
    row("more_p99_ms", "  p99, ms").against("kube_more_p99_ms"),
    row("less_p50_ms", "one endpoint less, p50, ms").against("kube_less_p50_ms"),
    row("less_p99_ms", "  p99, ms").against("kube_less_p99_ms"),
    row("slice_p50_ms", "a slice of 100 replaced, p50, ms").against("kube_slice_p50_ms"),
    row("slice_p99_ms", "  p99, ms").against("kube_slice_p99_ms"),
    row("all_p50_ms", "all endpoints replaced at once, p50, ms")
        .against("kube_all_p50_ms")
        .at_most(100.0),
    row("all_p99_ms", "  p99, ms").against("kube_all_p99_ms"),
    row("anew_p50_ms", "the whole table made anew, p50, ms"),
    row("anew_p99_ms", "  p99, ms"),
    row("one_per_s", "connections with one Service, per s")
        .against("kube_one_per_s")
        .ratio_at_least(0.9),
    row("one_p50_us", "  connect, p50, µs")
        .against("kube_one_p50_us")
        .ratio_at_most(1.1),
    row("one_p99_us", "  p99, µs").against("kube_one_p99_us"),
    row("many_per_s", "connections with many Services, per s")
        .against("kube_many_per_s")
        .ratio_at_least(0.9),
    row("many_p50_us", "  connect, p50, µs")
        .against("kube_many_p50_us")
        .ratio_at_most(1.1),
    row("many_p99_us", "  p99, µs").against("kube_many_p99_us"),
    row("bare_per_s", "connections without rules, per s"),
    row("bare_p50_us", "  connect, p50, µs"),
    row("bare_p99_us", "  p99, µs"),
    row("one_p50_to_bare", "one Service to no rules, p50, ratio"),
    row("many_p50_to_bare", "many Services to no rules, p50, ratio"),
    row("kube_one_p50_to_bare", "  kube-proxy with one, ratio"),
    row("kube_many_p50_to_bare", "  kube-proxy with many, ratio"),
];
