//! The areas of `tests/areas`, played in Cadet's machine, and its deaths under load.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::areas::load::{self, After};
use crate::areas::{self, BUSYBOX, Cluster, Said, WAIT, registry, shell};
use crate::image;
use crate::support::{Sealed, eventually};

/// For a program of a container to begin, under emulation.
const MINUTES: Duration = Duration::from_secs(180);

/// The cluster of a started machine.
pub struct Inside<'a> {
    home: &'a Sealed,
}

impl<'a> Inside<'a> {
    /// Brings the areas' image into the machine's engine.
    pub fn new(home: &'a Sealed) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        image::lay_out(folder.path());
        let packed = image::pack(folder.path());
        let mut import = home.command(&["ssh", "--", "sudo", "docker", "import"]);
        import.args(["--change", "ENV PATH=/bin", "--change", "CMD [\"sh\"]", "-"]);
        let imported = Said::fed(import.arg(BUSYBOX), &packed);
        assert!(imported.code == 0, "{imported}");
        Self { home }
    }

    /// Plays all areas; all must pass.
    pub fn areas(&self) {
        let failed = areas::play(self);
        assert!(failed.is_empty(), "{failed:?}");
    }

    /// `cadet image pull` fetches from a registry, which here runs in the machine's own engine,
    /// and says so when it cannot.
    pub fn pulls(&self) {
        const IMAGE: &str = "127.0.0.1:18503/shelf/app";
        registry::fill(self);
        let root = registry::ROOT;
        self.node_says(&format!(
            "docker run -d --name shelf --network host -v {root}:/site {BUSYBOX} \
             nc -ll -p 18503 -e /site/serve open"
        ));
        let one = format!("{IMAGE}:1");
        let pull = ["image", "pull", one.as_str(), "-o", "json"];
        let said = eventually("the registry has answered", MINUTES, || {
            let run = self.home.run(&pull);
            (run.code == 0).then_some(run.out)
        });
        assert!(said.contains(&format!("\"pulled\":\"{one}\"")), "{said}");
        let images = self.home.ok(&["image", "list", "--cluster"]).out;
        assert!(images.contains(IMAGE), "{images}");
        self.node_says(&format!(
            "docker rm -f shelf && docker rmi {one} && rm -r {root}"
        ));
        let pull = ["image", "pull", one.as_str()];
        self.home.run(&pull).fails_with("GUEST_DOCKER", 89);
    }

    /// Server, agent, engine and at last the whole machine die while somebody writes: nothing
    /// acknowledged is lost, no container is started again for a death of the first three, and
    /// everything converges. `wait_for_boot` returns when the machine is up again.
    pub fn deaths(&self, wait_for_boot: impl FnOnce()) {
        let pods = ["steady-0", "steady-1"];
        for name in pods {
            self.pod(name, json!({"containers": [shell("app", WAIT)]}));
        }
        let before = pods.map(|name| {
            self.ready(name);
            self.container(name)
        });
        for victim in ["cadet-server", "cadet-agent", "docker"] {
            let kill = format!("systemctl kill -s KILL {victim}");
            let death = || drop(self.node_says(&kill));
            let kept = load::under_load(&self.kubeconfig(), victim, After::GoesOn, death);
            load::nothing_is_lost(&self.kubeconfig(), &kept);
            let name = format!("after-{victim}");
            self.pod(&name, json!({"containers": [shell("app", WAIT)]}));
            self.ready(&name);
            assert_eq!(pods.map(|name| self.container(name)), before, "{victim}");
            self.forget(&[&format!("pod/{name}")]);
        }
        // The kernel reboots without a word to anybody, disks included (proc_sysrq(5)).
        let death = || drop(self.on_node("echo b > /proc/sysrq-trigger"));
        let kept = load::under_load(&self.kubeconfig(), "reset", After::Ends, death);
        wait_for_boot();
        load::nothing_is_lost(&self.kubeconfig(), &kept);
        for name in pods {
            self.restarted(name);
            self.ready(name);
            self.forget(&[&format!("pod/{name}")]);
        }
    }
}

impl Cluster for Inside<'_> {
    fn kubectl_command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.args(words).env("KUBECONFIG", self.kubeconfig());
        command
            .env("HOME", self.home.dir.path())
            .stdin(Stdio::null());
        command
    }

    fn on_node(&self, line: &str) -> Said {
        Said::of(&mut self.home.command(&["ssh", "--", "sudo", "sh", "-c", line]))
    }

    fn node(&self) -> &str {
        "cadet"
    }

    fn kubeconfig(&self) -> PathBuf {
        self.home.kubeconfig()
    }

    fn is_fast(&self) -> bool {
        false
    }

    /// As `cadet dashboard` says it.
    fn dashboard(&self) -> (String, Option<String>) {
        let told = self.home.ok(&["dashboard", "--url", "--output", "json"]);
        let told: serde_json::Value = serde_json::from_str(told.out.trim()).expect("one object");
        let text = |name: &str| told[name].as_str().map(str::to_owned);
        (text("url").expect("an address"), text("socks"))
    }

    /// Under software emulation a container takes seconds.
    fn soon(&self) -> &str {
        "--timeout=600s"
    }
}
