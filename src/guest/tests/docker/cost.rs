//! What a pod costs over the two containers it is made of, in the same engine in the same
//! run. Printed, not asserted: the machine is shared.
#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};

use cadet_kubelet::runtime::{ContainerSpec, Namespaces, Runtime};
use futures::future::join_all;
use serde_json::json;

use crate::cluster::{Cluster, WAIT, play, shell};
use crate::engine::BUSYBOX;

const ALONE: usize = 10;
const TOGETHER: usize = 30;

#[test]
fn from_create_to_running() {
    play(|| async {
        let cluster = Cluster::start().await;
        let (cluster, mut bare, mut pods) = (&cluster, Vec::new(), Vec::new());
        // Taken in turns, so that both meet the same machine.
        for index in 0..ALONE {
            let begun = Instant::now();
            two_containers(cluster, &format!("alone{index}")).await;
            bare.push(begun.elapsed());
            let begun = Instant::now();
            one_pod(cluster, &format!("alone{index}")).await;
            pods.push(begun.elapsed());
        }
        print("one at a time, p50", median(bare), median(pods));
        let begun = Instant::now();
        join_all((0..TOGETHER).map(async |index| {
            two_containers(cluster, &format!("together{index}")).await;
        }))
        .await;
        let bare = begun.elapsed();
        let begun = Instant::now();
        join_all((0..TOGETHER).map(async |index| {
            one_pod(cluster, &format!("together{index}")).await;
        }))
        .await;
        print("30 at once, all", bare, begun.elapsed());
    });
}

fn print(what: &str, bare: Duration, pods: Duration) {
    let ratio = pods.as_secs_f64() / bare.as_secs_f64();
    println!("{what}: two containers {bare:?}, a pod {pods:?}, ratio {ratio:.2}");
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort();
    all[all.len() / 2]
}

async fn one_pod(cluster: &Cluster, name: &str) {
    let spec = json!({"automountServiceAccountToken": false, "containers": [shell("app", WAIT)]});
    cluster.pod(name, spec).await;
    cluster.running(name).await;
}

async fn two_containers(cluster: &Cluster, name: &str) {
    let runtime = cluster.engine.runtime.as_ref();
    let start = async |name: String, network: String| {
        let spec = ContainerSpec {
            name,
            image: BUSYBOX.into(),
            entrypoint: Some(["sh", "-c", WAIT].map(str::to_owned).into()),
            namespaces: Namespaces {
                network: network.clone(),
                ipc: if network == "none" {
                    "shareable".into()
                } else {
                    network
                },
                pid: String::new(),
            },
            keep_log: true,
            ..ContainerSpec::default()
        };
        let id = runtime.create(&spec).await.expect("create");
        runtime.start(&id).await.expect("start");
        id
    };
    let first = start(format!("{name}-a"), "none".into()).await;
    start(format!("{name}-b"), format!("container:{first}")).await;
}
