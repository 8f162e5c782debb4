//! An operator written with kopf.

use super::{Setting, need};

async fn runs(script: &str) {
    let python = need("python/bin/python3");
    let setting = Setting::start().await;
    setting.run(&python, &format!("kopf/{script}.py")).await;
    setting.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_runs() {
    runs("day").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_operators_one_works() {
    runs("peers").await;
}
