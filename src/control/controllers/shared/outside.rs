//! What loops that look after pods from outside ask of them (endpoints, eviction, volumes).
//! It comes from the template, so that pods of one controller share it.

use serde::Deserialize;

/// See the module's opening.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Outside {
    pub hostname: String,
    pub subdomain: String,
    /// Named ports of its containers and sidecars.
    pub ports: Vec<ContainerPort>,
    /// Those that can matter for NoExecute taints.
    pub tolerations: Vec<Toleration>,
    /// Claims it names.
    pub claims: Vec<String>,
    /// Volumes for which a claim `<pod>-<volume>` is made.
    pub ephemeral: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPort {
    pub name: String,
    pub container_port: u16,
    pub protocol: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Toleration {
    pub key: String,
    pub operator: String,
    pub value: String,
    pub effect: String,
    pub toleration_seconds: Option<i64>,
}

/// An init container on the wire.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WireSidecar {
    ports: Vec<ContainerPort>,
    restart_policy: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WireVolume {
    name: String,
    persistent_volume_claim: Option<WireClaim>,
    ephemeral: Option<serde::de::IgnoredAny>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireClaim {
    claim_name: String,
}

/// Picks what matters, but for the names; `ports` are those of the ordinary containers.
pub(super) fn outside(
    ports: impl Iterator<Item = ContainerPort>,
    init_containers: Vec<WireSidecar>,
    mut tolerations: Vec<Toleration>,
    volumes: Vec<WireVolume>,
) -> Outside {
    // Sidecars serve as long as the pod does; other init containers have ended by then.
    let sidecars = init_containers.into_iter();
    let sidecars = sidecars.filter(|container| container.restart_policy == "Always");
    let ports = ports.chain(sidecars.flat_map(|container| container.ports));
    tolerations.retain(|t| matches!(t.effect.as_str(), "" | "NoExecute"));
    let (mut claims, mut ephemeral) = (vec![], vec![]);
    for volume in volumes {
        if let Some(claim) = volume.persistent_volume_claim {
            claims.push(claim.claim_name);
        } else if volume.ephemeral.is_some() {
            ephemeral.push(volume.name);
        }
    }
    Outside {
        ports: ports.filter(|port| !port.name.is_empty()).collect(),
        tolerations,
        claims,
        ephemeral,
        ..Outside::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_matters_from_outside_is_picked() {
        fn of<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
            serde_json::from_value(value).unwrap()
        }
        let seen = outside(
            of::<Vec<ContainerPort>>(json!([{"containerPort": 80}])).into_iter(),
            of(json!([
                {"ports": [{"name": "once", "containerPort": 1}]},
                {"restartPolicy": "Always", "ports": [{"name": "mesh", "containerPort": 2}]}])),
            of(json!([
                {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
                {"key": "b", "operator": "Exists"},
                {"key": "c", "operator": "Exists", "effect": "NoSchedule"}])),
            of(json!([
                {"name": "a", "persistentVolumeClaim": {"claimName": "data"}},
                {"name": "b", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}},
                {"name": "c", "emptyDir": {}}])),
        );
        assert_eq!(seen.ports.len(), 1);
        assert_eq!(seen.ports[0].name, "mesh");
        assert_eq!(seen.tolerations.len(), 2);
        assert_eq!(seen.claims, ["data"]);
        assert_eq!(seen.ephemeral, ["b"]);
    }
}
