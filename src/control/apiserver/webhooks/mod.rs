//! Admission webhooks: other people's servers, asked over HTTPS before an object is
//! written.
//!
//! ```text
//!   configurations ──read once per change──▶ hooks ──rules, selectors, conditions──▶ who is asked
//!                                                                                    │
//!   object ◀── JSON patch, warnings ◀── review ◀── one HTTPS call, bounded in time ◀─┘
//! ```
//! Without configurations a write pays one look at a counter. Configurations themselves
//! and what the server makes at its start are never asked about, so that a broken webhook
//! can always be taken away.

mod address;
mod call;
mod hook;
mod matching;
mod mutate;
mod review;
mod trust;
mod validate;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use cadet_api::json;

use crate::admission::{self, Request};
use crate::world::World;
use hook::Hook;

pub use mutate::Rounds;
pub use validate::validate;

/// All hooks there are, in the order in which they are asked: by the name of their
/// configuration, then as they stand in it.
#[derive(Debug, Default)]
pub struct Registered {
    pub mutating: Vec<Hook>,
    pub validating: Vec<Hook>,
}

/// The hooks, read anew only when a configuration has changed.
#[derive(Default)]
pub struct Hooks(Mutex<(Option<u64>, Arc<Registered>)>);

impl Hooks {
    pub fn current(&self, world: &World) -> Arc<Registered> {
        // Read before the configurations are: a change in between is seen next time.
        let stamp = world.hooks_changed().load(Ordering::Acquire);
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cached.0 != Some(stamp) {
            *cached = (Some(stamp), Arc::new(read(world)));
        }
        Arc::clone(&cached.1)
    }
}

fn read(world: &World) -> Registered {
    let hooks = |plural: &str| -> Vec<Hook> {
        let Ok(kind) = admission::find_in(matching::GROUP, plural) else {
            return vec![];
        };
        let mut hooks = vec![];
        for configuration in world.list(kind, None).objects {
            let value = configuration.value();
            for (at, hook) in json::list_at(&value, "/webhooks").iter().enumerate() {
                hooks.push(Hook::read(configuration.name(), at, hook));
            }
        }
        hooks
    };
    Registered {
        mutating: hooks("mutatingwebhookconfigurations"),
        validating: hooks("validatingwebhookconfigurations"),
    }
}

/// Whether a webhook may change what this request writes.
pub fn may_mutate(request: &Request<'_>) -> bool {
    let hooks = registered(request);
    hooks.is_some_and(|hooks| matching::concerned(&hooks.mutating, request))
}

/// Whether any webhook may have a word on this request.
pub fn may_ask(request: &Request<'_>) -> bool {
    let hooks = registered(request);
    hooks.is_some_and(|hooks| {
        matching::concerned(&hooks.mutating, request)
            || matching::concerned(&hooks.validating, request)
    })
}

/// The hooks for a request that webhooks may be asked about.
fn registered(request: &Request<'_>) -> Option<Arc<Registered>> {
    if request.user.is_none() || matching::is_exempt(request.named) {
        return None;
    }
    let hooks = request.app.hooks.current(&request.app.world);
    (!hooks.mutating.is_empty() || !hooks.validating.is_empty()).then_some(hooks)
}
