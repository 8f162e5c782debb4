//! The Pod Security Standards: which pods a namespace takes at its level, and upstream's
//! words for each violation (KEP-2579). Pure; admission acts on it.

mod baseline;
mod look;
mod restricted;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::field;

const LABEL: &str = "pod-security.kubernetes.io/";

/// How strict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    fn parse(text: &str) -> Option<Level> {
        match text {
            "privileged" => Some(Level::Privileged),
            "baseline" => Some(Level::Baseline),
            "restricted" => Some(Level::Restricted),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        }
    }
}

/// The Kubernetes minor version whose standard applies, `u32::MAX` for the latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u32);

impl Version {
    pub const LATEST: Version = Version(u32::MAX);

    /// `latest` or `v1.x`, x without leading zeros.
    fn parse(text: &str) -> Option<Version> {
        if text == "latest" {
            return Some(Version::LATEST);
        }
        let minor = text.strip_prefix("v1.")?;
        let canonical = minor == "0" || !minor.starts_with('0');
        let digits = minor.bytes().all(|byte| byte.is_ascii_digit());
        (canonical && digits)
            .then(|| minor.parse().ok().map(Version))
            .flatten()
    }
}

/// Level and version: `restricted:latest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standard {
    pub level: Level,
    pub version: Version,
}

impl Standard {
    /// Whether everything is allowed.
    pub fn is_open(&self) -> bool {
        self.level == Level::Privileged
    }
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Version::LATEST => write!(f, "{}:latest", self.level.name()),
            Version(minor) => write!(f, "{}:v1.{minor}", self.level.name()),
        }
    }
}

/// What the labels of a namespace ask for. Auditing has no log to go to here, so it is
/// checked for sense and then left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    pub enforce: Standard,
    pub warn: Standard,
}

impl Policy {
    /// Reads a namespace's labels. Always yields a policy, the strictest for enforcement
    /// and none for warnings where a label cannot be read, together with what is wrong.
    pub fn of(labels: &BTreeMap<String, String>) -> (Policy, Vec<field::Error>) {
        let mut errors = Vec::new();
        let mut read = |mode: &str, otherwise: Level| {
            let mut standard = Standard {
                level: Level::Privileged,
                version: Version::LATEST,
            };
            let label = format!("{LABEL}{mode}");
            if let Some(text) = labels.get(&label) {
                standard.level = Level::parse(text).unwrap_or_else(|| {
                    let why = "must be one of privileged, baseline, restricted";
                    errors.push(wrong(&label, text, why));
                    otherwise
                });
            }
            let label = format!("{LABEL}{mode}-version");
            if let Some(text) = labels.get(&label) {
                standard.version = Version::parse(text).unwrap_or_else(|| {
                    errors.push(wrong(&label, text, "must be \"latest\" or \"v1.x\""));
                    Version::LATEST
                });
            }
            standard
        };
        let enforce = read("enforce", Level::Restricted);
        read("audit", Level::Privileged);
        let warn = read("warn", Level::Privileged);
        (Policy { enforce, warn }, errors)
    }
}

fn wrong(label: &str, value: &str, why: &str) -> field::Error {
    field::Error::invalid(&format!("metadata.labels[{label}]"), value, why)
}

/// One thing the standard forbids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// `allowPrivilegeEscalation != false`
    pub reason: String,
    /// `container "c" must set securityContext.allowPrivilegeEscalation=false`
    pub detail: String,
}

impl Violation {
    fn new(reason: &str, detail: impl Into<String>) -> Option<Violation> {
        Some(Violation {
            reason: reason.to_owned(),
            detail: detail.into(),
        })
    }
}

/// Everything the standard forbids about a pod or a pod template, in upstream's order:
/// the checks of the baseline by name, then those of the restricted level, which take the
/// place of the looser ones they include.
pub fn evaluate(standard: Standard, pod: &Value) -> Vec<Violation> {
    let version = standard.version.0;
    match standard.level {
        Level::Privileged => vec![],
        Level::Baseline => baseline::check(pod, version, false),
        Level::Restricted => {
            let mut found = baseline::check(pod, version, true);
            found.extend(restricted::check(pod, version));
            found
        }
    }
}

/// All reasons with their details, as a refusal or a warning tells them.
pub fn details(found: &[Violation]) -> String {
    let all: Vec<String> = found
        .iter()
        .map(|one| match one.detail.as_str() {
            "" => one.reason.clone(),
            detail => format!("{} ({detail})", one.reason),
        })
        .collect();
    all.join(", ")
}

/// The reasons alone, as the warning about existing pods tells them.
pub fn reasons(found: &[Violation]) -> String {
    let all: Vec<&str> = found.iter().map(|one| one.reason.as_str()).collect();
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn standard(text: &str) -> Standard {
        let (level, version) = text.split_once(':').unwrap();
        Standard {
            level: Level::parse(level).unwrap(),
            version: Version::parse(version).unwrap(),
        }
    }

    fn told(text: &str, spec: Value) -> String {
        details(&evaluate(standard(text), &json!({"spec": spec})))
    }

    #[test]
    fn a_plain_pod_is_fine_at_baseline_and_told_all_at_restricted() {
        let plain = json!({"containers": [{"name": "nginx"}]});
        assert_eq!(told("baseline:latest", plain.clone()), "");
        assert_eq!(
            told("restricted:latest", plain.clone()),
            "allowPrivilegeEscalation != false (container \"nginx\" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container \"nginx\" must set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or container \"nginx\" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container \"nginx\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
        );
        // Standards of older versions know fewer checks.
        assert_eq!(
            told("restricted:v1.7", plain),
            "runAsNonRoot != true (pod or container \"nginx\" must set securityContext.runAsNonRoot=true)"
        );
    }

    #[test]
    fn a_careful_pod_satisfies_the_restricted_level() {
        let careful = json!({"securityContext": {"runAsNonRoot": true,
                "seccompProfile": {"type": "RuntimeDefault"}},
            "volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "projected": {}}],
            "containers": [{"name": "c", "securityContext": {"allowPrivilegeEscalation": false,
                "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}}]});
        assert_eq!(told("restricted:latest", careful), "");
    }

    #[test]
    fn each_baseline_check_has_its_words() {
        let c = |context: Value| json!({"containers": [{"name": "c", "securityContext": context}]});
        let with = |key: &str, value: Value| {
            let mut spec = json!({"containers": [{"name": "c"}]});
            spec[key] = value;
            spec
        };
        for (spec, expected) in [
            (
                with("hostNetwork", json!(true)),
                "host namespaces (hostNetwork=true)",
            ),
            (
                json!({"hostPID": true, "hostIPC": true, "containers": []}),
                "host namespaces (hostIPC=true, hostPID=true)",
            ),
            (
                c(json!({"privileged": true})),
                "privileged (container \"c\" must not set securityContext.privileged=true)",
            ),
            (
                c(json!({"capabilities": {"add": ["NET_ADMIN", "CHOWN", "BPF"]}})),
                "non-default capabilities (container \"c\" must not include \"BPF\", \"NET_ADMIN\" in securityContext.capabilities.add)",
            ),
            (
                with("volumes", json!([{"name": "v", "hostPath": {"path": "/"}}])),
                "hostPath volumes (volume \"v\")",
            ),
            (
                json!({"containers": [{"name": "a", "ports": [{"hostPort": 80}]},
                    {"name": "b", "ports": [{"hostPort": 9100}]}]}),
                "hostPort (containers \"a\", \"b\" use hostPorts 80, 9100)",
            ),
            (
                json!({"containers": [{"name": "c", "livenessProbe": {"httpGet": {"host": "1.2.3.4"}}}]}),
                "probe or lifecycle host (container \"c\" uses probe or lifecycle host \"1.2.3.4\")",
            ),
            (
                c(json!({"procMount": "Unmasked"})),
                "procMount (container \"c\" must not set securityContext.procMount to \"Unmasked\")",
            ),
            (
                c(json!({"seLinuxOptions": {"type": "spc_t", "user": "u"}})),
                "seLinuxOptions (container \"c\" set forbidden securityContext.seLinuxOptions: type \"spc_t\"; user may not be set)",
            ),
            (
                with(
                    "securityContext",
                    json!({"seccompProfile": {"type": "Unconfined"}}),
                ),
                "seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")",
            ),
            (
                with(
                    "securityContext",
                    json!({"sysctls": [{"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_rmem"}]}),
                ),
                "forbidden sysctls (kernel.msgmax)",
            ),
            (
                c(json!({"windowsOptions": {"hostProcess": true}})),
                "hostProcess (container \"c\" must not set securityContext.windowsOptions.hostProcess=true)",
            ),
            (
                c(json!({"appArmorProfile": {"type": "Unconfined"}})),
                "forbidden AppArmor profile (container \"c\" must not set AppArmor profile type to \"Unconfined\")",
            ),
        ] {
            assert_eq!(told("baseline:latest", spec), expected);
        }
    }

    #[test]
    fn restricted_checks_replace_the_looser_ones_they_include() {
        let spec = json!({"securityContext": {"runAsUser": 0, "runAsNonRoot": true,
                "seccompProfile": {"type": "Unconfined"}},
            "volumes": [{"name": "v", "hostPath": {"path": "/"}}, {"name": "n", "nfs": {}}],
            "containers": [{"name": "c", "securityContext": {"privileged": true,
                "allowPrivilegeEscalation": false,
                "capabilities": {"add": ["CHOWN"], "drop": ["ALL"]}}}]});
        assert_eq!(
            told("restricted:latest", spec),
            "privileged (container \"c\" must not set securityContext.privileged=true), unrestricted capabilities (container \"c\" must not include \"CHOWN\" in securityContext.capabilities.add), restricted volume types (volumes \"n\", \"v\" use restricted volume types \"hostPath\", \"nfs\"), runAsUser=0 (pod must not set runAsUser=0), seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")"
        );
    }

    #[test]
    fn labels_that_make_no_sense_are_named_and_fail_safe() {
        let labels = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(key, value)| (format!("{LABEL}{key}"), (*value).to_owned()))
                .collect()
        };
        let (policy, errors) = Policy::of(&labels(&[("enforce", "strict"), ("warn", "x")]));
        assert_eq!(policy.enforce.to_string(), "restricted:latest");
        assert!(policy.warn.is_open());
        assert_eq!(
            errors[0].to_string(),
            "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strict\": must be one of privileged, baseline, restricted"
        );
        let (policy, errors) = Policy::of(&labels(&[
            ("enforce", "baseline"),
            ("enforce-version", "v1.25"),
            ("audit-version", "v01"),
        ]));
        assert_eq!(policy.enforce.to_string(), "baseline:v1.25");
        assert_eq!(errors.len(), 1);
        for bad in ["1.25", "v1.025", "v2.1", "v1.", "v1.x"] {
            assert_eq!(Version::parse(bad), None, "{bad}");
        }
    }
}
