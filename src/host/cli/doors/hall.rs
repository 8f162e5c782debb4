//! The doors that are open, and opening and closing them as the Services want it.

use std::collections::{BTreeMap, BTreeSet};

use cadet_tunnel::control::ForwardStatus;
use cadet_tunnel::forward::{Forward, Goal};
use cadet_tunnel::{Tunnel, TunnelError};
use serde_json::Value;
use tokio::sync::watch;

use super::event::Event;
use super::follow::Change;
use super::listen::listen;
use super::place::Obstacle;
use super::wanted::{self, Wanted};
use super::work::Work;
use crate::from_rooms::chain;

/// See the module.
pub struct Hall {
    tunnel: Tunnel,
    services: BTreeMap<String, Known>,
    open: BTreeMap<Wanted, Door>,
    /// Doors that could not be opened and were told; each change tries them again.
    failed: BTreeSet<Wanted>,
    /// Services whose ports that do not fit through were told.
    told: BTreeSet<String>,
    /// The API server is away, and that was told.
    away: bool,
    /// What is still to be told.
    events: Vec<Event>,
}

/// A Service, as far as doors need it.
struct Known {
    /// Older ones choose first.
    created: String,
    wanted: Vec<Wanted>,
    not_carried: Vec<String>,
}

struct Door {
    status: ForwardStatus,
    work: Work,
}

impl Hall {
    /// No door is open; connections will go through `tunnel`.
    pub fn new(tunnel: Tunnel) -> Self {
        Self {
            tunnel,
            services: BTreeMap::new(),
            open: BTreeMap::new(),
            failed: BTreeSet::new(),
            told: BTreeSet::new(),
            away: false,
            events: Vec::new(),
        }
    }

    /// Notes a change; [`Hall::settle`] acts on it.
    pub fn take(&mut self, change: Change) {
        match change {
            Change::All(services) => {
                self.away = false;
                self.services.clear();
                for service in services {
                    self.know(&service);
                }
            }
            Change::Set(service) => self.know(&service),
            Change::Gone(service) => {
                self.services.remove(&wanted::name(&service));
            }
            Change::Away(why) => {
                if !self.away {
                    self.events.push(Event::Away(why));
                }
                self.away = true;
            }
        }
    }

    fn know(&mut self, service: &Value) {
        let created = service["metadata"]["creationTimestamp"].as_str();
        let known = Known {
            created: created.unwrap_or_default().into(),
            wanted: wanted::of(service),
            not_carried: wanted::not_carried(service),
        };
        self.services.insert(wanted::name(service), known);
    }

    /// Closes what nobody wants, opens what is wanted; returns what is to be told of it.
    pub async fn settle(&mut self) -> Vec<Event> {
        let wanted = self.wanted();
        let all: BTreeSet<&Wanted> = wanted.iter().collect();
        self.failed.retain(|door| all.contains(door));
        let unwanted = self.open.keys().filter(|door| !all.contains(door));
        for door in unwanted.cloned().collect::<Vec<_>>() {
            self.close(&door).await;
        }
        let asked_for: BTreeSet<u16> = wanted.iter().map(|door| door.local).collect();
        for door in &wanted {
            if !self.open.contains_key(door) {
                self.open(door, &asked_for).await;
            }
        }
        self.tell_what_is_not_carried();
        std::mem::take(&mut self.events)
    }

    /// The open doors, by Service.
    pub fn doors(&self) -> Vec<ForwardStatus> {
        let doors = self.open.values().map(|door| door.status.clone());
        doors.collect()
    }

    /// Every door, those of older Services first.
    fn wanted(&self) -> Vec<Wanted> {
        let mut services: Vec<_> = self.services.iter().collect();
        services.sort_by(|a, b| (&a.1.created, a.0).cmp(&(&b.1.created, b.0)));
        let doors = services.iter().flat_map(|(_, known)| &known.wanted);
        doors.cloned().collect()
    }

    async fn close(&mut self, door: &Wanted) {
        let Some(Door { status, work }) = self.open.remove(door) else {
            return;
        };
        // A listener that broke has let go of its port as well.
        let _ = work.end().await;
        self.events.push(Event::Closed(status));
    }

    async fn open(&mut self, door: &Wanted, asked_for: &BTreeSet<u16>) {
        match self.bind(door, asked_for).await {
            Ok((forward, why)) => {
                let status = ForwardStatus {
                    local: forward.local_addr(),
                    host: door.host.clone(),
                    port: door.port,
                    service: door.service.clone(),
                    wanted: door.local,
                    why,
                };
                self.failed.remove(door);
                self.events.push(Event::Opened(status.clone()));
                let work = Work::start(|ended| forward.run(ended));
                self.open.insert(door.clone(), Door { status, work });
            }
            Err(error) => {
                if self.failed.insert(door.clone()) {
                    self.events.push(Event::Failed {
                        service: door.service.clone(),
                        port: door.local,
                        why: chain(&error),
                    });
                }
            }
        }
    }

    /// A listener for `door`, and why it is not at the port that was asked for.
    async fn bind(
        &self,
        door: &Wanted,
        asked_for: &BTreeSet<u16>,
    ) -> Result<(Forward, Option<String>), TunnelError> {
        let goal = Goal {
            host: door.host.clone(),
            port: door.port,
        };
        let (_, goal) = watch::channel(Some(goal));
        let obstacle = |error: &TunnelError| self.obstacle(error);
        listen(&self.tunnel, door.local, asked_for, &goal, obstacle).await
    }

    /// What another port would get around.
    fn obstacle(&self, error: &TunnelError) -> Option<Obstacle> {
        let obstacle = Obstacle::of(error)?;
        let TunnelError::PortTaken(address) = error else {
            return Some(obstacle);
        };
        let mut ours = self.open.values().map(|door| &door.status);
        let ours = ours.find(|door| door.local == *address);
        Some(ours.map_or(obstacle, |door| Obstacle::Door(door.service.clone())))
    }

    fn tell_what_is_not_carried(&mut self) {
        self.told.retain(|name| self.services.contains_key(name));
        for (name, known) in &self.services {
            if !known.not_carried.is_empty() && self.told.insert(name.clone()) {
                self.events.push(Event::NotCarried {
                    service: name.clone(),
                    ports: known.not_carried.clone(),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::{SocketAddr, TcpListener};

    use cadet_tunnel::{Target, Tuning};
    use serde_json::json;

    use super::super::quiet;
    use super::*;

    /// Never used: listening needs no session.
    fn hall() -> Hall {
        let target = Target {
            address: "127.0.0.1:9".parse().unwrap(),
            user: "cadet".into(),
            client_key: String::new(),
            host_key: String::new(),
        };
        Hall::new(Tunnel::lazy(target, Tuning::default()))
    }

    fn balanced(name: &str, created: &str, port: u16) -> Value {
        json!({
            "metadata": {"namespace": "default", "name": name, "creationTimestamp": created},
            "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.7", "ports": [{"port": port}]},
        })
    }

    fn texts(events: &[Event]) -> Vec<String> {
        events.iter().map(Event::text).collect()
    }

    #[tokio::test]
    async fn a_changed_service_moves_its_door_and_an_unchanged_one_keeps_it() {
        let mut hall = hall();
        let [old, new] = quiet::ports();
        hall.take(Change::All(vec![balanced(
            "web",
            "2026-01-01T00:00:00Z",
            old,
        )]));
        assert_eq!(
            texts(&hall.settle().await),
            [format!("localhost:{old} → default/web")]
        );
        // The same again, as after a broken watch: nothing moves, nothing is told.
        hall.take(Change::All(vec![balanced(
            "web",
            "2026-01-01T00:00:00Z",
            old,
        )]));
        assert!(hall.settle().await.is_empty());
        hall.take(Change::Set(balanced("web", "2026-01-01T00:00:00Z", new)));
        assert_eq!(
            texts(&hall.settle().await),
            [
                format!("localhost:{old} is closed (default/web)"),
                format!("localhost:{new} → default/web"),
            ]
        );
        let mut internal = balanced("web", "2026-01-01T00:00:00Z", new);
        internal["spec"]["type"] = "ClusterIP".into();
        hall.take(Change::Set(internal));
        assert_eq!(
            texts(&hall.settle().await),
            [format!("localhost:{new} is closed (default/web)")]
        );
        assert!(hall.doors().is_empty());
        assert!(TcpListener::bind(("127.0.0.1", new)).is_ok());
    }

    #[tokio::test]
    async fn a_taken_port_is_mapped_and_its_holder_named() {
        let mut hall = hall();
        let foreign = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = foreign.local_addr().unwrap().port();
        let [shared] = quiet::ports();
        hall.take(Change::All(vec![
            balanced("younger", "2026-01-02T00:00:00Z", shared),
            balanced("older", "2026-01-01T00:00:00Z", shared),
            balanced("unlucky", "2026-01-03T00:00:00Z", taken),
        ]));
        hall.settle().await;
        let doors = hall.doors();
        let of = |name: &str| doors.iter().find(|d| d.service == name).unwrap();
        let older = of("default/older");
        assert_eq!((older.local.port(), &older.why), (shared, &None));
        let younger = of("default/younger");
        assert_ne!(younger.local.port(), shared);
        assert_eq!(younger.wanted, shared);
        assert_eq!(
            younger.why,
            Some(format!("port {shared} is taken by default/older"))
        );
        let unlucky = of("default/unlucky");
        assert_ne!(unlucky.local.port(), taken);
        assert_eq!(
            unlucky.why,
            Some(format!("port {taken} is taken by another program"))
        );
        // A door that is open does not move when the port it wished for becomes free.
        hall.take(Change::Gone(balanced(
            "older",
            "2026-01-01T00:00:00Z",
            shared,
        )));
        let events = hall.settle().await;
        assert_eq!(
            texts(&events),
            [format!("localhost:{shared} is closed (default/older)")]
        );
    }

    #[tokio::test]
    async fn what_cannot_be_carried_and_an_absent_server_are_told_once() {
        let mut hall = hall();
        let mut dns = balanced("dns", "2026-01-01T00:00:00Z", 53);
        dns["spec"]["ports"][0]["protocol"] = "UDP".into();
        for _ in 0..2 {
            hall.take(Change::Away("the API server does not answer".into()));
        }
        hall.take(Change::Set(dns.clone()));
        assert_eq!(hall.settle().await.len(), 2);
        hall.take(Change::Set(dns.clone()));
        assert!(hall.settle().await.is_empty());
        // It answered in between: that it is away again is news.
        hall.take(Change::All(vec![dns]));
        hall.take(Change::Away("the API server does not answer".into()));
        assert_eq!(
            texts(&hall.settle().await),
            ["the API server does not answer; doors stay as they are until it does"]
        );
    }

    #[test]
    fn ports_of_root_and_taken_ports_are_got_around_and_nothing_else() {
        let hall = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(async { hall() });
        let address: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let bind = |kind: ErrorKind| TunnelError::Bind {
            address,
            source: kind.into(),
        };
        assert_eq!(
            hall.obstacle(&bind(ErrorKind::PermissionDenied)),
            Some(Obstacle::Root)
        );
        assert_eq!(
            hall.obstacle(&TunnelError::PortTaken(address)),
            Some(Obstacle::Program)
        );
        assert_eq!(hall.obstacle(&bind(ErrorKind::AddrNotAvailable)), None);
    }
}
