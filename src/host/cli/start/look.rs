//! Step `servers`: every server is looked at and judged, before any of them is touched.

use std::io::Read as _;

use async_trait::async_trait;
use cadet_state::{Ports, Server, Spec};
use cadet_vm::ports;

use super::{Note, Step, Voyage};
use crate::error::{CliError, Result};
use crate::nodes::{self, Node};
use crate::servers::facts::{self, Facts, Wanted};
use crate::servers::{self, name_of};
use crate::{line, machine, programs, ui};

/// See the module.
pub struct Look;

#[async_trait]
impl Step for Look {
    fn name(&self) -> &'static str {
        "servers"
    }

    async fn plan(&self, v: &mut Voyage<'_>) -> Result<String> {
        let all = nodes::all(&v.profile);
        let names = all.iter().filter_map(|n| v.profile.server(n.number));
        let names: Vec<_> = names.map(name_of).collect();
        Ok(format!(
            "sign in and look: system, processor, memory, sudo, other clusters on {}",
            names.join(", ")
        ))
    }

    async fn done(&self, _: &mut Voyage<'_>) -> Result<Option<Note>> {
        // Looking is all there is to do.
        Ok(None)
    }

    async fn run(&self, v: &mut Voyage<'_>) -> Result<Note> {
        let program = made_for(v)?;
        let mut all = vec![Node::first(&v.profile.name)];
        all.extend(v.workers.iter().cloned());
        let mut seen = Vec::new();
        for node in &all {
            let server = of(v, node)?;
            let name = name_of(server);
            v.cx.ui.progress(&format!("looking at {name}"), None);
            let facts = look(server).await?;
            let wanted = Wanted {
                name: &name,
                mark: &server.mark,
                is_first: node.is_first(),
                program,
            };
            facts::judge(&facts, &wanted)?;
            for warning in facts::warnings(&facts, &wanted) {
                v.cx.ui.warn("servers", &warning);
            }
            seen.push((node, name, facts));
        }
        let cards = seen.iter().filter_map(|(_, name, facts)| {
            let card = facts.card?;
            Some((name.clone(), card))
        });
        facts::together(&cards.collect::<Vec<_>>())?;
        let told = told(&seen);
        for (node, _, facts) in seen {
            note(v, node, &facts);
        }
        choose_port(v).await?;
        Ok(Note::new(told))
    }
}

/// The server in a machine's place.
///
/// # Errors
/// PROGRAM_INTERNAL if there is none.
pub(super) fn of<'a>(v: &'a Voyage<'_>, node: &Node) -> Result<&'a Server> {
    v.profile.server(node.number).ok_or_else(|| {
        CliError::new(
            "PROGRAM_INTERNAL",
            format!("{} is not on a server", node.name),
        )
    })
}

/// What the `cadet-node` here runs on.
fn made_for(v: &Voyage<'_>) -> Result<&'static str> {
    let file = programs::cadet_node(&v.cx.world)?;
    let mut head = Vec::new();
    std::fs::File::open(&file)
        .and_then(|program| program.take(20).read_to_end(&mut head))
        .map_err(|e| machine::io("read", &file, &e))?;
    facts::program_machine(&head).ok_or_else(|| {
        CliError::new(
            "HOST_NODE_PROGRAM_MISSING",
            format!("{} is no Linux program", file.display()),
        )
        .why("it begins as none for x86_64 or aarch64 does")
        .fix("./scripts/build-guest")
    })
}

async fn look(server: &Server) -> Result<Facts> {
    let tunnel = servers::connect(server).await?;
    let said = servers::run_there(&tunnel, server, "tell what it is", &facts::look(), &[]).await;
    tunnel.close().await;
    Ok(facts::read(&said?))
}

/// One line about all of them.
fn told(seen: &[(&Node, String, Facts)]) -> String {
    let one = |(_, name, facts): &(&Node, String, Facts)| {
        let docker = match facts.docker {
            true => "with Docker",
            false => "Docker comes by apt",
        };
        format!(
            "{name}: {}, {} cores, {}, {docker}",
            facts.system,
            facts.cpus,
            ui::mib(facts.memory_mib)
        )
    };
    match seen {
        [only] => one(only),
        all => {
            let names: Vec<_> = all.iter().map(|(_, name, _)| name.as_str()).collect();
            format!("{} can be nodes", names.join(", "))
        }
    }
}

/// Keeps what was found.
fn note(v: &mut Voyage<'_>, node: &Node, facts: &Facts) {
    let spec = Spec {
        cpus: facts.cpus,
        memory_mib: facts.memory_mib,
        disk_gib: facts.disk_mib / 1024,
        image: "server".into(),
    };
    match v.profile.worker_mut(node.number) {
        Some(worker) => worker.spec = spec,
        None => v.profile.spec = spec,
    }
    if let Some(server) = v.profile.server_mut(node.number) {
        server.address = facts.card.map(|card| card.address);
        server.system.clone_from(&facts.system);
    }
}

/// The port of this computer that leads to the API; that of the last start if it is free, or if
/// our own tunnel has it.
async fn choose_port(v: &mut Voyage<'_>) -> Result<()> {
    let tunnel = line::background_status(v.cx).await;
    if let Some(old) = v.profile.ports {
        if tunnel.is_some() || ports::check_free(old.api).is_ok() {
            return Ok(());
        }
        v.cx.ui.warn(
            "servers",
            "the API's port of the last start is taken by another program; using a new one",
        );
    } else if tunnel.is_some() {
        // Of a profile of this name that was before.
        line::stop_background(v.cx).await?;
    }
    let Some(api) = ports::free(1)?.first().copied() else {
        return Err(CliError::new("PROGRAM_INTERNAL", "a port was asked for"));
    };
    v.profile.ports = Some(Ports { ssh: 0, api });
    Ok(())
}
