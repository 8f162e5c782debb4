//! The summary in the form of upstream's `k8s.io/kubelet/pkg/apis/stats/v1alpha1`.

use serde_json::{Map, Value, json};

use super::{ContainerUsage, FileSystem, PodUsage, Snapshot, Usage};

/// The whole answer of `/stats/summary`.
pub(super) fn json(node_name: &str, snapshot: &Snapshot) -> Value {
    let time = snapshot.at.to_string();
    let machine = &snapshot.machine;
    let node = json!({
        "nodeName": node_name,
        "cpu": cpu(&time, machine.cpu_nanos, snapshot.machine_rate),
        "memory": {
            "time": time,
            "availableBytes": machine.memory_available,
            "usageBytes": machine.memory_total.saturating_sub(machine.memory_free),
            "workingSetBytes": machine.working_set(),
            "rssBytes": machine.rss,
        },
        "fs": file_system(&time, &machine.node_fs),
        "runtime": {
            "imageFs": file_system(&time, &machine.image_fs),
            "containerFs": file_system(&time, &machine.image_fs),
        },
        "rlimit": {"time": time, "maxpid": machine.pids.0, "curproc": machine.pids.1},
    });
    let pods: Vec<Value> = snapshot
        .pods
        .iter()
        .map(|usage| pod(&time, usage))
        .collect();
    json!({"node": node, "pods": pods})
}

fn pod(time: &str, usage: &PodUsage) -> Value {
    let meta = &usage.pod.metadata;
    let (total, rate) = usage.total();
    let containers: Vec<Value> = usage
        .containers
        .iter()
        .map(|usage| container(time, usage))
        .collect();
    let mut pod = Map::new();
    pod.insert(
        "podRef".into(),
        json!({"name": meta.name, "namespace": meta.namespace, "uid": meta.uid}),
    );
    let started = usage
        .pod
        .status
        .as_ref()
        .and_then(|s| s.start_time.as_ref());
    pod.insert(
        "startTime".into(),
        json!(started.map(|at| at.0.to_string())),
    );
    pod.insert("containers".into(), containers.into());
    pod.insert("cpu".into(), cpu(time, total.cpu_nanos, rate));
    pod.insert("memory".into(), memory(time, &total));
    if let Some((received, sent)) = usage.network {
        let interface = json!({"name": "eth0", "rxBytes": received, "txBytes": sent});
        let mut network = json!({"time": time, "interfaces": [interface.clone()]});
        if let (Some(network), Some(interface)) = (network.as_object_mut(), interface.as_object()) {
            network.extend(interface.clone());
        }
        pod.insert("network".into(), network);
    }
    pod.into()
}

fn container(time: &str, usage: &ContainerUsage) -> Value {
    json!({
        "name": usage.name,
        "startTime": usage.started_at.map(|at| at.to_string()),
        "cpu": cpu(time, usage.usage.cpu_nanos, usage.cpu_rate),
        "memory": memory(time, &usage.usage),
    })
}

fn cpu(time: &str, nanos: u64, rate: Option<u64>) -> Value {
    let mut cpu = json!({"time": time, "usageCoreNanoSeconds": nanos});
    if let Some(rate) = rate {
        cpu["usageNanoCores"] = rate.into();
    }
    cpu
}

fn memory(time: &str, usage: &Usage) -> Value {
    json!({
        "time": time,
        "usageBytes": usage.memory,
        "workingSetBytes": usage.working_set,
        "rssBytes": usage.rss,
        "pageFaults": usage.page_faults,
        "majorPageFaults": usage.major_page_faults,
    })
}

fn file_system(time: &str, found: &FileSystem) -> Value {
    json!({
        "time": time,
        "availableBytes": found.available,
        "capacityBytes": found.capacity,
        "usedBytes": found.used,
        "inodesFree": found.inodes_free,
        "inodes": found.inodes,
        "inodesUsed": found.inodes.saturating_sub(found.inodes_free),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::stats::MachineUsage;

    #[test]
    fn a_pod_is_the_sum_of_its_containers_and_its_pause_process() {
        let usage = |name: &str, cpu_nanos, working_set| ContainerUsage {
            name: name.into(),
            started_at: None,
            usage: Usage {
                cpu_nanos,
                working_set,
                ..Usage::default()
            },
            cpu_rate: Some(cpu_nanos),
        };
        let pod = crate::testing::pod(json!({"containers": [{"name": "app"}]}));
        let snapshot = Snapshot {
            at: "2026-11-20T20:00:00Z".parse().unwrap(),
            machine: MachineUsage::default(),
            machine_rate: None,
            pods: vec![PodUsage {
                pod: Arc::new(pod),
                containers: vec![usage("app", 10, 100)],
                sandbox: Some(usage("", 1, 2)),
                network: Some((5, 6)),
            }],
        };
        let summary = json("n1", &snapshot);
        let pod = &summary["pods"][0];
        assert_eq!(pod["podRef"]["uid"], "u-1");
        assert_eq!(pod["cpu"]["usageCoreNanoSeconds"], 11);
        assert_eq!(pod["memory"]["workingSetBytes"], 102);
        assert_eq!(pod["containers"][0]["name"], "app");
        assert_eq!(pod["containers"][0]["cpu"]["usageNanoCores"], 10);
        assert_eq!(pod["network"]["interfaces"][0]["txBytes"], 6);
        let text = super::super::metrics::text(&snapshot);
        let labels = "container=\"app\",namespace=\"shop\",pod=\"web\"";
        let line = format!("container_memory_working_set_bytes{{{labels}}} 100 1795204800000");
        assert!(text.contains(&line), "{text}");
    }
}
