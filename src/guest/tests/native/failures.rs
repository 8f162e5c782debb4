//! Server, agent and engine are killed under load: nothing acknowledged is lost, no
//! container is started again, and everything converges.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::areas::load::{self, After};
use crate::areas::{Cluster as _, Said, WAIT, shell};
use crate::machine::Cluster;

const PODS: [&str; 3] = ["steady-0", "steady-1", "steady-2"];
pub fn play(cluster: &mut Cluster) {
    for name in PODS {
        cluster.pod(name, json!({"containers": [shell("app", WAIT)]}));
    }
    let before = PODS.map(|name| {
        cluster.ready(name);
        cluster.container(name)
    });
    for (victim, round) in [("server", 0), ("agent", 1), ("server", 2), ("supervise", 3)] {
        under_load(cluster, victim, round);
        let name = format!("after-{round}");
        cluster.pod(&name, json!({"containers": [shell("app", WAIT)]}));
        cluster.ready(&name);
        assert_eq!(PODS.map(|name| cluster.container(name)), before, "{victim}");
        cluster.forget(&[&format!("pod/{name}")]);
    }

    cluster.machine.engine.kill();
    cluster.pod("patient", json!({"containers": [shell("app", WAIT)]}));
    cluster.machine.engine_starts_again();
    cluster.ready("patient");
    cluster.until_condition("node/native", "Ready");
    assert_eq!(
        PODS.map(|name| cluster.container(name)),
        before,
        "the engine"
    );
    for name in PODS {
        cluster.forget(&[&format!("pod/{name}")]);
    }
    cluster.forget(&["pod/patient"]);
}

/// Kills a process with SIGKILL in the middle of writing.
fn under_load(cluster: &Cluster, victim: &str, round: usize) {
    // A program it starts has its command line until it is another one.
    let pid = loop {
        match cluster.machine.processes(victim)[..] {
            [one] => break Pid::from_raw(one),
            _ => std::thread::sleep(std::time::Duration::from_millis(10)),
        }
    };
    let takes_all = victim == "supervise";
    let after = if takes_all {
        After::Ends
    } else {
        After::GoesOn
    };
    let death = || kill(pid, Signal::SIGKILL).expect("kill");
    let kubeconfig = cluster.kubeconfig();
    let acknowledged = load::under_load(&kubeconfig, &round.to_string(), after, death);
    if takes_all {
        // The kernel has asked the rest of the tree to end; the same command brings all back.
        let up = Said::of(&mut cluster.machine.up_with(&[]));
        assert!(up.code == 0, "{up}");
    }
    load::nothing_is_lost(&kubeconfig, &acknowledged);
}
