//! `cadet class bundle`: everything a learner needs for some lessons, in one signed file.

use std::path::{Path, PathBuf};

use cadet_bundle::manifest::LONGEST_TITLE;
use cadet_bundle::{Place, Plan, Platform, Source, TeacherKey, Written};
use cadet_image::catalog::Image;
use cadet_image::{Arch, Base, Cache, Progress, cache, fetch};
use cadet_tutorial::Folder;
use clap::Args;
use serde_json::json;

use super::work;
use crate::error::{CliError, Result};
use crate::images::contexts;
use crate::lessons::library;
use crate::{Context, args, images, machine, programs};

/// Steps that are shown.
const STEPS: usize = 4;
/// Begins programs of Linux (ELF), macOS (Mach-O, also for two processors) and Windows (PE).
const PROGRAMS: [&[u8]; 4] = [b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"MZ"];

/// Flags of `cadet class bundle`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cadet class bundle telescope telescope-heals telescope-service\n  cadet class bundle --all --title \"Kubernetes on Tuesday\" --out /stick/tuesday.cadet\n  cadet class bundle telescope --split             parts that fit on a FAT32 stick\n  cadet class bundle telescope --arch amd64,arm64 --programs ./release\n\nThe folder of --programs has one folder per platform: linux-amd64, linux-arm64,\nmacos-arm64 and so on, each with cadet and kubectl; those of Linux also with cadet-node,\ntelescope, mongod and hello, which run in the machines of that processor."
)]
pub struct BundleArgs {
    /// Lessons: names, numbers or folders, in the order they are taught
    #[arg(value_name = "LESSON", required_unless_present = "all")]
    lessons: Vec<String>,
    /// Take all lessons
    #[arg(long, conflicts_with = "lessons")]
    all: bool,
    /// What the class is called
    #[arg(long, default_value = "Cadet class")]
    title: String,
    /// File to write
    #[arg(long, value_name = "FILE", default_value = "class.cadet")]
    out: PathBuf,
    /// Base image of the machines [default: the guest built from packages, which has all that
    /// lesson images are built from]
    #[arg(long, value_name = "NAME")]
    image: Option<String>,
    /// Processors of the learners' computers: amd64, arm64 [default: this computer's]
    #[arg(long, value_name = "ARCH", value_delimiter = ',', value_parser = ["amd64", "arm64"])]
    arch: Vec<String>,
    /// Folder with programs for other platforms than this computer's
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// kubectl for this platform [default: the one on your PATH]
    #[arg(long, value_name = "FILE")]
    kubectl: Option<PathBuf>,
    /// Write parts of at most SIZE, by default what fits on a FAT32 stick
    #[arg(
        long,
        value_name = "SIZE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "4095m",
        value_parser = args::size_mib
    )]
    split: Option<u64>,
}

/// Makes it.
pub async fn run(cx: &Context, args: BundleArgs) -> Result<u8> {
    let limit = limit(args.split)?;
    titled(&args.title)?;
    let chosen = lessons(cx, &args)?;
    let arches = arches(&args)?;
    let catalog = images::catalog(cx)?;
    let image = args.image.clone().unwrap_or(catalog.fallback);
    cadet_bundle::parts::free(&args.out)?;
    let key = TeacherKey::load_or_make(&key_file(cx)?)?;
    let folder = cx.world.home.class_work();
    machine::private_dir(&folder)?;
    let sink = |progress: Progress| {
        if let Progress::Phase(text) = progress {
            cx.ui.progress(&text, None);
        }
    };
    let _lock = fetch::lock(&folder.join("bundle.lock"), &sink).await?;
    let scratch = Scratch::new(folder.join("bundle"))?;

    let mut sources = Vec::new();
    cx.ui.step_started("image", 1, STEPS);
    for arch in &arches {
        base(&base_image(cx, &image, *arch).await?, &mut sources);
    }
    cx.ui.step_done(&told_image(cx, &image)?, None);

    cx.ui.step_started("programs", 2, STEPS);
    let platforms = gather(cx, &args, &arches, &mut sources)?;
    cx.ui.step_done(&platforms.join(", "), None);

    cx.ui.step_started("lessons", 3, STEPS);
    for folder in &chosen {
        sources.push(pack(folder, &scratch.path)?);
    }
    let names: Vec<String> = chosen.iter().map(|f| f.lesson_name().to_owned()).collect();
    cx.ui.step_done(&super::listed(&names), None);

    cx.ui.step_started("bundle", 4, STEPS);
    let plan = Plan {
        class: args.title,
        cadet: env!("CARGO_PKG_VERSION").into(),
        image,
        lessons: names,
        sources,
    };
    let (place, out) = (scratch.path.clone(), args.out);
    let written = work::long(cx, move |told| {
        cadet_bundle::write(plan, &key, &place, &out, limit, told)
    })
    .await??;
    tell(cx, &written);
    Ok(0)
}

fn limit(split: Option<u64>) -> Result<Option<u64>> {
    let Some(mib) = split else { return Ok(None) };
    match mib.checked_mul(1 << 20) {
        Some(bytes) if bytes > 0 => Ok(Some(bytes)),
        _ => Err(
            CliError::new("PROGRAM_USAGE", "parts cannot have that size")
                .why("the smallest is 1m; a FAT32 stick takes 4095m")
                .fix("cadet class bundle --split …"),
        ),
    }
}

/// Checks the title before the work.
fn titled(title: &str) -> Result<()> {
    let length = title.chars().count();
    if (1..=LONGEST_TITLE).contains(&length) && !title.chars().any(char::is_control) {
        return Ok(());
    }
    Err(
        CliError::new("PROGRAM_USAGE", "a class cannot be called that")
            .why(format!(
                "1 to {LONGEST_TITLE} letters in one line can be a title"
            ))
            .fix("cadet class bundle --title \"Tuesday\" …"),
    )
}

fn arches(args: &BundleArgs) -> Result<Vec<Arch>> {
    let mut arches: Vec<Arch> = Vec::new();
    for name in &args.arch {
        arches.push(match name.as_str() {
            "arm64" => Arch::Arm64,
            _ => Arch::Amd64,
        });
    }
    if arches.is_empty() {
        arches.push(images::arch()?);
    }
    arches.sort();
    arches.dedup();
    Ok(arches)
}

fn key_file(cx: &Context) -> Result<PathBuf> {
    machine::private_dir(&cx.world.home.class())?;
    Ok(cx.world.home.teacher_key())
}

/// The chosen lessons, sound and each once.
fn lessons(cx: &Context, args: &BundleArgs) -> Result<Vec<Folder>> {
    let chosen = if args.all {
        library::folders(&cx.world)?
    } else {
        let found = args.lessons.iter();
        found
            .map(|name| library::find_folder(&cx.world, name))
            .collect::<Result<_>>()?
    };
    let mut once: Vec<Folder> = Vec::new();
    for folder in chosen {
        library::lesson(&folder)?;
        if !once.iter().any(|other| other.name == folder.name) {
            once.push(folder);
        }
    }
    Ok(once)
}

/// The prepared base; made now if it is for this computer's processor.
async fn base_image(cx: &Context, image: &str, arch: Arch) -> Result<Base> {
    let catalog = images::catalog(cx)?;
    catalog.get(image, arch)?;
    let store = Cache::open(&cx.world.home.images())?;
    let here = images::arch()? == arch;
    let found = if here {
        images::find(cx, &store, &catalog, image)?
    } else {
        images::find_for(&store, &catalog, image, arch)?
    };
    match found {
        Some(base) => Ok(base),
        None if here => images::ensure(cx, image).await,
        None => Err(CliError::new(
            "IMAGE_UNKNOWN",
            format!("there is no prepared image {image} for {arch} on this computer"),
        )
        .why(format!(
            "it is made on a computer with that processor: cadet image build {image}"
        ))
        .fix(format!(
            "copy it from there: the folder {image}-{arch}-… in {}",
            cx.world.home.images().join("bases").display()
        ))),
    }
}

fn base(base: &Base, sources: &mut Vec<Source>) {
    for name in [cache::DISK, cache::KERNEL, cache::INITRD, cache::MANIFEST] {
        sources.push(Source {
            place: Place::Base {
                arch: base.manifest.arch.to_string(),
                file: name.into(),
            },
            file: base.dir.join(name),
        });
    }
}

fn told_image(cx: &Context, name: &str) -> Result<String> {
    let catalog = images::catalog(cx)?;
    let image = catalog.get(name, images::arch()?)?;
    if matches!(image, Image::Download { .. }) {
        cx.ui.warn(
            "image",
            "this machine fetches the packages of nginx, busybox and python from a mirror; \
             without the internet lessons with them need the guest built from packages",
        );
    }
    Ok(images::describe(image))
}

/// Programs of this computer and of the folder; the platforms there are programs for.
fn gather(
    cx: &Context,
    args: &BundleArgs,
    arches: &[Arch],
    sources: &mut Vec<Source>,
) -> Result<Vec<String>> {
    let here = Platform::here();
    let mut platforms = Vec::new();
    for platform in Platform::all() {
        if !arches.iter().any(|arch| arch.name() == platform.arch()) {
            continue;
        }
        let programs = if platform == here {
            own(cx, args)?
        } else {
            match &args.programs {
                Some(dir) => foreign(cx, &dir.join(platform.to_string()), &platform)?,
                None => continue,
            }
        };
        if programs.is_empty() {
            continue;
        }
        for (program, file) in programs {
            let place = Place::Host {
                platform: platform.clone(),
                program: platform.program(program),
            };
            sources.push(Source { place, file });
        }
        platforms.push(platform.to_string());
    }
    for arch in arches {
        for program in guest_programs() {
            let file = if arch.name() == here.arch() {
                guest_program(cx, program)?
            } else {
                let dir = args.programs.as_deref().unwrap_or(Path::new("DIR"));
                needed(&dir.join(format!("linux-{arch}")).join(program), *arch)?
            };
            let place = Place::Guest {
                arch: arch.to_string(),
                program: program.into(),
            };
            sources.push(Source { place, file });
        }
    }
    Ok(platforms)
}

/// What runs in machines: the node's program, and those of lesson images.
fn guest_programs() -> impl Iterator<Item = &'static str> {
    std::iter::once("cadet-node").chain(contexts::programs())
}

fn guest_program(cx: &Context, name: &str) -> Result<PathBuf> {
    match name {
        "cadet-node" => programs::cadet_node(&cx.world),
        app => programs::lesson_app(&cx.world, app),
    }
}

fn needed(file: &Path, arch: Arch) -> Result<PathBuf> {
    if file.is_file() {
        return Ok(file.to_path_buf());
    }
    Err(CliError::new(
        "HOST_NODE_PROGRAM_MISSING",
        format!("{} is missing", file.display()),
    )
    .why(format!("machines with {arch} run it"))
    .fix("cadet class bundle --programs DIR …      with a folder for each platform"))
}

/// Programs of this computer.
fn own(cx: &Context, args: &BundleArgs) -> Result<Vec<(&'static str, PathBuf)>> {
    let cadet = std::env::current_exe().and_then(std::fs::canonicalize);
    let cadet = cadet.map_err(|e| machine::io("find", Path::new("cadet"), &e))?;
    let kubectl = match &args.kubectl {
        Some(file) => file.clone(),
        None => programs::kubectl(&cx.world),
    };
    Ok(vec![("cadet", cadet), ("kubectl", a_kubectl(&kubectl)?)])
}

/// The program itself, behind all links. A wrapper would find nothing to wrap elsewhere.
fn a_kubectl(file: &Path) -> Result<PathBuf> {
    let missing = |why: String| {
        CliError::new(
            "HOST_KUBECTL_MISSING",
            "there is no kubectl to put into the bundle",
        )
        .why(why)
        .fix("cadet class bundle --kubectl FILE …")
    };
    let real =
        std::fs::canonicalize(file).map_err(|e| missing(format!("{}: {e}", file.display())))?;
    let named = real.file_name().unwrap_or_default().to_string_lossy();
    if !named.starts_with("kubectl") {
        return Err(missing(format!(
            "{} is {}, which is more than kubectl",
            file.display(),
            real.display()
        )));
    }
    if !is_program(&real)? {
        return Err(missing(format!(
            "{} is no program but a script or a wrapper",
            real.display()
        )));
    }
    Ok(real)
}

fn is_program(file: &Path) -> Result<bool> {
    use std::io::Read;
    let mut first = Vec::new();
    let read = std::fs::File::open(file).and_then(|f| f.take(4).read_to_end(&mut first));
    read.map_err(|e| machine::io("read", file, &e))?;
    Ok(PROGRAMS.iter().any(|magic| first.starts_with(magic)))
}

/// Programs of another platform; none if its folder is not there.
fn foreign(cx: &Context, dir: &Path, platform: &Platform) -> Result<Vec<(&'static str, PathBuf)>> {
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let file = |name: &str| dir.join(platform.program(name));
    let cadet = file("cadet");
    if !cadet.is_file() {
        return Err(CliError::new(
            "HOST_NODE_PROGRAM_MISSING",
            format!("{} is missing", cadet.display()),
        )
        .why("the folder of a platform holds its cadet")
        .fix(format!("put it there, or remove {}", dir.display())));
    }
    let mut programs = vec![("cadet", cadet)];
    let kubectl = file("kubectl");
    if kubectl.is_file() {
        programs.push(("kubectl", kubectl));
    } else {
        let text = format!("there is none for {platform}; its learners need their own");
        cx.ui.warn("kubectl", &text);
    }
    Ok(programs)
}

fn pack(folder: &Folder, scratch: &Path) -> Result<Source> {
    let place = Place::Lesson {
        folder: folder.name.clone(),
    }
    .checked()?;
    let archive = cadet_bundle::lesson::pack(folder.lesson_name(), &folder.files)?;
    let file = scratch.join(format!("{}.tar", folder.name));
    std::fs::write(&file, archive).map_err(|e| machine::io("write", &file, &e))?;
    Ok(Source { place, file })
}

/// A folder for intermediate files, removed when dropped.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn new(path: PathBuf) -> Result<Self> {
        machine::remove_dir(&path)?;
        machine::private_dir(&path)?;
        Ok(Self { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next bundle.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn tell(cx: &Context, written: &Written) {
    let head = &written.head;
    let files: Vec<_> = written
        .files
        .iter()
        .map(|f| f.display().to_string())
        .collect();
    let key = head.key.fingerprint().to_string();
    let megabytes = head.total().div_ceil(1_000_000);
    let first = files.first().cloned().unwrap_or_default();
    let place = match files.len() {
        1 => first.clone(),
        n => format!("{n} parts, {first} and on"),
    };
    cx.ui.step_done(&format!("{megabytes} MB in {place}"), None);
    if cx.ui.json() {
        cx.ui.object(&json!({
            "type": "done", "files": files, "bytes": head.total(), "key": key,
            "lessons": head.manifest.lessons, "platforms": head.manifest.platforms()
                .iter().map(ToString::to_string).collect::<Vec<_>>(),
        }));
        return;
    }
    cx.ui.line(format!("It is signed with your key, {key}."));
    cx.ui.line(format!(
        "  next: cadet class install {first}      on a learner's computer"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_a_size() {
        assert_eq!(limit(None).unwrap(), None);
        assert_eq!(limit(Some(4095)).unwrap(), Some(cadet_bundle::parts::FAT32));
        for bad in [0, u64::MAX] {
            assert_eq!(limit(Some(bad)).unwrap_err().topic.id, "PROGRAM_USAGE");
        }
    }

    #[test]
    fn a_wrapper_is_no_kubectl() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let real = file("kubectl-1.36", "\u{7f}ELF and so on");
        assert_eq!(a_kubectl(&real).unwrap(), real.canonicalize().unwrap());
        for bad in [
            file("kubectl", "#!/bin/sh\nexec minikube kubectl\n"),
            file("snap", "\u{7f}ELF"),
            dir.path().join("none"),
        ] {
            let refused = a_kubectl(&bad).unwrap_err();
            assert_eq!(
                refused.topic.id,
                "HOST_KUBECTL_MISSING",
                "{}",
                bad.display()
            );
        }
    }

    #[test]
    fn machines_need_their_programs() {
        let names: Vec<_> = guest_programs().collect();
        assert_eq!(names, ["cadet-node", "telescope", "mongod", "hello"]);
    }
}
