//! Servers that are good, and each way in which one is not.

use super::*;

const GOOD: &str = "uid\t1000\nsudo\tyes\nid\tubuntu\nlike\tdebian\nsystem\tUbuntu 24.04 LTS\n\
    machine\tx86_64\ncpus\t2\nmemory\t2014312\ndisk\t20971520\nsystemd\tyes\napt\tyes\n\
    port\t22\ncard\t127.0.0.1/8\ncard\t10.0.0.4/24\ncard\t192.168.9.4/24\n\
    source\t10.0.0.4\ncalled\t192.168.9.4\n";

fn wanted(is_first: bool) -> Wanted<'static> {
    Wanted {
        name: "ann@box:2222",
        mark: "shop 1",
        is_first,
        program: "x86_64",
    }
}

fn without(key: &str) -> Facts {
    let lines = GOOD.lines().filter(|line| !line.starts_with(key));
    read(&lines.collect::<Vec<_>>().join("\n"))
}

fn id(facts: &Facts) -> &'static str {
    judge(facts, &wanted(true)).map_or_else(|e| e.topic.id, |()| "")
}

#[test]
fn a_good_server_is_read_and_taken() {
    let facts = read(GOOD);
    assert_eq!(id(&facts), "");
    assert_eq!((facts.cpus, facts.memory_mib), (2, 1967));
    let card = facts.card.unwrap();
    assert_eq!(card.address.to_string(), "192.168.9.4", "as we reached it");
    assert_eq!(card.prefix, 24);
    assert!(warnings(&facts, &wanted(true)).is_empty());
    // Behind a router that translates, it knows itself by another address.
    let far = read(&GOOD.replace("called\t192.168.9.4", "called\t203.0.113.9"));
    assert_eq!(far.card.unwrap().address.to_string(), "10.0.0.4");
    // As in a test, where all servers are this computer.
    let near = read(&GOOD.replace("called\t192.168.9.4", "called\t127.0.0.1"));
    assert_eq!(near.card.unwrap().address.to_string(), "10.0.0.4");
}

#[test]
fn each_thing_missing_has_its_id_and_its_next_command() {
    let with = |line: &str| read(&format!("{GOOD}{line}\n"));
    let replaced = |from: &str, to: &str| read(&GOOD.replace(from, to));
    for (facts, wanted_id) in [
        (without("sudo"), "SERVER_SUDO"),
        (without("apt"), "SERVER_SYSTEM"),
        (without("systemd"), "SERVER_SYSTEM"),
        (
            replaced("id\tubuntu\nlike\tdebian", "id\tfedora"),
            "SERVER_SYSTEM",
        ),
        (replaced("x86_64", "aarch64"), "SERVER_ARCH"),
        (replaced("2014312", "500000"), "SERVER_SMALL"),
        (replaced("20971520", "1000"), "SERVER_SMALL"),
        (without("memory"), "SERVER_SMALL"),
        (with("cadet\t/etc/cadet/node.json"), "SERVER_TAKEN"),
        (with("mark\tother 7"), "SERVER_TAKEN"),
        (with("other\t/etc/rancher/k3s"), "SERVER_TAKEN"),
        (with("port\t6443"), "SERVER_TAKEN"),
        (with("port\t10250"), "SERVER_TAKEN"),
        (without("card"), "SERVER_ADDRESS"),
        (read(""), "SERVER_SUDO"),
    ] {
        let error = judge(&facts, &wanted(true)).unwrap_err();
        assert_eq!(error.topic.id, wanted_id, "{facts:?}");
        assert!(error.why.is_some() && error.fix.is_some(), "{wanted_id}");
    }
    // A user that is root needs no sudo; a worker has no API server.
    assert_eq!(
        id(&read(&GOOD.replace("uid\t1000\nsudo\tyes", "uid\t0"))),
        ""
    );
    judge(&with("port\t6443"), &wanted(false)).unwrap();
}

#[test]
fn what_this_profile_put_there_is_no_other_cluster() {
    let ours = "mark\tshop 1\ncadet\t/etc/cadet/node.json\nport\t6443\nport\t10250\nport\t80\n";
    let facts = read(&format!("{GOOD}{ours}"));
    assert_eq!(id(&facts), "");
    assert!(warnings(&facts, &wanted(true)).is_empty(), "80 is ours");
    let full = GOOD.replace("disk\t20971520", "disk\t1000");
    assert_eq!(
        id(&read(&format!("{full}{ours}"))),
        "",
        "its images fill it"
    );
    let web = read(&format!("{GOOD}port\t80\n"));
    assert_eq!(id(&web), "", "a web server keeps its port");
    assert_eq!(warnings(&web, &wanted(true)).len(), 1);
    assert!(warnings(&web, &wanted(false)).is_empty());
}

#[test]
fn words_of_a_server_cannot_reach_into_the_terminal() {
    let facts = read("system\tEvil\u{1b}[2J Linux\nmark\tx\u{7}y z\n");
    assert_eq!(facts.system, "Evil[2J Linux");
    assert_eq!(whose(facts.mark.as_deref().unwrap()), "xy");
    assert_eq!(read("noise\nport\tx\ncard\t1.2.3.4/99\n"), Facts::default());
}

#[test]
fn servers_of_one_cluster_share_a_network() {
    let card = |text: &str| card(text).unwrap();
    let named = |cards: &[&str]| -> Vec<_> {
        let cards = cards.iter().enumerate();
        cards
            .map(|(i, text)| (format!("a@s{i}"), card(text)))
            .collect()
    };
    together(&named(&["10.0.0.4/24"])).unwrap();
    together(&named(&["10.0.0.4/24", "10.0.0.5/24", "10.0.0.6/16"])).unwrap();
    for bad in [
        &["10.0.0.4/24", "10.0.0.4/24"][..],
        &["10.0.0.4/24", "10.0.1.5/24"],
        &["10.0.0.4/32", "10.0.0.5/32"],
        &["10.0.0.4/16", "10.0.1.5/24"],
    ] {
        let error = together(&named(bad)).unwrap_err();
        assert_eq!(error.topic.id, "SERVER_APART", "{bad:?}");
    }
    assert!(card("0.0.0.0/0").reaches(Ipv4Addr::new(9, 9, 9, 9)));
}

#[test]
fn programs_tell_what_they_are_made_for() {
    let mut head = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0".to_vec();
    assert_eq!(program_machine(&head), Some("x86_64"));
    head[18] = 183;
    assert_eq!(program_machine(&head), Some("aarch64"));
    head[18] = 40;
    assert_eq!(program_machine(&head), None);
    assert_eq!(program_machine(b"#!/bin/sh\n"), None);
    assert_eq!(program_machine(b""), None);
}

#[test]
fn the_script_runs_here_and_its_words_are_read() {
    let out = std::process::Command::new("sh")
        .args(["-c", &look()])
        .env_remove("SSH_CONNECTION")
        .output()
        .unwrap();
    let facts = read(&String::from_utf8_lossy(&out.stdout));
    assert!(
        !facts.machine.is_empty() && facts.memory_mib > 0,
        "{facts:?}"
    );
    assert!(facts.cpus > 0, "{facts:?}");
}

#[test]
fn names_are_given_to_ssh_as_it_takes_them() {
    assert_eq!(ssh_words("ann@box"), "ann@box");
    assert_eq!(ssh_words("ann@box:2222"), "-p 2222 ann@box");
    assert_eq!(ssh_words("ann@[fd00::1]"), "ann@fd00::1");
}
