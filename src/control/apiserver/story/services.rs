//! Services that lead to a story's pods, counted from their endpoint slices.

use std::collections::{BTreeSet, HashMap, HashSet};

use cadet_api::json::{at, list_at, str_at};
use serde_json::Value;

/// Label of a slice: the Service it belongs to.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// What one slice holds.
#[derive(Debug, Clone, Default, PartialEq)]
struct Slice {
    /// Addresses that are ready.
    ready: BTreeSet<String>,
    /// Those of them that lead to the story's own pods.
    own: BTreeSet<String>,
}

/// See the module's opening.
#[derive(Debug, Default)]
pub struct Services {
    /// By name of the Service, then of the slice.
    slices: HashMap<String, HashMap<String, Slice>>,
    /// What was told last: all that is ready, and how many are own.
    told: HashMap<String, (usize, usize)>,
}

impl Services {
    /// Takes in a slice as it is now (`None`: it is gone) without telling of it.
    pub fn seed(&mut self, slice: &Value, family: &HashSet<String>) {
        if let Some(service) = self.put(slice, Some(slice), family) {
            let counts = self.counts(&service);
            self.told.insert(service, counts);
        }
    }

    /// Takes in a change of a slice. Gives the Service's name and how many endpoints it has
    /// now, if that concerns the story.
    pub fn take(
        &mut self,
        old: Option<&Value>,
        new: Option<&Value>,
        family: &HashSet<String>,
    ) -> Option<(String, usize)> {
        let shown = new.or(old)?;
        if let Some(old) = old
            && !self.knows(old)
        {
            self.seed(old, family);
        }
        let service = self.put(shown, new, family)?;
        let (all, own) = self.counts(&service);
        let (all_before, own_before) = self.told.get(&service).copied().unwrap_or_default();
        // Of a Service that is itself the story every endpoint counts.
        let concerns = match is_owned(shown, family) {
            true => all != all_before,
            false => own != own_before,
        };
        self.told.insert(service.clone(), (all, own));
        concerns.then_some((service, all))
    }

    fn knows(&self, slice: &Value) -> bool {
        let slices = service_of(slice).and_then(|service| self.slices.get(service));
        slices.is_some_and(|slices| slices.contains_key(str_at(slice, "/metadata/name")))
    }

    fn put(
        &mut self,
        shown: &Value,
        now: Option<&Value>,
        family: &HashSet<String>,
    ) -> Option<String> {
        let service = service_of(shown)?.to_owned();
        let name = str_at(shown, "/metadata/name").to_owned();
        let slices = self.slices.entry(service.clone()).or_default();
        match now {
            Some(now) => slices.insert(name, read(now, family)),
            None => slices.remove(&name),
        };
        Some(service)
    }

    fn counts(&self, service: &str) -> (usize, usize) {
        let slices = self.slices.get(service);
        let slices: Vec<&Slice> = slices.into_iter().flat_map(HashMap::values).collect();
        // With two families of addresses every endpoint is in two slices.
        let ready = slices.iter().map(|slice| slice.ready.len()).sum();
        let own = slices.iter().map(|slice| slice.own.len()).sum();
        (ready, own)
    }
}

fn service_of(slice: &Value) -> Option<&str> {
    let labels = at(slice, "/metadata/labels")?;
    labels.get(SERVICE_NAME)?.as_str()
}

fn is_owned(slice: &Value, family: &HashSet<String>) -> bool {
    let mut owners = list_at(slice, "/metadata/ownerReferences").iter();
    owners.any(|owner| family.contains(str_at(owner, "/uid")))
}

fn read(slice: &Value, family: &HashSet<String>) -> Slice {
    let mut held = Slice::default();
    for endpoint in list_at(slice, "/endpoints") {
        // Absent counts as ready, as the API has it.
        if at(endpoint, "/conditions/ready").and_then(Value::as_bool) == Some(false) {
            continue;
        }
        for address in list_at(endpoint, "/addresses")
            .iter()
            .filter_map(Value::as_str)
        {
            if family.contains(str_at(endpoint, "/targetRef/uid")) {
                held.own.insert(address.to_owned());
            }
            held.ready.insert(address.to_owned());
        }
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn slice(name: &str, endpoints: &[(&str, &str, bool)]) -> Value {
        let endpoints: Vec<Value> = endpoints
            .iter()
            .map(|(address, uid, ready)| {
                json!({"addresses": [address], "conditions": {"ready": ready},
                    "targetRef": {"kind": "Pod", "uid": uid}})
            })
            .collect();
        json!({"metadata": {"name": name, "labels": {SERVICE_NAME: "web"},
            "ownerReferences": [{"kind": "Service", "uid": "service"}]}, "endpoints": endpoints})
    }

    fn family(uids: &[&str]) -> HashSet<String> {
        uids.iter().map(|uid| (*uid).to_owned()).collect()
    }

    #[test]
    fn a_pods_story_hears_of_its_own_comings_and_goings_only() {
        let mine = family(&["p1"]);
        let mut services = Services::default();
        let mut take = |old: Option<&Value>, new: Option<&Value>| {
            services.take(old, new, &mine).map(|(_, number)| number)
        };
        let one = slice("s", &[("10.0.0.1", "p1", false), ("10.0.0.2", "p2", true)]);
        let two = slice("s", &[("10.0.0.1", "p1", true), ("10.0.0.2", "p2", true)]);
        let three = slice(
            "s",
            &[
                ("10.0.0.1", "p1", true),
                ("10.0.0.2", "p2", true),
                ("10.0.0.3", "p3", true),
            ],
        );
        assert_eq!(take(None, Some(&one)), None);
        assert_eq!(take(Some(&one), Some(&two)), Some(2));
        assert_eq!(take(Some(&two), Some(&three)), None);
        assert_eq!(take(Some(&three), Some(&one)), Some(1));
        assert_eq!(take(Some(&one), None), None);
    }

    #[test]
    fn a_services_story_hears_of_all_over_all_slices() {
        let mine = family(&["service"]);
        let mut services = Services::default();
        let one = slice("a", &[("10.0.0.1", "p1", true)]);
        let other = slice("b", &[("10.0.0.2", "p2", true)]);
        services.seed(&other, &mine);
        let told = services.take(None, Some(&one), &mine);
        assert_eq!(told, Some(("web".to_owned(), 2)));
        assert_eq!(services.take(Some(&one), Some(&one), &mine), None);
        let told = services.take(Some(&one), None, &mine);
        assert_eq!(told, Some(("web".to_owned(), 1)));
    }

    #[test]
    fn a_slice_seen_first_in_the_middle_counts_from_what_it_was() {
        let mine = family(&["p1"]);
        let mut services = Services::default();
        let one = slice("s", &[("10.0.0.1", "p1", true)]);
        let two = slice("s", &[("10.0.0.1", "p1", true), ("10.0.0.2", "p2", true)]);
        assert_eq!(services.take(Some(&one), Some(&two), &mine), None);
    }
}
