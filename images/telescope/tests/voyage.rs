//! The day of a link-sharing app: before its database, with it, and after crashes.

mod support;

use std::process::Command;

use support::{Browser, Program, free_port};

#[test]
fn it_waits_for_the_database_and_finds_it() {
    let port = free_port();
    let app = Program::telescope(port);
    let mut browser = Browser::default();
    assert_eq!(browser.get(&app, "/healthz").status, 200);
    assert_eq!(browser.get(&app, "/readyz").status, 503);
    let waiting = browser.get(&app, "/");
    assert_eq!(waiting.status, 503);
    assert!(
        waiting.body.contains("Waiting for the database"),
        "{}",
        waiting.body
    );
    assert!(
        waiting.body.contains("Connection refused"),
        "{}",
        waiting.body
    );
    assert_eq!(waiting.header("retry-after"), Some("2"));

    let folder = tempfile::tempdir().unwrap();
    let database = Program::mongod(folder.path(), port);
    let page = browser.wait_for(&app, "/", 200);
    assert!(
        page.body.contains("telescope-pod"),
        "the page names its pod"
    );
    assert!(
        page.body.contains("stand-in for MongoDB, not MongoDB"),
        "the page names its database"
    );
    browser.wait_for(&app, "/readyz", 200);

    database.kill();
    browser.wait_for(&app, "/", 503);
    let _database = Program::mongod(folder.path(), port);
    browser.wait_for(&app, "/", 200);
    assert_eq!(app.terminate().code(), Some(0));
}

#[test]
fn posts_votes_and_comments_outlive_crashes() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let database = Program::mongod(folder.path(), port);
    let app = Program::telescope(port);
    let (mut ann, mut bob) = (Browser::default(), Browser::default());
    // Its first connection may take it longer than it lets a page wait.
    ann.wait_for(&app, "/", 200);

    let fields = [
        ("url", "https://Example.com/pods"),
        ("title", "Pods & <b>ports</b>"),
        ("category", "Kubernetes"),
    ];
    let shared = ann.post(&app, "/posts", &fields);
    assert_eq!(shared.status, 303, "{shared:?}");
    let post = shared.header("location").unwrap().to_owned();
    let votes = |browser: &mut Browser, app: &Program| {
        let page = browser.get(app, &post);
        assert_eq!(page.status, 200, "{page:?}");
        page.between("<b>▲</b>", "<").to_owned()
    };
    assert_eq!(votes(&mut ann, &app), "1");

    // One browser, one vote, however often it is sent; another browser has its own.
    for _ in 0..3 {
        let voted = bob.post(&app, &format!("{post}/vote"), &[("back", "/new")]);
        assert_eq!(voted.status, 303);
        assert!(voted.header("location").unwrap().starts_with("/new#p"));
    }
    ann.post(&app, &format!("{post}/vote"), &[("back", "//evil.example")]);
    assert_eq!(votes(&mut bob, &app), "2");

    // The same link again is the same post.
    let again = bob.post(
        &app,
        "/posts",
        &[("url", "https://example.com/pods"), ("title", "Seen this?")],
    );
    assert_eq!(again.header("location"), Some(post.as_str()));

    let path = format!("{post}/comments");
    let first = ann.post(
        &app,
        &path,
        &[
            ("text", "One address,\none set of ports."),
            ("author", "ann"),
        ],
    );
    assert_eq!(first.status, 303, "{first:?}");
    let parent = first
        .header("location")
        .unwrap()
        .split_once("#c")
        .unwrap()
        .1
        .to_owned();
    bob.post(
        &app,
        &path,
        &[("text", "<script>alert(1)</script>"), ("parent", &parent)],
    );

    let check = |browser: &mut Browser, app: &Program| {
        let page = browser.get(app, &post);
        assert!(
            page.body.contains("Pods &amp; &lt;b&gt;ports&lt;/b&gt;"),
            "{}",
            page.body
        );
        assert!(
            page.body.contains("class=\"comment d0\"")
                && page.body.contains("class=\"comment d1\"")
        );
        assert!(page.body.contains("&lt;script&gt;") && !page.body.contains("<script"));
        for list in ["/", "/new", "/?category=kubernetes"] {
            let page = browser.get(app, list);
            assert!(
                page.body.contains("2 comments") && page.body.contains("example.com"),
                "{list}: {}",
                page.body
            );
        }
        assert!(
            browser
                .get(app, "/?category=other")
                .body
                .contains("still empty")
        );
        assert!(
            browser
                .get(app, "/feed.atom")
                .body
                .contains("http://mydomain.com/posts/")
        );
    };
    check(&mut ann, &app);
    assert_eq!(app.terminate().code(), Some(0));

    let app = Program::telescope(port);
    ann.wait_for(&app, "/", 200);
    check(&mut ann, &app);
    database.kill();
    let _database = Program::mongod(folder.path(), port);
    ann.wait_for(&app, "/", 200);
    check(&mut ann, &app);
    assert_eq!(votes(&mut bob, &app), "2");
    assert!(
        app.log().contains("GET"),
        "requests are logged: {}",
        app.log()
    );
}

#[test]
fn foreign_forms_and_bad_input_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let _database = Program::mongod(folder.path(), port);
    let app = Program::telescope(port);
    let mut browser = Browser::default();
    Browser::default().wait_for(&app, "/", 200);
    let good = [("url", "http://example.com/a"), ("title", "A")];

    // No cookie, no token, somebody else's token.
    assert_eq!(browser.post_with(&app, "/posts", "", &good).status, 403);
    let mut other = Browser::default();
    let stolen = other
        .get(&app, "/submit")
        .between("name=\"token\" value=\"", "\"")
        .to_owned();
    browser.get(&app, "/");
    assert_eq!(
        browser.post_with(&app, "/posts", &stolen, &good).status,
        403
    );

    let bad = browser.post(
        &app,
        "/posts",
        &[("url", "javascript:alert(1)"), ("title", "A")],
    );
    assert_eq!(bad.status, 422);
    assert!(bad.body.contains("http:// or https://"), "{}", bad.body);
    assert!(
        bad.body.contains("value=\"javascript:alert(1)\""),
        "what was typed is kept"
    );
    assert_eq!(
        browser
            .post(&app, "/posts", &[("url", "http://x"), ("title", " ")])
            .status,
        422
    );
    let long = "x".repeat(70_000);
    let token = browser
        .get(&app, "/submit")
        .between("name=\"token\" value=\"", "\"")
        .to_owned();
    assert_eq!(
        browser
            .request(&app, "POST /posts", &format!("token={token}&title={long}"))
            .status,
        413
    );
    assert_eq!(browser.get(&app, "/posts/nonsense").status, 404);
    assert_eq!(
        browser.get(&app, "/posts/000000000000000000000000").status,
        404
    );
    assert_eq!(
        browser
            .post(&app, "/posts/000000000000000000000000/vote", &[])
            .status,
        404
    );
    let comment = browser.post(
        &app,
        "/posts/000000000000000000000000/comments",
        &[("text", "x")],
    );
    assert_eq!(comment.status, 404);
    let page = browser.get(&app, "/?page=-3&category=%24where");
    assert_eq!(page.status, 200);
    assert!(
        page.header("content-security-policy")
            .unwrap()
            .contains("default-src 'none'")
    );
    assert!(page.body.contains("still empty"), "nothing was stored");
}

#[test]
fn many_posts_are_paged() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let _database = Program::mongod(folder.path(), port);
    let app = Program::telescope(port);
    let mut browser = Browser::default();
    browser.wait_for(&app, "/", 200);
    let token = browser
        .get(&app, "/submit")
        .between("name=\"token\" value=\"", "\"")
        .to_owned();
    for number in 1..=23 {
        let url = format!("http://example.com/{number}");
        let title = format!("Title{number}.");
        let shared = browser.post_with(&app, "/posts", &token, &[("url", &url), ("title", &title)]);
        assert_eq!(shared.status, 303);
    }
    for list in ["/new", "/"] {
        let first = browser.get(&app, list);
        assert!(
            first.body.contains("Title23.") && !first.body.contains("Title3."),
            "{list}"
        );
        let link = first
            .between("<span></span><span><a href=\"", "\"")
            .to_owned();
        let second = browser.get(&app, &link);
        assert!(
            second.body.contains("Title3.")
                && second.body.contains("Title1.")
                && !second.body.contains("Title4.")
        );
    }
}

#[test]
fn settings_that_cannot_be_used_end_with_code_2() {
    for (name, value) in [
        ("MONGO_URL", "nonsense"),
        ("ROOT_URL", "nonsense"),
        ("PORT", "nonsense"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_telescope"))
            .env(name, value)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}");
        let words = String::from_utf8_lossy(&output.stdout);
        assert!(words.contains(name), "{words}");
    }
}
