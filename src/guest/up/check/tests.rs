//! What is judged, by example.

use serde_json::json;

use super::*;

fn good() -> Facts {
    Facts {
        kernel: "6.1.0-18-amd64".into(),
        docker: Docker::Answers("26.1.5".into()),
        nft: Program::Works("nftables v1.0.6".into()),
        iptables: Program::Works("iptables v1.8.9".into()),
        forwarding: Forwarding::Off,
        cgroup: Cgroup::V2,
        taken: vec![],
        routes: vec![],
        address: Ok(Ipv4Addr::new(192, 168, 1, 7)),
    }
}

fn config() -> NodeConfig {
    serde_json::from_value(json!({"nodeName": "n", "clusterName": "c",
        "clusterCidr": "10.244.0.0/16", "podCidr": "10.244.0.0/24",
        "serviceCidr": "10.96.0.0/12", "apiPort": 6443}))
    .unwrap()
}

fn ids(facts: &Facts) -> Vec<&'static str> {
    let troubles = judge(facts, &config(), Path::new("/run/docker.sock"));
    troubles.iter().map(|trouble| trouble.id).collect()
}

#[test]
fn a_good_machine_has_nothing_in_the_way() {
    assert_eq!(ids(&good()), [""; 0]);
    assert_eq!(
        summary(&good()),
        "Linux 6.1.0, Docker 26.1.5, cgroup 2, nftables v1.0.6"
    );
    assert!(warnings(&good(), &config()).is_empty());
}

#[test]
fn everything_missing_is_said_at_once() {
    let facts = Facts {
        kernel: "6.1.0".into(),
        docker: Docker::NoSocket { installed: false },
        nft: Program::Missing,
        iptables: Program::Fails("Permission denied".into()),
        forwarding: Forwarding::Locked("Read-only file system".into()),
        cgroup: Cgroup::Missing,
        taken: vec![Taken {
            port: 6443,
            holder: Some((71, "k3s-server".into())),
        }],
        routes: vec![Route {
            range: "10.244.3.0/24".parse().unwrap(),
            link: "wg0".into(),
        }],
        address: Err("Network is unreachable".into()),
    };
    assert_eq!(
        ids(&facts),
        [
            "HOST_DOCKER_MISSING",
            "HOST_NFT_MISSING",
            "HOST_RULES_REFUSED",
            "HOST_FORWARDING",
            "HOST_CGROUP_MISSING",
            "HOST_PORT_TAKEN",
            "NETWORK_NO_ROUTE",
            "NETWORK_RANGE_TAKEN",
        ]
    );
}

#[test]
fn each_has_its_reason_and_a_command() {
    let mut facts = good();
    facts.taken = vec![Taken {
        port: 10250,
        holder: Some((71, "kubelet".into())),
    }];
    facts.routes = vec![Route {
        range: "10.0.0.0/8".parse().unwrap(),
        link: "eth0".into(),
    }];
    let troubles = judge(&facts, &config(), Path::new("/run/docker.sock"));
    assert_eq!(
        troubles[0].to_string(),
        "error HOST_PORT_TAKEN (exit 31): port 10250 is taken by kubelet (process 71)\n\
         \x20 why   the node agent answers kubectl logs and exec there\n\
         \x20 fix   kubeadm reset"
    );
    let text = troubles[1].to_string();
    assert!(text.contains("10.244.0.0/16 leads elsewhere already: 10.0.0.0/8 is behind eth0"));
    assert!(
        text.contains("cadet-node up --pod-cidr 172.30.0.0/16"),
        "{text}"
    );
    facts.routes[0].range = "10.244.7.0/24".parse().unwrap();
    let troubles = judge(&facts, &config(), Path::new("/run/docker.sock"));
    assert!(troubles[1].to_string().contains("--pod-cidr 10.254.0.0/16"));
}

#[test]
fn a_stopped_engine_is_not_a_missing_one() {
    for (docker, id) in [
        (Docker::NoSocket { installed: true }, "HOST_DOCKER_DOWN"),
        (Docker::NobodyListens, "HOST_DOCKER_DOWN"),
        (Docker::Silent("timed out".into()), "HOST_DOCKER_DOWN"),
    ] {
        let facts = Facts { docker, ..good() };
        assert_eq!(ids(&facts), [id]);
    }
}

#[test]
fn a_web_server_of_the_machine_is_no_obstacle() {
    let mut facts = good();
    facts.taken = vec![
        Taken {
            port: 80,
            holder: Some((812, "nginx".into())),
        },
        Taken {
            port: 443,
            holder: None,
        },
    ];
    assert_eq!(ids(&facts), [""; 0]);
    assert_eq!(
        warnings(&facts, &config()),
        [
            "port 80 is taken by nginx (process 812): no Ingress is reached by http until it is free; \
             or choose another: cadet-node up --ingress-http-port 8080",
            "port 443 is taken: no Ingress is reached by https until it is free; \
             or choose another: cadet-node up --ingress-https-port 8443",
        ]
    );
    let mut elsewhere = config();
    elsewhere.ingress.http = 8080;
    elsewhere.ingress.https = 0;
    facts.taken[0].port = 8080;
    facts.taken.truncate(1);
    let told = warnings(&facts, &elsewhere);
    assert!(told[0].ends_with("--ingress-http-port 16080"), "{told:?}");
}

#[test]
fn nobody_is_told_to_kill_the_first_process() {
    let mut facts = good();
    facts.taken = vec![Taken {
        port: 6443,
        holder: Some((1, "systemd".into())),
    }];
    let troubles = judge(&facts, &config(), Path::new("/run/docker.sock"));
    let text = troubles[0].to_string();
    assert!(
        text.ends_with("fix   systemctl list-sockets | grep 6443"),
        "{text}"
    );
}
