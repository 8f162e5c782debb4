//! The loop around the decisions: messages and outcomes in, requests out.

use std::collections::HashMap;
use std::time::Instant;

use futures::{FutureExt, StreamExt};
use kube::Client;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::cache::Cache;
use crate::claims::Held;
use crate::cycle::{Chooser, Diagnosis, Verdict};
use crate::filter::{before_preemption, with_preemption};
use crate::hints;
use crate::pod::{Change, Place};
use crate::preempt::{self, Outcome as Preemption};
use crate::queue::Queue;
use crate::report::{self, Teller};
use crate::requests::{Said, Target};
use crate::watches;

/// Requests under way at most: enough for the server to write many at once, few enough for
/// its memory.
const UNDER_WAY: usize = 256;
/// Pods looked at before messages are taken in again.
const BATCH: usize = 16;
/// Messages taken in at once.
const GULP: usize = 1024;

/// What came of a task. Pods are named by their uid.
#[derive(Debug)]
pub(crate) enum Outcome {
    Bound,
    /// With the server's word, if it is one for people.
    NotBound(String, Option<String>),
    /// The condition was written, or nobody is left to read it.
    Said(String, u64),
    NotSaid(String, u64),
    /// The victims that could not be told to go.
    Evicted {
        pod: String,
        spared: Vec<String>,
    },
    ClaimsAsked(String),
    ClaimsNotAsked(String),
}

pub(crate) struct Scheduler {
    pub(crate) client: Client,
    pub(crate) teller: Teller,
    pub(crate) cache: Cache,
    pub(crate) queue: Queue,
    chooser: Chooser,
    pub(crate) held: HashMap<usize, Held>,
    /// Words on their way, by uid: the next ones wait for them.
    pub(crate) saying: HashMap<String, (u64, JoinHandle<()>)>,
    pub(crate) words: u64,
    pub(crate) outcomes: mpsc::UnboundedSender<Outcome>,
    pub(crate) tasks: TaskTracker,
    pub(crate) under_way: usize,
}

/// See [`crate::run`].
pub async fn run(client: Client, shutdown: CancellationToken) {
    let mut messages = watches::all(&client);
    let (outcomes, mut arrived) = mpsc::unbounded_channel();
    let seed = time::OffsetDateTime::now_utc().unix_timestamp_nanos() as u64;
    let (teller, telling) = Teller::open(client.clone(), &report::instance());
    let mut telling = tokio::spawn(telling);
    let mut scheduler = Scheduler {
        client,
        teller,
        cache: Cache::default(),
        queue: Queue::default(),
        chooser: Chooser::new(seed),
        held: HashMap::new(),
        saying: HashMap::new(),
        words: 0,
        outcomes,
        tasks: TaskTracker::new(),
        under_way: 0,
    };
    info!("scheduler started");
    loop {
        let busy = scheduler.has_work();
        let next = scheduler.next_tick();
        tokio::select! {
            () = shutdown.cancelled() => break,
            message = messages.next() => match message {
                Some(message) => scheduler.take(message),
                None => break,
            },
            Some(outcome) = arrived.recv() => scheduler.conclude(outcome),
            () = wait(next) => {}
            () = tokio::task::yield_now(), if busy => {}
        }
        // What has already arrived is taken too, so that decisions know of it.
        for _ in 0..GULP {
            match messages.next().now_or_never() {
                Some(Some(message)) => scheduler.take(message),
                _ => break,
            }
        }
        while let Ok(outcome) = arrived.try_recv() {
            scheduler.conclude(outcome);
        }
        scheduler.work(Instant::now());
    }
    // Bindings under way are finished: whoever comes next need not repeat them.
    scheduler.tasks.close();
    scheduler.tasks.wait().await;
    drop(scheduler);
    match tokio::time::timeout(report::LAST_WORDS, &mut telling).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(%error, "a task of the scheduler failed"),
        Err(_) => {
            telling.abort();
            warn!("events were left unsent");
        }
    }
    info!("scheduler stopped");
}

async fn wait(until: Option<Instant>) {
    match until {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

impl Scheduler {
    fn take(&mut self, message: Result<watches::Message, kube::runtime::watcher::Error>) {
        match message {
            Ok(message) => self.cache.apply(message),
            // The watcher starts over by itself, with a growing pause.
            Err(why) => warn!(error = %why, "watch interrupted"),
        }
    }

    fn has_work(&self) -> bool {
        self.queue.has_ready() && self.under_way < UNDER_WAY && self.cache.is_complete()
    }

    fn next_tick(&self) -> Option<Instant> {
        let held = self.held.values().map(|held| held.until).min();
        [self.queue.next(), held].into_iter().flatten().min()
    }

    /// Takes changes into the queue and tries some pods.
    fn work(&mut self, now: Instant) {
        self.notice(now);
        self.queue.tick(now);
        self.give_up(now);
        for _ in 0..BATCH {
            if !self.has_work() {
                break;
            }
            if let Some(key) = self.queue.pop() {
                self.try_pod(key, now);
                self.notice(now);
            }
        }
    }

    fn notice(&mut self, now: Instant) {
        while let Some(change) = self.cache.changes.pop_front() {
            match &change {
                Change::Waits(key) => {
                    if let Some(pod) = self.cache.pod(*key) {
                        self.queue.insert(*key, pod.ask.priority, now);
                    }
                }
                Change::Rests(key) => {
                    self.queue.remove(*key);
                    self.drop_held(*key);
                }
                _ => {}
            }
            if let Change::Claim(name) = &change {
                self.look_at_held(name, now);
            }
            if self.queue.has_stuck() {
                let cache = &self.cache;
                self.queue.changed(now, |key, plugins| {
                    cache
                        .pod(key)
                        .is_some_and(|pod| hints::may_help(cache, &pod.ask, plugins, &change))
                });
            }
        }
    }

    pub(crate) fn target(&self, key: usize) -> Option<Target> {
        let pod = self.cache.pod(key)?;
        Some(Target {
            namespace: pod.ask.namespace.clone(),
            name: pod.name.clone(),
            uid: pod.uid.clone(),
        })
    }

    pub(crate) fn node_name(&self, slot: usize) -> String {
        let facts = self.cache.facts(slot);
        facts.map(|facts| facts.name.clone()).unwrap_or_default()
    }

    fn try_pod(&mut self, key: usize, now: Instant) {
        let Some(pod) = self.cache.pod(key) else {
            return self.queue.remove(key);
        };
        if pod.place != Place::Open {
            return;
        }
        let ask = pod.ask.clone();
        match self.chooser.choose(&mut self.cache, key, &ask) {
            Verdict::Fits {
                slot,
                bindings,
                choice,
            } => {
                self.cache.assume(key, slot);
                if bindings.is_empty() {
                    self.bind(key, slot, choice);
                } else {
                    self.hold(key, slot, choice, bindings, now);
                }
            }
            Verdict::Nowhere(diagnosis) => self.nowhere(key, &diagnosis, now),
        }
    }

    fn nowhere(&mut self, key: usize, diagnosis: &Diagnosis, now: Instant) {
        let mut words = diagnosis.words();
        let before = self.cache.pod(key).and_then(|pod| pod.nominated);
        let mut nominated = None;
        if diagnosis.beforehand.is_some() {
            nominated = before;
            words = before_preemption(&words);
        } else if diagnosis.nodes > 0 {
            match preempt::decide(&mut self.cache, key, diagnosis, &mut self.chooser.coin) {
                Preemption::Preempt { slot, victims } => {
                    nominated = Some(slot);
                    self.cache.nominate(key, nominated);
                    self.evict(key, slot, victims);
                }
                Preemption::Futile(why) => words = with_preemption(&words, &why),
                Preemption::Forbidden(why) => {
                    nominated = before;
                    words = with_preemption(&words, why);
                }
            }
        }
        if nominated.is_none() {
            self.cache.nominate(key, None);
        }
        self.queue.is_stuck(key, diagnosis.plugins, now);
        let is_news = self.cache.pod(key).is_some_and(|pod| pod.said != words);
        let mut said = Said::default();
        if is_news {
            said.turns = !self.cache.has_said(key);
            self.cache.say(key, &words);
            said.condition = Some(("Unschedulable", words));
        }
        if nominated != before {
            said.nominated = Some(nominated.map(|s| self.node_name(s)).unwrap_or_default());
        }
        if is_news || said.nominated.is_some() {
            self.say(key, said);
        }
    }

    fn conclude(&mut self, outcome: Outcome) {
        self.under_way = self.under_way.saturating_sub(1);
        let now = Instant::now();
        match outcome {
            Outcome::Bound => {}
            Outcome::NotBound(uid, words) => {
                if let Some(key) = self.cache.key(&uid)
                    && self.cache.forget(key)
                {
                    self.queue.failed(key, now);
                    if let Some(words) = words {
                        self.complain(key, words);
                    }
                }
            }
            Outcome::Said(uid, ticket) => self.forget_saying(&uid, ticket),
            Outcome::NotSaid(uid, ticket) => {
                self.forget_saying(&uid, ticket);
                // Said again at the next attempt.
                if let Some(key) = self.cache.key(&uid) {
                    self.cache.say(key, "");
                    self.queue.failed(key, now);
                }
            }
            Outcome::Evicted { pod, spared } => {
                for uid in &spared {
                    if let Some(key) = self.cache.key(uid) {
                        self.cache.spare(key);
                    }
                }
                if !spared.is_empty()
                    && let Some(key) = self.cache.key(&pod)
                {
                    self.queue.failed(key, now);
                }
            }
            Outcome::ClaimsAsked(uid) => {
                if let Some(key) = self.cache.key(&uid) {
                    self.look(key, now);
                }
            }
            Outcome::ClaimsNotAsked(uid) => {
                if let Some(key) = self.cache.key(&uid) {
                    self.release(key, now);
                }
            }
        }
    }

    fn forget_saying(&mut self, uid: &str, ticket: u64) {
        if self.saying.get(uid).is_some_and(|(t, _)| *t == ticket) {
            self.saying.remove(uid);
        }
    }
}
