//! What is missing is said at once, in words that teach, and nothing has been changed.

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::areas::{Cluster as _, Said};
use crate::engine::run;
use crate::machine::{Cluster, Machine, play};

#[test]
fn everything_in_the_way_is_said_at_once() {
    play(|| {
        let machine = Machine::new();
        let _api = TcpListener::bind("0.0.0.0:6443").expect("port");
        let _kubelet = TcpListener::bind("127.0.0.1:10250").expect("port");
        let route = "route add 10.244.5.0/24 via 192.168.77.9";
        run(Command::new("ip").args(route.split(' ')));
        let mut up = machine.cadet(&[
            "up",
            "--no-systemd",
            "--docker-host",
            "unix:///no/such.sock",
        ]);
        let said = Said::of(up.arg("--config").arg(machine.config()));
        assert_eq!(said.code, 39, "the first: {said}");
        said.complains("HOST_DOCKER_DOWN", 39);
        said.complains("HOST_PORT_TAKEN", 31);
        let me = format!("(process {})", std::process::id());
        assert!(
            said.err.contains("port 6443 is taken by") && said.err.contains(&me),
            "{said}"
        );
        assert!(said.err.contains("port 10250 is taken by"), "{said}");
        said.complains("NETWORK_RANGE_TAKEN", 71);
        assert!(
            said.err.contains("cadet-node up --pod-cidr 10.254.0.0/16"),
            "{said}"
        );
        assert!(!machine.data().exists() && !machine.config().exists());

        run(Command::new("ip").args(["route", "del", "default"]));
        let said = Said::of(&mut machine.up_with(&["-o", "json"]));
        let lines: Vec<serde_json::Value> = said
            .err
            .lines()
            .map(|line| serde_json::from_str(line).expect("an event"))
            .collect();
        assert!(
            lines.iter().any(|event| event["id"] == "NETWORK_NO_ROUTE"),
            "{said}"
        );
        assert!(lines.iter().all(|event| event["type"] == "error"), "{said}");
    });
}

#[test]
fn words_that_cannot_be_met_are_explained() {
    play(|| {
        let machine = Machine::new();
        for (words, id, code) in [
            (["--pod-cidr", "10.244.0.0/99"], "HOST_RANGE_INVALID", 34),
            (
                ["--service-cidr", "10.244.0.0/16"],
                "HOST_RANGE_INVALID",
                34,
            ),
            (
                ["--docker-host", "tcp://elsewhere:2375"],
                "HOST_DOCKER_REMOTE",
                36,
            ),
            (["--node-name", "No_Name"], "HOST_NODE_NAME", 34),
            (["--ingress-http-port", "6443"], "HOST_PORT_INVALID", 34),
        ] {
            let mut up = machine.cadet(&["up", "--no-systemd"]);
            let said = Said::of(up.args(words).arg("--config").arg(machine.config()));
            said.complains(id, code);
            assert_eq!(said.code, code);
        }
        // Somebody else's node is not ours to take.
        std::fs::create_dir_all(machine.config().parent().expect("folder")).expect("folder");
        std::fs::write(machine.config(), "{}").expect("write");
        let said = Said::of(&mut machine.up_with(&[]));
        said.complains("HOST_FOREIGN_NODE", 31);
        assert!(!machine.data().exists());
    });
}

/// A plain server often has a web server of its own.
#[test]
fn a_taken_port_of_ingresses_is_told_and_can_be_changed() {
    play(|| {
        let web = TcpListener::bind("0.0.0.0:80").expect("port");
        let cluster = Cluster {
            machine: Machine::new(),
        };
        let said = Said::of(&mut cluster.machine.up_with(&[]));
        assert!(said.code == 0, "{said}");
        let me = format!("(process {}): no Ingress is reached", std::process::id());
        assert!(
            said.out.contains("port 80 is taken by") && said.out.contains(&me),
            "{said}"
        );
        assert!(
            said.out.contains("cadet-node up --ingress-http-port 8080"),
            "{said}"
        );
        // The other port is served, soon; nextest ends a test that waits for ever.
        while TcpStream::connect("127.0.0.1:443").is_err() {
            std::thread::sleep(std::time::Duration::from_millis(100));
        }

        let words = ["--ingress-http-port", "8080"];
        let said = Said::of(&mut cluster.machine.up_with(&words));
        assert!(said.code == 0 && !said.out.contains("taken"), "{said}");
        let page = cluster.page("127.0.0.1:8080");
        assert!(page.contains("No Ingress has a rule"), "{page}");
        // What was chosen stays; nothing starts again.
        let again = Said::of(&mut cluster.machine.up_with(&[]));
        assert!(
            again.code == 0 && again.out.contains("Cadet runs"),
            "{again}"
        );
        drop(web);
    });
}

#[test]
fn root_is_asked_for_before_anything_else() {
    // Where everybody may run it.
    let folder = tempfile::tempdir_in("/var/tmp").expect("folder");
    let everybody = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), everybody).expect("mode");
    let program = folder.path().join("cadet-node");
    std::fs::copy(crate::machine::program(), &program).expect("copy");
    let mut up = Command::new(program);
    up.args(["--data", "/no/such", "up"]);
    let said = Said::of(up.uid(65534).gid(65534));
    said.complains("HOST_NOT_ROOT", 37);
    assert!(said.err.contains("  fix   sudo cadet-node up"), "{said}");
}
