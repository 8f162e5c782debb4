//! `cadet open`: a pod's own address in a browser that goes through the tunnel.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::cluster::{self, Cluster};
use crate::error::{CliError, Result};
use crate::{Context, browse, kubeconfig, line, machine};

/// Flags of `cadet open`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cadet open pod/telescope-pod\n  cadet open svc/web -n shop\n  cadet open pod/telescope-pod --print     only print the address and a curl line"
)]
pub struct OpenArgs {
    /// pod/NAME or svc/NAME; a bare NAME is a pod
    pub target: String,
    /// Namespace of the object
    #[arg(short, long, default_value = "default", value_name = "NAME")]
    pub namespace: String,
    /// Port to open; the default is the first of the object's ports that browsers know
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..), value_name = "PORT")]
    pub port: Option<u16>,
    /// Only print the address and the curl line, start nothing but the tunnel
    #[arg(long)]
    pub print: bool,
    /// Program to use: chrome, chromium, edge, firefox, or a path
    #[arg(long, env = "CADET_BROWSER", value_name = "PROGRAM")]
    pub browser: Option<String>,
}

/// What to open.
struct Place {
    host: String,
    port: u16,
    /// Set for a Service: the pod that was chosen.
    behind: Option<String>,
}

impl Place {
    fn url(&self) -> String {
        let scheme = if self.port == 443 { "https" } else { "http" };
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        match self.port {
            80 | 443 => format!("{scheme}://{host}/"),
            port => format!("{scheme}://{host}:{port}/"),
        }
    }
}

/// Opens it.
pub async fn run(cx: &Context, args: OpenArgs) -> Result<u8> {
    machine::running(cx).await?;
    let file = cx.world.files(&cx.name).kubeconfig();
    let access = kubeconfig::read_alone(&file, cx.name.as_str())?.ok_or_else(|| {
        CliError::new("GUEST_NOT_RUNNING", "the first start has not finished")
            .fix(machine::again(cx, "start"))
    })?;
    let cluster = Cluster::new(&access)?;
    let place = find(&cluster, &args).await?;
    let proxy = line::ensure_background(cx).await?;
    let url = place.url();
    let shown = browse::page(&url, proxy)?;
    let curl = shown.curl();
    if cx.ui.json() {
        cx.ui.object(&json!({"type": "open", "url": url, "socks": format!("127.0.0.1:{proxy}"), "curl": curl, "pod": place.behind}));
    } else {
        cx.ui.line(format!("{} is at {url}", args.target));
        if let Some(pod) = &place.behind {
            cx.ui
                .line(format!("  pod   {pod}, one of those the Service selects"));
        }
        cx.ui.line(format!("  curl  {curl}"));
    }
    if args.print {
        return Ok(0);
    }
    match page(proxy, &url).await {
        Ok(told) => cx.ui.line(format!("  page  {told}")),
        Err(why) => cx.ui.warn("page", &format!("nothing answers yet: {why}")),
    }
    browse::show(cx, args.browser.as_deref(), &shown)?;
    Ok(0)
}

async fn find(cluster: &Cluster, args: &OpenArgs) -> Result<Place> {
    let (kind, name) = args.target.split_once('/').unwrap_or(("pod", &args.target));
    let ns = &args.namespace;
    if name.is_empty() || name.contains('/') || ns.contains('/') {
        return Err(CliError::new(
            "PROGRAM_USAGE",
            format!("{:?} names no object", args.target),
        )
        .fix("cadet open pod/NAME"));
    }
    match kind {
        "pod" | "pods" | "po" => {
            let pod = cluster
                .get(&format!("/api/v1/namespaces/{ns}/pods/{name}"))
                .await
                .map_err(|e| e.fix(format!("kubectl get pods -n {ns}")))?;
            let ports = container_ports(&pod);
            place(
                &pod,
                args.port.or_else(|| best(&ports)).unwrap_or(80),
                None,
                ns,
            )
        }
        "svc" | "service" | "services" => {
            let service = cluster
                .get(&format!("/api/v1/namespaces/{ns}/services/{name}"))
                .await
                .map_err(|e| e.fix(format!("kubectl get services -n {ns}")))?;
            behind(cluster, &service, args).await
        }
        other => Err(
            CliError::new("PROGRAM_USAGE", format!("a {other} cannot be opened"))
                .why("pods and Services have addresses; other objects lead to pods")
                .fix("cadet open pod/NAME\ncadet open svc/NAME"),
        ),
    }
}

/// A ready pod of the Service and the port its traffic would go to.
async fn behind(cluster: &Cluster, service: &Value, args: &OpenArgs) -> Result<Place> {
    let (ns, name) = (&args.namespace, &args.target);
    let selector = service["spec"]["selector"]
        .as_object()
        .filter(|s| !s.is_empty())
        .ok_or_else(|| {
            CliError::new("CLUSTER_NOT_READY", format!("{name} selects no pods"))
                .why("its spec.selector is empty")
        })?;
    let labels: Vec<_> = selector
        .iter()
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
        .collect();
    let labels = labels.join(",");
    let query: String = labels.bytes().map(percent).collect();
    let list = cluster
        .get(&format!(
            "/api/v1/namespaces/{ns}/pods?labelSelector={query}"
        ))
        .await?;
    let pods = list["items"].as_array().cloned().unwrap_or_default();
    let pod = pods.iter().find(|p| cluster::is_ready(p)).ok_or_else(|| {
        CliError::new("CLUSTER_NOT_READY", format!("{name} has no ready pod"))
            .why(format!(
                "{} pods carry the labels {labels}, none is Ready",
                pods.len()
            ))
            .fix(format!("kubectl get pods -n {ns} -l {labels}"))
    })?;
    let ports: Vec<_> = service["spec"]["ports"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let numbers: Vec<_> = ports
        .iter()
        .filter_map(|p| port_number(&p["port"]))
        .collect();
    let wanted = args.port.or_else(|| best(&numbers)).unwrap_or(80);
    let entry = ports.iter().find(|p| p["port"] == wanted).ok_or_else(|| {
        CliError::new("CLUSTER_NOT_FOUND", format!("{name} has no port {wanted}"))
            .fix(format!("kubectl get {name} -n {ns}"))
    })?;
    let target = &entry["targetPort"];
    let port = match target.as_str() {
        None => port_number(target).unwrap_or(wanted),
        Some(port_name) => named_port(pod, port_name).ok_or_else(|| {
            CliError::new(
                "CLUSTER_NOT_READY",
                format!("no container port of the pod is called {port_name:?}"),
            )
            .why(format!("{name} sends its traffic there"))
        })?,
    };
    place(
        pod,
        port,
        pod["metadata"]["name"].as_str().map(str::to_string),
        ns,
    )
}

fn place(pod: &Value, port: u16, behind: Option<String>, ns: &str) -> Result<Place> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    match pod["status"]["podIP"].as_str() {
        Some(ip) if !ip.is_empty() => Ok(Place {
            host: ip.into(),
            port,
            behind,
        }),
        _ => Err(CliError::new(
            "CLUSTER_NOT_READY",
            format!("pod/{name} has no address yet"),
        )
        .why(format!(
            "its phase is {}",
            pod["status"]["phase"].as_str().unwrap_or("unknown")
        ))
        .fix(format!(
            "kubectl wait -n {ns} --for=condition=Ready pod/{name} --timeout=5m"
        ))),
    }
}

fn container_ports(pod: &Value) -> Vec<u16> {
    containers(pod)
        .filter_map(|p| port_number(&p["containerPort"]))
        .collect()
}

fn named_port(pod: &Value, name: &str) -> Option<u16> {
    containers(pod)
        .find(|p| p["name"] == name)
        .and_then(|p| port_number(&p["containerPort"]))
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    let all = pod["spec"]["containers"].as_array().into_iter().flatten();
    all.flat_map(|c| c["ports"].as_array().into_iter().flatten())
}

fn port_number(value: &Value) -> Option<u16> {
    value
        .as_u64()
        .and_then(|n| u16::try_from(n).ok())
        .filter(|n| *n != 0)
}

/// The port a browser most likely wants: the well-known ones first, else the first.
fn best(ports: &[u16]) -> Option<u16> {
    const KNOWN: [u16; 7] = [80, 8080, 3000, 5000, 8000, 443, 8443];
    KNOWN
        .into_iter()
        .find(|p| ports.contains(p))
        .or(ports.first().copied())
}

fn percent(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}

/// Asks for the page through the tunnel: its status and title, or why nothing came.
pub(super) async fn page(proxy: u16, url: &str) -> Result<String, String> {
    let told = |e: reqwest::Error| e.to_string();
    let through = reqwest::Proxy::all(format!("socks5h://127.0.0.1:{proxy}")).map_err(told)?;
    let client = reqwest::Client::builder()
        .proxy(through)
        .timeout(Duration::from_secs(10))
        .tls_certs_only([])
        .build()
        .map_err(told)?;
    let response = client.get(url).send().await.map_err(told)?;
    let status = response.status();
    let body = response.text().await.map_err(told)?;
    let title = body
        .split_once("<title>")
        .and_then(|(_, rest)| rest.split_once("</title>"));
    Ok(match title {
        Some((title, _)) => format!("answers {status}, title \"{}\"", title.trim()),
        None => format!("answers {status}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_web_port_wins_over_the_database() {
        let pod = json!({"metadata": {"name": "t"}, "spec": {"containers": [
            {"ports": [{"containerPort": 27017}]}, {"ports": [{"containerPort": 80, "name": "web"}]}]},
            "status": {"podIP": "10.244.0.2"}});
        assert_eq!(best(&container_ports(&pod)), Some(80));
        assert_eq!(named_port(&pod, "web"), Some(80));
        assert_eq!(best(&[27017]), Some(27017));
        assert_eq!(best(&[]), None);
        assert_eq!(
            place(&pod, 80, None, "default").unwrap().url(),
            "http://10.244.0.2/"
        );
        assert_eq!(
            place(&pod, 5000, None, "default").unwrap().url(),
            "http://10.244.0.2:5000/"
        );
    }

    #[test]
    fn a_pod_without_address_says_what_to_wait_for() {
        let pod = json!({"metadata": {"name": "t"}, "status": {"phase": "Pending"}});
        let error = place(&pod, 80, None, "default").err().unwrap();
        assert_eq!(error.topic.id, "CLUSTER_NOT_READY");
        assert!(error.fix.unwrap().contains("kubectl wait"));
    }

    #[test]
    fn selectors_are_escaped() {
        assert_eq!(
            "a=b,c/d=é".bytes().map(percent).collect::<String>(),
            "a%3Db%2Cc%2Fd%3D%C3%A9"
        );
    }
}
