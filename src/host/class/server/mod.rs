//! The teacher's end: one port, HTTPS, everything a class needs.
//!
//! ```text
//!  GET  /                          what this is
//!  GET  /class/TOKEN               what the class has                       ┐
//!  POST /class/TOKEN/join …        signed by a learner: `learners`          │ the class's token
//!  GET  /class/TOKEN/bundle/NAME   files, with ranges, shared fairly: `files`│
//!  GET  /class/TOKEN/live          the teacher's commands: `live`           ┘
//!  GET  /board, /projector         pages without data: `pages`
//!  *    /board/…                   data and acts: `teacher`                   the teacher's token
//!  GET  /v2/…                      container images: `images`                 who has joined
//! ```
//! Nothing else is served, and nothing listens before [`serve`].

mod answer;
mod files;
mod images;
mod learners;
mod listen;
mod live;
mod pages;
mod pulse;
mod teacher;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::routing::{get, post};
use time::OffsetDateTime;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::code::{JoinCode, TOKEN, token_text};
use crate::error::{ClassError, Result};
use crate::fair::Fair;
use crate::key::{self, ClassKey};
use crate::ledger::Ledger;
use crate::limit::{Limit, Rate};
use crate::message::{Offer, Welcome};
use crate::mirror::Mirror;
use crate::need::Outline;
use crate::roll::{Moment, Roll};

pub use listen::serve;
pub use live::Commands;

/// Prefix of learners' rows.
const ROW: &str = "learner/";
/// How many addresses of learners are remembered for the images.
const MOST_GUESTS: usize = 4096;

/// What a class is made of.
pub struct Setup {
    /// What the teacher calls it.
    pub title: String,
    pub key: ClassKey,
    /// What lets learners in.
    pub token: [u8; TOKEN],
    /// What lets the teacher in.
    pub teacher: String,
    /// Files of the bundle.
    pub files: Vec<PathBuf>,
    /// Its lessons, in order.
    pub lessons: Vec<Outline>,
    /// Where the teacher's terminals write their commands, if they are shown.
    pub commands: Option<PathBuf>,
    /// The class's cache of container images.
    pub mirror: Option<Mirror>,
    pub limits: Limits,
}

/// How much is let in.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Requests of one address, and of all.
    pub requests: (Rate, Rate),
    /// Joins.
    pub joins: (Rate, Rate),
    /// New connections.
    pub connections: (Rate, Rate),
    /// The teacher's own laptop is let in whatever the others do.
    pub spare_own: bool,
}

impl Default for Limits {
    fn default() -> Self {
        let rate = |per_second: f64, burst: f64| Rate { per_second, burst };
        // A whole class may sit behind one address.
        Self {
            requests: (rate(40.0, 400.0), rate(2000.0, 4000.0)),
            joins: (rate(5.0, 200.0), rate(50.0, 400.0)),
            connections: (rate(40.0, 400.0), rate(400.0, 1200.0)),
            spare_own: true,
        }
    }
}

/// News for the teacher's terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Somebody joined; how many there are now.
    Joined { name: String, learners: usize },
    /// Somebody asks for help.
    Asks { name: String, words: String },
    /// Rows cannot be kept; they are tried again.
    NotSaved { why: String },
    /// They are kept again.
    Saved,
    /// An image was fetched from its registry.
    Fetched { image: String },
    /// An image could not be fetched.
    NotFetched { image: String, why: String },
}

/// A file of the bundle.
#[derive(Debug, Clone)]
struct Served {
    offer: Offer,
    path: PathBuf,
}

/// The join code as the pages show it.
#[derive(Debug, Clone)]
pub struct Shown {
    pub code: JoinCode,
    /// As a picture, for the projector.
    pub svg: String,
}

/// What changes while the class goes on.
struct Inner {
    roll: Roll,
    /// Why rows are not on the disk.
    trouble: Option<String>,
    /// The join code as it is now.
    code: Option<Shown>,
    joins: Limit,
    requests: Limit,
    connections: Limit,
    /// Addresses from which somebody joined, for the images.
    guests: HashMap<IpAddr, Instant>,
}

/// A class that is open.
pub struct Class {
    title: String,
    key: ClassKey,
    token: [u8; TOKEN],
    teacher: String,
    files: Vec<Served>,
    lessons: Vec<Outline>,
    ledger: Arc<dyn Ledger>,
    commands: Option<Arc<Commands>>,
    mirror: Option<Arc<Mirror>>,
    spare_own: bool,
    inner: Mutex<Inner>,
    fair: Arc<Mutex<Fair>>,
    tls: RwLock<Identity>,
    /// Grows with every change that the board shows.
    version: watch::Sender<u64>,
    dirty: Notify,
    notices: mpsc::UnboundedSender<Notice>,
    stop: CancellationToken,
}

/// The certificate in use.
struct Identity {
    config: Arc<rustls::ServerConfig>,
    /// The authority of it, for machines.
    pem: String,
}

impl Class {
    /// Opens a class: reads its rows, looks at its files, makes a certificate for `addresses`.
    ///
    /// # Errors
    /// [`ClassError::Ledger`], [`ClassError::Read`], [`ClassError::Tls`].
    pub fn open(
        setup: Setup,
        ledger: Arc<dyn Ledger>,
        addresses: &[IpAddr],
        notices: mpsc::UnboundedSender<Notice>,
    ) -> Result<Arc<Self>> {
        let roll = load(ledger.as_ref())?;
        let mut files = Vec::new();
        for path in setup.files {
            let bad = |source| ClassError::Read {
                path: path.clone(),
                source,
            };
            let size = crate::range::open(&path).map_err(bad)?.size;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let offer = Offer {
                name: name.into_owned(),
                size,
            };
            files.push(Served { offer, path });
        }
        let tls = identity(&setup.key, addresses)?;
        let limit = |(each, all): (Rate, Rate)| Limit::new(each, all);
        Ok(Arc::new(Self {
            title: setup.title,
            key: setup.key,
            token: setup.token,
            teacher: setup.teacher,
            files,
            lessons: setup.lessons,
            ledger,
            commands: setup.commands.map(|path| Arc::new(Commands::new(path))),
            mirror: setup.mirror.map(Arc::new),
            spare_own: setup.limits.spare_own,
            inner: Mutex::new(Inner {
                roll,
                trouble: None,
                code: None,
                joins: limit(setup.limits.joins),
                requests: limit(setup.limits.requests),
                connections: limit(setup.limits.connections),
                guests: HashMap::new(),
            }),
            fair: Arc::new(Mutex::new(Fair::default())),
            tls: RwLock::new(tls),
            version: watch::Sender::new(0),
            dirty: Notify::new(),
            notices,
            stop: CancellationToken::new(),
        }))
    }

    /// The code for learners who reach the class at `address`.
    pub fn code(&self, address: SocketAddr) -> JoinCode {
        JoinCode {
            address,
            pin: self.key.pin(),
            token: self.token,
        }
    }

    /// The class is reached elsewhere from now on: a new certificate, and the code the board shows.
    ///
    /// # Errors
    /// [`ClassError::Tls`].
    pub fn moved(&self, addresses: &[IpAddr], code: Option<Shown>) -> Result<()> {
        let new = identity(&self.key, addresses)?;
        *self.tls.write().unwrap_or_else(PoisonError::into_inner) = new;
        self.inner().code = code;
        self.changed();
        Ok(())
    }

    /// Learners who are there.
    pub fn learners(&self) -> usize {
        self.inner().roll.len()
    }

    /// What is told to those who come in.
    fn welcome(&self) -> Welcome {
        let tls = self.tls.read().unwrap_or_else(PoisonError::into_inner);
        Welcome {
            title: self.title.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            lessons: self.lessons.iter().map(|l| l.name.clone()).collect(),
            files: self.files.iter().map(|f| f.offer.clone()).collect(),
            live: self.commands.is_some(),
            mirror: self.mirror.as_ref().map(|_| tls.pem.clone()),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fair(&self) -> MutexGuard<'_, Fair> {
        self.fair.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn server_config(&self) -> Arc<rustls::ServerConfig> {
        let tls = self.tls.read().unwrap_or_else(PoisonError::into_inner);
        tls.config.clone()
    }

    /// The board is to be drawn anew, and rows are to be kept.
    fn changed(&self) {
        self.version.send_modify(|version| *version += 1);
        self.dirty.notify_one();
    }

    /// Nobody reads the news any more: then the terminal is gone, and the class goes on.
    fn tell(&self, notice: Notice) {
        let _ = self.notices.send(notice);
    }

    /// True for the teacher's own laptop.
    fn is_own(&self, address: IpAddr) -> bool {
        self.spare_own && address.is_loopback()
    }

    /// Somebody with the class's token is at `address`: images are for them.
    fn is_guest(&self, address: IpAddr) {
        let mut inner = self.inner();
        if inner.guests.len() >= MOST_GUESTS && !inner.guests.contains_key(&address) {
            let oldest = inner.guests.iter().min_by_key(|(_, seen)| **seen);
            if let Some(oldest) = oldest.map(|(address, _)| *address) {
                inner.guests.remove(&oldest);
            }
        }
        inner.guests.insert(address, Instant::now());
    }

    /// Keeps what has changed; true if all of it is on the disk.
    fn save(&self) -> bool {
        let changes = self.inner().roll.take_changes();
        if changes.is_empty() {
            return true;
        }
        let ids: Vec<String> = changes.iter().map(|(id, _)| id.clone()).collect();
        let rows: Vec<_> = changes
            .into_iter()
            .map(|(id, row)| (format!("{ROW}{id}"), row))
            .collect();
        let outcome = self.ledger.put(&rows);
        let mut inner = self.inner();
        match outcome {
            Ok(()) => {
                let was = inner.trouble.take();
                drop(inner);
                if was.is_some() {
                    self.tell(Notice::Saved);
                    self.version.send_modify(|version| *version += 1);
                }
                true
            }
            Err(e) => {
                inner.roll.put_back(ids);
                let why = e.to_string();
                let is_new = inner.trouble.as_ref() != Some(&why);
                inner.trouble = Some(why.clone());
                drop(inner);
                if is_new {
                    self.tell(Notice::NotSaved { why });
                    self.version.send_modify(|version| *version += 1);
                }
                false
            }
        }
    }

    /// All the paths there are.
    fn router(self: &Arc<Self>) -> Router {
        let class = Router::new()
            .route("/class/{token}", get(learners::welcome))
            .route("/class/{token}/join", post(learners::join))
            .route("/class/{token}/report", post(learners::report))
            .route("/class/{token}/help", post(learners::help))
            .route("/class/{token}/me", post(learners::me))
            .route("/class/{token}/leave", post(learners::leave))
            .route("/class/{token}/bundle/{name}", get(files::send))
            .route("/class/{token}/live", get(live::stream))
            .route_layer(axum::middleware::from_fn_with_state(
                self.clone(),
                learners::guard,
            ));
        let board = Router::new()
            .route("/board/events", get(teacher::events))
            .route("/board/data", get(teacher::data))
            .route("/board/do", post(teacher::act))
            .route("/board/code.svg", get(teacher::code))
            .route("/board/pace", get(teacher::pace))
            .route("/board/export.csv", get(teacher::export))
            .route_layer(axum::middleware::from_fn_with_state(
                self.clone(),
                teacher::guard,
            ));
        let images = Router::new()
            .route("/v2/", get(images::base))
            .route("/v2/{*path}", get(images::get))
            .route_layer(axum::middleware::from_fn_with_state(
                self.clone(),
                images::guard,
            ));
        Router::new()
            .merge(class)
            .merge(board)
            .merge(images)
            .merge(pages::router())
            .route("/board/enter", post(teacher::enter))
            .fallback(answer::missing)
            .layer(axum::middleware::from_fn_with_state(
                self.clone(),
                answer::every,
            ))
            .with_state(self.clone())
    }
}

/// Seconds since 1970.
fn now() -> Moment {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

/// The rows of a class that is not open, for figures afterwards.
///
/// # Errors
/// [`ClassError::Ledger`].
pub fn load(ledger: &dyn Ledger) -> Result<Roll> {
    let bad = |why: String| ClassError::Ledger { act: "read", why };
    let rows = ledger.rows().map_err(|e| bad(e.to_string()))?;
    let learners = rows
        .iter()
        .filter_map(|(key, row)| Some((key.strip_prefix(ROW)?, row.as_slice())));
    Roll::load(learners).ok_or_else(|| bad("a learner's row is damaged".into()))
}

fn identity(key: &ClassKey, addresses: &[IpAddr]) -> Result<Identity> {
    let now = OffsetDateTime::now_utc();
    let certificate = key.certificate(addresses, now, key::LIFE)?;
    let pem = key::pem(&key.authority(now)?);
    let config = key.server_config(certificate)?;
    Ok(Identity { config, pem })
}

/// The first part of the class's paths.
fn root(class: &Class) -> String {
    format!("/class/{}", token_text(&class.token))
}
