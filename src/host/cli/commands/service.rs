//! `cadet service`: where this computer reaches a Service, printed or opened.

use cadet_tunnel::control::{self, ForwardStatus};
use clap::Args;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::error::{CliError, Result};
use crate::{Context, browse, commands, doors, kubeconfig, line, machine};

/// Flags of `cadet service`.
#[derive(Debug, Args)]
#[command(
    after_help = "Services of type LoadBalancer and NodePort are served on 127.0.0.1 by the tunnel, which is\nstarted if none runs. Any other Service is opened as `cadet open svc/NAME` does it.\n\nExamples:\n  cadet service web\n  cadet service web -n shop --url     only print the address\n  curl \"$(cadet service web --url)\""
)]
pub struct ServiceArgs {
    /// Name of the Service
    name: String,
    /// Namespace of the Service
    #[arg(short, long, default_value = "default", value_name = "NAME")]
    namespace: String,
    /// Only print the addresses, one a line; start nothing but the tunnel
    #[arg(long)]
    url: bool,
    /// Program to use: chrome, chromium, edge, firefox, or a path
    #[arg(long, env = "CADET_BROWSER", value_name = "PROGRAM")]
    browser: Option<String>,
}

/// Prints or opens it.
pub async fn run(cx: &Context, args: ServiceArgs) -> Result<u8> {
    let name = plain(&args.name)?;
    let ns = plain(&args.namespace)?;
    machine::running(cx).await?;
    let files = cx.world.files(&cx.name);
    let access = kubeconfig::read_alone(&files.kubeconfig(), cx.name.as_str())?;
    let access = access.ok_or_else(|| {
        CliError::new("GUEST_NOT_RUNNING", "the first start has not finished")
            .fix(machine::again(cx, "start"))
    })?;
    let service = Cluster::new(&access)?
        .get(&format!("/api/v1/namespaces/{ns}/services/{name}"))
        .await
        .map_err(|e| e.fix(format!("kubectl get services -n {ns}")))?;
    let urls = if doors::wants_any(&service) {
        let (_, note) = line::ensure_background_quietly(cx).await?;
        if let (Some(note), false) = (note, args.url) {
            cx.ui.warn("tunnel", &note);
        }
        let seen = control::service(&files.tunnel_socket(), &format!("{ns}/{name}")).await?;
        urls(&service, &format!("{ns}/{name}"), &seen.doors.forwards)
    } else {
        Vec::new()
    };
    let Some(first) = urls.first() else {
        let open = commands::open::OpenArgs {
            target: format!("svc/{name}"),
            namespace: ns.into(),
            port: None,
            print: args.url,
            browser: args.browser,
        };
        return commands::open::run(cx, open).await;
    };
    if cx.ui.json() {
        cx.ui
            .object(&json!({"type": "service", "service": format!("{ns}/{name}"), "urls": urls}));
    } else {
        for url in &urls {
            cx.ui.line(if args.url {
                url.clone()
            } else {
                format!("{ns}/{name} is at {url}")
            });
        }
    }
    if !args.url {
        browse::show(cx, args.browser.as_deref(), &browse::local(first)?)?;
    }
    Ok(0)
}

/// A name that is one segment of a path in the API; `svc/` may stand before it.
fn plain(text: &str) -> Result<&str> {
    let name = ["svc/", "service/", "services/"]
        .iter()
        .find_map(|kind| text.strip_prefix(kind))
        .unwrap_or(text);
    // A DNS label in both cases (RFC 1123); the API server looks more closely.
    let label = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    if name.is_empty() || name.starts_with('.') || !name.chars().all(label) {
        return Err(
            CliError::new("PROGRAM_USAGE", format!("{text:?} names no Service"))
                .why("a name has letters, digits and dashes")
                .fix("kubectl get services -A\ncadet service NAME -n NAMESPACE"),
        );
    }
    Ok(name)
}

/// One address per port of `service`, by the best of its doors: the one at the port's own
/// number before that of its node port.
fn urls(service: &Value, name: &str, doors: &[ForwardStatus]) -> Vec<String> {
    let rows = service["spec"]["ports"].as_array().into_iter().flatten();
    let ours = || doors.iter().filter(|door| door.service == name);
    rows.filter_map(|row| {
        let at = |door: &&ForwardStatus| row["port"] == door.port;
        let own = ours().filter(at).find(|door| door.wanted == door.port);
        let door = own.or_else(|| ours().find(at))?;
        let tls = row["name"] == "https" || door.port == 443 || row["appProtocol"] == "https";
        let scheme = if tls { "https" } else { "http" };
        Some(format!("{scheme}://{}/", door.local))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(service: &str, local: u16, port: u16, wanted: u16) -> ForwardStatus {
        ForwardStatus {
            local: ([127, 0, 0, 1], local).into(),
            host: "10.96.0.7".into(),
            port,
            service: service.into(),
            wanted,
            why: None,
        }
    }

    #[test]
    fn each_port_has_one_address_and_its_own_number_is_best() {
        let service = json!({"spec": {"ports": [
            {"port": 6000}, {"port": 443}, {"port": 9, "protocol": "UDP"}]}});
        let doors = [
            door("default/other", 5, 6000, 6000),
            door("default/web", 30123, 6000, 30123),
            door("default/web", 6000, 6000, 6000),
            door("default/web", 30124, 443, 30124),
        ];
        assert_eq!(
            urls(&service, "default/web", &doors),
            ["http://127.0.0.1:6000/", "https://127.0.0.1:30124/"]
        );
        // A mapped door is still the Service's own.
        let doors = [
            door("default/web", 30123, 6000, 30123),
            door("default/web", 41000, 6000, 6000),
        ];
        assert_eq!(
            urls(&service, "default/web", &doors),
            ["http://127.0.0.1:41000/"]
        );
        assert!(urls(&service, "default/web", &[]).is_empty());
    }

    #[test]
    fn names_are_one_segment_of_a_path() {
        for (text, name) in [("web", "web"), ("svc/web", "web"), ("service/a-b", "a-b")] {
            assert_eq!(plain(text).unwrap(), name);
        }
        for bad in [
            "", "a/b", "svc/", "../x", "a b", "a?b", "pod/x", "a%2f", ".",
        ] {
            assert_eq!(plain(bad).unwrap_err().topic.id, "PROGRAM_USAGE", "{bad}");
        }
    }
}
