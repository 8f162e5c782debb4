//! The pods' resolver configuration.

use std::path::Path;

use k8s_openapi::api::core::v1::Pod;

use crate::volumes::VolumeError;

/// The text of a pod's `/etc/resolv.conf`. Until the cluster has a DNS server of its own
/// `ClusterFirst` is the node's configuration, as with `Default`.
///
/// # Errors
/// If the node's configuration cannot be read.
pub(crate) fn for_pod(pod: &Pod, node_file: &Path) -> Result<String, VolumeError> {
    let spec = pod.spec.as_ref();
    let mut text = String::new();
    if spec.and_then(|spec| spec.dns_policy.as_deref()) != Some("None") {
        let node = std::fs::read_to_string(node_file).map_err(|source| VolumeError::Io {
            act: "read",
            path: node_file.to_owned(),
            source,
        })?;
        text.push_str(&without_loopback(&node));
    }
    let Some(config) = spec.and_then(|spec| spec.dns_config.as_ref()) else {
        return Ok(text);
    };
    for server in config.nameservers.iter().flatten() {
        text.push_str(&format!("nameserver {server}\n"));
    }
    let searches = config.searches.clone().unwrap_or_default();
    if !searches.is_empty() {
        text.push_str(&format!("search {}\n", searches.join(" ")));
    }
    let options: Vec<String> = config
        .options
        .iter()
        .flatten()
        .filter_map(|option| {
            let name = option.name.as_deref()?;
            Some(
                option
                    .value
                    .as_ref()
                    .map_or_else(|| name.to_owned(), |v| format!("{name}:{v}")),
            )
        })
        .collect();
    if !options.is_empty() {
        text.push_str(&format!("options {}\n", options.join(" ")));
    }
    Ok(text)
}

/// Servers on the node's loopback cannot be reached from a pod.
fn without_loopback(text: &str) -> String {
    let reachable = |line: &&str| {
        let server = line.strip_prefix("nameserver").map(str::trim);
        !server.is_some_and(|server| server.starts_with("127.") || server == "::1")
    };
    let kept = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    kept.filter(reachable)
        .map(|line| format!("{line}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_get_the_nodes_servers_and_their_own_wishes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("resolv.conf");
        std::fs::write(
            &file,
            "# stub\nnameserver 127.0.0.53\nnameserver 10.0.2.3\nsearch lan\n",
        )
        .unwrap();
        let of = |spec: serde_json::Value| {
            let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
            for_pod(&pod, &file).unwrap()
        };
        assert_eq!(
            of(json!({"containers": []})),
            "nameserver 10.0.2.3\nsearch lan\n"
        );
        assert_eq!(
            of(json!({"containers": [], "dnsPolicy": "None", "dnsConfig": {
                "nameservers": ["1.1.1.1"], "searches": ["a.b", "c"],
                "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}})),
            "nameserver 1.1.1.1\nsearch a.b c\noptions ndots:2 edns0\n"
        );
    }
}
