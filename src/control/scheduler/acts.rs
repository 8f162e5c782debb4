//! What follows from decisions: requests, sent by tasks beside the loop.

use tokio::task::JoinHandle;
use tracing::{debug, warn};

use crate::cycle::Choice;
use crate::pod::Pod;
use crate::report::News;
use crate::requests::{self, Said, Target};
use crate::scheduler::{Outcome, Scheduler};

/// Words on their way are waited for: a pod's status must not be written out of turn.
async fn after(before: Option<(u64, JoinHandle<()>)>) {
    if let Some((_, before)) = before
        && let Err(error) = before.await
    {
        warn!(%error, "a task of the scheduler failed");
    }
}

impl Scheduler {
    /// Starts a task about a pod, after what is still being said of it.
    pub(crate) fn spawn<F>(&mut self, uid: &str, work: F)
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let before = self.saying.remove(uid);
        let outcomes = self.outcomes.clone();
        self.under_way += 1;
        self.tasks.spawn(async move {
            after(before).await;
            // The loop has ended if nobody listens.
            let _ = outcomes.send(work.await);
        });
    }

    pub(crate) fn bind(&mut self, key: usize, slot: usize, choice: Choice) {
        let Some(pod) = self.target(key) else { return };
        let node = self.node_name(slot);
        let (client, teller) = (self.client.clone(), self.teller.clone());
        let uid = pod.uid.clone();
        self.spawn(&uid, async move {
            match requests::bind(&client, &pod, &node).await {
                Ok(()) => {
                    debug!(pod = pod.full_name(), node, "bound");
                    let news = News {
                        is_warning: false,
                        reason: "Scheduled",
                        action: "Binding",
                        note: format!("Successfully assigned {} to {node}", pod.full_name()),
                        related: None,
                        why: Some(choice.words()),
                    };
                    teller.tell(&pod, &news);
                    Outcome::Bound
                }
                Err(error) if matches!(error.code(), Some(404 | 409)) => {
                    // Gone, or bound by somebody else: the watch will tell.
                    debug!(pod = pod.full_name(), node, %error, "binding refused");
                    Outcome::NotBound(pod.uid, None)
                }
                Err(error) => {
                    warn!(pod = pod.full_name(), node, %error, "pod not bound");
                    Outcome::NotBound(pod.uid, Some(format!("binding rejected: {error}")))
                }
            }
        });
    }

    pub(crate) fn say(&mut self, key: usize, said: Said) {
        let Some(pod) = self.target(key) else { return };
        let (client, teller) = (self.client.clone(), self.teller.clone());
        let before = self.saying.remove(&pod.uid);
        let outcomes = self.outcomes.clone();
        let uid = pod.uid.clone();
        self.under_way += 1;
        self.words += 1;
        let ticket = self.words;
        let task = self.tasks.spawn(async move {
            after(before).await;
            let outcome = match requests::say(&client, &pod, &said).await {
                Ok(()) => Outcome::Said(pod.uid.clone(), ticket),
                // Deleted or replaced meanwhile: there is nobody left to tell.
                Err(error) if matches!(error.code(), Some(404 | 409 | 422)) => {
                    Outcome::Said(pod.uid.clone(), ticket)
                }
                Err(error) => {
                    warn!(pod = pod.full_name(), %error, "condition not written");
                    Outcome::NotSaid(pod.uid.clone(), ticket)
                }
            };
            if let (Outcome::Said(..), Some((_, words))) = (&outcome, said.condition) {
                let news = News {
                    is_warning: true,
                    reason: "FailedScheduling",
                    action: "Scheduling",
                    note: words,
                    related: None,
                    why: None,
                };
                teller.tell(&pod, &news);
            }
            // The loop has ended if nobody listens.
            let _ = outcomes.send(outcome);
        });
        self.saying.insert(uid, (ticket, task));
    }

    pub(crate) fn evict(&mut self, key: usize, slot: usize, victims: Vec<usize>) {
        // Weaker pods that wait for this very node will not get it.
        let weaker: Vec<usize> = self.cache.nominated(slot).to_vec();
        let priority = self.cache.pod(key).map_or(0, |pod| pod.ask.priority);
        for other in weaker {
            let is_weaker = |p: &Pod| p.ask.priority < priority;
            if self.cache.pod(other).is_some_and(is_weaker) {
                self.cache.nominate(other, None);
                let said = Said {
                    nominated: Some(String::new()),
                    ..Said::default()
                };
                self.say(other, said);
            }
        }
        let targets: Vec<Target> = victims.iter().filter_map(|v| self.target(*v)).collect();
        for victim in victims {
            self.cache.preempt(victim);
        }
        let Some(pod) = self.target(key) else { return };
        let node = self.node_name(slot);
        let (client, teller) = (self.client.clone(), self.teller.clone());
        let outcomes = self.outcomes.clone();
        self.under_way += 1;
        self.tasks.spawn(async move {
            let mut spared = vec![];
            for victim in targets {
                match requests::evict(&client, &victim).await {
                    Ok(()) => {
                        let news = News {
                            is_warning: false,
                            reason: "Preempted",
                            action: "Preempting",
                            note: format!("Preempted by pod {} on node {node}", pod.uid),
                            related: Some(&pod),
                            why: None,
                        };
                        teller.tell(&victim, &news);
                    }
                    Err(error) => {
                        warn!(pod = victim.full_name(), %error, "victim not told to go");
                        spared.push(victim.uid);
                    }
                }
            }
            // The loop has ended if nobody listens.
            let _ = outcomes.send(Outcome::Evicted {
                pod: pod.uid,
                spared,
            });
        });
    }

    /// Tells about an error, which is not the pod's fault.
    pub(crate) fn complain(&mut self, key: usize, words: String) {
        let turns = !self.cache.has_said(key);
        self.cache.say(key, &words);
        let said = Said {
            condition: Some(("SchedulerError", words)),
            turns,
            nominated: None,
        };
        self.say(key, said);
    }
}
