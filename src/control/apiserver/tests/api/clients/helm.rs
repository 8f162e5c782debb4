//! Helm 4 itself (a Go library that PyPI carries) with a chart of its own.

use super::{Setting, need};

async fn runs(script: &str) {
    let python = need("python/bin/python3");
    let setting = Setting::start().await;
    setting.run(&python, &format!("helm/{script}.py")).await;
    setting.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chart_is_installed_upgraded_rolled_back_and_uninstalled() {
    runs("release").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn helm_waits_for_what_it_installs() {
    runs("waiting").await;
}
