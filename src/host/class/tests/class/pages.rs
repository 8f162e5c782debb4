//! The pages in a real browser: the board, the projector, the teacher's commands.

use std::io::Write as _;
use std::net::Ipv4Addr;

use cadet_class::message::Call;
use cadet_class::server::Shown;
use serde_json::json;

use crate::browser::Browser;
use crate::room::{Learner, Plan, Room, TEACHER};

struct Stage {
    runtime: tokio::runtime::Runtime,
    room: Room,
}

impl Stage {
    fn new(plan: impl FnOnce(&mut Plan)) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let mut planned = Plan::new();
        plan(&mut planned);
        let room = runtime.block_on(planned.open());
        let svg = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"9\" height=\"9\"><path d=\"M0,0h9v9z\"/></svg>";
        let shown = Shown {
            code: room.code(),
            svg: svg.into(),
        };
        let addresses = [Ipv4Addr::LOCALHOST.into()];
        room.class.moved(&addresses, Some(shown)).unwrap();
        Self { runtime, room }
    }

    fn browser(&self, path: &str) -> Browser {
        let key = self.runtime.block_on(async {
            let teacher = self.room.teacher();
            teacher.welcome().await.unwrap();
            teacher.fingerprint().unwrap()
        });
        Browser::open(&self.room.url(path), &key)
    }

    fn board(&self) -> Browser {
        self.browser(&format!("/board#{TEACHER}"))
    }

    fn learner(&self, name: &str) -> Learner {
        self.runtime.block_on(self.room.learner(name))
    }

    fn reports(&self, learner: &Learner, step: usize, seconds: u32) {
        self.runtime.block_on(learner.report(step, seconds));
    }

    fn asks(&self, learner: &Learner, words: &str) {
        let call = Call {
            asks: true,
            words: words.into(),
        };
        let asked = learner.teacher.help(&learner.me, &call);
        self.runtime.block_on(asked).unwrap();
    }
}

/// The row of a learner.
fn row(name: &str) -> String {
    format!(
        "[...document.querySelectorAll('#rows tr')].find((tr) => tr.querySelector('th').textContent === {})",
        json!(name)
    )
}

/// Contrast of an element's text with what is behind it (WCAG 2.2), worked out by the page.
const CONTRAST: &str = "((element) => {
    const parse = (text) => text.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => {
        const one = (c) => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
        return 0.2126 * one(r) + 0.7152 * one(g) + 0.0722 * one(b);
    };
    let behind = element;
    let back = [0, 0, 0, 0];
    while (behind) {
        back = parse(getComputedStyle(behind).backgroundColor);
        if (back.length === 3 || back[3] > 0) break;
        behind = behind.parentElement;
    }
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(back)];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
})";

#[test]
fn a_teachers_day_at_the_board() {
    let stage = Stage::new(|_| {});
    let mut page = stage.board();
    page.until(
        "!document.querySelector('#nobody').hidden && !document.querySelector('#board').hidden",
    );
    assert_eq!(
        page.eval("location.hash"),
        "",
        "the token stays on no screen"
    );
    assert_eq!(
        page.until("document.querySelector('#code').textContent"),
        stage.room.code().to_string()
    );
    // A name with a script in it is a name.
    let odd = "<img src=x onerror=alert(1)>";
    let eve = stage.learner(odd);
    page.until(&row(odd));
    assert_eq!(
        page.eval("document.querySelectorAll('#rows img').length"),
        0
    );
    let ada = stage.learner("Ada");
    stage.reports(&eve, 3, 15);
    stage.reports(&ada, 1, 700);
    let stuck = format!("{}.dataset.state === 'stuck'", row("Ada"));
    page.until(&stuck);
    // 700 seconds, and what has passed since: within the 90 of silence that end in being away.
    page.until(&format!(
        "/^1[123]:[0-5][0-9]$/.test({}.querySelector('td.number').textContent)",
        row("Ada")
    ));
    page.until(&format!(
        "{}.querySelector('td.number').title.startsWith('others take ')",
        row("Ada")
    ));
    page.until(&format!(
        "{}.textContent.includes('2 of 4 · Two')",
        row("Ada")
    ));
    page.shot("board-working");
    // Who asks stands first, is in the title, and is said to those who do not look.
    stage.asks(&eve, "it says Pending");
    page.until("document.querySelector('#rows tr').dataset.state === 'asks'");
    page.until("document.title.startsWith('(1) ')");
    page.until("document.querySelector('#news').textContent.includes('asks for help')");
    page.until("document.querySelector('#rows .words').textContent === 'it says Pending'");
    page.shot("board-asks");
    // With the keyboard alone.
    let button = format!(
        "[...{}.querySelectorAll('button')].find((one) => one.textContent === 'Been there')",
        row(odd)
    );
    page.eval(&format!("{button}.focus()"));
    page.enter();
    page.until(&format!("{}.dataset.state !== 'asks'", row(odd)));
    page.until("!document.title.startsWith('(')");
    // A focused button stays focused while rows move.
    let remove = format!("{}.querySelector('.remove')", row(odd));
    page.eval(&format!("{remove}.focus()"));
    stage.asks(&eve, "");
    page.until("document.querySelector('#rows tr').dataset.state === 'asks'");
    assert_eq!(
        page.eval(&format!("document.activeElement === {remove}")),
        true
    );
    // The door.
    page.eval("document.querySelector('#door').click()");
    page.until("document.querySelector('#door').textContent === 'Let newcomers in'");
    // Figures of the steps that were done.
    page.until("document.querySelectorAll('#paces tbody tr').length === 4");
    assert_eq!(page.troubles(), Vec::<String>::new());
}

#[test]
fn the_board_fits_a_phone_and_is_readable_in_both_lights() {
    let stage = Stage::new(|_| {});
    for (n, name) in [
        "Ada",
        "A name that is as long as a name may be, ok",
        "日本語",
    ]
    .into_iter()
    .enumerate()
    {
        let learner = stage.learner(name);
        stage.reports(&learner, n, 30);
        if n == 1 {
            stage.asks(
                &learner,
                "words that are long enough to need a second line on a phone",
            );
        }
    }
    let mut page = stage.board();
    page.until("document.querySelectorAll('#rows tr').length === 3");
    for (width, height, scheme) in [
        (390, 844, "light"),
        (390, 844, "dark"),
        (1280, 860, "light"),
        (1280, 860, "dark"),
    ] {
        page.screen(width, height, scheme);
        page.until(&format!("innerWidth === {width}"));
        assert_eq!(
            page.eval("document.documentElement.scrollWidth <= innerWidth"),
            true,
            "{width} {scheme}"
        );
        for what in ["#title", "#rows th", "#rows .state", "#rows .soft", "#door"] {
            let all = format!(
                "Math.min(...[...document.querySelectorAll({})].map({CONTRAST}))",
                json!(what)
            );
            let least = page.eval(&all).as_f64().unwrap();
            assert!(least >= 4.5, "{what} has {least:.2} in {scheme}");
        }
        let small = "[...document.querySelectorAll('button, a.button')].filter((one) => \
            one.offsetHeight > 0 && one.offsetHeight < 40).length";
        assert_eq!(page.eval(small), 0, "a finger needs room");
        page.shot(&format!("board-{width}-{scheme}"));
    }
    assert_eq!(page.troubles(), Vec::<String>::new());
}

#[test]
fn the_token_can_be_typed_and_a_wrong_one_is_told() {
    let stage = Stage::new(|_| {});
    let mut page = stage.browser("/board");
    // Before there is a body, both of what could be compared are null.
    page.until("document.activeElement.id === 'token'");
    page.write("guess");
    page.enter();
    page.until("!document.querySelector('#refused').hidden");
    page.eval("document.querySelector('#token').select()");
    page.write(TEACHER);
    page.enter();
    page.until(
        "!document.querySelector('#board').hidden && document.querySelector('#enter').hidden",
    );
    assert_eq!(
        page.eval("document.cookie"),
        "",
        "no script reads the cookie"
    );
    assert_eq!(page.troubles(), Vec::<String>::new());
}

#[test]
fn the_wall_shows_the_code_and_nobodys_name() {
    let stage = Stage::new(|_| {});
    let ada = stage.learner("Ada");
    stage.reports(&ada, 2, 30);
    stage.asks(&ada, "secret words");
    let mut page = stage.browser(&format!("/projector#{TEACHER}"));
    page.until("document.querySelector('#count').textContent === '1 learner · 1 waits for help'");
    let code = stage.room.code().to_string();
    assert_eq!(
        page.eval("document.querySelector('#code').textContent"),
        code
    );
    page.until("document.querySelector('#qr').naturalWidth > 0");
    page.until("document.querySelectorAll('#steps li')[2].querySelector('b').textContent === '1'");
    let text = page.eval("document.body.innerText");
    let text = text.as_str().unwrap();
    assert!(!text.contains("Ada") && !text.contains("secret"), "{text}");
    page.shot("projector");
    assert_eq!(page.troubles(), Vec::<String>::new());
}

#[test]
fn learners_follow_the_teachers_commands() {
    let mut file = std::path::PathBuf::new();
    let stage = Stage::new(|plan| {
        file = plan.dir.path().join("commands");
        std::fs::write(&file, "").unwrap();
        plan.commands = Some(file.clone());
    });
    let token = cadet_class::code::token_text(&stage.room.plan.token);
    let mut page = stage.browser(&format!("/live#{token}"));
    page.until("document.querySelector('#line').hidden");
    let mut out = std::fs::File::options().append(true).open(&file).unwrap();
    writeln!(out, "kubectl get pods -l 'app=<b>web</b>'").unwrap();
    page.until(
        "document.querySelector('#commands code').textContent === \"kubectl get pods -l 'app=<b>web</b>'\"",
    );
    page.shot("live");
    assert_eq!(page.troubles(), Vec::<String>::new());
}

#[test]
fn two_hundred_learners_are_drawn() {
    let stage = Stage::new(|_| {});
    let all = stage.runtime.block_on(async {
        let mut all = Vec::new();
        // One client for all of them: it is the board that is looked at.
        let teacher = stage.room.teacher();
        for n in 0..200 {
            all.push(cadet_class::Identity::generate().unwrap());
            let joining = cadet_class::message::Joining {
                name: format!("Learner {n}"),
                reports: true,
            };
            teacher.join(&all[n], &joining).await.unwrap();
            let report = cadet_class::need::after("telescope", n % 4, 4, 20);
            teacher.report(&all[n], &report).await.unwrap();
        }
        all
    });
    assert_eq!(all.len(), 200);
    let mut page = stage.board();
    page.until("document.querySelectorAll('#rows tr').length === 200");
    page.until("document.querySelectorAll('#rows tr[data-state=working]').length === 200");
    page.shot("board-200");
    assert_eq!(page.troubles(), Vec::<String>::new());
}
