use super::{Line, Printer, merged, wrap};

fn line(millis: u32, who: &str, part: &str, act: &str, about: (&str, &str), text: &str) -> Line {
    Line {
        time: format!(
            "2026-01-01T00:00:{:02}.{:03}000Z",
            millis / 1000,
            millis % 1000
        ),
        exact: true,
        who: who.into(),
        part: part.into(),
        act: act.into(),
        text: text.into(),
        kind: about.0.into(),
        name: about.1.into(),
        revision: 412,
    }
}

fn story() -> Vec<Line> {
    let pod = |name| ("Pod", name);
    vec![
        line(
            0,
            "you",
            "kubectl apply",
            "created",
            ("Deployment", "hello-hapi"),
            "created deployment hello-hapi, 3 wanted",
        ),
        line(
            11,
            "controller",
            "deployment",
            "created",
            ("ReplicaSet", "hello-hapi-7d9f"),
            "made replica set hello-hapi-7d9f, 3 wanted",
        ),
        line(
            19,
            "controller",
            "replicaset",
            "created",
            pod("hello-hapi-7d9f-x2x"),
            "made pod hello-hapi-7d9f-x2x",
        ),
        line(
            20,
            "scheduler",
            "",
            "scheduled",
            pod("hello-hapi-7d9f-x2x"),
            "→ node cadet (it fits, the only node)",
        ),
        line(
            21,
            "controller",
            "replicaset",
            "created",
            pod("hello-hapi-7d9f-b4c"),
            "made pod hello-hapi-7d9f-b4c",
        ),
        line(
            22,
            "controller",
            "replicaset",
            "created",
            pod("hello-hapi-7d9f-c5d"),
            "made pod hello-hapi-7d9f-c5d",
        ),
        line(
            940,
            "agent",
            "docker",
            "started",
            pod("hello-hapi-7d9f-x2x"),
            "container app started (0.88 s)",
        ),
        line(
            1004,
            "service",
            "hello-hapi",
            "endpoints",
            ("Service", "hello-hapi"),
            "3 endpoints",
        ),
    ]
}

fn printed(lines: Vec<Line>, hero: &str, width: usize) -> String {
    let mut printer = Printer::new(hero, width);
    let rows = merged(lines, hero)
        .iter()
        .flat_map(|l| printer.rows(l))
        .collect::<Vec<_>>();
    for row in &rows {
        assert!(row.chars().count() <= width.max(20), "{width}: {row:?}");
    }
    rows.join("\n")
}

#[test]
fn eighty_columns_hold_the_whole_picture() {
    assert_eq!(
        printed(story(), "hello-hapi", 80),
        "   0.000 s  you         kubectl apply  created deployment hello-hapi, 3 wanted\n\
         \u{20}                                      (revision 412)\n\
         \u{20}  0.011    controller  deployment     made replica set hello-hapi-7d9f, 3\n\
         \u{20}                                      wanted\n\
         \u{20}  0.019    controller  replicaset     made 3 pods\n\
         \u{20}  0.020    scheduler                  7d9f-x2x → node cadet (it fits, the only\n\
         \u{20}                                      node)\n\
         \u{20}  0.940    agent       docker         7d9f-x2x: container app started (0.88 s)\n\
         \u{20}  1.004    service     hello-hapi     3 endpoints"
    );
}

#[test]
fn narrow_terminals_lose_no_word() {
    for width in [20, 30, 47, 48, 60, 71, 72, 100, 200] {
        let text = printed(story(), "hello-hapi", width);
        let words = text.split_whitespace().collect::<Vec<_>>().join("");
        for part in [
            "madereplicasethello-hapi-7d9f,3wanted",
            "made3pods",
            "3endpoints",
        ] {
            // Broken words come together again.
            assert!(words.contains(part), "{width}: {part} in\n{text}");
        }
    }
    assert_eq!(
        printed(story(), "hello-hapi", 40)
            .lines()
            .take(2)
            .collect::<Vec<_>>(),
        [
            "   0.000 s  you kubectl apply",
            "    created deployment hello-hapi, 3"
        ]
    );
    let middling = printed(story(), "hello-hapi", 64);
    assert!(
        middling.contains("controller  replicaset: made 3 pods"),
        "{middling}"
    );
}

#[test]
fn only_what_belongs_together_is_merged() {
    let pods = |part: &str, at: &[u32], act: &str, text: &str| -> Vec<Line> {
        let each = at.iter().enumerate();
        each.map(|(n, at)| {
            let name = format!("p{n}");
            line(*at, "controller", part, act, ("Pod", name.as_str()), text)
        })
        .collect()
    };
    let texts = |lines: Vec<Line>| -> Vec<String> {
        merged(lines, "hero")
            .into_iter()
            .map(|line| line.text)
            .collect()
    };
    assert_eq!(
        texts(pods("job", &[1, 2], "created", "made pod p")),
        ["made 2 pods"]
    );
    // Too far apart, or not the same act.
    assert_eq!(
        texts(pods("job", &[1, 2000], "created", "made pod p")).len(),
        2
    );
    assert_eq!(texts(pods("job", &[1, 2], "ready", "ready")).len(), 2);
    let ending = pods(
        "replicaset",
        &[1, 2, 3],
        "ending",
        "asked to end, 30 s at most",
    );
    assert_eq!(texts(ending), ["asked 3 pods to end, 30 s at most"]);
    assert_eq!(texts(pods("", &[1, 2], "gone", "gone")), ["2 pods gone"]);
    let sets = vec![
        line(
            1,
            "controller",
            "deployment",
            "created",
            ("ReplicaSet", "a"),
            "made replica set a",
        ),
        line(
            2,
            "controller",
            "deployment",
            "created",
            ("ReplicaSet", "b"),
            "made replica set b",
        ),
    ];
    assert_eq!(texts(sets).len(), 2);
    // The hero itself, and the same object twice, are told each time.
    let twice = vec![
        line(1, "you", "", "created", ("Pod", "hero"), "created pod hero"),
        line(2, "you", "", "created", ("Pod", "a"), "created pod a"),
        line(3, "you", "", "created", ("Pod", "a"), "created pod a"),
    ];
    assert_eq!(texts(twice).len(), 3);
}

#[test]
fn times_are_as_exact_as_they_are_known() {
    let at = |time: &str, exact: bool| Line {
        time: time.into(),
        exact,
        who: "agent".into(),
        text: "x".into(),
        ..Line::default()
    };
    let mut printer = Printer::new("hero", 80);
    let starts: Vec<String> = [
        at("2026-01-01T00:00:00Z", false),
        at("2026-01-01T00:00:03Z", false),
        at("2026-01-01T00:00:03.250999Z", true),
        at("2026-01-01T05:06:07.5Z", true),
        at("2026-01-11T05:06:07.5Z", true),
        // Before the first: clocks differ.
        at("2025-12-31T23:59:59Z", true),
    ]
    .iter()
    .flat_map(|line| printer.rows(line))
    .map(|row| row.split("agent").next().unwrap_or_default().to_owned())
    .collect();
    assert_eq!(
        starts,
        [
            "   0     s  ",
            "   3        ",
            "   3.250    ",
            "   5h06m    ",
            "  10d05h    ",
            "   0.000    ",
        ]
    );
}

#[test]
fn names_are_short_where_that_tells_enough_and_nothing_reaches_the_terminal_raw() {
    let mut printer = Printer::new("web", 80);
    let mut text = |name: &str, text: &str| {
        let rows = printer.rows(&line(0, "agent", "", "ready", ("Pod", name), text));
        rows.join(" ")
            .split_once("agent")
            .map(|(_, rest)| rest.trim().to_owned())
    };
    assert_eq!(
        text("web-7d9f-x2x", "ready").as_deref(),
        Some("7d9f-x2x: ready")
    );
    assert_eq!(text("web-0", "ready").as_deref(), Some("web-0: ready"));
    assert_eq!(text("other", "ready").as_deref(), Some("other: ready"));
    assert_eq!(text("web", "ready").as_deref(), Some("ready"));
    assert_eq!(
        text("web", "said \u{1b}[31mred\nline").as_deref(),
        Some("said [31mred line")
    );
}

#[test]
fn long_words_are_broken_and_none_is_lost() {
    assert_eq!(wrap("aa bb cc", 8), ["aa bb cc"]);
    assert_eq!(wrap("aaaa bbbb cc", 8), ["aaaa", "bbbb cc"]);
    assert_eq!(wrap("a 0123456789 b", 8), ["a", "01234567", "89 b"]);
    assert_eq!(wrap("", 8), [""]);
}
