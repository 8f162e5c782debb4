//! `cadet-node up`, step by step.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use cadet_api::install::NodeConfig;
use cadet_api::kubeconfig::Access;
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::programs::{self, Way};
use super::record::{self, Record};
use super::settings::{self, Wishes};
use super::tree::{Place, TreeLock};
use super::trouble::{Trouble, Troubles, file, internal};
use super::voice::{Output, Voice};
use super::{check, facts, kubeconfig, needs_root, ready, runtime, systemd};
use crate::pki::Pki;
use crate::{ConfigArg, credentials};

/// Flags of `up`.
#[derive(Debug, clap::Args)]
pub struct UpArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Name of this machine's node [default: the host's name]
    #[arg(long, value_name = "NAME")]
    node_name: Option<String>,
    /// Addresses of all pods [default: 10.244.0.0/16]
    #[arg(long, value_name = "CIDR")]
    pod_cidr: Option<String>,
    /// Addresses of Services [default: 10.96.0.0/12]
    #[arg(long, value_name = "CIDR")]
    service_cidr: Option<String>,
    /// Port for visitors of Ingresses; 0: none [default: 80]
    #[arg(long, value_name = "PORT")]
    ingress_http_port: Option<u16>,
    /// Port for visitors of Ingresses with TLS; 0: none [default: 443]
    #[arg(long, value_name = "PORT")]
    ingress_https_port: Option<u16>,
    /// Docker's socket [default: unix:///var/run/docker.sock]
    #[arg(long, value_name = "unix://PATH", env = "DOCKER_HOST")]
    docker_host: Option<String>,
    /// File that gets the cluster's context [default: $KUBECONFIG, else ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Stay, and end the cluster's programs at Ctrl-C
    #[arg(long)]
    foreground: bool,
    /// Run server and agent as one tree of processes even where systemd is
    #[arg(long)]
    no_systemd: bool,
    /// Lines for people, or events for programs
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

impl UpArgs {
    fn wishes(&self) -> Wishes {
        Wishes {
            node_name: self.node_name.clone(),
            pod_cidr: self.pod_cidr.clone(),
            service_cidr: self.service_cidr.clone(),
            docker_host: self.docker_host.clone(),
            ingress_http: self.ingress_http_port,
            ingress_https: self.ingress_https_port,
        }
    }
}

/// Sets up the cluster and returns when its node is Ready; with `--foreground` when it has
/// been ended.
///
/// # Errors
/// What is in the way, in words.
pub fn run(args: &UpArgs, data: &Path) -> Result<(), Troubles> {
    let voice = Voice::new(args.output);
    let done = runtime().and_then(|runtime| runtime.block_on(set_up(args, data, voice)));
    done.map_err(|troubles| troubles.told_as_json(voice.is_json()))
}

async fn set_up(args: &UpArgs, data: &Path, voice: Voice) -> Result<(), Troubles> {
    let began = Instant::now();
    needs_root("up")?;
    let data = std::path::absolute(data).map_err(|error| file("find", data, &error))?;
    let config_file = std::path::absolute(&args.config.config)
        .map_err(|error| file("find", &args.config.config, &error))?;
    let record = record::read(&data)?;
    let before = record::known_config(&config_file, &data, record.as_ref())?;
    let host_name = facts::host_name();
    let (config, docker) =
        settings::decide(&args.wishes(), before.as_ref(), record.as_ref(), &host_name)?;
    let mut runs = programs::are_running(&data, record.as_ref())?;
    let mut record = record.unwrap_or_default();
    if runs && args.foreground && !record.systemd {
        return Err(
            Trouble::new("CLUSTER_RUNNING", 101, "the cluster runs already")
                .why("another process keeps its server and agent running")
                .fix("cadet-node down && cadet-node up --foreground")
                .into(),
        );
    }

    let since = Instant::now();
    let mut ports = settings::ports(&config);
    if runs {
        // The others are its own.
        let own = settings::ports(before.as_ref().unwrap_or(&config));
        ports.retain(|port| !own.contains(port));
    }
    let found = facts::gather(&docker, &ports).await;
    let troubles = check::judge(&found, &config, &docker);
    if !troubles.is_empty() {
        return Err(troubles.into());
    }
    voice.step("machine", &check::summary(&found), since);
    for warning in check::warnings(&found, &config) {
        voice.warning("machine", &warning);
    }
    let address = found
        .address
        .map_err(|why| internal("there is no address", &why))?;

    let since = Instant::now();
    record.docker.clone_from(&docker);
    record.config.clone_from(&config_file);
    if !runs {
        record.systemd = systemd::runs() && !args.no_systemd && !args.foreground;
    }
    record::write(&data, &record)?;
    if before.as_ref() != Some(&config) {
        record::write_config(&config_file, &config)?;
    }
    let text = format!(
        "node {}, pods {}, Services {}",
        config.node_name, config.cluster_cidr, config.service_cidr
    );
    voice.step("config", &text, since);

    let since = Instant::now();
    let pki = Pki::at(&data);
    pki.ensure(&config, IpAddr::V4(address))
        .map_err(|error| internal("certificates could not be made", &error))?;
    let text = format!(
        "the cluster's own, with its certificates in {}",
        pki.folder().display()
    );
    voice.step("authority", &text, since);

    let since = Instant::now();
    let renewed = before.is_some_and(|before| before != config);
    if runs && renewed && !record.systemd {
        // Containers go on; their agent finds them again.
        TreeLock::end_tree(&data).map_err(|error| file("lock", &data, &error))?;
        runs = false;
    }
    let way = Way::of(&record, args.foreground);
    let place = Place {
        program: programs::program()?,
        data: data.clone(),
        config: config_file,
        docker,
    };
    let now = Timestamp::now();
    let mut running = programs::start(way, place, runs, renewed).await?;
    let up = async {
        if way != Way::Systemd && !runs {
            ready::serving(&mut running.reports, &data).await?;
        }
        let server = format!("https://127.0.0.1:{}", config.api_port);
        let how = if runs {
            "runs already, at"
        } else {
            "answers at"
        };
        voice.step("server", &format!("the API server {how} {server}"), since);

        let since = Instant::now();
        let admin = admin(&config, &data)?;
        let client = ready::client(admin.clone())
            .await
            .map_err(|error| internal("no client could be made", &error))?;
        let after = if runs { Timestamp::UNIX_EPOCH } else { now };
        let reports = &mut running.reports;
        ready::node_ready(client, &config.node_name, after, reports, &data).await?;
        voice.step("node", &format!("{} is Ready", config.node_name), since);

        let since = Instant::now();
        let mut access = Access::from_document(&admin, &config.cluster_name, server)
            .map_err(|missing| internal("the kubeconfig is incomplete", &missing))?;
        let flag = args.kubeconfig.as_deref();
        let text = point_kubectl(flag, &mut access, &config.node_name, &mut record)?;
        record::write(&data, &record)?;
        voice.step("kubectl", &text, since);
        Ok::<_, Trouble>(())
    };
    if let Err(trouble) = up.await {
        if !runs {
            programs::abandon(&data, way, running).await;
        }
        return Err(trouble.into());
    }
    let seconds = began.elapsed().as_secs_f64();
    let again = if runs { "runs" } else { "is ready" };
    let words = format!(
        "Cadet {again} ({seconds:.1} s).\n  next: kubectl get nodes\n  stop: cadet-node down        \
         undo everything: cadet-node down --purge"
    );
    voice.done(&words, began);
    programs::stay(running).await
}

/// Puts the cluster's context into somebody's kubeconfig; says where.
fn point_kubectl(
    flag: Option<&Path>,
    access: &mut Access,
    node: &str,
    record: &mut Record,
) -> Result<String, Trouble> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let env = |name: &str| std::env::var(name).ok();
    let target = kubeconfig::file(flag, env, &passwd);
    let earlier = record.kubeconfig.take();
    let entry = kubeconfig::put(&target, access, node, earlier.as_ref())?;
    let text = format!(
        "context {:?} is current in {}",
        entry.name,
        target.display()
    );
    record.kubeconfig = Some(entry);
    Ok(text)
}

fn admin(config: &NodeConfig, data: &Path) -> Result<Value, Trouble> {
    let text = credentials::admin(config, data)
        .map_err(|error| internal("the kubeconfig could not be made", &error))?;
    serde_json::from_str(&text).map_err(|error| internal("the kubeconfig is no JSON", &error))
}
