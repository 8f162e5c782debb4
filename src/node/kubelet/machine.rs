//! Facts about this machine for its Node object.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::core::v1::NodeSystemInfo;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use nix::sys::statvfs::statvfs;

use crate::pressure;

/// Pods a node runs at most, as upstream.
pub const MAX_PODS: u32 = 110;

/// What does not change while the machine is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    pub cpus: usize,
    /// Bytes.
    pub memory: i64,
    pub kernel: String,
    pub os_image: String,
    pub machine_id: String,
    pub boot_id: String,
    pub system_uuid: String,
}

/// A fact that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("could not read {path}: {source}")]
pub struct MachineError {
    path: &'static str,
    source: std::io::Error,
}

impl Machine {
    /// Reads /proc and /etc.
    ///
    /// # Errors
    /// If the memory size cannot be read; identity files may be missing.
    pub fn read() -> Result<Self, MachineError> {
        let path = "/proc/meminfo";
        let meminfo =
            std::fs::read_to_string(path).map_err(|source| MachineError { path, source })?;
        let text = |path: &str| {
            std::fs::read_to_string(path)
                .map(|text| text.trim().to_owned())
                .unwrap_or_default()
        };
        let machine_id = text("/etc/machine-id");
        // A machine whose firmware names none has its system's, as upstream (cAdvisor) has it.
        let system_uuid = Some(text("/sys/class/dmi/id/product_uuid"));
        let system_uuid = system_uuid.filter(|uuid| !uuid.is_empty());
        Ok(Self {
            cpus: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory: total_memory(&meminfo).unwrap_or(0),
            kernel: text("/proc/sys/kernel/osrelease"),
            os_image: pretty_name(&text("/etc/os-release")),
            system_uuid: system_uuid.unwrap_or_else(|| machine_id.clone()),
            machine_id,
            boot_id: text("/proc/sys/kernel/random/boot_id"),
        })
    }

    /// The Node's `nodeInfo`.
    #[must_use]
    pub fn node_info(&self, kubelet_version: &str, docker_version: &str) -> NodeSystemInfo {
        NodeSystemInfo {
            architecture: go_arch(std::env::consts::ARCH).into(),
            boot_id: self.boot_id.clone(),
            container_runtime_version: format!("docker://{docker_version}"),
            kernel_version: self.kernel.clone(),
            kube_proxy_version: String::new(),
            kubelet_version: kubelet_version.into(),
            machine_id: self.machine_id.clone(),
            operating_system: "linux".into(),
            os_image: self.os_image.clone(),
            swap: None,
            system_uuid: self.system_uuid.clone(),
        }
    }

    /// What of `capacity` pods may have: all but what the node keeps as its threshold of
    /// eviction, upstream's default.
    #[must_use]
    pub fn allocatable(
        &self,
        capacity: &BTreeMap<String, Quantity>,
        root: &Path,
    ) -> BTreeMap<String, Quantity> {
        let mut allocatable = capacity.clone();
        let memory = self.allocatable_memory() / 1024;
        allocatable.insert("memory".to_owned(), Quantity(format!("{memory}Ki")));
        if let Ok(disk) = statvfs(root) {
            let bytes = disk.blocks().saturating_mul(disk.fragment_size());
            let bytes = bytes / 100 * (100 - pressure::NODE_FS_PERCENT);
            let bytes = Quantity(bytes.to_string());
            allocatable.insert("ephemeral-storage".to_owned(), bytes);
        }
        allocatable
    }

    /// Bytes pods may ask for together.
    #[must_use]
    pub fn allocatable_memory(&self) -> i64 {
        let floor = i64::try_from(pressure::MEMORY_FLOOR).unwrap_or(0);
        self.memory.saturating_sub(floor).max(0)
    }

    /// What the machine has. `root` is where containers write.
    #[must_use]
    pub fn capacity(&self, root: &Path) -> BTreeMap<String, Quantity> {
        let mut capacity = BTreeMap::from([
            ("cpu".to_owned(), Quantity(self.cpus.to_string())),
            (
                "memory".to_owned(),
                Quantity(format!("{}Ki", self.memory / 1024)),
            ),
            ("pods".to_owned(), Quantity(MAX_PODS.to_string())),
            ("hugepages-1Gi".to_owned(), Quantity("0".into())),
            ("hugepages-2Mi".to_owned(), Quantity("0".into())),
        ]);
        if let Ok(disk) = statvfs(root) {
            let kib = disk.blocks().saturating_mul(disk.fragment_size()) / 1024;
            capacity.insert("ephemeral-storage".to_owned(), Quantity(format!("{kib}Ki")));
        }
        capacity
    }
}

/// The name Go, and so every node selector, uses for an architecture.
#[must_use]
pub fn go_arch(rust: &str) -> &str {
    match rust {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn total_memory(meminfo: &str) -> Option<i64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn pretty_name(os_release: &str) -> String {
    os_release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map_or_else(
            || "Linux".to_owned(),
            |name| name.trim_matches('"').to_owned(),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_and_distributions_words_are_understood() {
        assert_eq!(
            total_memory("MemTotal:        1000 kB\nMemFree: 1 kB\n"),
            Some(1_024_000)
        );
        assert_eq!(total_memory("nonsense"), None);
        assert_eq!(
            pretty_name("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n"),
            "Debian GNU/Linux 13 (trixie)"
        );
        assert_eq!(go_arch("x86_64"), "amd64");
    }

    #[test]
    fn this_machine_has_cpu_memory_and_disk() {
        let machine = Machine::read().unwrap();
        assert!(machine.cpus > 0 && machine.memory > 64 << 20 && !machine.kernel.is_empty());
        let capacity = machine.capacity(Path::new("/"));
        assert_eq!(capacity["pods"].0, "110");
        assert!(capacity.contains_key("ephemeral-storage"));
        let allocatable = machine.allocatable(&capacity, Path::new("/"));
        let kib = |amounts: &BTreeMap<String, Quantity>| -> i64 {
            let text = amounts["memory"].0.trim_end_matches("Ki");
            text.parse().unwrap()
        };
        assert_eq!(kib(&capacity) - kib(&allocatable), 100 * 1024);
    }
}
