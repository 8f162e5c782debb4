//! Images in the cluster: the Docker Engine of each of its machines, told through SSH sessions.

use std::path::Path;
use std::process::Stdio;

use cadet_tunnel::{Tunnel, exec};
use serde_json::{Value, json};
use tokio::io::AsyncRead;

use crate::build_context::BuildContext;
use crate::error::{CliError, Result};
use crate::nodes::{self, Node};
use crate::{Context, line, machine};

/// What `image load` is given.
#[derive(Debug, PartialEq, Eq)]
enum Source<'a> {
    /// An archive on this computer.
    Archive(&'a Path),
    /// An image of this computer's own Docker.
    Image(&'a str),
}

/// A file that is there is an archive; what is written like a path or an archive's name but
/// is not there is a mistake, and anything else is an image's name.
fn source(what: &str) -> Result<Source<'_>> {
    let path = Path::new(what);
    if path.is_file() {
        return Ok(Source::Archive(path));
    }
    let looks_like_a_file = [".tar", ".tar.gz", ".tgz"]
        .iter()
        .any(|e| what.ends_with(e))
        || what.starts_with(['/', '.', '~'])
        || path.is_dir();
    if looks_like_a_file {
        return Err(
            CliError::new("PROGRAM_USAGE", format!("{what} is no archive of an image"))
                .why(if path.is_dir() {
                    "it is a folder"
                } else {
                    "there is no such file"
                })
                .fix("docker save -o image.tar NAME && cadet image load image.tar\ncadet image build -t NAME FOLDER"),
        );
    }
    named(what)?;
    Ok(Source::Image(what))
}

/// Checks a name before it is given to `docker`, which would take a dash for a flag.
fn named(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "./:@_-".contains(c);
    if name.is_empty() || name.starts_with('-') || !name.chars().all(plain) {
        return Err(
            CliError::new("PROGRAM_USAGE", format!("{name:?} is no name of an image"))
                .why("such as hello:1, or registry.example/team/hello:1")
                .fix("cadet image list --cluster"),
        );
    }
    Ok(())
}

/// Brings an image of this computer into the cluster.
///
/// # Errors
/// PROGRAM_USAGE, DRIVER_TOOL_MISSING, GUEST_DOCKER and those of the line.
pub async fn load(cx: &Context, what: &str) -> Result<()> {
    let source = source(what)?;
    let mut lines = vec![line::connect(cx).await?];
    lines.extend(others(cx).await?.into_iter().map(|(_, tunnel)| tunnel));
    for tunnel in &lines {
        load_into(cx, tunnel, &source).await?;
    }
    done(cx, &json!({"type": "done", "loaded": what}));
    Ok(())
}

/// Sessions to the machines beside the first; of one that is off the user is told.
async fn others(cx: &Context) -> Result<Vec<(Node, Tunnel)>> {
    let lines = line::connect_others(cx).await?;
    let mut off = nodes::workers(&machine::profile(cx)?);
    off.retain(|node| lines.iter().all(|(there, _)| there != node));
    if !off.is_empty() {
        let names = nodes::names(&off);
        cx.ui
            .warn("image", &format!("off, so left as before: {names}"));
    }
    Ok(lines)
}

/// Brings an image of this computer into one machine.
async fn load_into(cx: &Context, tunnel: &Tunnel, source: &Source<'_>) -> Result<()> {
    let load = ["docker", "load"];
    match *source {
        Source::Archive(path) => {
            let file = tokio::fs::File::open(path)
                .await
                .map_err(|e| machine::io("read", path, &e))?;
            docker(cx, tunnel, &load, file).await
        }
        Source::Image(name) => {
            let mut save = tokio::process::Command::new("docker");
            save.args(["save", name])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .kill_on_drop(true);
            // `docker-env` points this shell at the machine; the image is wanted from here.
            let ours = cx.world.files(&cx.name).docker_socket();
            if std::env::var("DOCKER_HOST").is_ok_and(|h| h == format!("unix://{}", ours.display()))
            {
                save.env_remove("DOCKER_HOST");
            }
            let mut child = save.spawn().map_err(|e| no_docker(name, &e))?;
            let Some(archive) = child.stdout.take() else {
                return Err(CliError::new(
                    "PROGRAM_INTERNAL",
                    "docker save has no output",
                ));
            };
            let failed = |status: std::process::ExitStatus| {
                let what = format!("this computer's Docker did not give {name}");
                CliError::new("GUEST_DOCKER", what)
                    .why(format!("docker save ended with {status}"))
                    .fix("docker image ls")
            };
            let loaded = docker(cx, tunnel, &load, archive).await;
            // Half an archive fails at both ends: the cause is at the one that ended first.
            let ended = child.try_wait().map_err(|e| no_docker(name, &e))?;
            if let Some(status) = ended.filter(|status| !status.success()) {
                return Err(failed(status));
            }
            loaded?;
            let status = child.wait().await.map_err(|e| no_docker(name, &e))?;
            if status.success() {
                Ok(())
            } else {
                Err(failed(status))
            }
        }
    }
}

/// Bytes of an image between two machines that wait in this program.
const PIPE: usize = 64 << 10;

/// Brings an image of the first machine into another.
async fn copy(cx: &Context, from: &Tunnel, to: &(Node, Tunnel), image: &str) -> Result<()> {
    let (node, tunnel) = to;
    let (near, far) = tokio::io::duplex(PIPE);
    let save = exec::quote_all(["docker", "save", image]);
    let load = exec::quote_all(["docker", "load", "--quiet"]);
    let mut said = Vec::new();
    let saving = from.exec_streams(&save, tokio::io::empty(), far, &mut said);
    let (saved, loaded) = tokio::join!(saving, run(cx, tunnel, &load, near));
    let saved = saved?;
    if !saved.success() {
        let what = format!("{image} could not be given to {} ({saved})", node.name);
        return Err(CliError::new("GUEST_DOCKER", what)
            .why(String::from_utf8_lossy(&said).trim().to_owned()));
    }
    loaded
}

fn no_docker(name: &str, e: &std::io::Error) -> CliError {
    CliError::new(
        "DRIVER_TOOL_MISSING",
        format!("{name} is no file, and there is no docker here to ask for it"),
    )
    .why(format!("docker could not be run: {e}"))
    .fix("cadet image load FILE.tar\ncadet image build -t NAME FOLDER")
}

/// Flags of a build that are Docker's own.
pub struct BuildFlags<'a> {
    pub tag: &'a str,
    pub dockerfile: Option<&'a Path>,
    pub arguments: &'a [String],
    pub no_cache: bool,
}

/// Builds an image in the cluster from a folder of this computer.
///
/// # Errors
/// PROGRAM_USAGE, HOST_NOT_READABLE, GUEST_DOCKER and those of the line.
pub async fn build(cx: &Context, folder: &Path, flags: &BuildFlags<'_>) -> Result<()> {
    named(flags.tag)?;
    let context = BuildContext::open(folder, flags.dockerfile)?;
    let mut words = vec!["docker", "build", "-t", flags.tag];
    words.extend(["-f", context.dockerfile()]);
    let arguments = flags.arguments.iter();
    words.extend(arguments.flat_map(|argument| ["--build-arg", argument.as_str()]));
    if flags.no_cache {
        words.push("--no-cache");
    }
    words.push("-");
    let line = exec::quote_all(words.iter().copied());
    let tunnel = line::connect(cx).await?;

    let broken = |e: std::io::Error| {
        CliError::new("HOST_NOT_READABLE", "the folder could not be sent").why(e.to_string())
    };
    let (archive, out) = std::io::pipe().map_err(broken)?;
    let archive = tokio::net::unix::pipe::Receiver::from_owned_fd(archive.into());
    let archive = archive.map_err(broken)?;
    let packing = tokio::task::spawn_blocking(move || context.write(out));
    let built = run(cx, &tunnel, &line, archive).await;
    let packed = packing.await.map_err(|e| {
        CliError::new("PROGRAM_INTERNAL", "packing the folder failed").why(e.to_string())
    })?;
    match packed {
        // Docker ended before it had read all: its own words tell why.
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => {}
        packed => packed.map_err(|e| machine::io("read", folder, &e))?,
    }
    built?;
    for other in &others(cx).await? {
        copy(cx, &tunnel, other, flags.tag).await?;
    }
    done(cx, &json!({"type": "done", "built": flags.tag}));
    Ok(())
}

/// Lists the cluster's images.
///
/// # Errors
/// GUEST_DOCKER and those of the line.
pub async fn list(cx: &Context) -> Result<()> {
    let first = Node::first(cx.name.as_str());
    let mut lines = vec![(first, line::connect(cx).await?)];
    lines.extend(line::connect_others(cx).await?);
    for (node, tunnel) in &lines {
        if !cx.ui.json() {
            if lines.len() > 1 {
                cx.ui.line(format!("== {}", node.name));
            }
            let words = ["docker", "image", "ls"];
            docker(cx, tunnel, &words, tokio::io::empty()).await?;
            continue;
        }
        let words = ["docker", "image", "ls", "--format", "{{json .}}"];
        let said = line::guest(tunnel, &exec::quote_all(words)).await?;
        for row in said.lines() {
            if let Ok(row) = serde_json::from_str::<Value>(row) {
                cx.ui.object(&json!({
                    "type": "image", "repository": row["Repository"], "tag": row["Tag"],
                    "id": row["ID"], "size": row["Size"], "node": node.name,
                }));
            }
        }
    }
    Ok(())
}

/// Removes an image from the cluster.
///
/// # Errors
/// PROGRAM_USAGE, GUEST_DOCKER and those of the line.
pub async fn remove(cx: &Context, name: &str) -> Result<()> {
    named(name)?;
    let tunnel = line::connect(cx).await?;
    let words = ["docker", "image", "rm", name];
    docker(cx, &tunnel, &words, tokio::io::empty()).await?;
    // A machine that was added later may not have it.
    let quoted = exec::quote(name);
    let line =
        format!("! docker image inspect {quoted} >/dev/null 2>&1 || docker image rm {quoted}");
    for (_, tunnel) in &others(cx).await? {
        run(cx, tunnel, &line, tokio::io::empty()).await?;
    }
    done(cx, &json!({"type": "done", "removed": name}));
    Ok(())
}

/// For programs only: people have read what Docker said.
fn done(cx: &Context, event: &Value) {
    if cx.ui.json() {
        cx.ui.object(event);
    }
}

async fn docker(
    cx: &Context,
    tunnel: &Tunnel,
    words: &[&str],
    input: impl AsyncRead + Send + Unpin,
) -> Result<()> {
    run(cx, tunnel, &exec::quote_all(words.iter().copied()), input).await
}

/// Runs `line` in the machine. People see what it says as it says it; programs get it as
/// the reason of an error.
async fn run(
    cx: &Context,
    tunnel: &Tunnel,
    line: &str,
    input: impl AsyncRead + Send + Unpin,
) -> Result<()> {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = if cx.ui.json() {
        tunnel.exec_streams(line, input, &mut out, &mut err).await?
    } else {
        let (out, err) = (tokio::io::stdout(), tokio::io::stderr());
        tunnel.exec_streams(line, input, out, err).await?
    };
    if status.success() {
        return Ok(());
    }
    let error = CliError::new(
        "GUEST_DOCKER",
        format!("Docker in the machine did not do it ({status})"),
    );
    let said = String::from_utf8_lossy(if err.is_empty() { &out } else { &err }).into_owned();
    let tail: Vec<&str> = said.trim().lines().rev().take(8).collect();
    let tail: Vec<&str> = tail.into_iter().rev().collect();
    Err(error.why(if tail.is_empty() {
        "its own words are above".to_owned()
    } else {
        tail.join("\n")
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_archives_and_the_rest_are_names() {
        let dir = tempfile::tempdir().unwrap();
        let tar = dir.path().join("hello.tar");
        std::fs::write(&tar, "x").unwrap();
        assert_eq!(
            source(tar.to_str().unwrap()).unwrap(),
            Source::Archive(&tar)
        );
        for name in ["hello:1", "registry.example:5000/team/hello@sha256:00"] {
            assert_eq!(source(name).unwrap(), Source::Image(name));
        }
        for bad in [
            "nowhere.tar",
            "./nowhere",
            "/nowhere/at/all",
            "nowhere.tar.gz",
            dir.path().to_str().unwrap(),
            "",
            "-q",
            "a b",
            "a;b",
        ] {
            assert_eq!(source(bad).unwrap_err().topic.id, "PROGRAM_USAGE", "{bad}");
        }
    }
}
