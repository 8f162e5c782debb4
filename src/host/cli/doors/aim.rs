//! What `port-forward` is told, and where that leads. Pure.
//!
//! ```text
//!   svc/web 8080:http ─▶ the Service's own address: it chooses, connection by connection
//!   deployment/web 80 ─▶ a ready pod of its selector, another one when that goes
//!   pod/web-0 5432    ─▶ the pod of that name, its successor as well
//! ```

use std::net::IpAddr;

use cadet_tunnel::forward::Goal;
use serde_json::Value;

use crate::error::{CliError, Result};
use crate::reach::segment;

const CORE: &str = "/api/v1";
const APPS: &str = "/apis/apps/v1";
/// Kinds that lead to pods: words for them, and where the API has them.
const KINDS: [(&str, &str, &str); 7] = [
    ("pod pods po", CORE, "pods"),
    ("service services svc", CORE, "services"),
    ("deployment deployments deploy", APPS, "deployments"),
    ("statefulset statefulsets sts", APPS, "statefulsets"),
    ("replicaset replicasets rs", APPS, "replicasets"),
    ("daemonset daemonsets ds", APPS, "daemonsets"),
    (
        "replicationcontroller replicationcontrollers rc",
        CORE,
        "replicationcontrollers",
    ),
];

/// What is forwarded to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    group: &'static str,
    plural: &'static str,
    namespace: String,
    name: String,
}

/// A port of the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remote {
    Number(u16),
    Named(String),
}

/// What one argument asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Port of the laptop: 0 for any, None for the one of the other end.
    local: Option<u16>,
    remote: Remote,
}

/// How a connection finds its goal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// To this address, always.
    Fixed(Goal),
    /// To this port of the pod of the moment.
    Pod(Remote),
}

/// A port of the laptop, and where it is to lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// The port that is wished for; 0 for any.
    pub local: u16,
    /// The port of the other end.
    pub port: u16,
    pub way: Way,
}

/// All that one command does.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    pub lanes: Vec<Lane>,
    /// The list of pods to choose from, where there is a choice.
    pub pods: Option<String>,
}

/// A port an object says it has.
struct Declared {
    name: Option<String>,
    port: u16,
    way: Way,
}

impl Target {
    /// Reads `KIND/NAME`; a bare name is a pod's, as kubectl has it.
    ///
    /// # Errors
    /// PROGRAM_USAGE.
    pub fn parse(text: &str, namespace: &str) -> Result<Self> {
        let (kind, name) = text.split_once('/').unwrap_or(("pod", text));
        let usage = |what: String, why: &str| {
            CliError::new("PROGRAM_USAGE", what)
                .why(why)
                .fix("cadet port-forward svc/NAME 8080:80")
        };
        let known = KINDS
            .iter()
            .find(|(words, ..)| words.split(' ').any(|word| word == kind));
        let Some(&(_, group, plural)) = known else {
            let kinds = KINDS
                .iter()
                .filter_map(|(words, ..)| words.split(' ').next());
            let kinds: Vec<&str> = kinds.collect();
            let why = format!("pods have ports; these lead to pods: {}", kinds.join(", "));
            return Err(usage(format!("a {kind} has no ports to forward to"), &why));
        };
        if name.is_empty() || name.contains('/') || namespace.is_empty() {
            let why = "a kind, a slash and a name do, such as deployment/web";
            return Err(usage(format!("{text:?} names no object"), why));
        }
        Ok(Self {
            group,
            plural,
            namespace: namespace.into(),
            name: name.into(),
        })
    }

    /// The object's path in the API.
    pub fn path(&self) -> String {
        format!(
            "{}/{}",
            self.all(self.group, self.plural),
            segment(&self.name)
        )
    }

    fn all(&self, group: &str, plural: &str) -> String {
        let namespace = segment(&self.namespace);
        format!("{group}/namespaces/{namespace}/{plural}")
    }

    /// Whether a pod is named itself.
    pub fn is_pod(&self) -> bool {
        self.plural == "pods"
    }

    /// What to do for it, given the object itself.
    ///
    /// # Errors
    /// CLUSTER_NOT_FOUND for a port it does not have, CLUSTER_NOT_READY for a Service that leads
    /// nowhere.
    pub fn plan(&self, object: &Value, wishes: &[Wish]) -> Result<Plan> {
        let is_service = self.plural == "services";
        let declared = match is_service {
            true => ports_of_service(object),
            false => ports_of_pod(object),
        };
        let lanes = match wishes {
            [] => declared.iter().map(|d| d.lane(None)).collect(),
            some => some
                .iter()
                .map(|wish| self.lane(wish, &declared, is_service))
                .collect::<Result<Vec<Lane>>>()?,
        };
        if lanes.is_empty() {
            let what = format!("{self} does not say which ports it has");
            return Err(CliError::new("CLUSTER_NOT_FOUND", what)
                .why("none of its ports is declared for TCP")
                .fix(format!("cadet port-forward {self} 8080:PORT")));
        }
        let follows = lanes.iter().any(|lane| matches!(lane.way, Way::Pod(_)));
        let pods = match follows {
            true => Some(self.pods(object)?),
            false => None,
        };
        Ok(Plan { lanes, pods })
    }

    fn lane(&self, wish: &Wish, declared: &[Declared], is_service: bool) -> Result<Lane> {
        let found = declared.iter().find(|port| match &wish.remote {
            Remote::Number(number) => port.port == *number,
            Remote::Named(name) => port.name.as_deref() == Some(name.as_str()),
        });
        match (found, &wish.remote) {
            (Some(port), _) => Ok(port.lane(wish.local)),
            // What a container listens at need not be declared.
            (None, Remote::Number(port)) if !is_service => Ok(Lane {
                local: wish.local.unwrap_or(*port),
                port: *port,
                way: Way::Pod(wish.remote.clone()),
            }),
            (None, remote) => {
                let remote = match remote {
                    Remote::Number(number) => number.to_string(),
                    Remote::Named(name) => format!("{name:?}"),
                };
                let all = declared.iter().map(|port| match &port.name {
                    Some(name) => format!("{} ({name})", port.port),
                    None => port.port.to_string(),
                });
                let all: Vec<String> = all.collect();
                let what = format!("{self} has no port {remote}");
                Err(CliError::new("CLUSTER_NOT_FOUND", what)
                    .why(match all.is_empty() {
                        true => "it declares none".to_owned(),
                        false => format!("it has {}", all.join(", ")),
                    })
                    .fix(format!("cadet port-forward {self}      all it declares")))
            }
        }
    }

    /// The list of the pods it leads to.
    fn pods(&self, object: &Value) -> Result<String> {
        let pods = self.all("/api/v1", "pods");
        if self.is_pod() {
            let field = segment(&format!("metadata.name={}", self.name));
            return Ok(format!("{pods}?fieldSelector={field}"));
        }
        match selector(&object["spec"]["selector"]) {
            Some(labels) => Ok(format!("{pods}?labelSelector={}", segment(&labels))),
            None => Err(
                CliError::new("CLUSTER_NOT_READY", format!("{self} selects no pods"))
                    .why("its spec.selector is empty")
                    .fix(format!("cadet why {self}")),
            ),
        }
    }
}

impl std::fmt::Display for Target {
    /// As it is typed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = self.plural.trim_end_matches('s');
        write!(f, "{kind}/{}", self.name)
    }
}

impl Wish {
    /// Reads `LOCAL:REMOTE`, `REMOTE` or `:REMOTE`, where REMOTE may be a port's name.
    ///
    /// # Errors
    /// A sentence for clap.
    pub fn parse(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<u16>().ok();
        let (local, remote) = match text.split_once(':') {
            None => (None, text),
            Some(("", remote)) => (Some(0), remote),
            Some((local, remote)) => {
                let local = number(local).ok_or("the port before the colon is no number")?;
                (Some(local), remote)
            }
        };
        // A port's name has a letter (RFC 6335, section 5.1).
        let is_name = remote.chars().any(|c| c.is_ascii_alphabetic())
            && remote
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-');
        let remote = match number(remote) {
            Some(0) => return Err("nothing listens at port 0".into()),
            Some(number) => Remote::Number(number),
            None if is_name => Remote::Named(remote.into()),
            None => return Err("write 8080:80, 80, :80 or 8080:http".into()),
        };
        Ok(Self { local, remote })
    }
}

impl Declared {
    fn lane(&self, local: Option<u16>) -> Lane {
        Lane {
            local: local.unwrap_or(self.port),
            port: self.port,
            way: self.way.clone(),
        }
    }
}

/// A Service's ports: at its own address if it has one, else in its pods.
fn ports_of_service(service: &Value) -> Vec<Declared> {
    let address = service["spec"]["clusterIP"].as_str();
    // "None" is a headless Service's.
    let address = address.filter(|ip| ip.parse::<IpAddr>().is_ok());
    let rows = service["spec"]["ports"].as_array().into_iter().flatten();
    let declared = rows.filter(|row| is_tcp(row)).filter_map(|row| {
        let port = number(&row["port"])?;
        let way = match (address, row["targetPort"].as_str()) {
            (Some(host), _) => Way::Fixed(Goal {
                host: host.into(),
                port,
            }),
            (None, Some(name)) => Way::Pod(Remote::Named(name.into())),
            (None, None) => {
                let target = number(&row["targetPort"]).unwrap_or(port);
                Way::Pod(Remote::Number(target))
            }
        };
        let name = row["name"].as_str().map(str::to_owned);
        Some(Declared { name, port, way })
    });
    declared.collect()
}

/// Ports of the containers of a pod, or of the pods something makes.
fn ports_of_pod(object: &Value) -> Vec<Declared> {
    let template = &object["spec"]["template"];
    let pod = if template.is_object() {
        template
    } else {
        object
    };
    let declared = container_ports(pod).filter_map(|row| {
        let port = number(&row["containerPort"])?;
        let name = row["name"].as_str().map(str::to_owned);
        let remote = name.clone().map_or(Remote::Number(port), Remote::Named);
        let way = Way::Pod(remote);
        Some(Declared { name, port, way })
    });
    declared.collect()
}

pub(super) fn container_ports(pod: &Value) -> impl Iterator<Item = &Value> {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let rows = containers.flat_map(|c| c["ports"].as_array().into_iter().flatten());
    rows.filter(|row| is_tcp(row))
}

fn is_tcp(row: &Value) -> bool {
    matches!(row["protocol"].as_str(), None | Some("TCP"))
}

pub(super) fn number(value: &Value) -> Option<u16> {
    let number = value.as_u64().and_then(|n| u16::try_from(n).ok());
    number.filter(|n| *n != 0)
}

/// A selector as lists take it, a Service's map or a workload's (`LabelSelector`).
fn selector(of: &Value) -> Option<String> {
    let map = of.as_object()?;
    let is_workload = map.contains_key("matchLabels") || map.contains_key("matchExpressions");
    let labels = match is_workload {
        true => of["matchLabels"].as_object(),
        false => Some(map),
    };
    let labels = labels.into_iter().flatten();
    let equal = labels.map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()));
    let rows = of["matchExpressions"].as_array().into_iter().flatten();
    let others = rows.filter_map(|row| {
        let key = row["key"].as_str()?;
        let values = row["values"].as_array().into_iter().flatten();
        let values: Vec<&str> = values.filter_map(Value::as_str).collect();
        let values = values.join(",");
        Some(match row["operator"].as_str()? {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        })
    });
    let all: Vec<String> = equal.chain(others).collect();
    (!all.is_empty()).then(|| all.join(","))
}

#[cfg(test)]
#[path = "aim_tests.rs"]
mod tests;
