//! What the agent tells about usage, against a container that uses something.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::{Cluster, play, shell};

#[test]
fn a_busy_container_shows_in_summary_and_metrics() {
    play(|| async {
        let cluster = Cluster::start().await;
        let busy = shell("app", "while true; do :; done");
        cluster.pod("busy", json!({"containers": [busy]})).await;
        cluster.ready("busy").await;
        // Usage is of the time between two looks; a machine with other work gives it less of
        // the first ones.
        let summary = loop {
            let told = cluster.ask_agent("/stats/summary");
            let summary: Value = serde_json::from_str(&told).expect("json");
            let app = &summary["pods"][0]["containers"][0];
            if app["cpu"]["usageNanoCores"].as_u64() > Some(50_000_000) {
                break summary;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        assert_eq!(summary["node"]["nodeName"], "n1");
        let pod = &summary["pods"][0];
        assert_eq!(pod["podRef"]["name"], "busy");
        let app = &pod["containers"][0];
        assert!(app["memory"]["workingSetBytes"].as_u64() > Some(0), "{app}");
        assert!(pod["network"]["rxBytes"].is_u64(), "{pod}");
        let metrics = cluster.ask_agent("/metrics/resource");
        let labels = "{container=\"app\",namespace=\"default\",pod=\"busy\"}";
        let line = format!("container_cpu_usage_seconds_total{labels} ");
        assert!(metrics.contains(&line), "{metrics}");
        assert!(cluster.ask_agent("/configz").contains("\"kubeletconfig\""));
    });
}
