//! `cadet port-forward`: ports of this computer that lead to a pod, a Service or a workload, by
//! its name, for as long as the command runs and whichever pods come and go.

use std::collections::BTreeSet;

use cadet_tunnel::Tunnel;
use cadet_tunnel::forward::Goal;
use clap::Args;
use serde_json::json;
use tokio::sync::{mpsc, watch};

use crate::cluster::Cluster;
use crate::doors::aim::{Lane, Plan, Target, Way, Wish};
use crate::doors::follow::{self, Change};
use crate::doors::listen::listen;
use crate::doors::place::Obstacle;
use crate::doors::pods::{self, Pods};
use crate::doors::work::Work;
use crate::error::{CliError, Result};
use crate::serve::leftover;
use crate::{Context, line, machine, reach};

/// Flags of `cadet port-forward`.
#[derive(Debug, Args)]
#[command(
    after_help = "Connections to a Service go to its own address; those to a Deployment, StatefulSet,\nReplicaSet or DaemonSet to one of its ready pods, and to another one when that goes. A port\nthat is taken or needs root is mapped to a free one.\n\nExamples:\n  cadet port-forward svc/web 8080:80\n  cadet port-forward deployment/web 8080:http     a port by its name\n  cadet port-forward pod/db-0 :5432               any free port here\n  cadet port-forward svc/web -n shop              all ports it has, at their own numbers"
)]
pub struct PortForwardArgs {
    /// KIND/NAME: pod, svc, deployment, sts, rs, ds; a bare NAME is a pod
    #[arg(value_name = "KIND/NAME")]
    target: String,
    /// Ports: 8080:80 here and there, 80 for both, :80 for any here [default: all it declares]
    #[arg(value_name = "[HERE:]THERE", value_parser = Wish::parse)]
    ports: Vec<Wish>,
    /// Namespace of the object
    #[arg(short, long, default_value = "default", value_name = "NAME")]
    namespace: String,
}

/// A lane at work, and the hand that aims it.
struct Open {
    lane: Lane,
    aim: watch::Sender<Option<Goal>>,
    work: Work,
}

/// Serves until Ctrl-C, or until the cluster is gone.
pub async fn run(cx: &Context, args: PortForwardArgs) -> Result<u8> {
    let target = Target::parse(&args.target, &args.namespace)?;
    let profile = machine::running(cx).await?;
    let find = || Cluster::new(&reach::credentials(cx)?);
    let object = find()?.get(&target.path()).await;
    let object =
        object.map_err(|e| e.fix(format!("kubectl get pods,svc -n {}", args.namespace)))?;
    let Plan { lanes, pods } = target.plan(&object, &args.ports)?;

    let tunnel = Tunnel::lazy(line::target(cx, &profile)?, line::tuning(cx, &profile));
    // The first answer shows whether the line works; later losses mend themselves.
    line::guest(&tunnel, "true").await?;
    let asked_for: BTreeSet<u16> = lanes.iter().map(|lane| lane.local).collect();
    let mut open = Vec::new();
    for lane in lanes {
        open.push(begin(cx, &target, lane, &tunnel, &asked_for).await?);
    }
    if !cx.ui.json() {
        cx.ui.line("Ctrl-C ends it.");
    }

    let following = async {
        let Some(path) = &pods else {
            return std::future::pending().await;
        };
        let (tell, changes) = mpsc::channel(64);
        let aiming = keep_aim(cx, &target, &open, changes);
        tokio::join!(follow::follow(find, &tunnel, path, tell), aiming);
    };
    let files = cx.world.files(&cx.name);
    let gone = tokio::select! {
        _ = crate::interrupted() => false,
        () = leftover::until_gone(&files, profile.created, &tunnel) => true,
        () = following => false,
    };
    for Open { work, .. } in open {
        work.end().await.map_err(|e| {
            CliError::new("PROGRAM_INTERNAL", "a listener broke").why(e.to_string())
        })?;
    }
    tunnel.close().await;
    if cx.ui.json() {
        cx.ui.object(&json!({"type": "done", "gone": gone}));
    } else {
        cx.ui.line(match gone {
            false => "The ports are closed.",
            true => "The ports are closed: their cluster is gone.",
        });
    }
    Ok(0)
}

/// Listens for one lane and tells where.
async fn begin(
    cx: &Context,
    target: &Target,
    lane: Lane,
    tunnel: &Tunnel,
    asked_for: &BTreeSet<u16>,
) -> Result<Open> {
    let known = match &lane.way {
        Way::Fixed(goal) => Some(goal.clone()),
        Way::Pod(_) => None,
    };
    let (aim, goal) = watch::channel(known);
    let (forward, why) = listen(tunnel, lane.local, asked_for, &goal, Obstacle::of).await?;
    let local = forward.local_addr();
    if cx.ui.json() {
        cx.ui.object(&json!({
            "type": "forward.opened", "target": target.to_string(), "local": local.to_string(),
            "port": lane.port, "wanted": lane.local, "why": why,
        }));
    } else {
        let why = why.map_or(String::new(), |why| format!(" ({why})"));
        cx.ui.line(format!(
            "localhost:{} → {target} port {}{why}",
            local.port(),
            lane.port
        ));
    }
    let work = Work::start(|ended| forward.run(ended));
    Ok(Open { lane, aim, work })
}

/// Has every lane lead to the pod that will do, and tells which it is.
async fn keep_aim(
    cx: &Context,
    target: &Target,
    open: &[Open],
    mut changes: mpsc::Receiver<Change>,
) {
    let mut pods = Pods::of(target);
    let mut told: Option<Option<String>> = None;
    while let Some(change) = changes.recv().await {
        if let Change::Away(why) = &change {
            cx.ui
                .warn("pods", &format!("{why}; ports lead where they led"));
            continue;
        }
        pods.take(change);
        // What came meanwhile is settled in one go.
        while let Ok(change) = changes.try_recv() {
            pods.take(change);
        }
        let chosen = pods.choose();
        for Open { lane, aim, .. } in open.iter().filter(|o| matches!(o.lane.way, Way::Pod(_))) {
            let goal = chosen.and_then(|(_, pod)| pods::goal(&lane.way, pod));
            aim.send_if_modified(|now| {
                let moves = *now != goal;
                *now = goal;
                moves
            });
        }
        let name = chosen.map(|(name, _)| name.to_owned());
        if told.as_ref() != Some(&name) {
            tell(cx, target, name.as_deref());
            told = Some(name);
        }
    }
}

fn tell(cx: &Context, target: &Target, pod: Option<&str>) {
    if cx.ui.json() {
        cx.ui
            .object(&json!({"type": "forward.aimed", "target": target.to_string(), "pod": pod}));
        return;
    }
    match pod {
        Some(pod) => cx.ui.line(format!("  {target} is pod/{pod} now")),
        None => cx.ui.warn(
            "pods",
            &format!("{target} has no pod that is ready; connections wait for one"),
        ),
    }
}
