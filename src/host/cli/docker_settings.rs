//! Docker's configuration in a machine. One thing in it is ours to write: the registries that are
//! asked before Docker Hub, the laptop's cache and a class's. What others wrote there stays.

use cadet_tunnel::Tunnel;
use cadet_tunnel::upload::Destination;
use serde_json::{Value, json};

use crate::error::{CliError, Result};
use crate::line;

/// Docker's configuration in the machine.
const DAEMON_JSON: &str = "/etc/docker/daemon.json";

/// Where a registry of ours stands among others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Before all others.
    First,
    /// After what somebody configured by hand.
    Last,
}

/// Has the machine's Docker ask the registry at `address`, or forget it. Of the registries there,
/// those that begin with `ours` are replaced. Containers run on: Docker reads this setting again
/// without a restart (dockerd(8), "registry-mirrors").
///
/// # Errors
/// GUEST_DOCKER and those of the line.
pub async fn set_mirror(
    tunnel: &Tunnel,
    ours: &str,
    address: Option<&str>,
    place: Place,
) -> Result<()> {
    let read = format!("test -s {DAEMON_JSON} && cat {DAEMON_JSON} || echo '{{}}'");
    let before = line::guest(tunnel, &read).await?;
    let Some(after) = configured(&before, ours, address, place)? else {
        return Ok(());
    };
    let to = Destination {
        path: DAEMON_JSON,
        mode: 0o644,
        as_root: true,
    };
    tunnel.upload_bytes(after.as_bytes(), to).await?;
    line::guest(tunnel, "sudo -n systemctl reload docker").await?;
    Ok(())
}

/// The configuration with the registry, or without; None if it is so already.
fn configured(
    text: &str,
    ours: &str,
    address: Option<&str>,
    place: Place,
) -> Result<Option<String>> {
    let bad = |why: String| {
        CliError::new("GUEST_DOCKER", "Docker's configuration cannot be read")
            .why(format!("{DAEMON_JSON}: {why}"))
    };
    let mut config: Value = serde_json::from_str(text).map_err(|e| bad(e.to_string()))?;
    let Value::Object(fields) = &mut config else {
        return Err(bad("its top level is not a mapping".into()));
    };
    let before = fields.get("registry-mirrors").cloned();
    let mirrors = before.as_ref().and_then(Value::as_array);
    let is_ours = |mirror: &&Value| mirror.as_str().is_some_and(|m| m.starts_with(ours));
    let others = mirrors.into_iter().flatten().filter(|m| !is_ours(m));
    let mut mirrors: Vec<Value> = others.cloned().collect();
    if let Some(address) = address {
        let at = match place {
            Place::First => 0,
            Place::Last => mirrors.len(),
        };
        mirrors.insert(at, json!(address));
    }
    let after = (!mirrors.is_empty()).then_some(Value::Array(mirrors));
    if before == after {
        return Ok(None);
    }
    match after {
        Some(mirrors) => fields.insert("registry-mirrors".into(), mirrors),
        None => fields.remove("registry-mirrors"),
    };
    let text = serde_json::to_string_pretty(&config).map_err(|e| bad(e.to_string()))?;
    Ok(Some(format!("{text}\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAPTOP: &str = "http://10.0.2.2";
    const CLASS: &str = "https://class.cadet.internal";

    fn mirrors(text: &str) -> Value {
        let config: Value = serde_json::from_str(text).unwrap();
        config["registry-mirrors"].clone()
    }

    fn laptop(text: &str, port: Option<u16>) -> Option<String> {
        let address = port.map(|port| format!("{LAPTOP}:{port}"));
        configured(text, LAPTOP, address.as_deref(), Place::Last).unwrap()
    }

    #[test]
    fn dockers_configuration_gets_the_cache_and_keeps_the_rest() {
        let text = r#"{"live-restore": true, "runtimes": {"crun": {"path": "/usr/bin/crun"}}}"#;
        let on = laptop(text, Some(4000)).unwrap();
        assert_eq!(mirrors(&on), json!(["http://10.0.2.2:4000"]));
        assert!(on.contains("live-restore") && on.contains("crun"));
        assert_eq!(laptop(&on, Some(4000)), None, "it is so");
        let moved = laptop(&on, Some(4001)).unwrap();
        assert_eq!(mirrors(&moved), json!(["http://10.0.2.2:4001"]));
        let off = laptop(&moved, None).unwrap();
        assert_eq!(mirrors(&off), Value::Null);
        assert_eq!(laptop(text, None), None);
    }

    #[test]
    fn a_mirror_of_somebody_else_stays() {
        let text = r#"{"registry-mirrors": ["https://mirror.corp"]}"#;
        let on = laptop(text, Some(1)).unwrap();
        let both = json!(["https://mirror.corp", "http://10.0.2.2:1"]);
        assert_eq!(mirrors(&on), both);
        let off = laptop(&on, None).unwrap();
        assert_eq!(mirrors(&off), json!(["https://mirror.corp"]));
        for bad in ["", "[]", "{"] {
            let error = configured(bad, LAPTOP, Some(LAPTOP), Place::Last).unwrap_err();
            assert_eq!(error.topic.id, "GUEST_DOCKER", "{bad}");
        }
    }

    #[test]
    fn a_class_is_asked_before_the_laptops_cache_and_leaves_it_alone() {
        let cache = laptop("{}", Some(1)).unwrap();
        let there = "https://class.cadet.internal:7433";
        let class = |text: &str, address| configured(text, CLASS, address, Place::First).unwrap();
        let joined = class(&cache, Some(there)).unwrap();
        assert_eq!(mirrors(&joined), json!([there, "http://10.0.2.2:1"]));
        let moved = laptop(&joined, Some(2)).unwrap();
        assert_eq!(mirrors(&moved), json!([there, "http://10.0.2.2:2"]));
        assert_eq!(class(&moved, Some(there)), None);
        let left = class(&moved, None).unwrap();
        assert_eq!(mirrors(&left), json!(["http://10.0.2.2:2"]));
    }
}
