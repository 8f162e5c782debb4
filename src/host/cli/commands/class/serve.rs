//! `cadet class serve`: the class on the teacher's laptop, until Ctrl-C.
//!
//! It listens on one port and says so. The class itself outlives the command: its key, its code
//! (but for the address) and what learners did are there again at the next `serve`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cadet_bundle::qr::Qr;
use cadet_class::addresses::{self, Own};
use cadet_class::code::DEFAULT_PORT;
use cadet_class::mirror::Mirror;
use cadet_class::need::Outline;
use cadet_class::server::{self, Class, Limits, Notice, Setup, Shown};
use cadet_class::{ClassError, JoinCode};
use cadet_image::http;
use clap::Args;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::class::book::Book;
use crate::class::open::{self, Open};
use crate::error::{CliError, Result};
use crate::lessons::library;
use crate::mirror::registry;
use crate::{Context, computer, from_class, images, machine};

/// How often this laptop's addresses are looked at: it may have slept, or changed its Wi-Fi.
const LOOK: Duration = Duration::from_secs(3);
/// A certificate is made anew long before it is over.
const RENEW: Duration = Duration::from_secs(24 * 3600);
/// The bundle that is served if none is named, as `class bundle` writes it.
const BUNDLE: &str = "class.cadet";

/// Flags of `cadet class serve`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cadet class serve                              ./class.cadet, or a class without a bundle\n  cadet class serve --bundle tuesday.cadet --live\n  cadet class serve --new --title Wednesday      another class; the old one is forgotten\n\nListens on one port of this laptop, says where, and on nothing else. Ctrl-C ends it; the\nnext serve goes on with the same learners and the same code, but for the address in it."
)]
pub struct ServeArgs {
    /// Bundle to hand out [default: ./class.cadet if it is there]
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// Lessons of the class, in order [default: the bundle's, or all]
    #[arg(long, value_name = "LESSON", value_delimiter = ',')]
    lessons: Vec<String>,
    /// What the class is called [default: as the bundle]
    #[arg(long)]
    title: Option<String>,
    /// Port to listen on
    #[arg(long, value_name = "PORT", default_value_t = DEFAULT_PORT)]
    port: u16,
    /// Listen on this address alone [default: every address of this laptop]
    #[arg(long, value_name = "IP")]
    address: Option<Ipv4Addr>,
    /// Show the class the commands of terminals that you choose
    #[arg(long)]
    live: bool,
    /// Registry whose images are kept for the class
    #[arg(
        long,
        value_name = "URL",
        default_value = "https://registry-1.docker.io"
    )]
    registry: String,
    /// Most that container images may take on this laptop: 10g, 500m [default: what they take
    /// already, and half of the free disk]
    #[arg(long, value_parser = crate::args::size_mib, value_name = "SIZE")]
    images: Option<u64>,
    /// Keep no container images
    #[arg(long, conflicts_with = "images")]
    no_images: bool,
    /// Begin a new class: new code, no learners
    #[arg(long)]
    new: bool,
}

/// Serves until Ctrl-C.
pub async fn run(cx: &Context, args: ServeArgs) -> Result<u8> {
    let bundle = bundle(&args)?;
    let lessons = outlines(cx, &args, bundle.as_ref())?;
    let own = own(&args)?;
    let book = Book::open(cx)?;
    let title = args.title.as_deref();
    let title = title.or(bundle.as_ref().map(|b| b.title.as_str()));
    let kept = book.begin(title, args.new)?;
    let listener = listen(&args).await?;
    let port = listener.local_addr().map_or(args.port, |a| a.port());
    let commands = args.live.then(|| cx.world.home.class_commands());
    if let Some(commands) = &commands {
        // Emptied: what was typed last week is not shown today.
        machine::write_private(commands, b"")?;
    }
    let setup = Setup {
        title: kept.title.clone(),
        key: kept.key()?,
        token: kept.token,
        teacher: kept.teacher.clone(),
        files: bundle.iter().map(|b| b.file.clone()).collect(),
        lessons,
        commands,
        mirror: mirror(cx, &args)?,
        limits: Limits::default(),
    };
    let fingerprint = setup.key.fingerprint();
    let (tell, notices) = mpsc::unbounded_channel();
    let class = Class::open(setup, book.clone(), &certified(&own), tell)?;
    let mut at = Spot {
        cx,
        class: class.clone(),
        port,
        fixed: args.address,
        own: own.clone(),
        code: None,
        certified: Instant::now(),
        open: Open {
            pid: std::process::id(),
            port,
            address: None,
            class: fingerprint,
            teacher: kept.teacher,
        },
    };
    at.moved(own)?;
    at.told(
        &kept.title,
        bundle.as_ref().map(|b| b.file.as_path()),
        args.live,
    );
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut serving = tokio::spawn(server::serve(class, listener, async move {
        // Stopped, or this command is gone: both are the end.
        let _ = stopped.await;
    }));
    let by_itself = tokio::select! {
        () = at.watch(notices) => None,
        ended = &mut serving => Some(ended),
    };
    let is_broken = by_itself.is_some();
    let ended = match by_itself {
        Some(ended) => ended,
        None => {
            // It may have ended just now: then nobody is told.
            let _ = stop.send(());
            serving.await
        }
    };
    open::remove(cx)?;
    book.copy()?;
    let saved = match ended {
        Ok(saved) if !is_broken => saved,
        ended => return Err(broken(ended)),
    };
    if !saved {
        return Err(machine::disk_full(
            &cx.world.home.data().display().to_string(),
            "the last changes of the class could not be saved",
        ));
    }
    if cx.ui.json() {
        cx.ui
            .object(&json!({"type": "done", "learners": at.class.learners()}));
    } else {
        cx.ui.line("");
        cx.ui.line(
            "The class is closed; what learners did is kept.\n  next: cadet class board --pace      how long the steps took\n        cadet class serve             goes on with it",
        );
    }
    Ok(0)
}

/// The error for a class that ended though nobody asked for it, or could not end in order.
fn broken(ended: std::result::Result<bool, tokio::task::JoinError>) -> CliError {
    let why = match ended {
        Ok(_) => "its server stopped listening".to_owned(),
        Err(e) => e.to_string(),
    };
    CliError::new(
        "PROGRAM_INTERNAL",
        "the class broke off; learners wait for it",
    )
    .why(why)
    .fix("cadet class serve      goes on with the same learners and the same code")
}

/// The bundle to hand out.
struct Handed {
    file: PathBuf,
    title: String,
    lessons: Vec<String>,
}

fn bundle(args: &ServeArgs) -> Result<Option<Handed>> {
    let file = match &args.bundle {
        Some(file) => file.clone(),
        None => {
            let usual = PathBuf::from(BUNDLE);
            if !usual.is_file() {
                return Ok(None);
            }
            usual
        }
    };
    if !file.is_file() {
        return Err(CliError::new(
            "PROGRAM_USAGE",
            format!("{} is no bundle in one file", file.display()),
        )
        .why("parts of a split bundle are for sticks; the class is served one file")
        .fix("cadet class bundle LESSON... --out class.cadet"));
    }
    let part = cadet_bundle::parts::part(&file, 1);
    if part.exists() {
        return Err(CliError::new(
            "PROGRAM_USAGE",
            format!(
                "beside {} lie parts of a bundle of the same name",
                file.display()
            ),
        )
        .why(format!(
            "nobody can tell which of them the class is to get: {} may be the newer one",
            part.display()
        ))
        .fix(format!(
            "rm {0}.0*      if the file is the right one\ncadet class bundle LESSON... --out {0}      makes it anew, and removes the parts",
            file.display()
        )));
    }
    let opened = cadet_bundle::Bundle::open(&file)?;
    let manifest = &opened.head.manifest;
    Ok(Some(Handed {
        title: manifest.class.clone(),
        lessons: manifest.lessons.clone(),
        file: std::path::absolute(&file).unwrap_or(file),
    }))
}

/// Titles of the lessons: those that were named, the bundle's, or all.
fn outlines(cx: &Context, args: &ServeArgs, bundle: Option<&Handed>) -> Result<Vec<Outline>> {
    if !args.lessons.is_empty() {
        let named = args.lessons.iter();
        return named
            .map(|name| Ok(outline(&library::find(&cx.world, name)?)))
            .collect();
    }
    if let Some(bundle) = bundle {
        let names = bundle.lessons.iter();
        // The teacher's laptop need not have the lessons of a bundle that was made elsewhere.
        let known = |name: &String| match library::find(&cx.world, name) {
            Ok(lesson) => outline(&lesson),
            Err(_) => Outline {
                name: name.clone(),
                title: name.clone(),
                ..Outline::default()
            },
        };
        return Ok(names.map(known).collect());
    }
    let folders = library::folders(&cx.world)?;
    // A lesson with mistakes is told of by `tutorial lint`; the class goes on without it.
    let sound = folders.iter().filter_map(|f| library::lesson(f).ok());
    Ok(sound.map(|lesson| outline(&lesson)).collect())
}

fn outline(lesson: &cadet_tutorial::Lesson) -> Outline {
    Outline {
        name: lesson.name.clone(),
        title: lesson.title.clone(),
        steps: lesson.steps.iter().map(|s| s.title.clone()).collect(),
        minutes: lesson.minutes,
    }
}

fn own(args: &ServeArgs) -> Result<Vec<Own>> {
    match args.address {
        Some(address) => Ok(vec![Own {
            address,
            prefix: 32,
        }]),
        None => from_class::reachable(),
    }
}

async fn listen(args: &ServeArgs) -> Result<TcpListener> {
    let ip = args.address.unwrap_or(Ipv4Addr::UNSPECIFIED);
    let address = SocketAddr::from((ip, args.port));
    let bound = TcpListener::bind(address).await;
    bound.map_err(|source| ClassError::Listen { address, source }.into())
}

fn mirror(cx: &Context, args: &ServeArgs) -> Result<Option<Mirror>> {
    if args.no_images {
        return Ok(None);
    }
    let client = http::client(&images::network(cx))?;
    let folder = cx.world.home.class_images();
    let mirror = Mirror::new(folder, &args.registry, client)?;
    let most = match (args.images, computer::free_bytes(cx.world.home.cache())) {
        (Some(mib), _) => mib.saturating_mul(1 << 20),
        (None, Some(free)) => mirror.taken().saturating_add(free / 2),
        // A disk that does not tell says when it is full.
        (None, None) => u64::MAX,
    };
    let mirror = mirror.within(most);
    // What `cadet mirror` has brought here need not come again.
    let is_same = args.registry.trim_end_matches('/') == registry(cx).trim_end_matches('/');
    Ok(Some(match is_same {
        true => mirror.beside(&cx.world.home.registry()),
        false => mirror,
    }))
}

fn certified(own: &[Own]) -> Vec<IpAddr> {
    let mut all = addresses::for_certificate();
    for own in own {
        let address = IpAddr::from(own.address);
        if !all.contains(&address) {
            all.push(address);
        }
    }
    all
}

/// Where the class is, and what was said of it.
struct Spot<'a> {
    cx: &'a Context,
    class: Arc<Class>,
    port: u16,
    /// The only address that counts.
    fixed: Option<Ipv4Addr>,
    own: Vec<Own>,
    code: Option<JoinCode>,
    certified: Instant,
    open: Open,
}

impl Spot<'_> {
    /// Tells news and follows this laptop's addresses until Ctrl-C.
    async fn watch(&mut self, mut notices: mpsc::UnboundedReceiver<Notice>) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut end = std::pin::pin!(crate::interrupted());
        loop {
            tokio::select! {
                _ = &mut end => return,
                Some(notice) = notices.recv() => self.news(&notice),
                // A full disk takes no file for other terminals; the class itself goes on.
                _ = look.tick() => if let Err(e) = self.look() {
                    self.cx.ui.warn("address", &e.what);
                },
            }
        }
    }

    fn look(&mut self) -> Result<()> {
        let own = match self.fixed {
            Some(_) => self.own.clone(),
            None => addresses::own(),
        };
        let gone = own.is_empty();
        if own == self.own || gone {
            // Without a network nothing is told: it mostly comes back in a moment.
            if self.certified.elapsed() < RENEW {
                return Ok(());
            }
            return self.moved(self.own.clone());
        }
        let before = self.code;
        let noted = self.moved(own);
        if let Some(code) = self.code.filter(|code| Some(*code) != before) {
            self.code_changed(&code);
        }
        noted
    }

    /// The class is at `own` from now on.
    fn moved(&mut self, own: Vec<Own>) -> Result<()> {
        let first = own.first().map(|own| own.address);
        let code = first.map(|ip| self.class.code(SocketAddr::from((ip, self.port))));
        let shown = match code {
            Some(code) => Some(Shown {
                code,
                svg: Qr::of(&command(&code))?.svg(),
            }),
            None => None,
        };
        self.class.moved(&certified(&own), shown)?;
        self.certified = Instant::now();
        self.open.address = first.map(IpAddr::from);
        self.code = code;
        self.own = own;
        open::write(self.cx, &self.open)
    }

    fn code_changed(&self, code: &JoinCode) {
        let ui = &self.cx.ui;
        if ui.json() {
            ui.object(&json!({"type": "moved", "code": code.to_string(),
                "address": code.address.to_string()}));
            return;
        }
        let told = format!(
            "this laptop is at {} now; learners who joined type the new code once: {}",
            code.address,
            command(code)
        );
        ui.warn("address", &told);
    }

    fn told(&self, title: &str, bundle: Option<&Path>, live: bool) {
        let (ui, open) = (&self.cx.ui, &self.open);
        let addresses: Vec<String> = match self.fixed {
            Some(only) => vec![only.to_string()],
            None => {
                let all = self.own.iter().map(|own| own.address.to_string());
                all.chain(["127.0.0.1".to_owned()]).collect()
            }
        };
        let code = self.code.map(|code| code.to_string());
        if ui.json() {
            ui.object(&json!({"type": "serving", "title": title, "code": code,
                "port": self.port, "addresses": addresses, "board": open.board(),
                "phone": open.phone(), "learners": self.class.learners(),
                "bundle": bundle.map(|b| b.display().to_string()),
                "commands": live.then(|| self.cx.world.home.class_commands())}));
            return;
        }
        let learners = match self.class.learners() {
            0 => String::new(),
            1 => ", 1 learner so far".into(),
            n => format!(", {n} learners so far"),
        };
        ui.line(format!("✓ class       \"{title}\"{learners}"));
        match bundle {
            Some(file) => ui.line(format!("✓ bundle      {}", file.display())),
            None => ui.line("· bundle      none: learners need Cadet and what it fetches"),
        }
        ui.line(format!(
            "✓ listening   on port {} of {}, and nowhere else",
            self.port,
            addresses.join(", ")
        ));
        if let Some(code) = &self.code {
            ui.line("");
            if let Ok(qr) = Qr::of(&command(code)) {
                for line in qr.lines() {
                    ui.line(format!("  {line}"));
                }
            }
            ui.line("  Learners type:");
            ui.line("");
            ui.line(format!("    {}", command(code)));
            ui.line("");
        }
        ui.line(format!("  board   {}", open.board()));
        ui.line("          your browser warns once: the certificate is this laptop's own");
        ui.line("  phone   cadet class board --phone");
        ui.line("  Wi-Fi   where learners' terminals say CLASS_WIFI: cadet help CLASS_WIFI");
        if live {
            let file = self.cx.world.home.class_commands();
            ui.line("  live    in each terminal whose commands the class may see, paste:");
            ui.line(format!("          {}", hook(&file)));
        }
        ui.line("  Ctrl-C ends the class.");
    }

    fn news(&self, notice: &Notice) {
        let ui = &self.cx.ui;
        if ui.json() {
            ui.object(&match notice {
                Notice::Joined { name, learners } => {
                    json!({"type": "joined", "name": name, "learners": learners})
                }
                Notice::Asks { name, words } => {
                    json!({"type": "asks", "name": name, "words": words})
                }
                Notice::NotSaved { why } => json!({"type": "not.saved", "why": why}),
                Notice::Saved => json!({"type": "saved"}),
                Notice::Fetched { image } => json!({"type": "fetched", "image": image}),
                Notice::NotFetched { image, why } => {
                    json!({"type": "not.fetched", "image": image, "why": why})
                }
            });
            return;
        }
        match notice {
            Notice::Joined { name, learners } => {
                ui.line(format!("· joined      {name} ({learners})"));
            }
            Notice::Asks { name, words } if words.is_empty() => {
                ui.line(format!("! help        {name}"));
            }
            Notice::Asks { name, words } => ui.line(format!("! help        {name}: {words}")),
            Notice::NotSaved { why } => ui.warn("disk", &format!("not saved, tried again: {why}")),
            Notice::Saved => ui.line("✓ disk        saved again"),
            Notice::Fetched { image } => ui.line(format!("· image       {image}")),
            Notice::NotFetched { image, why } => ui.warn("image", &format!("{image}: {why}")),
        }
    }
}

fn command(code: &JoinCode) -> String {
    format!("cadet class join {code}")
}

/// What makes zsh, and bash from 4.4 on, append each line to `file` before it runs. A line that
/// begins with a blank keeps it (the class leaves it out), or is not in bash's history at all.
fn hook(file: &Path) -> String {
    let file = file.display().to_string().replace('\'', r"'\''");
    format!(
        "cadet_live() {{ printf '%s\\n' \"$1\" >>'{file}'; }}; \
         if [ -n \"$ZSH_VERSION\" ]; then preexec_functions+=(cadet_live); \
         else PS0='$(cadet_live \"$(HISTTIMEFORMAT= history 1 | sed \"s/^ *[0-9]*[* ] //\")\")'; fi"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_class_that_breaks_off_says_so() {
        let panicked = tokio::spawn(async { std::hint::black_box(None::<bool>).unwrap() }).await;
        let error = broken(panicked);
        assert!(error.why.unwrap().contains("panicked"));
        assert!(error.fix.unwrap().starts_with("cadet class serve"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_hook_writes_what_is_typed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("it's here");
        let typed = format!("{}\necho one | cat\n export SECRET=1\nexit\n", hook(&file));
        let mut shell = std::process::Command::new("bash")
            .args(["--norc", "-i"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let mut input = shell.stdin.take().unwrap();
        std::io::Write::write_all(&mut input, typed.as_bytes()).unwrap();
        drop(input);
        shell.wait().unwrap();
        let written = std::fs::read_to_string(&file).unwrap();
        assert!(
            written.lines().any(|line| line == "echo one | cat"),
            "{written}"
        );
        // Kept with its blank, by which the class knows that it is nobody's business.
        assert!(
            !written.lines().any(|line| line == "export SECRET=1"),
            "{written}"
        );
    }
}
