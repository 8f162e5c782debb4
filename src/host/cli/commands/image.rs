//! `cadet image`: the base images machines are made from, and the images in the cluster.

use std::path::{Path, PathBuf};

use cadet_image::Cache;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::Context;
use crate::cluster_images::{self, BuildFlags};
use crate::error::{CliError, Result};
use crate::{images, line, machine, users};

/// Flags of `cadet image`.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Two kinds of images: base images, which machines are made from, and the images in the\ncluster, which pods run. `load`, `save`, `prune`, `build -t` and `--cluster` are about the\nsecond kind; `pull` is about the kind its name is of.\n\nExamples:\n  cadet image list                        base images\n  cadet image build -t hello:1 ./hello    an image pods can run, built in the machine\n  cadet image load hello.tar              the same from `docker save`\n  cadet image list --cluster"
)]
pub struct ImageArgs {
    #[command(subcommand)]
    command: ImageCommand,
}

/// What to do with images.
#[derive(Debug, Subcommand)]
enum ImageCommand {
    /// Show the base images and which are prepared; with --cluster, the cluster's images
    #[command(visible_alias = "ls")]
    #[command(
        after_help = "Examples:\n  cadet image list\n  cadet image list --cluster      what pods find there without a network"
    )]
    List {
        /// Show the images in the cluster
        #[arg(long)]
        cluster: bool,
    },
    /// Make a base image now; with --tag, build an image in the cluster from a folder
    #[command(
        after_help = "Examples:\n  cadet image build                 the Debian guest, from packages\n  cadet image build ubuntu-24.04    fetch Ubuntu and install Docker once\n  cadet image build -t hello:1 .    an image pods can run, from the Dockerfile here;\n                                    use it with imagePullPolicy Never or IfNotPresent"
    )]
    Build(BuildArgs),
    /// Fetch an image into the cluster from its registry; or a base image onto this computer
    #[command(
        after_help = "Examples:\n  cadet image pull nginx:1.29        pods find it there, also without a network\n  cadet image pull ubuntu-24.04      a name of `cadet image list` is a base image"
    )]
    Pull {
        /// Name of an image, or in the catalogue
        name: String,
    },
    /// Write an image of the cluster into an archive on this computer
    #[command(
        after_help = "Examples:\n  cadet image save hello:1                 as hello_1.tar\n  cadet image save hello:1 -f backup.tar   `cadet image load backup.tar` brings it back"
    )]
    Save {
        /// Name of the image in the cluster
        name: String,
        /// The archive [default: named like the image, in this folder]
        #[arg(short, long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Remove what no image of the cluster is made of any more; with --all, unused images
    #[command(
        after_help = "Examples:\n  cadet image prune\n  cadet image prune --all      also images no container uses, those of lessons included"
    )]
    Prune {
        /// Every image no container uses
        #[arg(long)]
        all: bool,
    },
    /// Bring an image of this computer into the cluster
    #[command(
        after_help = "Examples:\n  cadet image load hello.tar     an archive from `docker save`, compressed or not\n  cadet image load hello:1       an image of this computer's own Docker"
    )]
    Load {
        /// An archive, or a name this computer's Docker knows
        #[arg(value_name = "FILE|NAME", value_hint = clap::ValueHint::AnyPath)]
        what: String,
    },
    /// Put the container images of lessons into the running cluster, for instance before a journey
    #[command(
        after_help = "Examples:\n  cadet image lesson                all of them\n  cadet image lesson nginx python   those of these names"
    )]
    Lesson {
        /// Names as in lessons: hello, nginx, python … [default: all]
        names: Vec<String>,
    },
    /// Read a prepared base image and compare its checksums
    #[command(after_help = "Example:\n  cadet image verify debian-13")]
    Verify {
        /// Name in the catalogue
        name: String,
    },
    /// Remove a base image no profile's disk lies on; with --cluster, one of the cluster
    #[command(
        after_help = "Examples:\n  cadet image rm ubuntu-24.04\n  cadet image rm --cluster hello:1"
    )]
    Rm {
        /// Name in the catalogue, or of an image in the cluster
        name: String,
        /// Remove it from the cluster
        #[arg(long)]
        cluster: bool,
    },
}

/// Flags of `cadet image build`.
#[derive(Debug, Args)]
struct BuildArgs {
    /// Base image in the catalogue [default: the guest built from packages]; with --tag,
    /// the folder to build from [default: this one]
    #[arg(value_name = "NAME|FOLDER", value_hint = clap::ValueHint::DirPath)]
    what: Option<String>,
    /// Build an image of this name in the cluster
    #[arg(short, long, value_name = "NAME")]
    tag: Option<String>,
    /// Dockerfile in the folder, if it has another name
    #[arg(short, long, requires = "tag", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Value of an ARG in the Dockerfile; can be given more than once
    #[arg(long, requires = "tag", value_name = "NAME=VALUE")]
    build_arg: Vec<String>,
    /// Build every layer anew
    #[arg(long, requires = "tag")]
    no_cache: bool,
}

/// Does it.
pub async fn run(cx: &Context, args: ImageArgs) -> Result<u8> {
    match args.command {
        ImageCommand::List { cluster: false } => list(cx),
        ImageCommand::List { cluster: true } => cluster_images::list(cx).await.map(|()| 0),
        ImageCommand::Build(args) => match &args.tag {
            Some(tag) => build_in_cluster(cx, tag, &args).await,
            None => build(cx, args.what).await,
        },
        ImageCommand::Pull { name } => {
            if images::known(cx, &name).is_ok() {
                return build(cx, Some(name)).await;
            }
            cluster_images::pull(cx, &name).await.map(|()| 0)
        }
        ImageCommand::Save { name, file } => {
            cluster_images::save(cx, &name, file).await.map(|()| 0)
        }
        ImageCommand::Prune { all } => cluster_images::prune(cx, all).await.map(|()| 0),
        ImageCommand::Load { what } => cluster_images::load(cx, &what).await.map(|()| 0),
        ImageCommand::Lesson { names } => lesson(cx, names).await,
        ImageCommand::Verify { name } => verify(cx, &name),
        ImageCommand::Rm {
            name,
            cluster: false,
        } => remove(cx, &name),
        ImageCommand::Rm {
            name,
            cluster: true,
        } => cluster_images::remove(cx, &name).await.map(|()| 0),
    }
}

async fn build_in_cluster(cx: &Context, tag: &str, args: &BuildArgs) -> Result<u8> {
    let folder = Path::new(args.what.as_deref().unwrap_or("."));
    let flags = BuildFlags {
        tag,
        dockerfile: args.file.as_deref(),
        arguments: &args.build_arg,
        no_cache: args.no_cache,
    };
    cluster_images::build(cx, folder, &flags).await?;
    Ok(0)
}

/// Says what was meant by a folder without a name for the image.
fn not_a_folder(cx: &Context, name: &str) -> Result<()> {
    let known = images::known(cx, name);
    if known.is_err() && Path::new(name).is_dir() {
        return Err(CliError::new(
            "PROGRAM_USAGE",
            format!("{name} is a folder, and the image to be built from it has no name"),
        )
        .why("without --tag, `image build` makes base images, and there is none of that name")
        .fix(machine::again(cx, &format!("image build -t NAME {name}"))));
    }
    known
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
            Some(cache) => images::find(cx, cache, &catalog, name)?,
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
    not_a_folder(cx, &name)?;
    cx.ui.step_started("image", 1, 1);
    let there = {
        let cache = Cache::open(&cx.world.home.images())?;
        images::find(cx, &cache, &catalog, &name)?
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

async fn lesson(cx: &Context, names: Vec<String>) -> Result<u8> {
    let names = if names.is_empty() {
        images::lessons::sets()?.into_keys().collect()
    } else {
        names
    };
    cx.ui.step_started("images", 1, 1);
    let session = line::connect(cx).await?;
    let told = images::lesson_images(&session, &names, &|text| cx.ui.progress(text, None)).await;
    session.close().await;
    // What stands in for what is the same on every node.
    let instead = told?;
    for (node, session) in line::connect_others(cx).await? {
        let say = |text: &str| cx.ui.progress(&format!("{}: {text}", node.name), None);
        let told = images::lesson_images(&session, &names, &say).await;
        session.close().await;
        told?;
    }
    cx.ui.step_done(&names.join(", "), None);
    for sentence in &instead {
        cx.ui.warn("image", sentence);
    }
    if cx.ui.json() {
        cx.ui
            .object(&json!({"type": "done", "images": names, "instead": instead}));
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
    let files = base.manifest.files.len();
    if cx.ui.json() {
        let bytes = base.size();
        cx.ui
            .object(&json!({"type": "done", "whole": name, "files": files, "bytes": bytes}));
    } else {
        let size = base.size() / 1_000_000;
        cx.ui
            .line(format!("{name} is whole: {files} files, {size} MB."));
    }
    Ok(0)
}

fn remove(cx: &Context, name: &str) -> Result<u8> {
    images::known(cx, name)?;
    let arch = images::arch()?;
    let prefix = format!("{name}-{arch}-");
    let is_its = |disk: &Path| {
        let id = disk.parent().and_then(Path::file_name);
        id.is_some_and(|id| id.to_string_lossy().starts_with(&prefix))
    };
    users::nobody_on(cx, name, is_its)?;
    let freed = Cache::open(&cx.world.home.images())?.remove(name, arch)?;
    if cx.ui.json() {
        cx.ui
            .object(&json!({"type": "done", "removed": name, "bytes": freed}));
    } else {
        cx.ui
            .line(format!("Removed {name}: {} MB freed.", freed / 1_000_000));
    }
    Ok(0)
}
