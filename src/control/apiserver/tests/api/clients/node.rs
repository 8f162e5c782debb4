//! The client library for Node, as npm has it.

use std::path::PathBuf;

use super::{Setting, need};

/// Scripts import by name, and Node looks for names in the folders above the script, not
/// above the working folder: hence a link.
async fn runs(script: &str) {
    let modules = need("node/node_modules");
    need("node/node_modules/@kubernetes/client-node");
    let setting = Setting::start().await;
    let home = setting.home.path();
    std::os::unix::fs::symlink(modules, home.join("node_modules")).expect("link");
    let script = format!("{script}.mjs");
    let source = super::folder_of_scripts().join("node");
    for name in [script.as_str(), "say.mjs"] {
        std::fs::copy(source.join(name), home.join(name)).expect("copy");
    }
    let script = home.join(script);
    let script = script
        .to_str()
        .expect("a temporary folder has a plain name");
    setting.run(&node(), script).await;
    setting.stop().await;
}

/// Node as the PATH has it.
fn node() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join("node"))
        .find(|program| program.is_file())
        .expect("this test needs node on the PATH: `scripts/test` installs nodejs")
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_made_read_changed_watched_and_deleted() {
    runs("objects").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_run_ports_are_forwarded_and_logs_followed() {
    runs("streams").await;
}
