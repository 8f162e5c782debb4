//! Step `seed`: keys, node configuration, lesson images and cadet-node on one disk.

use async_trait::async_trait;
use cadet_api::install::{IngressPorts, NodeConfig};
use cadet_seed::{HostKey, Lesson};

use super::{Note, Step, Voyage};
use crate::addons::Choices;
use crate::error::{CliError, Result};
use crate::{images, line, machine, programs};

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
        // A running machine has read its seed and holds the file open. Otherwise the disk
        // is made anew: it takes a moment and is then surely this program's.
        Ok((v.was_running && v.files.seed().exists()).then(|| Note::there(told())))
    }

    async fn run(&self, v: &mut Voyage<'_>) -> Result<Note> {
        v.cx.ui.progress("writing the seed disk", None);
        let keys = line::keys(v.cx)?;
        let name = v.cx.name.as_str();
        let program = programs::cadet_node(&v.cx.world)?;
        let cadet_node = std::fs::read(&program).map_err(|e| machine::io("read", &program, &e))?;
        let contexts = images::contexts::all(&v.cx.world)?;
        let disk = cadet_seed::Machine {
            hostname: name,
            user: line::USER,
            authorized_key: &keys.client.public,
            host_key: HostKey {
                private: keys.host.private.clone(),
                public: keys.host.public.clone(),
            },
            mac: &cadet_vm::config::mac_for(name),
            cadet_node: &cadet_node,
            node_config: &Choices::read(&v.files)?.applied(&node_config(name)?)?,
            lessons_table: &lessons_table()?,
            lessons: contexts
                .iter()
                .map(|(name, tar)| Lesson { name, tar })
                .collect(),
        }
        .disk()
        .map_err(|e| internal("the seed disk could not be made", &e))?;
        machine::write_private(&v.files.seed(), &disk)?;
        v.profile.host_key = Some(keys.host.public);
        Ok(Note::new(told()))
    }
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

fn node_config(name: &str) -> Result<String> {
    let config = NodeConfig {
        node_name: name.into(),
        cluster_name: name.into(),
        cluster_cidr: "10.244.0.0/16".into(),
        pod_cidr: "10.244.0.0/24".into(),
        service_cidr: "10.96.0.0/12".into(),
        load_balancer_cidr: Some("10.112.0.0/24".into()),
        api_port: machine::GUEST_API,
        api_sans: vec!["127.0.0.1".into(), "localhost".into()],
        lessons_dir: "/usr/lib/cadet".into(),
        host_dns: true,
        ingress: IngressPorts::default(),
        keeps_clock: true,
    };
    serde_json::to_string_pretty(&config).map_err(|e| internal("node.json could not be made", &e))
}

fn lessons_table() -> Result<String> {
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

    #[test]
    fn node_json_is_what_the_guest_reads() {
        let config: NodeConfig = serde_json::from_str(&node_config("cadet").unwrap()).unwrap();
        assert_eq!(config.node_name, "cadet");
    }
}
