//! The pod that connections of the moment go to. Pure.

use std::collections::BTreeMap;

use cadet_tunnel::forward::Goal;
use serde_json::Value;

use super::aim::{Remote, Target, Way, container_ports, number};
use super::follow::Change;
use crate::cluster;

/// The pods to choose from, and the one that was chosen.
pub struct Pods {
    known: BTreeMap<String, Value>,
    chosen: Option<String>,
    /// A pod that is named is taken as it is; of many, one that is ready.
    any_state: bool,
}

impl Pods {
    /// None is known.
    pub fn of(target: &Target) -> Self {
        Self {
            known: BTreeMap::new(),
            chosen: None,
            any_state: target.is_pod(),
        }
    }

    /// Notes a change.
    pub fn take(&mut self, change: Change) {
        let name = |pod: &Value| {
            pod["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        match change {
            Change::All(pods) => {
                self.known = pods.into_iter().map(|pod| (name(&pod), pod)).collect();
            }
            Change::Set(pod) => {
                self.known.insert(name(&pod), pod);
            }
            Change::Gone(pod) => {
                self.known.remove(&name(&pod));
            }
            // What is known of them stays as good as it was.
            Change::Away(_) => {}
        }
    }

    /// The pod for connections of this moment: the one of before for as long as it will do.
    pub fn choose(&mut self) -> Option<(&str, &Value)> {
        let before = self.chosen.take();
        let stays = before.filter(|name| self.known.get(name).is_some_and(|p| self.will_do(p)));
        self.chosen = stays.or_else(|| {
            let mut fit = self.known.iter().filter(|(_, pod)| self.will_do(pod));
            fit.next().map(|(name, _)| name.clone())
        });
        let name = self.chosen.as_deref()?;
        Some((name, self.known.get(name)?))
    }

    fn will_do(&self, pod: &Value) -> bool {
        let lives = pod["metadata"]["deletionTimestamp"].is_null()
            && pod["status"]["phase"] == "Running"
            && pod["status"]["podIP"]
                .as_str()
                .is_some_and(|ip| !ip.is_empty());
        lives && (self.any_state || cluster::is_ready(pod))
    }
}

/// Where `way` leads with this pod chosen; None where it has no such port.
pub fn goal(way: &Way, pod: &Value) -> Option<Goal> {
    let remote = match way {
        Way::Fixed(goal) => return Some(goal.clone()),
        Way::Pod(remote) => remote,
    };
    let port = match remote {
        Remote::Number(port) => Some(*port),
        Remote::Named(name) => container_ports(pod)
            .find(|row| row["name"] == name.as_str())
            .and_then(|row| number(&row["containerPort"])),
    };
    Some(Goal {
        host: pod["status"]["podIP"].as_str()?.into(),
        port: port?,
    })
}
