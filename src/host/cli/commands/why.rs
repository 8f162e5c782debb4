//! `cadet why`: the cause of an object's fault, with the evidence and the next command.

use std::io::IsTerminal as _;

use cadet_why::{BadTarget, Kind, Target};
use clap::Args;

use crate::Context;
use crate::error::{CliError, Result};
use crate::reach::Reach;
use crate::why::{fetch, say};

/// Flags of `cadet why`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cadet why pod/web\n  cadet why deployment web -n shop\n  cadet why svc/web -o json | jq -r .cause\n\nKinds: pod, deployment, replicaset, rc, statefulset, daemonset, job, cronjob,\nservice, ingress, pvc, node, hpa, and their short names.\n\nIt only looks; to see whether anybody listens behind a Service, it asks one of\nthe pods for a page."
)]
pub struct WhyArgs {
    /// KIND/NAME or KIND NAME; a bare NAME is a pod
    #[arg(required = true, num_args = 1..=2, value_name = "KIND/NAME")]
    object: Vec<String>,
    #[command(flatten)]
    reach: Reach,
}

/// Explains it.
pub async fn run(cx: &Context, args: WhyArgs) -> Result<u8> {
    // Words are read before anything is opened.
    let named = Target::parse(&args.object, "").map_err(|e| misread(&e))?;
    let reached = args.reach.open(cx)?;
    let target = Target::new(named.kind, &reached.namespace, &named.name);
    let facts = fetch::facts(reached.cluster, target).await?;
    let answer = cadet_why::explain(&facts).ok_or_else(|| {
        CliError::new("CLUSTER_NOT_FOUND", format!("there is no {}", facts.target))
    })?;
    if cx.ui.json() {
        cx.ui.object(&say::object(&facts.target, &answer));
        return Ok(0);
    }
    let width = match std::io::stdout().is_terminal() {
        true => usize::from(console::Term::stdout().size().1).max(40),
        // Whoever reads it from a pipe looks for words, which a fold would part.
        false => usize::MAX,
    };
    for line in say::lines(&answer, width) {
        cx.ui.line(line);
    }
    Ok(0)
}

fn misread(error: &BadTarget) -> CliError {
    let kinds: Vec<&str> = Kind::askable().collect();
    CliError::new("PROGRAM_USAGE", error.to_string())
        .why(format!("kinds are {}", kinds.join(", ")))
        .fix("cadet why pod/NAME")
}
