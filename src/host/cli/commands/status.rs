//! `cadet status`: machine, API, node, tunnel; answers within seconds whatever hangs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cadet_api::keeper::Ask;
use cadet_state::Profile;
use cadet_tunnel::control::ForwardStatus;
use cadet_vm::Accel;
use serde_json::{Value, json};

use crate::cluster::{self, Cluster};
use crate::doors::event;
use crate::error::Result;
use crate::machine::MachineState;
use crate::nodes::{self, Node};
use crate::{Context, clock, keeper, kubeconfig, line, machine, ui};

/// Bits of the exit code, as minikube has them.
const MACHINE: u8 = 1;
const API: u8 = 2;
const NODE: u8 = 4;

/// All questions together may take no longer.
const DEADLINE: Duration = Duration::from_secs(8);
/// For the word of a machine's keeper; without it something is left out.
const GLANCE: Duration = Duration::from_secs(1);

struct Seen {
    api: Option<String>,
    nodes: Vec<NodeSeen>,
    trouble: Option<String>,
}

impl Seen {
    /// Whether a machine is a node that is Ready.
    fn has(&self, other: &Other) -> bool {
        let name = &other.node.name;
        self.nodes.iter().any(|n| n.ready && n.name == *name)
    }
}

/// A machine beside the first.
struct Other {
    node: Node,
    state: MachineState,
}

struct NodeSeen {
    name: String,
    ready: bool,
    pods: usize,
    pod_cidr: String,
}

/// Prints the state; the exit code says what does not run.
pub async fn run(cx: &Context) -> Result<u8> {
    let profile = machine::profile(cx)?;
    let files = cx.world.files(&cx.name);
    let state = machine::state_of(&files, &profile).await;
    let others = others(cx, &profile).await;
    let mut code = 0;
    let mut clock = None;
    let mut seen = Seen {
        api: None,
        nodes: Vec::new(),
        trouble: None,
    };
    if state.is_running() {
        if let Some(access) = kubeconfig::read_alone(&files.kubeconfig(), cx.name.as_str())? {
            seen.api = Some(access.server.clone());
            let cluster = Cluster::new(&access)?;
            match tokio::time::timeout(DEADLINE, look(&cluster)).await {
                Ok(Ok(nodes)) => seen.nodes = nodes,
                Ok(Err(e)) => seen.trouble = Some(e.why.unwrap_or(e.what)),
                Err(_) => seen.trouble = Some(format!("no answer within {} s", DEADLINE.as_secs())),
            }
            let is_ours = profile.server.is_none();
            if is_ours && seen.trouble.is_none() && clock::seems_off(&cluster).await {
                clock = clock_put_right(cx).await;
            }
        } else {
            seen.trouble = Some("the first start has not finished".into());
        }
        if seen.trouble.is_some() {
            code |= API | NODE;
        } else if !seen.nodes.iter().any(|n| n.ready) || others.iter().any(|o| !seen.has(o)) {
            code |= NODE;
        }
        if others.iter().any(|other| !other.state.is_running()) {
            code |= MACHINE;
        }
    } else {
        code = MACHINE | API | NODE;
    }
    let told = match state.is_running() {
        true => keeper::ask(&files.keeper(), Ask::Hello, GLANCE).await.ok(),
        false => None,
    };
    let story = clock::Story::read(&files).with_keeper(told.as_ref());
    let tunnel = line::background_status(cx).await;
    let up = state
        .since()
        .and_then(|since| SystemTime::now().duration_since(UNIX_EPOCH + since).ok());
    if cx.ui.json() {
        cx.ui.object(&json!({
            "name": cx.name.as_str(), "machine": state.word(), "reason": state.reason(),
            "cpus": profile.spec.cpus, "memoryMiB": profile.spec.memory_mib,
            "accelerator": profile.accelerator, "upSeconds": up.map(|u| u.as_secs()), "clock": story, "clockNow": clock,
            "api": {"server": seen.api, "answers": code & API == 0, "reason": seen.trouble},
            "nodes": seen.nodes.iter().map(|n| json!({
                "name": n.name, "ready": n.ready, "pods": n.pods, "podCIDR": n.pod_cidr})).collect::<Vec<_>>(),
            "machines": others.iter().map(|o| json!({
                "name": o.node.name, "machine": o.state.word(), "reason": o.state.reason(),
            })).collect::<Vec<_>>(),
            "tunnel": tunnel.as_ref().map(|t| json!({
                "port": t.port, "pid": t.pid, "connections": t.open, "total": t.total,
                "doors": t.doors.forwards.iter().map(event::object).collect::<Vec<_>>(),
                "docker": t.doors.docker})),
            "context": cx.name.as_str(), "exitCode": code,
        }));
        return Ok(code);
    }
    let size = format!(
        "{} cores · {}",
        profile.spec.cpus,
        ui::mib(profile.spec.memory_mib)
    );
    // A start says it only when it tried the accelerator.
    let is_emulated = profile.accelerator.as_deref() == Some(Accel::Tcg.name());
    let how = if is_emulated && state.has_process() {
        " · emulated"
    } else {
        ""
    };
    let up = up.filter(|_| state.has_process());
    let slept = story
        .told()
        .map_or(String::new(), |told| format!(" ({told})"));
    let up = up.map_or(String::new(), |u| {
        format!(" · up {}{slept}", ui::duration(u))
    });
    cx.ui
        .line(format!("{}   {}   {size}{how}{up}", cx.name, state.word()));
    if let Some(reason) = state.reason() {
        cx.ui.line(format!("  why     {reason}"));
    }
    if let Some(clock) = clock {
        cx.ui.line(format!("  clock   {clock}"));
    }
    for other in others.iter().filter(|other| !other.state.is_running()) {
        let (name, word) = (&other.node.name, other.state.word());
        let why = other.state.reason().unwrap_or_default();
        cx.ui
            .line(format!("  machine {name:<12} {word:<9} {why}").trim_end());
    }
    for n in &seen.nodes {
        let ready = if n.ready { "Ready" } else { "NotReady" };
        cx.ui.line(format!(
            "  node    {:<12} {ready:<9} {:<10} {}",
            n.name,
            ui::count(n.pods, "pod"),
            n.pod_cidr
        ));
    }
    match (&seen.api, &seen.trouble) {
        (Some(server), None) => cx.ui.line(format!(
            "  api     {server}       kubectl context {}",
            cx.name
        )),
        (_, Some(trouble)) => cx.ui.line(format!("  api     does not answer: {trouble}")),
        (None, None) => {}
    }
    if let Some(t) = tunnel {
        cx.ui.line(format!(
            "  tunnel  SOCKS 127.0.0.1:{} · {} connections{}",
            t.port,
            t.open,
            some_doors(&t.doors.forwards)
        ));
    }
    if code != 0 {
        let off = others.iter().find(|other| !other.state.is_running());
        let next = match off {
            _ if state.is_paused() => machine::again(cx, "unpause"),
            _ if !state.is_running() => machine::again(cx, "start"),
            Some(other) if other.state.is_paused() => machine::again(cx, "unpause"),
            Some(other) if seen.trouble.is_none() => other.node.start_command(cx),
            _ => machine::again(cx, "logs"),
        };
        cx.ui.line(format!("  next: {next}"));
    }
    Ok(code)
}

async fn others(cx: &Context, profile: &Profile) -> Vec<Other> {
    let files = cx.world.files(&cx.name);
    let mut others = Vec::new();
    for node in nodes::workers(profile) {
        let state = machine::state_of_node(&files, profile, &node).await;
        others.push(Other { node, state });
    }
    others
}

/// What came of putting the machine's clock right, in words.
async fn clock_put_right(cx: &Context) -> Option<String> {
    let act = async {
        let tunnel = line::connect(cx).await?;
        let told = clock::right(cx, &Node::first(cx.name.as_str()), &tunnel).await;
        tunnel.close().await;
        told
    };
    match tokio::time::timeout(DEADLINE, act).await {
        Ok(Ok(told)) => told,
        Ok(Err(e)) => Some(e.what),
        Err(_) => Some("it is off, and the machine does not answer in time".into()),
    }
}

/// The first doors, as many as a line takes; `cadet tunnel --status` lists all.
fn some_doors(doors: &[ForwardStatus]) -> String {
    const SHOWN: usize = 2;
    let shown = doors.iter().take(SHOWN);
    let mut text: String = shown.map(|d| format!(" · {}", event::words(d))).collect();
    if doors.len() > SHOWN {
        text.push_str(&format!(" · {} more", doors.len() - SHOWN));
    }
    text
}

async fn look(cluster: &Cluster) -> Result<Vec<NodeSeen>> {
    let nodes = cluster.get("/api/v1/nodes").await?;
    let pods = cluster.get("/api/v1/pods").await?;
    let on = |name: &str| {
        let rows = pods["items"].as_array();
        rows.map_or(0, |rows| {
            rows.iter()
                .filter(|p| p["spec"]["nodeName"] == name)
                .count()
        })
    };
    let text = |v: &Value| v.as_str().unwrap_or_default().to_string();
    Ok(nodes["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|node| {
            let name = text(&node["metadata"]["name"]);
            NodeSeen {
                ready: cluster::is_ready(node),
                pods: on(&name),
                pod_cidr: text(&node["spec"]["podCIDR"]),
                name,
            }
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_two_doors_and_counts_the_rest() {
        let door = |port: u16| ForwardStatus {
            local: ([127, 0, 0, 1], port).into(),
            host: "10.96.0.7".into(),
            port,
            service: "default/web".into(),
            wanted: port,
            why: None,
        };
        assert_eq!(some_doors(&[]), "");
        let doors: Vec<_> = (6000..6004).map(door).collect();
        assert_eq!(some_doors(&doors[..1]), " · localhost:6000 → default/web");
        assert_eq!(
            some_doors(&doors),
            " · localhost:6000 → default/web · localhost:6001 → default/web · 2 more"
        );
    }
}
