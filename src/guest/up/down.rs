//! `cadet-node down`: everything stops, data stays; with `--purge` nothing is left.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Instant;

use cadet_api::install::LOCAL_VOLUMES;
use cadet_kubelet::{DockerRuntime, clear};

use super::record::{self, Record};
use super::tree::TreeLock;
use super::trouble::{Trouble, Troubles, file, internal};
use super::voice::{Output, Voice};
use super::{kubeconfig, needs_root, runtime, systemd};

/// Flags of `down`.
#[derive(Debug, clap::Args)]
pub struct DownArgs {
    /// Also remove containers, data, certificates and the kubectl context: everything
    #[arg(long)]
    purge: bool,
    /// Lines for people, or events for programs
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

/// Stops the cluster in `data`.
///
/// # Errors
/// What is in the way, in words; the command can be repeated when it is gone.
pub fn run(args: &DownArgs, data: &Path) -> Result<(), Troubles> {
    let voice = Voice::new(args.output);
    let done = runtime().and_then(|runtime| runtime.block_on(take_down(args, data, voice)));
    done.map_err(|troubles| troubles.told_as_json(voice.is_json()))
}

async fn take_down(args: &DownArgs, data: &Path, voice: Voice) -> Result<(), Troubles> {
    let began = Instant::now();
    needs_root(if args.purge { "down --purge" } else { "down" })?;
    let data = std::path::absolute(data).map_err(|error| file("find", data, &error))?;
    let Some(record) = record::read(&data)? else {
        let words = format!("No cluster of `cadet-node up` is in {}.", data.display());
        voice.done(&words, began);
        return Ok(());
    };

    let since = Instant::now();
    voice.step("programs", stop_programs(&data, &record)?, since);

    let since = Instant::now();
    let pods = pods(&record, args.purge).await;
    match &pods {
        Ok(words) => voice.step("pods", words, since),
        // The rest is taken down nevertheless, and this told at the end.
        Err(_) => voice.warning(
            "pods",
            "Docker does not answer; containers are left as they are",
        ),
    }

    let since = Instant::now();
    cadet_network::teardown().await.map_err(|error| {
        Trouble::new(
            "HOST_RULES_REFUSED",
            36,
            "the pods' network could not be taken away",
        )
        .why(error.to_string())
        .fix("nft list tables; ip link")
    })?;
    voice.step("network", "bridge, links and rules are gone", since);

    if args.purge {
        // Without the record the containers could not be found again.
        pods?;
        purge(&data, &record, voice)?;
        voice.done(
            "Nothing of the cluster is left.\n  next: cadet-node up",
            began,
        );
        return Ok(());
    }
    let words = format!(
        "Cadet is down; its data stays in {}.\n  next: cadet-node up        \
         remove everything: cadet-node down --purge",
        data.display()
    );
    voice.done(&words, began);
    pods.map(drop).map_err(Troubles::from)
}

fn stop_programs(data: &Path, record: &Record) -> Result<&'static str, Trouble> {
    let ended = TreeLock::end_tree(data).map_err(|error| file("lock", data, &error))?;
    if record.systemd && systemd::runs() {
        systemd::stop().map_err(|error| internal("systemd could not stop the cluster", &error))?;
        return Ok("server and agent have stopped");
    }
    Ok(if ended {
        "server and agent have stopped"
    } else {
        "server and agent did not run"
    })
}

async fn pods(record: &Record, purge: bool) -> Result<String, Trouble> {
    let docker = DockerRuntime::new(record.docker.display().to_string());
    let done = async {
        if !purge {
            let stopped = clear::stop_pods(docker.as_ref()).await?;
            return Ok(format!("{stopped} containers have stopped"));
        }
        let removed = clear::remove_pods(docker.as_ref()).await?;
        let images = clear::remove_images(docker.as_ref()).await?;
        Ok(format!(
            "{removed} containers and {images} images of ours are removed"
        ))
    };
    done.await
        .map_err(|error: cadet_kubelet::runtime::RuntimeError| {
            let what = "Docker did not take down the pods' containers";
            Trouble::new("HOST_DOCKER_DOWN", 39, what)
                .why(error.to_string())
                .fix(format!(
                    "systemctl start docker && cadet-node down{}",
                    if purge { " --purge" } else { "" }
                ))
        })
}

/// Everything on the disk. The record goes last, so that this can be repeated.
fn purge(data: &Path, record: &Record, voice: Voice) -> Result<(), Trouble> {
    let since = Instant::now();
    if record.systemd {
        systemd::remove().map_err(|error| internal("the services could not be removed", &error))?;
    }
    if let Some(entry) = &record.kubeconfig {
        kubeconfig::take_out(entry)?;
        let words = format!(
            "context {:?} is out of {}",
            entry.name,
            entry.file.display()
        );
        voice.step("kubectl", &words, since);
    }

    let since = Instant::now();
    clear::unmount(data).map_err(|error| {
        let what = format!("something is mounted below {}", data.display());
        Trouble::new("HOST_MOUNTED", 31, what)
            .why(error.to_string())
            .fix(format!("grep {} /proc/self/mounts", data.display()))
    })?;
    remove(&record.config)?;
    if let Some(folder) = record.config.parent() {
        // Somebody else may have files there.
        let _ = fs::remove_dir(folder);
    }
    for entry in entries(data)? {
        if entry != data.join(record::FILE) {
            remove(&entry)?;
        }
    }
    remove(&data.join(record::FILE))?;
    match fs::remove_dir(data) {
        // A disk of its own is mounted there: it is empty now, and stays.
        Err(error) if error.kind() == ErrorKind::ResourceBusy => {}
        done => done.map_err(|error| file("remove", data, &error))?,
    }
    let words = format!(
        "{} and {} are removed",
        data.display(),
        record.config.display()
    );
    voice.step("files", &words, since);
    if leaves_volumes(Path::new(LOCAL_VOLUMES), data) {
        let words = format!("{LOCAL_VOLUMES} stays; its volumes may be another cluster's as well");
        voice.warning("files", &words);
    }
    Ok(())
}

/// Whether pods' volumes are left: they are in one place whatever the data folder is, and
/// nothing there tells whose they are.
fn leaves_volumes(volumes: &Path, data: &Path) -> bool {
    let filled = |mut entries: fs::ReadDir| entries.next().is_some();
    !volumes.starts_with(data) && fs::read_dir(volumes).is_ok_and(filled)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Trouble> {
    let listed = fs::read_dir(folder).and_then(|entries| {
        let paths = entries.map(|entry| entry.map(|entry| entry.path()));
        paths.collect::<std::io::Result<Vec<_>>>()
    });
    listed.map_err(|error| file("list", folder, &error))
}

/// A file or a whole folder; links are removed, never followed.
fn remove(path: &Path) -> Result<(), Trouble> {
    let is_folder = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir());
    let removed = if is_folder {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(file("remove", path, &error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removing_does_not_follow_links() {
        let dir = tempfile::tempdir().unwrap();
        let kept = dir.path().join("kept");
        fs::create_dir_all(kept.join("inside")).unwrap();
        let data = dir.path().join("data");
        fs::create_dir(&data).unwrap();
        std::os::unix::fs::symlink(&kept, data.join("link")).unwrap();
        fs::create_dir(data.join("folder")).unwrap();
        for entry in entries(&data).unwrap() {
            remove(&entry).unwrap();
        }
        assert!(entries(&data).unwrap().is_empty() && kept.join("inside").exists());
        remove(&data.join("missing")).unwrap();
    }

    #[test]
    fn volumes_go_with_the_data_or_are_told_of() {
        let dir = tempfile::tempdir().unwrap();
        let (home, elsewhere) = (dir.path().join("usual"), dir.path().join("elsewhere"));
        let volumes = home.join("volumes");
        assert!(!leaves_volumes(&volumes, &elsewhere), "there are none");
        fs::create_dir_all(volumes.join("pvc-1")).unwrap();
        assert!(!leaves_volumes(&volumes, &home));
        assert!(leaves_volumes(&volumes, &elsewhere));
    }
}
