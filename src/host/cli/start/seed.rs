//! Step `seed`: keys, node configuration, lesson images and cadet-node on one disk.

use async_trait::async_trait;
use cadet_api::install::{Features, IngressPorts, NodeConfig};
use cadet_seed::{HostKey, Lesson, Role};
use cadet_state::{Card, Profile};

use super::{Note, Step, Voyage};
use crate::addons::Choices;
use crate::error::{CliError, Result};
use crate::frozen::suspend;
use crate::nodes::Node;
use crate::{Context, images, line, machine, programs, ranges};

/// See the module.
pub struct Seed;

#[async_trait]
impl Step for Seed {
    fn name(&self) -> &'static str {
        "seed"
    }

    async fn plan(&self, _: &mut Voyage<'_>) -> Result<String> {
        Ok(told())
    }

    async fn done(&self, v: &mut Voyage<'_>) -> Result<Option<Note>> {
        // A running machine has read its seed and holds the file open, and so has one that goes
        // on where it was. Otherwise the disk is made anew: it takes a moment and is then surely
        // this program's.
        let has_read = v.was_running || suspend::is(&v.files);
        Ok((has_read && v.files.seed().exists()).then(|| Note::there(told())))
    }

    async fn run(&self, v: &mut Voyage<'_>) -> Result<Note> {
        v.cx.ui.progress("writing the seed disk", None);
        v.profile.card = at_boot(v.profile.card, v.files.disk().exists());
        let first = Node::first(&v.profile.name);
        let host_key = write(v.cx, &v.profile, &first, v.profile.card, Role::First)?;
        v.profile.host_key = Some(host_key);
        v.was_seeded = true;
        Ok(Note::new(told()))
    }
}

/// Whether the first machine gets its card between machines at the boot that follows.
fn at_boot(card: Card, has_disk: bool) -> Card {
    match card {
        // Its system, made before, would wait for an address to be offered there.
        Card::Absent if has_disk => Card::Absent,
        Card::Absent | Card::Expected | Card::Present => Card::Present,
    }
}

/// Writes a machine's seed disk; returns the public half of its host key.
///
/// # Errors
/// HOST_NODE_PROGRAM_MISSING, HOST_DISK_FULL, HOST_NOT_READABLE.
pub(super) fn write(
    cx: &Context,
    profile: &Profile,
    node: &Node,
    card: Card,
    role: Role<'_>,
) -> Result<String> {
    let kept = node
        .kept(profile)
        .ok_or_else(|| CliError::new("PROGRAM_INTERNAL", "there is no such machine"))?;
    let keys = line::keys(cx, node)?;
    let program = programs::cadet_node(&cx.world)?;
    let cadet_node = std::fs::read(&program).map_err(|e| machine::io("read", &program, &e))?;
    let contexts = images::contexts::all(&cx.world)?;
    let disk = cadet_seed::Machine {
        hostname: &node.name,
        user: line::USER,
        authorized_key: &keys.client.public,
        host_key: HostKey {
            private: keys.host.private.clone(),
            public: keys.host.public.clone(),
        },
        mac: &machine::mac(&kept, node),
        cadet_node: &cadet_node,
        node_config: &node_json(cx, node, card)?,
        lessons_table: &lessons_table()?,
        lessons: contexts
            .iter()
            .map(|(name, tar)| Lesson { name, tar })
            .collect(),
        role,
    }
    .disk()
    .map_err(|e| internal("the seed disk could not be made", &e))?;
    let files = node.files(&cx.world.files(&cx.name));
    machine::write_private(&files.seed(), &disk)?;
    Ok(keys.host.public)
}

fn told() -> String {
    format!(
        "cloud-init disk with cadet-node {}",
        env!("CARGO_PKG_VERSION")
    )
}

fn internal(what: &str, e: &dyn std::error::Error) -> CliError {
    CliError::new("PROGRAM_INTERNAL", what)
        .why(crate::from_rooms::chain(e))
        .fix("cadet doctor")
}

/// `node.json` of a machine, with what the user chose for the cluster.
///
/// # Errors
/// HOST_NOT_READABLE, HOST_STATE_CORRUPT.
pub(super) fn node_json(cx: &Context, node: &Node, card: Card) -> Result<String> {
    let choices = Choices::read(&cx.world.files(&cx.name))?;
    choices.applied(&node_config(cx.name.as_str(), node, card)?)
}

/// What is the same for a node wherever it runs; a machine's host answers names.
pub(super) fn cluster_config(cluster: &str, node: &Node) -> NodeConfig {
    NodeConfig {
        node_name: node.name.clone(),
        cluster_name: cluster.into(),
        cluster_cidr: ranges::PODS.to_string(),
        pod_cidr: node.pod_cidr(),
        service_cidr: ranges::SERVICES.to_string(),
        load_balancer_cidr: Some(ranges::LOAD_BALANCERS.to_string()),
        api_port: machine::GUEST_API,
        api_sans: vec!["127.0.0.1".into(), "localhost".into()],
        lessons_dir: "/usr/lib/cadet".into(),
        host_dns: true,
        ingress: IngressPorts::default(),
        features: Features::default(),
        node_network: None,
        address: None,
        server: None,
    }
}

fn node_config(cluster: &str, node: &Node, card: Card) -> Result<String> {
    let first = Node::first(cluster).address();
    let server = format!("{first}:{}", machine::GUEST_API);
    let config = NodeConfig {
        node_network: (card == Card::Present).then(|| node.network()),
        server: (!node.is_first()).then_some(server),
        ..cluster_config(cluster, node)
    };
    serde_json::to_string_pretty(&config).map_err(|e| internal("node.json could not be made", &e))
}

/// `lessons.json`.
///
/// # Errors
/// PROGRAM_INTERNAL.
pub fn lessons_table() -> Result<String> {
    let table = images::lessons::table()?;
    serde_json::to_string_pretty(&table).map_err(|e| internal("lessons.json could not be made", &e))
}

#[cfg(test)]
mod tests {
    use cadet_api::install::LessonImage;

    use super::*;

    #[test]
    fn lessons_json_is_what_the_guest_reads() {
        let table: Vec<LessonImage> = serde_json::from_str(&lessons_table().unwrap()).unwrap();
        assert_eq!(table, images::lessons::table().unwrap());
        assert!(!table.is_empty());
    }

    fn config(number: u8, card: Card) -> NodeConfig {
        let node = Node::new("shop", number);
        serde_json::from_str(&node_config("shop", &node, card).unwrap()).unwrap()
    }

    #[test]
    fn node_json_is_what_the_guest_reads() {
        let first = config(1, Card::Present);
        assert_eq!(first.node_name, "shop");
        assert_eq!(first.server, None, "the server is here");
        let network = first.node_network.unwrap();
        assert_eq!(network.address.to_string(), "10.89.0.1");
        assert_eq!(network.mac, "02:ca:de:00:00:01");
        // Without the card it keeps the address by which it reaches the outside.
        assert_eq!(config(1, Card::Absent).node_network, None);
    }

    #[test]
    fn a_worker_is_told_where_the_first_is_and_which_pods_are_its_own() {
        let third = config(3, Card::Present);
        assert_eq!(third.node_name, "shop-3");
        assert_eq!(third.cluster_name, "shop");
        assert_eq!(third.server.as_deref(), Some("10.89.0.1:6443"));
        assert_eq!(third.pod_cidr, "10.244.2.0/24");
        assert_eq!(third.node_network.unwrap().address.to_string(), "10.89.0.3");
    }

    #[test]
    fn a_machine_from_before_gets_its_card_once_it_was_told() {
        assert_eq!(at_boot(Card::Absent, true), Card::Absent);
        assert_eq!(at_boot(Card::Absent, false), Card::Present);
        assert_eq!(at_boot(Card::Expected, true), Card::Present);
        assert_eq!(at_boot(Card::Present, true), Card::Present);
    }
}
