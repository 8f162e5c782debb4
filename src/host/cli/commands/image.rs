//! `cadet image`: list, make and remove base images.

use cadet_image::Cache;
use cadet_state::Store;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::Context;
use crate::error::{CliError, Result};
use crate::images;

/// Flags of `cadet image`.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct ImageArgs {
    #[command(subcommand)]
    command: ImageCommand,
}

/// What to do with images.
#[derive(Debug, Subcommand)]
enum ImageCommand {
    /// Show the catalogue and what is prepared on this computer
    #[command(visible_alias = "ls")]
    List,
    /// Make a base image now: fetch and prepare it, or build it from packages
    #[command(
        visible_alias = "pull",
        after_help = "Examples:\n  cadet image build                 the Debian guest, from packages\n  cadet image build ubuntu-24.04    fetch Ubuntu and install Docker once"
    )]
    Build {
        /// Name in the catalogue [default: the guest built from packages]
        name: Option<String>,
    },
    /// Read a prepared image and compare its checksums
    Verify {
        /// Name in the catalogue
        name: String,
    },
    /// Remove a prepared image; refused while a profile's disk lies on it
    Rm {
        /// Name in the catalogue
        name: String,
    },
}

/// Does it.
pub async fn run(cx: &Context, args: ImageArgs) -> Result<u8> {
    match args.command {
        ImageCommand::List => list(cx),
        ImageCommand::Build { name } => build(cx, name).await,
        ImageCommand::Verify { name } => verify(cx, &name),
        ImageCommand::Rm { name } => remove(cx, &name),
    }
}

fn list(cx: &Context) -> Result<u8> {
    let catalog = images::catalog(cx)?;
    let arch = images::arch()?;
    let cache = cx.world.home.images();
    let cache = if cache.is_dir() {
        Some(Cache::open(&cache)?)
    } else {
        None
    };
    if !cx.ui.json() {
        cx.ui.line(format!(
            "{:<14} {:<10} {:>8}  TITLE",
            "NAME", "PREPARED", "SIZE"
        ));
    }
    for (name, image) in &catalog.images {
        if !image.has(arch) {
            continue;
        }
        let current = match &cache {
            Some(cache) => images::find(cache, &catalog, name)?,
            None => None,
        };
        let any = match &cache {
            Some(cache) => cache.find(name, arch, None)?,
            None => None,
        };
        let state = match (&current, &any) {
            (Some(_), _) => "yes",
            (None, Some(_)) => "outdated",
            (None, None) => "no",
        };
        let size = current.or(any).map(|b| b.size());
        if cx.ui.json() {
            cx.ui.object(
                &json!({"name": name, "title": image.title(), "prepared": state, "bytes": size}),
            );
        } else {
            let size = size.map_or("-".into(), |s| format!("{} MB", s / 1_000_000));
            cx.ui.line(format!(
                "{name:<14} {state:<10} {size:>8}  {}",
                images::describe(image)
            ));
        }
    }
    Ok(0)
}

async fn build(cx: &Context, name: Option<String>) -> Result<u8> {
    let catalog = images::catalog(cx)?;
    let name = name.unwrap_or_else(|| catalog.fallback.clone());
    images::known(cx, &name)?;
    cx.ui.step_started("image", 1, 1);
    let there = {
        let cache = Cache::open(&cx.world.home.images())?;
        images::find(&cache, &catalog, &name)?
    };
    let cached = there.is_some();
    let base = match there {
        Some(base) => base,
        None => images::ensure(cx, &name).await?,
    };
    let title = images::describe(catalog.get(&name, images::arch()?)?);
    cx.ui.step_done(
        &format!("{title}, {} MB", base.size() / 1_000_000),
        cached.then_some("cached"),
    );
    if cx.ui.json() {
        cx.ui.object(&json!({"type": "done", "image": name, "dir": base.dir, "bytes": base.size(), "versions": base.manifest.versions}));
    }
    Ok(0)
}

fn verify(cx: &Context, name: &str) -> Result<u8> {
    images::known(cx, name)?;
    let cache = Cache::open(&cx.world.home.images())?;
    let base = cache.find(name, images::arch()?, None)?.ok_or_else(|| {
        CliError::new(
            "IMAGE_UNKNOWN",
            format!("{name} is not prepared on this computer"),
        )
        .fix(format!("cadet image build {name}"))
    })?;
    base.verify()?;
    cx.ui.line(format!(
        "{name} is whole: {} files, {} MB.",
        base.manifest.files.len(),
        base.size() / 1_000_000
    ));
    Ok(0)
}

fn remove(cx: &Context, name: &str) -> Result<u8> {
    images::known(cx, name)?;
    let arch = images::arch()?;
    let prefix = format!("{name}-{arch}-");
    if cx.world.home.database().exists() {
        let users: Vec<_> = Store::open(&cx.world.home)?
            .list()?
            .into_iter()
            .filter(|p| {
                let workers = p.workers.iter().filter_map(|w| w.base.as_ref());
                let mut bases = p.base.iter().chain(workers);
                bases.any(|b| b.id.starts_with(&prefix))
            })
            .map(|p| p.name)
            .collect();
        if !users.is_empty() {
            return Err(
                CliError::new("HOST_PROFILE_BUSY", format!("{name} is in use"))
                    .why(format!(
                        "the disks of these profiles lie on it: {}",
                        users.join(", ")
                    ))
                    .fix(format!("cadet -p {} delete", users[0])),
            );
        }
    }
    let freed = Cache::open(&cx.world.home.images())?.remove(name, arch)?;
    cx.ui
        .line(format!("Removed {name}: {} MB freed.", freed / 1_000_000));
    Ok(0)
}
