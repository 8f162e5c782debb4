//! Writes all the time while something dies, and a look for every write that was acknowledged.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, ResourceExt};
use serde_json::json;

/// Writes before and after a death.
const WRITES: usize = 40;

/// How the writing goes on after the death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// What died comes back by itself: all writes are made in the end.
    GoesOn,
    /// Somebody must bring it back: the first write that fails is the last.
    Ends,
}

/// Creates ConfigMaps named after `round`, calls `death` in the middle, and returns the names
/// of those that were acknowledged.
pub fn under_load(
    kubeconfig: &Path,
    round: &str,
    after: After,
    death: impl FnOnce(),
) -> BTreeSet<String> {
    block_on(async {
        let api = api(kubeconfig).await;
        let (mut acknowledged, mut death) = (BTreeSet::new(), Some(death));
        for index in 0..2 * WRITES {
            if index == WRITES
                && let Some(death) = death.take()
            {
                death();
            }
            let name = format!("write-{round}-{index}");
            let object = json!({"metadata": {"name": name}, "data": {"round": round}});
            let object: ConfigMap = serde_json::from_value(object).expect("map");
            while let Err(error) = api.create(&PostParams::default(), &object).await {
                match error {
                    // Written, and killed before it could say so.
                    kube::Error::Api(status) if status.code == 409 => break,
                    _ if after == After::Ends && index >= WRITES => return acknowledged,
                    _ => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
            acknowledged.insert(name);
        }
        acknowledged
    })
}

/// Wants every acknowledged write to be there, and a death to have come late enough.
#[track_caller]
pub fn nothing_is_lost(kubeconfig: &Path, acknowledged: &BTreeSet<String>) {
    let kept: BTreeSet<String> = block_on(async {
        let listed = api(kubeconfig).await.list(&ListParams::default()).await;
        listed
            .expect("list")
            .iter()
            .map(ResourceExt::name_any)
            .collect()
    });
    let lost: Vec<&String> = acknowledged.difference(&kept).collect();
    assert!(lost.is_empty(), "{lost:?}");
    assert!(acknowledged.len() >= WRITES, "{}", acknowledged.len());
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let threads = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    threads.expect("threads").block_on(work)
}

async fn api(kubeconfig: &Path) -> Api<ConfigMap> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("kubeconfig");
    let options = KubeConfigOptions::default();
    let settings = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
    let client = Client::try_from(settings.expect("settings")).expect("client");
    Api::namespaced(client, "default")
}
