//! Which lists merge by which key: the table of Kubernetes 1.36, and the paths to it.

/// One field of one type that a strategic merge treats specially or passes through.
pub(super) struct Row {
    owner: &'static str,
    field: &'static str,
    /// Type of the field's value or of its items; "" where nothing below is special.
    child: &'static str,
    pub(super) how: How,
}

/// How a field is merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// Objects merge, lists are replaced: the rule without a rule.
    Plain,
    /// A list of objects merged by this key.
    ByKey(&'static str),
    /// As `ByKey`, and patch items may carry `$retainKeys`.
    ByKeyRetain(&'static str),
    /// A list of plain values merged as a set.
    Set,
    /// Replaced as a whole although it is an object.
    Replace,
}

const fn row(owner: &'static str, field: &'static str, child: &'static str, how: How) -> Row {
    Row {
        owner,
        field,
        child,
        how,
    }
}

/// Name of a type in the table.
pub(super) type Type = &'static str;

/// The type an object of this kind starts with; kinds name themselves.
pub(super) fn root(kind: &'static str) -> Type {
    kind
}

/// How `field` of an object of type `owner` merges, and the type below it.
pub(super) fn look(owner: Type, field: &str) -> (How, Type) {
    if field == "metadata" && !owner.is_empty() {
        return (How::Plain, "ObjectMeta");
    }
    TABLE
        .iter()
        .find(|r| r.owner == owner && r.field == field)
        .map_or((How::Plain, ""), |r| (r.how, r.child))
}

use How::{ByKey, ByKeyRetain, Plain, Replace, Set};

static TABLE: &[Row] = &[
    row("ObjectMeta", "finalizers", "", Set),
    row("ObjectMeta", "ownerReferences", "", ByKey("uid")),
    // Core.
    row("Pod", "spec", "PodSpec", Plain),
    row("Pod", "status", "PodStatus", Plain),
    row("PodTemplate", "template", "PodTemplateSpec", Plain),
    row("PodTemplateSpec", "spec", "PodSpec", Plain),
    row("PodSpec", "containers", "Container", ByKey("name")),
    row("PodSpec", "initContainers", "Container", ByKey("name")),
    row("PodSpec", "ephemeralContainers", "Container", ByKey("name")),
    row("PodSpec", "hostAliases", "", ByKey("ip")),
    row("PodSpec", "imagePullSecrets", "", ByKey("name")),
    row("PodSpec", "resourceClaims", "", ByKeyRetain("name")),
    row("PodSpec", "schedulingGates", "", ByKey("name")),
    row(
        "PodSpec",
        "topologySpreadConstraints",
        "",
        ByKey("topologyKey"),
    ),
    row("PodSpec", "volumes", "", ByKeyRetain("name")),
    row("Container", "env", "", ByKey("name")),
    row("Container", "ports", "", ByKey("containerPort")),
    row("Container", "volumeDevices", "", ByKey("devicePath")),
    row("Container", "volumeMounts", "", ByKey("mountPath")),
    row("PodStatus", "conditions", "", ByKey("type")),
    row("PodStatus", "hostIPs", "", ByKey("ip")),
    row("PodStatus", "podIPs", "", ByKey("ip")),
    row(
        "PodStatus",
        "resourceClaimStatuses",
        "",
        ByKeyRetain("name"),
    ),
    row("PodStatus", "containerStatuses", "ContainerStatus", Plain),
    row(
        "PodStatus",
        "initContainerStatuses",
        "ContainerStatus",
        Plain,
    ),
    row(
        "PodStatus",
        "ephemeralContainerStatuses",
        "ContainerStatus",
        Plain,
    ),
    row(
        "ContainerStatus",
        "allocatedResourcesStatus",
        "",
        ByKey("name"),
    ),
    row("ContainerStatus", "volumeMounts", "", ByKey("mountPath")),
    row("Namespace", "status", "NamespaceStatus", Plain),
    row("NamespaceStatus", "conditions", "", ByKey("type")),
    row("Node", "spec", "NodeSpec", Plain),
    row("Node", "status", "NodeStatus", Plain),
    row("NodeSpec", "podCIDRs", "", Set),
    row("NodeStatus", "addresses", "", ByKey("type")),
    row("NodeStatus", "conditions", "", ByKey("type")),
    row(
        "PersistentVolumeClaim",
        "status",
        "PersistentVolumeClaimStatus",
        Plain,
    ),
    row(
        "PersistentVolumeClaimStatus",
        "conditions",
        "",
        ByKey("type"),
    ),
    row(
        "ReplicationController",
        "spec",
        "ReplicationControllerSpec",
        Plain,
    ),
    row(
        "ReplicationController",
        "status",
        "ReplicationControllerStatus",
        Plain,
    ),
    row(
        "ReplicationControllerSpec",
        "template",
        "PodTemplateSpec",
        Plain,
    ),
    row(
        "ReplicationControllerStatus",
        "conditions",
        "",
        ByKey("type"),
    ),
    row("Service", "spec", "ServiceSpec", Plain),
    row("Service", "status", "ServiceStatus", Plain),
    row("ServiceSpec", "ports", "", ByKey("port")),
    row("ServiceStatus", "conditions", "", ByKey("type")),
    row("ServiceAccount", "secrets", "", ByKey("name")),
    row("ComponentStatus", "conditions", "", ByKey("type")),
    // Workloads.
    row("Deployment", "spec", "DeploymentSpec", Plain),
    row("Deployment", "status", "DeploymentStatus", Plain),
    row("DeploymentSpec", "template", "PodTemplateSpec", Plain),
    row("DeploymentStatus", "conditions", "", ByKey("type")),
    row("DaemonSet", "spec", "DaemonSetSpec", Plain),
    row("DaemonSet", "status", "DaemonSetStatus", Plain),
    row("DaemonSetSpec", "template", "PodTemplateSpec", Plain),
    row("DaemonSetStatus", "conditions", "", ByKey("type")),
    row("ReplicaSet", "spec", "ReplicaSetSpec", Plain),
    row("ReplicaSet", "status", "ReplicaSetStatus", Plain),
    row("ReplicaSetSpec", "template", "PodTemplateSpec", Plain),
    row("ReplicaSetStatus", "conditions", "", ByKey("type")),
    row("StatefulSet", "spec", "StatefulSetSpec", Plain),
    row("StatefulSet", "status", "StatefulSetStatus", Plain),
    row("StatefulSetSpec", "template", "PodTemplateSpec", Plain),
    row("StatefulSetStatus", "conditions", "", ByKey("type")),
    row("Job", "spec", "JobSpec", Plain),
    row("Job", "status", "JobStatus", Plain),
    row("JobSpec", "template", "PodTemplateSpec", Plain),
    row("JobStatus", "conditions", "", ByKey("type")),
    row("CronJob", "spec", "CronJobSpec", Plain),
    row("CronJobSpec", "jobTemplate", "JobTemplateSpec", Plain),
    row("JobTemplateSpec", "spec", "JobSpec", Plain),
    row(
        "HorizontalPodAutoscaler",
        "status",
        "HorizontalPodAutoscalerStatus",
        Plain,
    ),
    row(
        "HorizontalPodAutoscalerStatus",
        "conditions",
        "",
        ByKey("type"),
    ),
    // Everything else.
    row(
        "PodDisruptionBudget",
        "spec",
        "PodDisruptionBudgetSpec",
        Plain,
    ),
    row(
        "PodDisruptionBudget",
        "status",
        "PodDisruptionBudgetStatus",
        Plain,
    ),
    row("PodDisruptionBudgetSpec", "selector", "", Replace),
    row("PodDisruptionBudgetStatus", "conditions", "", ByKey("type")),
    row("FlowSchema", "status", "FlowSchemaStatus", Plain),
    row("FlowSchemaStatus", "conditions", "", ByKey("type")),
    row(
        "PriorityLevelConfiguration",
        "status",
        "PriorityLevelConfigurationStatus",
        Plain,
    ),
    row(
        "PriorityLevelConfigurationStatus",
        "conditions",
        "",
        ByKey("type"),
    ),
    row("ServiceCIDR", "status", "ServiceCIDRStatus", Plain),
    row("ServiceCIDRStatus", "conditions", "", ByKey("type")),
    row("APIService", "status", "APIServiceStatus", Plain),
    row("APIServiceStatus", "conditions", "", ByKey("type")),
    row("ResourceClaim", "status", "ResourceClaimStatus", Plain),
    row("ResourceClaimStatus", "reservedFor", "", ByKey("uid")),
    row("CSINode", "spec", "CSINodeSpec", Plain),
    row("CSINodeSpec", "drivers", "", ByKey("name")),
    row(
        "MutatingWebhookConfiguration",
        "webhooks",
        "Webhook",
        ByKey("name"),
    ),
    row(
        "ValidatingWebhookConfiguration",
        "webhooks",
        "Webhook",
        ByKey("name"),
    ),
    row("Webhook", "matchConditions", "", ByKey("name")),
    row(
        "MutatingAdmissionPolicy",
        "spec",
        "AdmissionPolicySpec",
        Plain,
    ),
    row(
        "ValidatingAdmissionPolicy",
        "spec",
        "AdmissionPolicySpec",
        Plain,
    ),
    row("AdmissionPolicySpec", "matchConditions", "", ByKey("name")),
    row("AdmissionPolicySpec", "variables", "", ByKey("name")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_child_type_is_used_and_reachable() {
        for r in TABLE.iter().filter(|r| !r.child.is_empty()) {
            assert!(
                TABLE.iter().any(|x| x.owner == r.child),
                "{} leads nowhere",
                r.child
            );
        }
        let inner = |o: &str| TABLE.iter().any(|r| r.child == o);
        for r in TABLE {
            let is_kind = r.field == "spec"
                || r.field == "status"
                || r.field == "template"
                || ["webhooks", "secrets", "conditions"].contains(&r.field);
            assert!(
                inner(r.owner) || is_kind || r.owner == "ObjectMeta",
                "{} unreachable",
                r.owner
            );
        }
    }

    #[test]
    fn rows_are_unique() {
        for (i, a) in TABLE.iter().enumerate() {
            assert!(
                !TABLE[i + 1..]
                    .iter()
                    .any(|b| a.owner == b.owner && a.field == b.field)
            );
        }
    }
}
