//! `cadet ip`: a node's address in the cluster's network.

use cadet_api::json::str_at;
use clap::Args;
use serde_json::{Value, json};

use crate::error::{CliError, Result};
use crate::{Context, reach};

/// Flags of `cadet ip`.
#[derive(Debug, Args)]
#[command(
    after_help = "The address is one of the cluster's network: the tunnel leads there, and node ports are\nserved on 127.0.0.1 as well while it runs.\n\nExamples:\n  cadet ip\n  cadet tunnel --background\n  curl --socks5-hostname 127.0.0.1:8082 \"http://$(cadet ip):30080/\""
)]
pub struct IpArgs {
    /// Name of the node [default: the profile's own, or the first]
    #[arg(value_name = "NODE")]
    node: Option<String>,
}

/// Prints it.
pub async fn run(cx: &Context, args: IpArgs) -> Result<u8> {
    let nodes = reach::own(cx).await?.get("/api/v1/nodes").await?;
    let nodes = nodes["items"].as_array().map_or(&[][..], Vec::as_slice);
    let node = choose(nodes, cx.name.as_str(), args.node.as_deref())?;
    let name = str_at(node, "/metadata/name");
    let address = address(node).ok_or_else(|| {
        CliError::new(
            "CLUSTER_NOT_READY",
            format!("node {name} has no address yet"),
        )
        .why("its agent has not reported one")
        .fix(format!("kubectl describe node {name}"))
    })?;
    if cx.ui.json() {
        cx.ui.object(&json!({"node": name, "address": address}));
    } else {
        cx.ui.line(address);
    }
    Ok(0)
}

fn choose<'a>(nodes: &'a [Value], profile: &str, wanted: Option<&str>) -> Result<&'a Value> {
    let called = |name: &str| nodes.iter().find(|n| str_at(n, "/metadata/name") == name);
    let found = match wanted {
        Some(name) => called(name),
        None => called(profile).or(nodes.first()),
    };
    found.ok_or_else(|| {
        let names: Vec<_> = nodes.iter().map(|n| str_at(n, "/metadata/name")).collect();
        let what = match wanted {
            Some(name) => format!("there is no node {name}"),
            None => "no node has registered yet".into(),
        };
        CliError::new("CLUSTER_NOT_FOUND", what)
            .why(format!("nodes there are: {}", names.join(", ")))
            .fix("kubectl get nodes")
    })
}

fn address(node: &Value) -> Option<&str> {
    let rows = node["status"]["addresses"].as_array()?;
    let row = rows.iter().find(|row| row["type"] == "InternalIP")?;
    row["address"].as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, address: &str) -> Value {
        json!({"metadata": {"name": name}, "status": {"addresses": [
            {"type": "Hostname", "address": name}, {"type": "InternalIP", "address": address}]}})
    }

    #[test]
    fn the_profiles_own_node_is_meant_unless_another_is_named() {
        let nodes = [node("cadet-2", "10.0.3.2"), node("cadet", "10.0.2.15")];
        let of = |wanted| address(choose(&nodes, "cadet", wanted).unwrap());
        assert_eq!(of(None), Some("10.0.2.15"));
        assert_eq!(of(Some("cadet-2")), Some("10.0.3.2"));
        let other = choose(&nodes, "ubuntu", None).unwrap();
        assert_eq!(address(other), Some("10.0.3.2"));
        let none = choose(&nodes, "cadet", Some("x")).unwrap_err();
        assert_eq!(none.topic.id, "CLUSTER_NOT_FOUND");
        assert!(none.why.unwrap().contains("cadet-2, cadet"));
        assert!(choose(&[], "cadet", None).is_err());
    }
}
