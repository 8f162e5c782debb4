//! `cadet version`.

use serde_json::json;

use crate::Context;
use crate::error::Result;

/// Prints the version of the program.
pub fn run(cx: &Context) -> Result<u8> {
    let version = env!("CARGO_PKG_VERSION");
    if cx.ui.json() {
        cx.ui.object(&json!({
            "cadet": version, "os": std::env::consts::OS, "arch": std::env::consts::ARCH,
        }));
    } else {
        cx.ui.line(format!(
            "cadet {version} ({} {})",
            std::env::consts::OS,
            std::env::consts::ARCH
        ));
    }
    Ok(0)
}
