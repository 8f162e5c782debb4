//! The pods' resolver configuration: `dnsPolicy` and `dnsConfig` as upstream's kubelet reads
//! them, with its limits and the words of its events. Pure but for the node's own file.

use std::net::Ipv4Addr;
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;

use crate::acts::on_host_network;
use crate::volumes::VolumeError;

/// What the C library takes of a file, and upstream's validation with it.
const SERVERS: usize = 3;
const SEARCHES: usize = 32;
const SEARCH_BYTES: usize = 2048;
/// Names with fewer dots than these are looked for in the cluster first.
const NDOTS: (&str, Option<&str>) = ("ndots", Some("5"));

/// Domain of a cluster that names none.
pub(crate) const DEFAULT_DOMAIN: &str = "cluster.local";

/// The cluster's own name server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterDns {
    pub server: Ipv4Addr,
    /// E.g. `cluster.local`.
    pub domain: String,
}

/// A reason and the words of a warning about a pod.
pub(crate) type Warning = (&'static str, String);

/// The parts of resolv.conf(5) that pods get.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Resolver {
    servers: Vec<String>,
    searches: Vec<String>,
    /// Names and values.
    options: Vec<(String, Option<String>)>,
}

/// The text of a pod's `/etc/resolv.conf`, and what its user should know about it. In a
/// cluster without a name server pods get the node's configuration.
///
/// # Errors
/// If the node's configuration cannot be read.
pub(crate) fn for_pod(
    pod: &Pod,
    node_file: &Path,
    dns: Option<&ClusterDns>,
) -> Result<(String, Vec<Warning>), VolumeError> {
    let read = || {
        std::fs::read_to_string(node_file).map_err(|source| VolumeError::Io {
            act: "read",
            path: node_file.to_owned(),
            source,
        })
    };
    let spec = pod.spec.as_ref();
    let policy = spec.and_then(|spec| spec.dns_policy.as_deref());
    let on_host = on_host_network(pod);
    let mut warnings = Vec::new();
    let mut resolver = match policy.unwrap_or("ClusterFirst") {
        "None" => Resolver::default(),
        "ClusterFirstWithHostNet" => cluster(pod, dns, &read()?),
        "ClusterFirst" if !on_host => cluster(pod, dns, &read()?),
        _ => node(&read()?, dns, on_host),
    };
    if let Some(config) = spec.and_then(|spec| spec.dns_config.as_ref()) {
        add_missing(&mut resolver.servers, config.nameservers.iter().flatten());
        add_missing(&mut resolver.searches, config.searches.iter().flatten());
        for option in config.options.iter().flatten() {
            let name = option.name.clone().unwrap_or_default();
            resolver.set_option(name, option.value.clone());
        }
    }
    resolver.limit(&mut warnings);
    Ok((resolver.text(), warnings))
}

fn cluster(pod: &Pod, dns: Option<&ClusterDns>, node_text: &str) -> Resolver {
    let on_host = on_host_network(pod);
    let node = node(node_text, dns, on_host);
    let Some(dns) = dns else {
        return node;
    };
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let domain = &dns.domain;
    let mut searches = vec![
        format!("{namespace}.svc.{domain}"),
        format!("svc.{domain}"),
        domain.clone(),
    ];
    add_missing(&mut searches, &node.searches);
    Resolver {
        servers: vec![dns.server.to_string()],
        searches,
        options: vec![(NDOTS.0.to_owned(), NDOTS.1.map(str::to_owned))],
    }
}

/// The node's configuration as a pod can use it: without the cluster's DNS, which the pod did
/// not ask for, and without servers on the node's loopback, unless that is the pod's as well.
fn node(text: &str, dns: Option<&ClusterDns>, on_host: bool) -> Resolver {
    let own = dns.map(|dns| dns.server.to_string());
    let mut resolver = Resolver::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => {
                let reachable =
                    |server: &&str| on_host || !(server.starts_with("127.") || *server == "::1");
                let server = words.next().filter(reachable);
                let server = server.filter(|server| own.as_deref() != Some(*server));
                add_missing(&mut resolver.servers, server.map(str::to_owned).iter());
            }
            // The last line counts (resolv.conf(5)).
            Some("search") => {
                resolver.searches.clear();
                let words: Vec<String> =
                    words.map(|w| w.trim_end_matches('.').to_owned()).collect();
                add_missing(
                    &mut resolver.searches,
                    words.iter().filter(|w| !w.is_empty()),
                );
            }
            Some("options") => {
                for word in words {
                    let (name, value) = match word.split_once(':') {
                        Some((name, value)) => (name, Some(value.to_owned())),
                        None => (word, None),
                    };
                    resolver.set_option(name.to_owned(), value);
                }
            }
            _ => {}
        }
    }
    resolver
}

fn add_missing<'a>(list: &mut Vec<String>, more: impl IntoIterator<Item = &'a String>) {
    for item in more {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}

impl Resolver {
    fn set_option(&mut self, name: String, value: Option<String>) {
        match self.options.iter_mut().find(|(known, _)| *known == name) {
            Some(option) => option.1 = value,
            None => self.options.push((name, value)),
        }
    }

    fn limit(&mut self, warnings: &mut Vec<Warning>) {
        const REASON: &str = "DNSConfigForming";
        if self.searches.len() > SEARCHES || self.searches.join(" ").len() > SEARCH_BYTES {
            self.searches.truncate(SEARCHES);
            while self.searches.join(" ").len() > SEARCH_BYTES {
                self.searches.pop();
            }
            warnings.push((REASON, format!(
                "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {}",
                self.searches.join(" ")
            )));
        }
        if self.servers.len() > SERVERS {
            self.servers.truncate(SERVERS);
            warnings.push((REASON, format!(
                "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {}",
                self.servers.join(" ")
            )));
        }
    }

    /// In the order in which the documentation shows it.
    fn text(&self) -> String {
        let mut text = String::new();
        for server in &self.servers {
            text.push_str(&format!("nameserver {server}\n"));
        }
        if !self.searches.is_empty() {
            text.push_str(&format!("search {}\n", self.searches.join(" ")));
        }
        let options = self.options.iter().map(|(name, value)| match value {
            Some(value) => format!("{name}:{value}"),
            None => name.clone(),
        });
        let options: Vec<String> = options.collect();
        if !options.is_empty() {
            text.push_str(&format!("options {}\n", options.join(" ")));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NODE: &str = "# stub\nnameserver 10.96.0.10\nnameserver 127.0.0.53\n\
        nameserver 10.0.2.3\nsearch lan.\noptions timeout:1\n";

    fn told(spec: Value, dns: Option<&ClusterDns>) -> (String, Vec<Warning>) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("resolv.conf");
        std::fs::write(&file, NODE).unwrap();
        let mut spec = spec;
        spec["containers"] = json!([]);
        let pod = json!({"metadata": {"name": "a", "namespace": "shop", "uid": "u"}, "spec": spec});
        for_pod(&serde_json::from_value(pod).unwrap(), &file, dns).unwrap()
    }

    fn dns() -> ClusterDns {
        ClusterDns {
            server: Ipv4Addr::new(10, 96, 0, 10),
            domain: "cluster.local".into(),
        }
    }

    fn of(spec: Value) -> String {
        let (text, warnings) = told(spec, Some(&dns()));
        assert_eq!(warnings, []);
        text
    }

    const CLUSTER: &str = "nameserver 10.96.0.10\n\
        search shop.svc.cluster.local svc.cluster.local cluster.local lan\noptions ndots:5\n";

    #[test]
    fn each_policy_has_its_servers() {
        for policy in ["ClusterFirst", "ClusterFirstWithHostNet"] {
            assert_eq!(of(json!({"dnsPolicy": policy})), CLUSTER);
        }
        assert_eq!(of(json!({})), CLUSTER);
        assert_eq!(
            of(json!({"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": true})),
            CLUSTER
        );
        assert_eq!(
            of(json!({"dnsPolicy": "Default"})),
            "nameserver 10.0.2.3\nsearch lan\noptions timeout:1\n"
        );
        // On the host's network the first choice of a pod is the host's.
        assert_eq!(
            of(json!({"dnsPolicy": "ClusterFirst", "hostNetwork": true})),
            "nameserver 127.0.0.53\nnameserver 10.0.2.3\nsearch lan\noptions timeout:1\n"
        );
        assert_eq!(of(json!({"dnsPolicy": "None"})), "");
    }

    /// The example of the documentation.
    #[test]
    fn a_pods_own_configuration_comes_after_its_policys() {
        let config = json!({"nameservers": ["192.0.2.1"],
            "searches": ["ns1.svc.cluster-domain.example", "my.dns.search.suffix"],
            "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]});
        assert_eq!(
            of(json!({"dnsPolicy": "None", "dnsConfig": config})),
            "nameserver 192.0.2.1\nsearch ns1.svc.cluster-domain.example my.dns.search.suffix\n\
             options ndots:2 edns0\n"
        );
        assert_eq!(
            of(json!({"dnsConfig": config})),
            "nameserver 10.96.0.10\nnameserver 192.0.2.1\n\
             search shop.svc.cluster.local svc.cluster.local cluster.local lan \
             ns1.svc.cluster-domain.example my.dns.search.suffix\noptions ndots:2 edns0\n"
        );
    }

    #[test]
    fn what_exceeds_the_limits_is_left_out_and_told() {
        let servers: Vec<String> = (1..5).map(|n| format!("192.0.2.{n}")).collect();
        let searches: Vec<String> = (0..40).map(|n| format!("s{n}")).collect();
        let config = json!({"nameservers": servers, "searches": searches});
        let (text, warnings) = told(
            json!({"dnsPolicy": "None", "dnsConfig": config}),
            Some(&dns()),
        );
        assert!(text.starts_with(
            "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nsearch s0 "
        ));
        let words: Vec<_> = warnings
            .iter()
            .map(|(reason, words)| (*reason, words.as_str()))
            .collect();
        assert_eq!(words[0].0, "DNSConfigForming");
        assert!(words[0].1.ends_with(" s30 s31"), "{words:?}");
        assert_eq!(
            words[1].1,
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: 192.0.2.1 192.0.2.2 192.0.2.3"
        );
    }

    #[test]
    fn a_cluster_without_dns_gives_pods_the_nodes() {
        let (text, warnings) = told(json!({}), None);
        assert_eq!(
            text,
            "nameserver 10.96.0.10\nnameserver 10.0.2.3\nsearch lan\noptions timeout:1\n"
        );
        assert_eq!(warnings, []);
    }
}
