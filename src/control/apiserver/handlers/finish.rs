//! What every changed object passes between admission and the store, whichever verb
//! changed it.

use cadet_api::json;
use cadet_api::status::Status;
use cadet_api::strategy::{self, Part};
use serde_json::Value;

use crate::addresses::Held;
use crate::call::ObjectCall;
use crate::ownership::Manager;
use crate::{access, admission, ports};

/// Holds what was given to the object until it is stored.
pub struct Finish<'a> {
    call: &'a ObjectCall,
    part: Part,
    manager: &'a Manager,
    held: Option<Held>,
    ports: Option<ports::HeldPorts>,
}

impl<'a> Finish<'a> {
    pub fn new(call: &'a ObjectCall, part: Part, manager: &'a Manager) -> Finish<'a> {
        Finish {
            call,
            part,
            manager,
            held: None,
            ports: None,
        }
    }

    /// Readies `new` for the store; run anew for each attempt. Returns warnings.
    pub fn run(&mut self, new: &mut Value, old: &Value) -> Result<Vec<String>, Status> {
        let (app, stored) = (&self.call.app, self.call.stored());
        access::check_rules(&app.world, &app.rbac, &self.call.user, stored, new)?;
        let warnings = strategy::prepare_update(stored, self.part, new, old)?;
        access::may_judge(app, &self.call.user, stored, new, old)?;
        if becomes_addressed(new) {
            // An address held for an attempt that lost is let go first.
            drop(self.held.take());
            self.held = admission::give_address(app, stored, new)?;
        }
        // Ports held for an attempt that lost are let go first.
        drop(self.ports.take());
        self.ports = Some(ports::give(app, stored, new)?);
        if !self.manager.is_applying() {
            self.manager.track(stored, Some(old), new);
        }
        Ok(warnings)
    }
}

/// A Service that has come to want a cluster IP by changing its type.
fn becomes_addressed(service: &Value) -> bool {
    json::str_at(service, "/kind") == "Service"
        && json::str_at(service, "/spec/type") != "ExternalName"
        && json::str_at(service, "/spec/clusterIP").is_empty()
}
