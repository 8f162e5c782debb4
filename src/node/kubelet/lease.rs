//! The node's lease: a small object renewed often, so that the big one need not be.

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, PostParams};

/// Without a renewal for so long the node counts as lost, upstream's figure.
pub(crate) const SECONDS: i32 = 40;
const NAMESPACE: &str = "kube-node-lease";

/// Holds and renews the lease of one node.
pub(crate) struct NodeLease {
    client: Client,
    node_name: String,
    /// As the API server last returned it.
    held: Option<Lease>,
}

impl NodeLease {
    pub(crate) fn new(client: Client, node_name: String) -> Self {
        Self {
            client,
            node_name,
            held: None,
        }
    }

    /// Says that the node lives, making the lease if there is none.
    ///
    /// # Errors
    /// If the API server does not take it.
    pub(crate) async fn renew(&mut self, node: &Node, now: Timestamp) -> kube::Result<()> {
        let api: Api<Lease> = Api::namespaced(self.client.clone(), NAMESPACE);
        let name = &self.node_name;
        if let Some(mut lease) = self.held.take() {
            lease.spec = Some(spec(name, now));
            match api.replace(name, &PostParams::default(), &lease).await {
                Ok(renewed) => {
                    self.held = Some(renewed);
                    return Ok(());
                }
                // Somebody else wrote or removed it: look again below.
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                Err(error) => return Err(error),
            }
        }
        let held = match api.get_opt(name).await? {
            Some(mut lease) => {
                lease.spec = Some(spec(name, now));
                api.replace(name, &PostParams::default(), &lease).await?
            }
            None => {
                api.create(&PostParams::default(), &fresh(name, node, now))
                    .await?
            }
        };
        self.held = Some(held);
        Ok(())
    }
}

fn fresh(name: &str, node: &Node, now: Timestamp) -> Lease {
    let owner = |uid| OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: name.to_owned(),
        uid,
        ..OwnerReference::default()
    };
    Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(NAMESPACE.into()),
            owner_references: node.metadata.uid.clone().map(|uid| vec![owner(uid)]),
            ..ObjectMeta::default()
        },
        spec: Some(spec(name, now)),
    }
}

fn spec(holder: &str, now: Timestamp) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(holder.to_owned()),
        lease_duration_seconds: Some(SECONDS),
        renew_time: Some(MicroTime(now)),
        ..LeaseSpec::default()
    }
}
