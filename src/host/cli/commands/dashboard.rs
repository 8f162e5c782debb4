//! `cadet dashboard`: the cluster's own page in a browser that goes through the tunnel, and
//! tokens to sign in with.

use cadet_api::install::DASHBOARD_PORT;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::addons::Choices;
use crate::cluster::{Cluster, Failure};
use crate::commands::open;
use crate::error::{CliError, Result};
use crate::{Context, browse, kubeconfig, line, machine};

/// Flags of `cadet dashboard`.
#[derive(Debug, Args)]
#[command(
    after_help = "The page asks for a token of a ServiceAccount and may do what RBAC lets that account\ndo. It listens inside the machine only; the way there is the tunnel, which is started\nif none runs.\n\nExamples:\n  cadet dashboard --token          opens it; prints a token of an account that may look\n  cadet dashboard --token=admin    the same for an account that may do everything\n  kubectl create token default     a token of an account of your own\n  cadet dashboard --url            only print the address"
)]
pub struct DashboardArgs {
    /// Only print the address, and the token if one is wanted; start nothing but the tunnel
    #[arg(long)]
    url: bool,
    /// Print a token of an account made for it, which may look (view) or do everything (admin)
    #[arg(
        long,
        value_enum,
        value_name = "RIGHTS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "view"
    )]
    token: Option<Rights>,
    /// Program to use: chrome, chromium, edge, firefox, or a path
    #[arg(long, env = "CADET_BROWSER", value_name = "PROGRAM")]
    browser: Option<String>,
}

/// What an account may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Rights {
    /// See everything but Secrets
    View,
    /// Do everything
    Admin,
}

/// Where the accounts are.
const NAMESPACE: &str = "kube-system";
/// How long a token lives: a day's work.
const SECONDS: u32 = 8 * 60 * 60;
/// What the page calls itself.
const TITLE: &str = "Cadet dashboard";

/// Opens it.
pub async fn run(cx: &Context, args: DashboardArgs) -> Result<u8> {
    machine::running(cx).await?;
    let file = cx.world.files(&cx.name).kubeconfig();
    let access = kubeconfig::read_alone(&file, cx.name.as_str())?.ok_or_else(|| {
        CliError::new("GUEST_NOT_RUNNING", "the first start has not finished")
            .fix(machine::again(cx, "start"))
    })?;
    if !Choices::read(&cx.world.files(&cx.name))?.dashboard {
        return Err(
            CliError::new("CLUSTER_DASHBOARD", "the dashboard is switched off")
                .why("it is one of the addons, and was disabled for this profile")
                .fix(machine::again(cx, "addons enable dashboard")),
        );
    }
    let token = match args.token {
        None => None,
        Some(rights) => Some(rights.token(&Cluster::new(&access)?).await?),
    };
    let (proxy, note) = line::ensure_background_quietly(cx).await?;
    if let (Some(note), false) = (note, args.url) {
        cx.ui.warn("tunnel", &note);
    }
    let url = url();
    let shown = browse::page(&url, proxy)?;
    if cx.ui.json() {
        cx.ui.object(&json!({"type": "dashboard", "url": url, "socks": format!("127.0.0.1:{proxy}"), "curl": shown.curl(), "token": token}));
    } else if args.url {
        cx.ui.line(&url);
        if let Some(token) = &token {
            cx.ui.line(token);
        }
    } else {
        cx.ui.line(format!("The dashboard is at {url}"));
        cx.ui.line(format!("  curl   {}", shown.curl()));
        match (&token, args.token) {
            (Some(token), Some(rights)) => {
                let account = rights.account();
                let what = format!("of {NAMESPACE}/{account}, for eight hours:");
                cx.ui.line(format!("  token  {what}\n{token}"));
            }
            _ => {
                let how = "kubectl create token NAME      or   cadet dashboard --token";
                cx.ui.line(format!("  token  {how}"));
            }
        }
    }
    if args.url {
        return Ok(0);
    }
    answers(cx, proxy, &url).await?;
    browse::show(cx, args.browser.as_deref(), &shown)?;
    Ok(0)
}

/// The loopback of the machine, as the tunnel's far end sees it.
fn url() -> String {
    format!("http://127.0.0.1:{DASHBOARD_PORT}/")
}

/// Asks for the page through the tunnel.
async fn answers(cx: &Context, proxy: u16, url: &str) -> Result<()> {
    let why = match open::page(proxy, url).await {
        Ok(told) if told.contains(TITLE) => return Ok(()),
        Ok(told) => format!("what is there {told}"),
        Err(why) => why,
    };
    Err(
        CliError::new("CLUSTER_DASHBOARD", "the dashboard does not answer")
            .why(why)
            .fix(machine::again(cx, "start"))
            .log(machine::again(cx, "logs")),
    )
}

impl Rights {
    fn account(self) -> &'static str {
        match self {
            Self::View => "cadet-dashboard-view",
            Self::Admin => "cadet-dashboard-admin",
        }
    }

    /// What must be there for the account to have its rights: collection and object.
    fn objects(self) -> Vec<(String, Value)> {
        let name = self.account();
        let rbac = "/apis/rbac.authorization.k8s.io/v1";
        let binding = |suffix: &str, role: &str| {
            let binding = json!({
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": format!("{name}{suffix}")},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}],
            });
            (format!("{rbac}/clusterrolebindings"), binding)
        };
        let account =
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}});
        let mut all = vec![(
            format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts"),
            account,
        )];
        match self {
            Self::Admin => all.push(binding("", "cluster-admin")),
            Self::View => {
                // The role `view` knows namespaces and what is in them; the picture has nodes.
                let role = json!({
                    "apiVersion": "rbac.authorization.k8s.io/v1",
                    "kind": "ClusterRole",
                    "metadata": {"name": name},
                    "rules": [
                        {"apiGroups": [""], "resources": ["nodes", "persistentvolumes"], "verbs": ["get", "list", "watch"]},
                        {"apiGroups": ["storage.k8s.io"], "resources": ["storageclasses"], "verbs": ["get", "list", "watch"]},
                    ],
                });
                all.push((format!("{rbac}/clusterroles"), role));
                all.push(binding("", "view"));
                all.push(binding("-cluster", name));
            }
        }
        all
    }

    /// A fresh token; what it needs is made unless it is there.
    async fn token(self, cluster: &Cluster) -> Result<String> {
        for (path, object) in self.objects() {
            match cluster.create(&path, &object).await {
                Ok(_) | Err(Failure::Status { code: 409, .. }) => {}
                Err(failure) => return Err(failure.told(&path)),
            }
        }
        let path = format!(
            "/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{}/token",
            self.account()
        );
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": SECONDS},
        });
        let answer = cluster.create(&path, &request).await;
        let answer = answer.map_err(|failure| failure.told(&path))?;
        let token = answer["status"]["token"].as_str();
        token.map(str::to_owned).ok_or_else(|| {
            CliError::new("CLUSTER_API", "the API server gave no token")
                .why(format!("its answer from {path} holds none"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_look_cannot_write_and_sees_nodes() {
        let objects = Rights::View.objects();
        let named: Vec<_> = objects
            .iter()
            .map(|(_, object)| (object["kind"].as_str(), object["metadata"]["name"].as_str()))
            .collect();
        let view = Some("cadet-dashboard-view");
        assert_eq!(
            named,
            [
                (Some("ServiceAccount"), view),
                (Some("ClusterRole"), view),
                (Some("ClusterRoleBinding"), view),
                (
                    Some("ClusterRoleBinding"),
                    Some("cadet-dashboard-view-cluster")
                ),
            ]
        );
        let text = json!(objects.iter().map(|(_, object)| object).collect::<Vec<_>>()).to_string();
        for word in ["cluster-admin", "secrets", "*", "create", "delete", "patch"] {
            assert!(!text.contains(word), "{word}");
        }
        assert!(text.contains("nodes"));
    }

    #[test]
    fn the_admin_is_bound_to_the_role_that_is_there() {
        let objects = Rights::Admin.objects();
        let roles: Vec<_> = objects
            .iter()
            .filter_map(|(_, object)| object["roleRef"]["name"].as_str())
            .collect();
        assert_eq!(roles, ["cluster-admin"]);
    }

    #[test]
    fn the_address_is_one_that_browsers_take() {
        assert_eq!(browse::page(&url(), 8082).unwrap().url(), url());
    }
}
