//! `cadet cp`: files between the laptop and the machine, or a pod.

use std::path::Path;
use std::process::Command;

use cadet_tunnel::upload::Destination;
use cadet_tunnel::{Tunnel, exec};
use clap::Args;
use serde_json::json;

use crate::error::{CliError, Result};
use crate::{Context, kubectl_program, line, machine, reach};

/// Flags of `cadet cp`.
#[derive(Debug, Args)]
#[command(
    after_help = "One of the two is on this computer. In the machine files belong to root; folders go with\nall that is in them. Where a profile has several machines, what goes to `node:` goes to all\nthat run, and comes from the first, unless --node names one. Pods are `kubectl cp`'s business\nand need tar in their image.\n\nExamples:\n  cadet cp site.conf node:/srv/site.conf\n  cadet cp node:/var/log/cloud-init.log .\n  cadet cp ./pages shop/web:/usr/share/nginx/html -c nginx"
)]
pub struct CpArgs {
    /// What to copy: FILE, node:/PATH, POD:/PATH or NAMESPACE/POD:/PATH
    #[arg(value_hint = clap::ValueHint::AnyPath)]
    from: String,
    /// Where to
    #[arg(value_hint = clap::ValueHint::AnyPath)]
    to: String,
    /// Container of the pod [default: its first]
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// Machine that `node:` means, of a profile that has several
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
}

/// One end of a copy.
#[derive(Debug, PartialEq, Eq)]
enum Place<'a> {
    Here(&'a Path),
    Node(&'a str),
    Pod(&'a str),
}

impl<'a> Place<'a> {
    /// As scp(1) reads it: what has a colon is elsewhere, unless it looks like a path or is a
    /// file that is there.
    fn of(text: &'a str) -> Result<Self> {
        let here = Path::new(text);
        let Some((place, path)) = text.split_once(':') else {
            return Ok(Self::Here(here));
        };
        // A letter and a colon is a drive of Windows.
        let is_path = place.starts_with(['.', '/', '~']) || place.len() < 2;
        if is_path || here.exists() {
            return Ok(Self::Here(here));
        }
        if place != "node" {
            return Ok(Self::Pod(text));
        }
        if !path.starts_with('/') {
            return Err(CliError::new(
                "PROGRAM_USAGE",
                format!("{text} has no path that begins with /"),
            )
            .why("the machine's folders are named from its root")
            .fix("cadet cp FILE node:/srv/FILE"));
        }
        Ok(Self::Node(path))
    }
}

/// Copies.
pub async fn run(cx: &Context, args: CpArgs) -> Result<u8> {
    match (Place::of(&args.from)?, Place::of(&args.to)?) {
        (Place::Here(from), Place::Node(to)) => {
            let what = metadata(from)?;
            for (_, tunnel) in line::connect_all(cx, args.node.as_deref()).await? {
                let to = inside(&tunnel, to, from).await?;
                match what.is_dir() {
                    true => folder_in(&tunnel, from, &to).await?,
                    false => {
                        let to = Destination {
                            path: &to,
                            mode: mode(&what),
                            as_root: true,
                        };
                        tunnel.upload(from, to).await?;
                    }
                }
                tunnel.close().await;
            }
        }
        (Place::Node(from), Place::Here(to)) => {
            let tunnel = line::connect_to(cx, args.node.as_deref()).await?;
            let kind = format!("sudo -n stat -L -c %F -- {}", exec::quote(from));
            let kind = line::guest(&tunnel, &kind).await?;
            let to = match (to.is_dir(), Path::new(from).file_name()) {
                (true, Some(name)) => to.join(name),
                _ => to.to_path_buf(),
            };
            match kind.trim() {
                "directory" => folder_out(&tunnel, from, &to).await?,
                _ => file_out(&tunnel, from, &to).await?,
            }
            tunnel.close().await;
        }
        (Place::Here(_), Place::Pod(_)) | (Place::Pod(_), Place::Here(_)) => {
            return pod(cx, args).await;
        }
        _ => {
            return Err(
                CliError::new("PROGRAM_USAGE", "one end must be on this computer")
                    .why(format!("{} and {}", args.from, args.to))
                    .fix("cadet cp FILE node:/PATH\ncadet cp POD:/PATH FILE"),
            );
        }
    }
    if cx.ui.json() {
        cx.ui
            .object(&json!({"type": "done", "from": args.from, "to": args.to}));
    }
    Ok(0)
}

fn metadata(file: &Path) -> Result<std::fs::Metadata> {
    std::fs::metadata(file).map_err(|e| {
        CliError::new(
            "PROGRAM_USAGE",
            format!("{} cannot be read", file.display()),
        )
        .why(e.to_string())
        .fix(format!("ls -l {}", file.display()))
    })
}

#[cfg(unix)]
fn mode(what: &std::fs::Metadata) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&what.permissions()) & 0o777
}

#[cfg(not(unix))]
fn mode(_: &std::fs::Metadata) -> u32 {
    0o644
}

/// The whole path in the machine: as cp(1) does, into `to` if that is a folder.
async fn inside(tunnel: &Tunnel, to: &str, from: &Path) -> Result<String> {
    let test = format!("sudo -n test -d {}", exec::quote(to));
    let is_folder = tunnel.exec(&test).await?.status.success();
    let absolute = std::path::absolute(from).unwrap_or_else(|_| from.to_path_buf());
    let name = absolute.file_name().map(|name| name.to_string_lossy());
    match name {
        Some(name) if is_folder || to.ends_with('/') => {
            let to = to.trim_end_matches('/');
            Ok(format!("{to}/{name}"))
        }
        _ => Ok(to.to_string()),
    }
}

async fn folder_in(tunnel: &Tunnel, from: &Path, to: &str) -> Result<()> {
    let to = exec::quote(to);
    let command = format!("sudo -n mkdir -p {to} && sudo -n tar -x --no-same-owner -f - -C {to}");
    let (archive, out) = std::io::pipe().map_err(broken)?;
    let archive = tokio::net::unix::pipe::Receiver::from_owned_fd(archive.into());
    let archive = archive.map_err(broken)?;
    let source = from.to_path_buf();
    let packing = tokio::task::spawn_blocking(move || {
        let mut tar = tar::Builder::new(out);
        tar.follow_symlinks(false);
        tar.append_dir_all(".", &source)?;
        tar.finish()
    });
    let done = run_in(tunnel, &command, archive, tokio::io::sink()).await;
    match packing.await.map_err(|e| broken(e.into()))? {
        // tar in the machine ended before it had read all: its own words tell why.
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => {}
        packed => packed.map_err(|e| local("read", from, &e))?,
    }
    done
}

async fn folder_out(tunnel: &Tunnel, from: &str, to: &Path) -> Result<()> {
    let command = format!("sudo -n tar -c -f - -C {} .", exec::quote(from));
    let (archive, out) = std::io::pipe().map_err(broken)?;
    let out = tokio::net::unix::pipe::Sender::from_owned_fd(out.into()).map_err(broken)?;
    std::fs::create_dir_all(to).map_err(|e| local("create", to, &e))?;
    let target = to.to_path_buf();
    // Entries that lead out of the folder are left out by the library.
    let unpacking = tokio::task::spawn_blocking(move || tar::Archive::new(archive).unpack(target));
    let done = run_in(tunnel, &command, tokio::io::empty(), out).await;
    let unpacked = unpacking.await.map_err(|e| broken(e.into()))?;
    match (done, unpacked) {
        // A disk that is full here breaks the line as well.
        (_, Err(e)) if e.kind() == std::io::ErrorKind::StorageFull => Err(local("write", to, &e)),
        (Err(e), _) => Err(e),
        (Ok(()), unpacked) => unpacked.map_err(|e| local("write", to, &e)),
    }
}

async fn file_out(tunnel: &Tunnel, from: &str, to: &Path) -> Result<()> {
    let part = machine::with_suffix(to, ".cadet-part");
    let file = tokio::fs::File::create(&part)
        .await
        .map_err(|e| local("write", to, &e))?;
    let command = format!("sudo -n cat -- {}", exec::quote(from));
    let done = match run_in(tunnel, &command, tokio::io::empty(), file).await {
        Ok(()) => std::fs::rename(&part, to).map_err(|e| local("write", to, &e)),
        Err(e) => Err(e),
    };
    if done.is_err() {
        // What came is not whole; the error is the one to tell.
        let _ = std::fs::remove_file(&part);
    }
    done
}

async fn run_in(
    tunnel: &Tunnel,
    command: &str,
    input: impl tokio::io::AsyncRead + Send + Unpin,
    output: impl tokio::io::AsyncWrite + Send + Unpin,
) -> Result<()> {
    let mut words = Vec::new();
    let status = tunnel
        .exec_streams(command, input, output, &mut words)
        .await?;
    if status.success() {
        return Ok(());
    }
    Err(
        CliError::new("GUEST_SSH", format!("the machine did not do it ({status})"))
            .why(String::from_utf8_lossy(&words).trim().to_string())
            .fix("cadet ssh      look around in the machine"),
    )
}

/// An I/O failure on the user's own file: moving Cadet's home would not help.
fn local(act: &str, path: &Path, e: &std::io::Error) -> CliError {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let folder = folder.unwrap_or(Path::new(".")).display();
    let look = match e.kind() {
        std::io::ErrorKind::StorageFull => "df -h",
        _ => "ls -ld",
    };
    machine::io(act, path, e).fix(format!("{look} {folder}"))
}

fn broken(e: std::io::Error) -> CliError {
    CliError::new("PROGRAM_INTERNAL", "the copy could not be piped").why(e.to_string())
}

/// kubectl knows how to copy with pods.
async fn pod(cx: &Context, args: CpArgs) -> Result<u8> {
    machine::profile(cx)?;
    reach::credentials(cx)?;
    let program = kubectl_program::ensure(cx).await?;
    let mut command = Command::new(program);
    command
        .args(pod_words(&args))
        .env("KUBECONFIG", cx.world.files(&cx.name).kubeconfig());
    let status = tokio::task::spawn_blocking(move || command.status()).await;
    let status = status.map_err(|e| broken(e.into()))?.map_err(|e| {
        CliError::new("HOST_KUBECTL_MISSING", "kubectl could not be run").why(e.to_string())
    })?;
    if !status.success() {
        let code = status.code().and_then(|c| u8::try_from(c).ok());
        return Err(CliError::exit_like(code.unwrap_or(1)));
    }
    if cx.ui.json() {
        cx.ui
            .object(&json!({"type": "done", "from": args.from, "to": args.to}));
    }
    Ok(0)
}

fn pod_words(args: &CpArgs) -> Vec<&str> {
    let mut words = vec!["cp"];
    if let Some(container) = &args.container {
        words.extend(["-c", container.as_str()]);
    }
    words.extend(["--", args.from.as_str(), args.to.as_str()]);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_colon_is_elsewhere_unless_it_is_here() {
        let dir = tempfile::tempdir().unwrap();
        let odd = dir.path().join("web:1");
        std::fs::write(&odd, "x").unwrap();
        let odd = odd.to_str().unwrap();
        for here in ["file", "./a:b", "/a/b:c", "C:\\x", odd] {
            assert_eq!(Place::of(here).unwrap(), Place::Here(Path::new(here)));
        }
        assert_eq!(Place::of("node:/srv/a b").unwrap(), Place::Node("/srv/a b"));
        for pod in ["web:/tmp/x", "shop/web:/tmp/x", "web:relative"] {
            assert_eq!(Place::of(pod).unwrap(), Place::Pod(pod));
        }
        let error = Place::of("node:srv").unwrap_err();
        assert_eq!(error.topic.id, "PROGRAM_USAGE");
    }

    #[test]
    fn what_cannot_be_written_here_is_looked_at_here() {
        let none = std::io::Error::from(std::io::ErrorKind::NotFound);
        let fix = |path: &str| local("write", Path::new(path), &none).fix;
        assert_eq!(fix("/nowhere/file").as_deref(), Some("ls -ld /nowhere"));
        assert_eq!(fix("file").as_deref(), Some("ls -ld ."));
    }

    #[test]
    fn names_that_look_like_flags_stay_names() {
        let args = CpArgs {
            from: "-x".into(),
            to: "web:/x".into(),
            container: Some("nginx".into()),
            node: None,
        };
        assert_eq!(
            pod_words(&args),
            ["cp", "-c", "nginx", "--", "-x", "web:/x"]
        );
    }
}
