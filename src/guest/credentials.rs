//! kubeconfigs: the administrator's for the host, the agent's for itself.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use cadet_api::install::NodeConfig;
use serde_json::{Value, json};

use crate::pki::{Pki, PkiError};

/// The administrator's kubeconfig as JSON, which every YAML reader reads.
///
/// # Errors
/// [`PkiError::File`] before the first start of the server.
pub fn admin(config: &NodeConfig, data: &Path) -> Result<String, PkiError> {
    Ok(format!(
        "{:#}",
        kubeconfig(config, &Pki::at(data), "admin")?
    ))
}

/// The node agent's kubeconfig.
///
/// # Errors
/// [`PkiError::File`] before the first start of the server.
pub fn agent(config: &NodeConfig, pki: &Pki) -> Result<Value, PkiError> {
    kubeconfig(config, pki, "node")
}

/// The service network's kubeconfig: other rights than the agent's, which sees only what
/// its own pods need.
///
/// # Errors
/// [`PkiError::File`] before the first start of the server.
pub fn proxy(config: &NodeConfig, pki: &Pki) -> Result<Value, PkiError> {
    kubeconfig(config, pki, "proxy")
}

fn kubeconfig(config: &NodeConfig, pki: &Pki, holder: &str) -> Result<Value, PkiError> {
    let pair = pki.pair(holder)?;
    let name = &config.cluster_name;
    let local = || format!("127.0.0.1:{}", config.api_port);
    let server = config.server.clone().unwrap_or_else(local);
    let user = format!("{name}-{holder}");
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": {
            "server": format!("https://{server}"),
            "certificate-authority-data": BASE64.encode(pki.ca()?),
        }}],
        "users": [{"name": user, "user": {
            "client-certificate-data": BASE64.encode(pair.certificate),
            "client-key-data": BASE64.encode(pair.key),
        }}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
    }))
}
