//! What a cluster has besides its core, and what of it the user switched off. The choice is a
//! small file beside the machine; it reaches the guest in `node.json`.

use cadet_api::install::IngressPorts;
use cadet_state::ProfilePaths;
use cadet_tunnel::Tunnel;
use cadet_tunnel::upload::Destination;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{CliError, Result};
use crate::{line, machine};

/// Where the node's configuration is in the machine.
const NODE_JSON: &str = "/etc/cadet/node.json";

/// Something a cluster may have.
#[derive(Debug, PartialEq, Eq)]
pub struct Addon {
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// Whether it can be switched off: the others are parts of the servers themselves, and
    /// cost nothing while nobody asks.
    pub has_switch: bool,
}

/// All of them.
pub const ADDONS: [Addon; 5] = [
    Addon {
        name: "dashboard",
        about: "a live picture of the cluster: cadet dashboard",
        has_switch: false,
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
        has_switch: false,
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
/// PROGRAM_USAGE with the names there are, and with the way to what is none.
pub fn find(name: &str) -> Result<&'static Addon> {
    ADDONS.iter().find(|a| a.name == name).ok_or_else(|| {
        let error = CliError::new("PROGRAM_USAGE", format!("there is no addon {name:?}"));
        if name == "registry" {
            return error
                .why("images come into the cluster without one")
                .fix("cadet image build -t NAME FOLDER\ncadet image load NAME");
        }
        let names: Vec<_> = ADDONS.iter().map(|a| a.name).collect();
        error
            .why(format!("addons are {}", names.join(", ")))
            .fix("cadet addons list")
    })
}

/// The user's choices for one profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Choices {
    pub ingress: bool,
}

impl Default for Choices {
    fn default() -> Self {
        Self { ingress: true }
    }
}

impl Choices {
    /// What was chosen; everything is on where nothing was.
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
        !addon.has_switch || self.ingress
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use cadet_state::{Home, ProfileName};

    #[test]
    fn choices_reach_node_json_and_leave_the_rest_alone() {
        let before = r#"{"nodeName": "a", "ingress": {"http": 80, "https": 443}, "new": [1]}"#;
        let off = Choices { ingress: false }.applied(before).unwrap();
        let off: Value = serde_json::from_str(&off).unwrap();
        assert_eq!(off["ingress"], json!({"http": 0, "https": 0}));
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
        let off = Choices { ingress: false };
        off.keep(&files).unwrap();
        assert_eq!(Choices::read(&files).unwrap(), off);
        std::fs::write(files.addons(), "{").unwrap();
        let error = Choices::read(&files).unwrap_err();
        assert_eq!(error.topic.id, "HOST_STATE_CORRUPT");
    }

    #[test]
    fn what_is_none_is_told_with_the_way() {
        assert!(find("ingress").unwrap().has_switch);
        assert!(Choices { ingress: false }.is_on(find("metrics").unwrap()));
        let registry = find("registry").unwrap_err();
        assert!(registry.fix.unwrap().contains("cadet image load"));
        assert!(find("x").unwrap_err().why.unwrap().contains("ingress"));
    }
}
