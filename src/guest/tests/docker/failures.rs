//! The agent dies, the engine dies: containers go on and everything converges.

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use crate::cluster::{Cluster, WAIT, container_id, phase, play, shell, status};

#[test]
fn a_killed_agent_and_a_killed_engine_restart_nothing() {
    play(|| async {
        let mut cluster = Cluster::start().await;
        let spec = || json!({"containers": [shell("app", WAIT)]});
        for name in ["a", "b", "c"] {
            cluster.pod(name, spec()).await;
        }
        let mut before = Vec::new();
        for name in ["a", "b", "c"] {
            before.push(container_id(&cluster.ready(name).await, 0));
        }
        cluster.kill_agent();
        // While it is away: one pod is deleted, one dies, one is new.
        let gone = cluster.api::<Pod>().get("a").await.expect("get");
        cluster.delete("a").await;
        {
            use cadet_kubelet::runtime::Runtime as _;
            cluster.engine.runtime.kill(&before[1]).await.expect("kill");
        }
        cluster.pod("d", spec()).await;
        cluster.start_agent();
        cluster
            .gone("a", &gone.metadata.uid.unwrap_or_default())
            .await;
        let b = cluster
            .until("b", |pod| status(pod, 0)["restartCount"] == 1)
            .await;
        assert_ne!(container_id(&b, 0), before[1]);
        let c = cluster.ready("c").await;
        assert_eq!(container_id(&c, 0), before[2]);
        assert_eq!(status(&c, 0)["restartCount"], 0);
        cluster.ready("d").await;

        cluster.engine.kill();
        cluster.pod("e", spec()).await;
        cluster.engine.start_again().await;
        cluster.ready("e").await;
        let c = cluster.ready("c").await;
        assert_eq!(container_id(&c, 0), before[2], "it outlived its engine");
        assert_eq!(phase(&c), "Running");
    });
}
