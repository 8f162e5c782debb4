//! The client library for Python, as PyPI has it.

use super::{Setting, need};
use crate::agent::Cluster;

async fn runs_in(setting: Setting, script: &str) {
    let python = need("python/bin/python3");
    setting.run(&python, &format!("python/{script}.py")).await;
    setting.stop().await;
}

async fn runs(script: &str) {
    runs_in(Setting::start().await, script).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_made_read_changed_and_deleted() {
    runs("objects").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_watched_and_watches_resumed() {
    // Little is remembered, so that a version is soon too old.
    let cluster = Cluster::start_with(|config, options| {
        config.watch_window = 50;
        options.history = 50;
    });
    runs_in(Setting::around(cluster.await).await, "watching").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_run_ports_are_forwarded_and_logs_followed() {
    runs("streams").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_unknown_to_the_library_are_used() {
    runs("custom").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_say_who_one_is_and_leases_who_leads() {
    runs("identity").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_asynchronous_half_of_the_library_works() {
    runs("asynchronous").await;
}
