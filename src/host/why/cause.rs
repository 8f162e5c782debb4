//! The causes: stable ids, and whether each is a fault at all.

/// How a cause is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// Something keeps the object from doing its work, by mistake or by somebody's will.
    Fault,
    /// It is on its way; nothing is to be done.
    Underway,
    /// All is as it should be.
    Fine,
    /// The evidence does not suffice.
    Unknown,
}

macro_rules! causes {
    ($($mood:ident { $($name:ident $id:literal,)+ })+) => {
        /// Why an object is as it is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Cause {
            $($($name,)+)+
        }

        impl Cause {
            /// Every cause.
            pub const ALL: &'static [Cause] = &[$($(Cause::$name,)+)+];

            /// Stable id: programs and lessons may rely on it.
            #[must_use]
            pub fn id(self) -> &'static str {
                match self {
                    $($(Cause::$name => $id,)+)+
                }
            }

            #[must_use]
            pub fn mood(self) -> Mood {
                match self {
                    $($(Cause::$name => Mood::$mood,)+)+
                }
            }
        }
    };
}

causes! {
    Fine {
        NothingWrong "NOTHING_WRONG",
    }
    Unknown {
        Unknown "UNKNOWN",
    }
    Underway {
        NotYet "NOT_YET",
        Pulling "IMAGE_PULLING",
        Terminating "TERMINATING",
        ClaimWaits "CLAIM_WAITS_FOR_POD",
    }
    Fault {
        // Where it may run.
        NoNode "NO_NODE",
        NoRoom "NO_ROOM",
        Taint "TAINT",
        NodeSelector "NODE_SELECTOR",
        PodAffinity "POD_AFFINITY",
        Spread "TOPOLOGY_SPREAD",
        Cordoned "NODE_CORDONED",
        PortInUse "PORT_IN_USE",
        Gated "SCHEDULING_GATED",
        NoScheduler "SCHEDULER_ABSENT",
        VolumeElsewhere "VOLUME_ELSEWHERE",
        Sysctl "SYSCTL_FORBIDDEN",
        // Claims and volumes.
        ClaimMissing "CLAIM_MISSING",
        ClaimDeleted "CLAIM_BEING_DELETED",
        ClaimLost "CLAIM_LOST",
        ClaimUnbound "CLAIM_UNBOUND",
        ClaimInUse "CLAIM_IN_USE",
        ClassMissing "STORAGE_CLASS_MISSING",
        ClassUnset "STORAGE_CLASS_UNSET",
        VolumeSize "VOLUME_TOO_SMALL",
        AccessMode "ACCESS_MODE",
        VolumeTaken "VOLUME_TAKEN",
        Provisioning "PROVISIONING_FAILED",
        HostPath "HOST_PATH",
        MountFailed "MOUNT_FAILED",
        // Images.
        ImageName "IMAGE_NAME",
        ImageNever "IMAGE_NEVER_PULLED",
        ImageDenied "IMAGE_DENIED",
        ImageRegistry "IMAGE_REGISTRY",
        ImageLimit "IMAGE_RATE_LIMIT",
        ImageArchitecture "IMAGE_ARCHITECTURE",
        ImagePull "IMAGE_PULL",
        DiskFull "DISK_FULL",
        // Containers that do not begin.
        ConfigMapMissing "CONFIGMAP_MISSING",
        SecretMissing "SECRET_MISSING",
        KeyMissing "KEY_MISSING",
        RunAsRoot "RUN_AS_ROOT",
        ContainerConfig "CONTAINER_CONFIG",
        CommandMissing "COMMAND_NOT_FOUND",
        CommandDenied "COMMAND_NOT_EXECUTABLE",
        ContainerStart "CONTAINER_START",
        Sandbox "SANDBOX",
        HookFailed "HOOK_FAILED",
        // Containers that end.
        OutOfMemory "OUT_OF_MEMORY",
        Crash "CRASH",
        Signal "KILLED_BY_SIGNAL",
        EndsAtOnce "ENDS_AT_ONCE",
        InitFailed "INIT_FAILED",
        // Probes.
        Liveness "LIVENESS_PROBE",
        Readiness "READINESS_PROBE",
        Startup "STARTUP_PROBE",
        ProbePort "PROBE_PORT",
        ProbePath "PROBE_PATH",
        ReadinessGate "READINESS_GATE",
        // Services, names, Ingresses.
        Selector "SELECTOR_MISMATCH",
        NoSelector "NO_SELECTOR",
        PodsNotReady "PODS_NOT_READY",
        PortName "PORT_NAME",
        TargetPort "TARGET_PORT",
        ExternalName "EXTERNAL_NAME",
        IngressClass "INGRESS_CLASS",
        BackendMissing "BACKEND_MISSING",
        BackendPort "BACKEND_PORT",
        DnsPolicy "DNS_POLICY",
        DnsName "DNS_NAME",
        DnsServer "DNS_SERVER",
        NetworkPolicy "NETWORK_POLICY",
        // What the API server refuses.
        Quota "QUOTA",
        QuotaUnset "QUOTA_NEEDS_AMOUNTS",
        LimitRange "LIMIT_RANGE",
        PodSecurity "POD_SECURITY",
        WebhookDenied "WEBHOOK_DENIED",
        WebhookSilent "WEBHOOK_SILENT",
        AccountMissing "SERVICE_ACCOUNT_MISSING",
        PriorityMissing "PRIORITY_CLASS_MISSING",
        Invalid "TEMPLATE_INVALID",
        Refused "CREATION_REFUSED",
        Rbac "RBAC",
        // Nodes.
        NodeDead "NODE_DEAD",
        NodeNotReady "NODE_NOT_READY",
        NodeGone "NODE_GONE",
        NodePressure "NODE_PRESSURE",
        Evicted "EVICTED",
        StorageLimit "STORAGE_LIMIT",
        // Ends.
        Deadline "DEADLINE",
        StuckFinalizer "STUCK_FINALIZER",
        StuckTerminating "STUCK_TERMINATING",
        // Controllers.
        Paused "PAUSED",
        ProgressDeadline "PROGRESS_DEADLINE",
        ScaledToZero "SCALED_TO_ZERO",
        JobBackoff "JOB_BACKOFF",
        Suspended "SUSPENDED",
        Schedule "SCHEDULE_INVALID",
        Overlap "JOB_OVERLAP",
        StartMissed "START_MISSED",
        NoMetrics "HPA_NO_METRICS",
        NoRequest "HPA_NO_REQUEST",
        ScaleTarget "HPA_TARGET",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_distinct_and_plain() {
        let mut ids: Vec<&str> = Cause::ALL.iter().map(|cause| cause.id()).collect();
        ids.sort_unstable();
        let before = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), before);
        let plain = |id: &&str| id.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        assert!(ids.iter().all(plain), "{ids:?}");
    }
}
