//! An operator written with kopf.

use super::{Setting, need};

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_runs() {
    let python = need("python/bin/python3");
    let setting = Setting::start().await;
    setting.run(&python, "kopf/day.py").await;
    setting.stop().await;
}
