//! The Services there are, and our rules for them.

use std::net::Ipv4Addr;

use cadet_proxy::services::{
    ObjectName, Service, ServicePort, Services, Slice, SliceEndpoint, flag,
};
use cadet_proxy::table::{Protocol, Table};
use cadet_proxy::{Config, base, nft};

use crate::Result;

pub const PODS: &str = "10.244.0.0/16";
const CLUSTER_IPS: &str = "10.96.0.0/12";
/// Port of each Service, and of each endpoint.
pub const PORT: u16 = 80;
pub const TARGET: u16 = 8080;

/// As many endpoints as the controller puts into one slice.
pub const SLICE: usize = 100;
/// Endpoints of each of many Services.
pub const EACH: usize = 3;
/// Addresses of the server.
pub const MOST_ENDPOINTS: usize = 1 << 15;
/// Of so many endpoints one is on this node.
const NODES: usize = 500;

/// The cluster IP of a Service by its number.
pub fn cluster_ip(number: usize) -> Ipv4Addr {
    nth([10, 96, 1, 0], number)
}

/// Address of an endpoint by its number.
pub fn endpoint(number: usize) -> Ipv4Addr {
    nth([10, 244, 128, 0], number)
}

fn nth(first: [u8; 4], number: usize) -> Ipv4Addr {
    let number = u32::try_from(number).expect("fewer than there are addresses");
    Ipv4Addr::from(u32::from_be_bytes(first) + number)
}

/// The endpoints of one of many Services.
pub fn endpoints_of(service: usize) -> std::ops::Range<usize> {
    service * EACH..(service + 1) * EACH
}

/// The slice with these endpoints.
pub fn slice(endpoints: impl Iterator<Item = usize>) -> Slice {
    let endpoints = endpoints.map(|number| SliceEndpoint {
        ip: endpoint(number),
        flags: match number % NODES {
            0 => flag::READY | flag::SERVING | flag::LOCAL,
            _ => flag::READY | flag::SERVING,
        },
    });
    Slice {
        ports: vec![("".into(), Protocol::Tcp, TARGET)],
        endpoints: endpoints.collect(),
    }
}

/// The statements a proxy begins with.
pub fn ruleset() -> String {
    base::ruleset(&Config {
        node_name: "node".into(),
        cluster_cidr: PODS.into(),
        service_cidr: CLUSTER_IPS.into(),
        pod_rules: String::new(),
    })
}

/// Our proxy without its watches: from what is set to what is in force.
pub struct Ours {
    services: Services,
    table: Table,
}

impl Ours {
    pub fn new() -> Self {
        Self {
            services: Services::new(PODS),
            table: Table::default(),
        }
    }

    pub fn set_service(&mut self, number: usize) {
        let service = Service {
            cluster_ip: cluster_ip(number),
            ports: vec![ServicePort {
                name: "".into(),
                protocol: Protocol::Tcp,
                port: PORT,
                node_port: None,
            }],
            external_ips: vec![],
            balancer_ips: vec![],
            source_ranges: vec![],
            internal_local: false,
            external_local: false,
            affinity: None,
            health_port: None,
        };
        let name = named(&format!("web-{number}"));
        self.services.set_service(&name, Some(service));
    }

    /// A slice of a Service is so now, or is gone.
    pub fn set_slice(&mut self, service: usize, slice: usize, now: Option<Slice>) {
        let owner: Box<str> = format!("web-{service}").into();
        let name = named(&format!("web-{service}-{slice}"));
        let now = now.map(|slice| (owner, slice));
        self.services.set_slice(&name, now);
    }

    /// Brings the kernel up to date, as the proxy does after a batch of changes.
    pub async fn sync(&mut self) -> Result<()> {
        self.services.refresh(&mut self.table);
        if let Some(statements) = self.table.commit() {
            nft::apply(&statements).await?;
        }
        Ok(())
    }

    /// The statements that make everything anew.
    pub fn whole(&mut self) -> String {
        self.services.refresh(&mut self.table);
        ruleset() + &self.table.whole()
    }
}

fn named(name: &str) -> ObjectName {
    ("default".into(), name.into())
}
