//! `cadet mirror`: the laptop's cache of container images.

use cadet_state::Settings;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::error::Result;
use crate::{Context, line, machine, mirror, servers};

/// Flags of `cadet mirror`.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "While it is on, machines pull images of Docker Hub through this computer: each comes over\nthe internet once, for all profiles, survives `cadet delete`, and is there offline. Tags are\nasked for again after ten minutes, which Docker Hub does not count as a pull.\n\nExamples:\n  cadet mirror on\n  cadet image pull nginx:1.29      kept from now on\n  cadet mirror status\n  cadet mirror clear               forgets all that was kept"
)]
pub struct MirrorArgs {
    #[command(subcommand)]
    command: MirrorCommand,
}

/// What to do with the cache.
#[derive(Debug, Subcommand)]
enum MirrorCommand {
    /// Show whether it is on, and what it keeps
    #[command(after_help = "Examples:\n  cadet mirror status\n  cadet mirror status -o json")]
    Status,
    /// Use it, now and at every start
    #[command(after_help = "Example:\n  cadet mirror on")]
    On,
    /// Do without it; what is kept stays
    #[command(after_help = "Example:\n  cadet mirror off")]
    Off,
    /// Remove what is kept
    #[command(after_help = "Example:\n  cadet mirror clear")]
    Clear,
    /// Serve it here, until Ctrl-C or until no machine is left
    #[command(hide = true)]
    #[command(after_help = "Example:\n  cadet mirror serve")]
    Serve,
}

/// Does it.
pub async fn run(cx: &Context, args: MirrorArgs) -> Result<u8> {
    match args.command {
        MirrorCommand::Status => status(cx).await?,
        MirrorCommand::On => switch(cx, true).await?,
        MirrorCommand::Off => switch(cx, false).await?,
        MirrorCommand::Clear => clear(cx).await?,
        MirrorCommand::Serve => mirror::serve(cx).await?,
    }
    Ok(0)
}

async fn status(cx: &Context) -> Result<()> {
    let is_on = Settings::read(&cx.world.home)?.mirror;
    let running = mirror::running(cx).await;
    if cx.ui.json() {
        let counts = running.as_ref().map(|r| &r.counts);
        let port = running.as_ref().map(|r| r.port);
        cx.ui.object(&json!({
            "on": is_on, "running": running.is_some(), "port": port, "counts": counts,
            "folder": cx.world.home.registry(),
        }));
        return Ok(());
    }
    let on = if is_on { "on" } else { "off" };
    let Some(running) = running else {
        cx.ui.line(format!(
            "mirror  {on}, not running: it comes with the next start\n  next: {}",
            if is_on {
                "cadet start"
            } else {
                "cadet mirror on"
            }
        ));
        return Ok(());
    };
    let (counts, kept) = (&running.counts, running.counts.kept);
    cx.ui.line(format!(
        "mirror  {on}, on 127.0.0.1:{} · process {}",
        running.port, counts.pid
    ));
    cx.ui.line(format!(
        "  kept    {} images, {} layers, {} MB in {}",
        kept.images,
        kept.blobs,
        kept.bytes / 1_000_000,
        cx.world.home.registry().display()
    ));
    cx.ui.line(format!(
        "  asked   {} answers from here, {} from the registry, {} while it did not answer",
        counts.hits, counts.misses, counts.stale
    ));
    Ok(())
}

async fn switch(cx: &Context, on: bool) -> Result<()> {
    Settings::change(&cx.world.home, |s| s.mirror = on)?;
    // A machine that runs is told now, others at their start.
    // A server reaches no port of this computer.
    let runs = !servers::are_used(cx) && machine::running(cx).await.is_ok();
    if runs {
        let port = match on {
            true => Some(mirror::ensure(cx).await?),
            false => None,
        };
        for (_, tunnel) in line::connect_all(cx, None).await? {
            mirror::offer(&tunnel, port).await?;
            tunnel.close().await;
        }
    }
    if !on {
        mirror::stop(cx).await?;
    }
    if cx.ui.json() {
        cx.ui
            .object(&json!({"type": "done", "mirror": on, "now": runs}));
        return Ok(());
    }
    cx.ui.line(match (on, runs) {
        (true, true) => "Images of Docker Hub come through this computer from now on.",
        (true, false) => "Images of Docker Hub come through this computer from the next start on.",
        (false, _) => "Machines ask Docker Hub themselves again; what is kept stays.",
    });
    Ok(())
}

async fn clear(cx: &Context) -> Result<()> {
    let was_running = mirror::stop(cx).await?;
    machine::remove_dir(&cx.world.home.registry())?;
    if was_running {
        mirror::ensure(cx).await?;
    }
    if cx.ui.json() {
        cx.ui.object(&json!({"type": "done", "cleared": true}));
    } else {
        cx.ui.line("Nothing is kept any more.");
    }
    Ok(())
}
