//! What a cluster has besides its core, and what of it the user switched off. The choice is a
//! small file beside the machine; parts of the server read it in `node.json`, the registry is made
//! of objects in the cluster.

use cadet_api::install::{Features, IngressPorts};
use cadet_state::ProfilePaths;
use cadet_tunnel::Tunnel;
use cadet_tunnel::upload::Destination;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::error::{CliError, Result};
use crate::{line, machine, registry_addon};

/// Where the node's configuration is in the machine.
const NODE_JSON: &str = "/etc/cadet/node.json";

/// Something a cluster may have.
#[derive(Debug, PartialEq, Eq)]
pub struct Addon {
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// Whether it can be switched off: a cluster without the others is none.
    pub has_switch: bool,
}

/// All of them.
pub const ADDONS: [Addon; 6] = [
    Addon {
        name: "dashboard",
        about: "a live picture of the cluster: cadet dashboard",
        has_switch: true,
    },
    Addon {
        name: "dns",
        about: "names of Services and pods",
        has_switch: false,
    },
    Addon {
        name: "ingress",
        about: "Ingresses at ports 80 and 443 of the node",
        has_switch: true,
    },
    Addon {
        name: "metrics",
        about: "kubectl top, cadet top, autoscaling",
        has_switch: true,
    },
    Addon {
        name: "registry",
        about: "images can be pushed to localhost:5000 in the first machine",
        has_switch: true,
    },
    Addon {
        name: "storage",
        about: "volumes for claims, in folders of the node",
        has_switch: false,
    },
];

/// The addon called `name`.
///
/// # Errors
/// PROGRAM_USAGE with the names there are.
pub fn find(name: &str) -> Result<&'static Addon> {
    ADDONS.iter().find(|a| a.name == name).ok_or_else(|| {
        let names: Vec<_> = ADDONS.iter().map(|a| a.name).collect();
        CliError::new("PROGRAM_USAGE", format!("there is no addon {name:?}"))
            .why(format!("addons are {}", names.join(", ")))
            .fix("cadet addons list")
    })
}

/// The user's choices for one profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Choices {
    pub dashboard: bool,
    pub ingress: bool,
    pub metrics: bool,
    pub registry: bool,
}

impl Default for Choices {
    fn default() -> Self {
        Self {
            dashboard: true,
            ingress: true,
            metrics: true,
            registry: false,
        }
    }
}

impl Choices {
    /// What was chosen; all that is a part of the server is on where nothing was.
    ///
    /// # Errors
    /// HOST_NOT_READABLE, HOST_STATE_CORRUPT.
    pub fn read(files: &ProfilePaths) -> Result<Self> {
        let file = files.addons();
        let text = match std::fs::read(&file) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(machine::io("read", &file, &e)),
        };
        serde_json::from_slice(&text).map_err(|e| {
            CliError::new("HOST_STATE_CORRUPT", "the choice of addons cannot be read")
                .why(format!("{}: {e}", file.display()))
                .fix(format!("mv {0} {0}.bad", file.display()))
        })
    }

    /// Keeps it.
    ///
    /// # Errors
    /// HOST_DISK_FULL, HOST_NOT_READABLE.
    pub fn keep(&self, files: &ProfilePaths) -> Result<()> {
        let text = serde_json::to_vec(self).unwrap_or_default();
        machine::write_private(&files.addons(), &text)
    }

    /// Whether `addon` is on.
    pub fn is_on(&self, addon: &Addon) -> bool {
        match addon.name {
            "dashboard" => self.dashboard,
            "ingress" => self.ingress,
            "metrics" => self.metrics,
            "registry" => self.registry,
            _ => true,
        }
    }

    /// Switches `addon`; one without a switch stays as it is.
    pub fn set(&mut self, addon: &Addon, on: bool) {
        match addon.name {
            "dashboard" => self.dashboard = on,
            "ingress" => self.ingress = on,
            "metrics" => self.metrics = on,
            "registry" => self.registry = on,
            _ => {}
        }
    }

    /// `node.json` as these choices want it.
    ///
    /// # Errors
    /// GUEST_INSTALL when the text is none.
    pub fn applied(&self, node_json: &str) -> Result<String> {
        let bad = |why: String| CliError::new("GUEST_INSTALL", "node.json cannot be read").why(why);
        let mut config: Value = serde_json::from_str(node_json).map_err(|e| bad(e.to_string()))?;
        let Value::Object(fields) = &mut config else {
            return Err(bad("its top level is not a mapping".into()));
        };
        let ports = match self.ingress {
            true => IngressPorts::default(),
            false => IngressPorts { http: 0, https: 0 },
        };
        fields.insert("ingress".into(), json!(ports));
        let features = Features {
            dashboard: self.dashboard,
            metrics: self.metrics,
        };
        match features.are_usual() {
            true => fields.remove("features"),
            false => fields.insert("features".into(), json!(features)),
        };
        serde_json::to_string_pretty(&config).map_err(|e| bad(e.to_string()))
    }

    /// Writes the first machine's configuration and lets its server read it, if it differs.
    ///
    /// # Errors
    /// GUEST_INSTALL and those of the line.
    pub async fn tell(&self, tunnel: &Tunnel) -> Result<()> {
        let before = line::guest(tunnel, &format!("cat {NODE_JSON}")).await?;
        let after = self.applied(&before)?;
        let parsed = |text: &str| serde_json::from_str::<Value>(text).ok();
        if parsed(&before) == parsed(&after) {
            return Ok(());
        }
        let to = Destination {
            path: NODE_JSON,
            mode: 0o644,
            as_root: true,
        };
        tunnel.upload_bytes(after.as_bytes(), to).await?;
        line::guest(tunnel, "sudo -n systemctl restart cadet-server").await?;
        Ok(())
    }

    /// Makes the objects of what is made of objects, in the cluster whose first machine is `node`.
    /// Nothing is removed here: only who switches an addon off has asked for that.
    ///
    /// # Errors
    /// CLUSTER_API, CLUSTER_API_TIMEOUT.
    pub async fn make(&self, cluster: &Cluster, node: &str) -> Result<()> {
        match self.registry {
            true => registry_addon::make(cluster, node).await,
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cadet_state::{Home, ProfileName};

    #[test]
    fn choices_reach_node_json_and_leave_the_rest_alone() {
        let before = r#"{"nodeName": "a", "ingress": {"http": 80, "https": 443}, "new": [1]}"#;
        let none = Choices {
            dashboard: true,
            ingress: false,
            metrics: false,
            registry: true,
        };
        let off = none.applied(before).unwrap();
        let off: Value = serde_json::from_str(&off).unwrap();
        assert_eq!(off["ingress"], json!({"http": 0, "https": 0}));
        assert_eq!(
            off["features"],
            json!({"dashboard": true, "metrics": false})
        );
        assert_eq!((&off["nodeName"], &off["new"]), (&json!("a"), &json!([1])));
        let on = Choices::default().applied(&off.to_string()).unwrap();
        let on: Value = serde_json::from_str(&on).unwrap();
        assert_eq!(on, serde_json::from_str::<Value>(before).unwrap());
        let error = Choices::default().applied("7").unwrap_err();
        assert_eq!(error.topic.id, "GUEST_INSTALL");
    }

    #[test]
    fn choices_are_kept_beside_the_machine() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path(), dir.path());
        let files = home.profile(&ProfileName::parse("a").unwrap());
        std::fs::create_dir_all(files.dir()).unwrap();
        assert_eq!(Choices::read(&files).unwrap(), Choices::default());
        let mut off = Choices::default();
        off.set(find("ingress").unwrap(), false);
        off.keep(&files).unwrap();
        assert_eq!(Choices::read(&files).unwrap(), off);
        std::fs::write(files.addons(), "{").unwrap();
        let error = Choices::read(&files).unwrap_err();
        assert_eq!(error.topic.id, "HOST_STATE_CORRUPT");
    }

    #[test]
    fn what_is_none_is_told_with_the_way() {
        assert!(find("x").unwrap_err().why.unwrap().contains("ingress"));
    }

    #[test]
    fn every_switch_moves_itself_alone() {
        for addon in &ADDONS {
            let before = Choices::default();
            let mut after = before.clone();
            after.set(addon, !before.is_on(addon));
            for other in &ADDONS {
                let moved = before.is_on(other) != after.is_on(other);
                let meant = other == addon && addon.has_switch;
                assert_eq!(moved, meant, "{} {}", addon.name, other.name);
            }
        }
    }
}
