//! Which cluster a question is put to: the profile's own, or one that a kubeconfig names.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use cadet_api::kubeconfig::Access;
use clap::Args;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::error::{CliError, Result};
use crate::{Context, kubeconfig, machine};

/// Flags of commands that ask a cluster, as kubectl has them.
#[derive(Debug, Default, Args)]
pub struct Reach {
    /// Kubeconfig file to use, as kubectl does, instead of the profile's own credentials
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig to use, instead of the current one
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Namespace to look in, instead of the context's
    #[arg(short, long, value_name = "NAME")]
    pub namespace: Option<String>,
}

/// A cluster, and the namespace its user is in.
pub struct Reached {
    pub cluster: Cluster,
    pub namespace: String,
}

impl Reached {
    /// The path of all objects of a core kind in the namespace.
    pub fn path_of(&self, plural: &str) -> String {
        format!("/api/v1/namespaces/{}/{plural}", segment(&self.namespace))
    }
}

/// `text` as one segment of a path (RFC 3986, section 3.3).
pub fn segment(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    let escaped = text.bytes().map(|b| match plain(b) {
        true => char::from(b).to_string(),
        false => format!("%{b:02X}"),
    });
    escaped.collect()
}

/// What opens the profile's own cluster.
///
/// # Errors
/// GUEST_NOT_RUNNING when the first start has not come that far.
pub fn credentials(cx: &Context) -> Result<Access> {
    let file = cx.world.files(&cx.name).kubeconfig();
    kubeconfig::read_alone(&file, cx.name.as_str())?.ok_or_else(|| {
        CliError::new(
            "GUEST_NOT_RUNNING",
            format!("profile {} has no credentials yet", cx.name),
        )
        .why("they are fetched by the last steps of `cadet start`")
        .fix(machine::again(cx, "start"))
    })
}

/// The profile's own cluster, whose machine must run.
///
/// # Errors
/// GUEST_NOT_FOUND, GUEST_NOT_RUNNING, DRIVER_MACHINE_DIED.
pub async fn own(cx: &Context) -> Result<Cluster> {
    machine::running(cx).await?;
    Cluster::new(&credentials(cx)?)
}

impl Reach {
    /// True if the flags name a cluster, which may be none of ours.
    pub fn is_named(&self) -> bool {
        self.kubeconfig.is_some() || self.context.is_some()
    }

    /// The cluster these flags mean: with a kubeconfig or a context the one named there; else
    /// the profile's; where the profile was never started, the current one of the user's own
    /// kubeconfig.
    ///
    /// # Errors
    /// HOST_KUBECONFIG_INVALID, HOST_NOT_READABLE, GUEST_NOT_FOUND.
    pub fn open(&self, cx: &Context) -> Result<Reached> {
        let file = self.kubeconfig.as_deref().unwrap_or(&cx.world.kubeconfig);
        let named = self.is_named();
        let own = cx.world.files(&cx.name).kubeconfig();
        let (access, namespace) = match named {
            true => choose(file, self.context.as_deref())?,
            false => match kubeconfig::read_alone(&own, cx.name.as_str())? {
                // The learner may have moved the context to another namespace; a file that
                // does not know it is no obstacle.
                Some(access) => {
                    let moved = choose(file, Some(cx.name.as_str())).ok();
                    (access, moved.and_then(|(_, namespace)| namespace))
                }
                None => choose(file, None).map_err(|e| machine::profile(cx).err().unwrap_or(e))?,
            },
        };
        let namespace = self.namespace.clone().or(namespace);
        Ok(Reached {
            cluster: Cluster::new(&access)?,
            namespace: namespace.unwrap_or_else(|| "default".into()),
        })
    }
}

/// Credentials and namespace of a context in a kubeconfig, of the current one by default.
fn choose(file: &Path, context: Option<&str>) -> Result<(Access, Option<String>)> {
    let bad = |why: String| {
        CliError::new(
            "HOST_KUBECONFIG_INVALID",
            format!("{} does not lead to a cluster", file.display()),
        )
        .why(why)
        .fix("kubectl config get-contexts")
    };
    let text = fs::read_to_string(file).map_err(|e| {
        CliError::new(
            "HOST_NOT_READABLE",
            format!("cannot read {}", file.display()),
        )
        .why(e.to_string())
        .fix("cadet start      makes a cluster and its kubeconfig")
    })?;
    let doc: Value = serde_saphyr::from_str(&text).map_err(|e| bad(e.to_string()))?;
    access_in(&doc, context, file.parent().unwrap_or(Path::new("."))).map_err(bad)
}

/// The same of a kubeconfig in hand; `dir` is where relative paths in it begin.
fn access_in(
    doc: &Value,
    context: Option<&str>,
    dir: &Path,
) -> std::result::Result<(Access, Option<String>), String> {
    let current = doc["current-context"].as_str().filter(|c| !c.is_empty());
    let name = context
        .or(current)
        .ok_or("it has no current context; --context names one")?;
    let find = |list: &str, one: &str, name: &str| {
        let rows = doc[list].as_array().into_iter().flatten();
        let mut rows = rows.filter(|row| row["name"] == name);
        let found = rows.next().map(|row| row[one].clone());
        found.ok_or_else(|| format!("it has no {one} {name:?}"))
    };
    let context = find("contexts", "context", name)?;
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let cluster = find("clusters", "cluster", &text(&context, "cluster"))?;
    let user = find("users", "user", &text(&context, "user"))?;
    let pem = |of: &Value, key: &str| -> std::result::Result<String, String> {
        if let Some(data) = of[format!("{key}-data")].as_str() {
            return Ok(data.to_owned());
        }
        let path = of[key].as_str().ok_or_else(|| {
            format!("context {name:?} has no {key}; Cadet signs in with certificates only")
        })?;
        let path = dir.join(path);
        let bytes = fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(BASE64.encode(bytes))
    };
    let access = Access {
        name: name.to_owned(),
        server: text(&cluster, "server").trim_end_matches('/').to_owned(),
        ca: pem(&cluster, "certificate-authority")?,
        cert: pem(&user, "client-certificate")?,
        key: pem(&user, "client-key")?,
    };
    let namespace = Some(text(&context, "namespace")).filter(|n| !n.is_empty());
    Ok((access, namespace))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn kubeconfig() -> Value {
        json!({"current-context": "one",
            "contexts": [
                {"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "shop"}},
                {"name": "two", "context": {"cluster": "c", "user": "files"}},
                {"name": "three", "context": {"cluster": "c", "user": "token"}},
                {"name": "four", "context": {"cluster": "none", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {
                "server": "https://c:6443/", "certificate-authority-data": "Y2E="}}],
            "users": [
                {"name": "u", "user": {"client-certificate-data": "Yw==", "client-key-data": "aw=="}},
                {"name": "files", "user": {"client-certificate": "cert.pem", "client-key": "key.pem"}},
                {"name": "token", "user": {"token": "t"}}]})
    }

    #[test]
    fn the_current_context_or_the_named_one_is_used() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cert.pem"), "c").unwrap();
        fs::write(dir.path().join("key.pem"), "k").unwrap();
        let (one, namespace) = access_in(&kubeconfig(), None, dir.path()).unwrap();
        assert_eq!(one.server, "https://c:6443");
        assert_eq!((one.cert.as_str(), one.key.as_str()), ("Yw==", "aw=="));
        assert_eq!(namespace.as_deref(), Some("shop"));
        let (two, namespace) = access_in(&kubeconfig(), Some("two"), dir.path()).unwrap();
        assert_eq!((two.cert, two.key), (one.cert, one.key));
        assert_eq!(namespace, None);
    }

    #[test]
    fn a_namespace_cannot_leave_its_place_in_the_path() {
        assert_eq!(segment("kube-system"), "kube-system");
        assert_eq!(segment("../x?a=b"), "..%2Fx%3Fa%3Db");
    }

    #[test]
    fn what_is_missing_is_named() {
        let why = |context| access_in(&kubeconfig(), Some(context), Path::new("/")).unwrap_err();
        assert!(why("three").contains("no client-certificate"));
        assert_eq!(why("four"), "it has no cluster \"none\"");
        assert_eq!(why("five"), "it has no context \"five\"");
        let none = access_in(&json!({}), None, Path::new("/")).unwrap_err();
        assert!(none.contains("no current context"), "{none}");
    }
}
