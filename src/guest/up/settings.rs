//! What `up` sets up: from the flags, from what an earlier `up` left, and else as everywhere.

use std::path::{Path, PathBuf};

use cadet_api::install::{IngressPorts, NodeConfig};
use cadet_network::Cidr;
use serde_json::json;

use super::record::Record;
use super::trouble::Trouble;

/// Port of the API server, as everywhere.
pub const API_PORT: u16 = 6443;
/// Docker Engine's socket where nobody said otherwise.
pub const DOCKER: &str = "/var/run/docker.sock";
/// Kubernetes' own usual ranges (flannel's and kubeadm's).
const POD_CIDR: &str = "10.244.0.0/16";
const SERVICE_CIDR: &str = "10.96.0.0/12";
/// A node's slice of the pods' range, as upstream cuts it.
const NODE_PREFIX: u8 = 24;
/// Longest name of a Node: it becomes a label's value.
const LONGEST_NAME: usize = 63;

/// What can be chosen; `None` means as before, or as usual.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    pub node_name: Option<String>,
    pub pod_cidr: Option<String>,
    pub service_cidr: Option<String>,
    pub docker_host: Option<String>,
    /// Ports for visitors of Ingresses; 0 is none.
    pub ingress_http: Option<u16>,
    pub ingress_https: Option<u16>,
}

/// TCP ports that a node with this configuration listens on.
#[must_use]
pub fn ports(config: &NodeConfig) -> Vec<u16> {
    let IngressPorts { http, https } = config.ingress;
    let visitors = [http, https].into_iter().filter(|port| *port != 0);
    let own = [config.api_port, cadet_kubelet::PORT];
    own.into_iter().chain(visitors).collect()
}

/// The node's configuration and Docker's socket.
///
/// # Errors
/// A wish that cannot be met: malformed, or other than what the cluster was made with.
pub fn decide(
    wishes: &Wishes,
    before: Option<&NodeConfig>,
    record: Option<&Record>,
    host_name: &str,
) -> Result<(NodeConfig, PathBuf), Vec<Trouble>> {
    let mut troubles = Vec::new();
    let docker = match &wishes.docker_host {
        Some(host) => docker_socket(host).map_err(|trouble| vec![trouble])?,
        None => record.map_or_else(|| DOCKER.into(), |record| record.docker.clone()),
    };
    if let Some(config) = before {
        troubles.extend(other_than(config, wishes));
        let mut config = config.clone();
        match ingress(wishes, config.ingress, config.api_port) {
            Ok(ports) => config.ingress = ports,
            Err(trouble) => troubles.push(trouble),
        }
        return if troubles.is_empty() {
            Ok((config, docker))
        } else {
            Err(troubles)
        };
    }
    let mut range = |flag: &'static str, wish: &Option<String>, usual: &str| {
        let text = wish.as_deref().unwrap_or(usual);
        match text.parse::<Cidr>() {
            Ok(cidr) => Some(cidr),
            Err(error) => {
                let what = format!("--{flag} {text} cannot be used");
                let trouble = Trouble::new("HOST_RANGE_INVALID", 34, what)
                    .why(error.to_string())
                    .fix(format!("cadet-node up --{flag} {usual}"));
                troubles.push(trouble);
                None
            }
        }
    };
    let pods = range("pod-cidr", &wishes.pod_cidr, POD_CIDR);
    let services = range("service-cidr", &wishes.service_cidr, SERVICE_CIDR);
    let name = match node_name(wishes.node_name.as_deref(), host_name) {
        Ok(name) => name,
        Err(trouble) => {
            troubles.push(trouble);
            String::new()
        }
    };
    let visitors = match ingress(wishes, IngressPorts::default(), API_PORT) {
        Ok(ports) => ports,
        Err(trouble) => {
            troubles.push(trouble);
            IngressPorts::default()
        }
    };
    let (Some(pods), Some(services)) = (pods, services) else {
        return Err(troubles);
    };
    if pods.overlaps(services) {
        let what = format!("pods ({pods}) and Services ({services}) would share addresses");
        troubles.push(
            Trouble::new("HOST_RANGE_INVALID", 34, what)
                .why("an address must mean either a pod or a Service, everywhere in the cluster")
                .fix(format!(
                    "cadet-node up --pod-cidr {POD_CIDR} --service-cidr {SERVICE_CIDR}"
                )),
        );
    }
    if !troubles.is_empty() {
        return Err(troubles);
    }
    // Through its document, so that what this does not decide is as usual.
    let config = json!({
        "nodeName": name,
        "clusterName": "cadet",
        "clusterCidr": pods.to_string(),
        "podCidr": format!("{}/{}", pods.nth(0), pods.prefix().max(NODE_PREFIX)),
        "serviceCidr": services.to_string(),
        "apiPort": API_PORT,
        "ingress": visitors,
    });
    serde_json::from_value(config)
        .map(|config| (config, docker))
        .map_err(|error| {
            let what = "the node's configuration could not be made";
            vec![Trouble::new("PROGRAM_INTERNAL", 10, what).why(error.to_string())]
        })
}

/// The ports for visitors; unlike names and ranges they may change at any time.
fn ingress(wishes: &Wishes, usual: IngressPorts, api: u16) -> Result<IngressPorts, Trouble> {
    let ports = IngressPorts {
        http: wishes.ingress_http.unwrap_or(usual.http),
        https: wishes.ingress_https.unwrap_or(usual.https),
    };
    let others = [("http", ports.http, ports.https), ("https", ports.https, 0)];
    for (scheme, port, other) in others {
        if port != 0 && [api, cadet_kubelet::PORT, other].contains(&port) {
            let what = format!("Ingresses cannot be visited by {scheme} at port {port}");
            return Err(Trouble::new("HOST_PORT_INVALID", 34, what)
                .why("this node listens there for something else")
                .fix("cadet-node up --ingress-http-port 8080 --ingress-https-port 8443"));
        }
    }
    Ok(ports)
}

/// What was wished for and is fixed since the cluster was made.
fn other_than(config: &NodeConfig, wishes: &Wishes) -> Vec<Trouble> {
    let fixed = [
        ("node-name", &wishes.node_name, &config.node_name),
        ("pod-cidr", &wishes.pod_cidr, &config.cluster_cidr),
        ("service-cidr", &wishes.service_cidr, &config.service_cidr),
    ];
    let differs = fixed.into_iter().filter_map(|(flag, wish, is)| {
        wish.as_ref()
            .filter(|wish| *wish != is)
            .map(|w| (flag, w, is))
    });
    differs
        .map(|(flag, wish, is)| {
            let what = format!("--{flag} {wish} comes too late: the cluster was made with {is}");
            Trouble::new("RESOURCE_FIXED", 21, what)
                .why("names and addresses are in certificates and in objects that exist already")
                .fix(format!(
                    "cadet-node down --purge && cadet-node up --{flag} {wish}    (all of its data is lost)"
                ))
        })
        .collect()
}

/// The path in `unix://…`, or a plain path.
fn docker_socket(host: &str) -> Result<PathBuf, Trouble> {
    let path = host.strip_prefix("unix://").unwrap_or(host);
    if Path::new(path).is_absolute() {
        return Ok(path.into());
    }
    let what = format!("Docker at {host} is not on this machine");
    Err(Trouble::new("HOST_DOCKER_REMOTE", 36, what)
        .why("pods are wired to the network through their processes, so Docker must run beside cadet-node and be reached by its socket")
        .fix(format!("cadet-node up --docker-host unix://{DOCKER}")))
}

/// A Node's name: a DNS subdomain (RFC 1123), as upstream makes it from the host's name.
fn node_name(wish: Option<&str>, host_name: &str) -> Result<String, Trouble> {
    let name = wish.map_or_else(|| host_name.trim().to_lowercase(), str::to_owned);
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        let ends = [bytes.first(), bytes.last()];
        ends.into_iter().all(|end| end.copied().is_some_and(plain))
            && bytes.iter().all(|byte| plain(*byte) || *byte == b'-')
    };
    if name.len() <= LONGEST_NAME && name.split('.').all(is_label) {
        return Ok(name);
    }
    let what = format!("{name:?} cannot be a node's name");
    let why = "it becomes part of DNS names: small letters, digits, dashes and dots, a letter or digit at both ends, at most 63 of them";
    Err(Trouble::new("HOST_NODE_NAME", 34, what)
        .why(why)
        .fix("cadet-node up --node-name node-1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide_new(wishes: &Wishes) -> Result<(NodeConfig, PathBuf), Vec<&'static str>> {
        decide(wishes, None, None, "Box-7.lan\n")
            .map_err(|troubles| troubles.iter().map(|trouble| trouble.id).collect())
    }

    #[test]
    fn without_wishes_it_is_as_everywhere() {
        let (config, docker) = decide_new(&Wishes::default()).unwrap();
        assert_eq!(config.node_name, "box-7.lan");
        assert_eq!(config.cluster_cidr, "10.244.0.0/16");
        assert_eq!(config.pod_cidr, "10.244.0.0/24");
        assert_eq!(config.service_cidr, "10.96.0.0/12");
        assert_eq!(docker, Path::new(DOCKER));
    }

    #[test]
    fn wishes_are_met_or_explained() {
        let wishes = Wishes {
            pod_cidr: Some("10.9.0.0/26".into()),
            docker_host: Some("unix:///run/d.sock".into()),
            ..Wishes::default()
        };
        let (config, docker) = decide_new(&wishes).unwrap();
        assert_eq!(config.pod_cidr, "10.9.0.0/26", "no more than there is");
        assert_eq!(docker, Path::new("/run/d.sock"));
        let cases = [
            (
                "10.244.0.0",
                "10.96.0.0/12",
                "n1",
                vec!["HOST_RANGE_INVALID"],
            ),
            (
                "10.96.7.0/24",
                "10.96.0.0/12",
                "n1",
                vec!["HOST_RANGE_INVALID"],
            ),
            (
                "10.244.0.0/16",
                "x",
                "N_1",
                vec!["HOST_RANGE_INVALID", "HOST_NODE_NAME"],
            ),
            ("10.244.0.0/16", "10.96.0.0/12", "", vec!["HOST_NODE_NAME"]),
            (
                "10.244.0.0/16",
                "10.96.0.0/12",
                "-a",
                vec!["HOST_NODE_NAME"],
            ),
        ];
        for (pods, services, name, ids) in cases {
            let wishes = Wishes {
                node_name: Some(name.into()),
                pod_cidr: Some(pods.into()),
                service_cidr: Some(services.into()),
                ..Wishes::default()
            };
            assert_eq!(decide_new(&wishes).unwrap_err(), ids);
        }
        let wishes = Wishes {
            docker_host: Some("tcp://10.0.0.1:2375".into()),
            ..Wishes::default()
        };
        assert_eq!(decide_new(&wishes).unwrap_err(), ["HOST_DOCKER_REMOTE"]);
    }

    #[test]
    fn a_cluster_that_exists_keeps_its_shape() {
        let (config, _) = decide_new(&Wishes::default()).unwrap();
        let record = Record {
            docker: "/run/other.sock".into(),
            ..Record::default()
        };
        let same = Wishes {
            pod_cidr: Some("10.244.0.0/16".into()),
            ..Wishes::default()
        };
        let (again, docker) = decide(&same, Some(&config), Some(&record), "new-name").unwrap();
        assert_eq!(again, config);
        assert_eq!(docker, Path::new("/run/other.sock"));
        let other = Wishes {
            node_name: Some("other".into()),
            ..Wishes::default()
        };
        let troubles = decide(&other, Some(&config), Some(&record), "x").unwrap_err();
        assert_eq!(troubles[0].id, "RESOURCE_FIXED");
    }

    #[test]
    fn ports_for_visitors_may_change_but_not_collide() {
        let (config, _) = decide_new(&Wishes::default()).unwrap();
        assert_eq!(ports(&config), [6443, 10250, 80, 443]);
        let others = |http, https| Wishes {
            ingress_http: Some(http),
            ingress_https: https,
            ..Wishes::default()
        };
        let (again, _) = decide(&others(8080, None), Some(&config), None, "n").unwrap();
        assert_eq!(ports(&again), [6443, 10250, 8080, 443]);
        // What was chosen once stays.
        let (later, _) = decide(&Wishes::default(), Some(&again), None, "n").unwrap();
        assert_eq!(later, again);
        let (none, _) = decide_new(&others(0, Some(0))).unwrap();
        assert_eq!(ports(&none), [6443, 10250]);
        for wishes in [
            others(6443, None),
            others(443, None),
            others(80, Some(10250)),
        ] {
            assert_eq!(decide_new(&wishes).unwrap_err(), ["HOST_PORT_INVALID"]);
            let troubles = decide(&wishes, Some(&config), None, "n").unwrap_err();
            assert_eq!(troubles[0].id, "HOST_PORT_INVALID");
        }
    }
}
