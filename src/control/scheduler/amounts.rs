//! Amounts of resources. Three are in everybody's mouth and have fields of their own; the
//! rest is a short list.

use std::collections::BTreeMap;

use cadet_api::quantity::Quantity as Parsed;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// What the API writes amounts in.
pub type Quantities = BTreeMap<String, Quantity>;

/// Amounts of resources.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Amounts {
    /// Thousandths of a CPU.
    pub cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes of `ephemeral-storage`.
    pub storage: i64,
    /// Everything else but `pods`, by name, in units.
    pub others: Vec<(String, i64)>,
}

/// One amount in the unit this module counts in.
fn amount(name: &str, text: &str) -> i64 {
    // What the server stored was validated; an amount that cannot be read counts nothing.
    let q: Parsed = text.parse().unwrap_or_default();
    if name == "cpu" { q.millis() } else { q.value() }
}

impl Amounts {
    /// As the API has them; `pods` are counted elsewhere.
    pub fn of(given: Option<&Quantities>) -> Amounts {
        let mut out = Amounts::default();
        for (name, quantity) in given.into_iter().flatten() {
            if name != "pods" {
                *out.slot(name) = amount(name, &quantity.0);
            }
        }
        out
    }

    fn slot(&mut self, name: &str) -> &mut i64 {
        match name {
            "cpu" => &mut self.cpu,
            "memory" => &mut self.memory,
            "ephemeral-storage" => &mut self.storage,
            _ => {
                let at = match self.others.binary_search_by(|(n, _)| n.as_str().cmp(name)) {
                    Ok(at) => at,
                    Err(at) => {
                        self.others.insert(at, (name.to_owned(), 0));
                        at
                    }
                };
                &mut self.others[at].1
            }
        }
    }

    /// The amount of one resource.
    pub fn get(&self, name: &str) -> i64 {
        match name {
            "cpu" => self.cpu,
            "memory" => self.memory,
            "ephemeral-storage" => self.storage,
            _ => match self.others.binary_search_by(|(n, _)| n.as_str().cmp(name)) {
                Ok(at) => self.others[at].1,
                Err(_) => 0,
            },
        }
    }

    /// Sets the amount of one resource.
    pub fn set(&mut self, name: &str, amount: i64) {
        *self.slot(name) = amount;
    }

    fn fold(&mut self, other: &Amounts, with: impl Fn(i64, i64) -> i64) {
        self.cpu = with(self.cpu, other.cpu);
        self.memory = with(self.memory, other.memory);
        self.storage = with(self.storage, other.storage);
        for (name, n) in &other.others {
            let slot = self.slot(name);
            *slot = with(*slot, *n);
        }
    }

    /// Adds amounts.
    pub fn add(&mut self, other: &Amounts) {
        self.fold(other, i64::saturating_add);
    }

    /// Takes amounts away.
    pub fn subtract(&mut self, other: &Amounts) {
        self.fold(other, i64::saturating_sub);
    }

    /// The larger of both, resource by resource.
    pub fn most(&mut self, other: &Amounts) {
        self.fold(other, i64::max);
    }

    /// Every resource that is asked for, with its amount.
    pub fn asked(&self) -> impl Iterator<Item = (&str, i64)> {
        let common = [
            ("cpu", self.cpu),
            ("memory", self.memory),
            ("ephemeral-storage", self.storage),
        ];
        let others = self.others.iter().map(|(name, n)| (name.as_str(), *n));
        common.into_iter().chain(others).filter(|(_, n)| *n > 0)
    }
}

/// `pods` among the amounts a node gives away.
pub fn pods(given: Option<&Quantities>) -> i64 {
    let pods = given.and_then(|all| all.get("pods"));
    pods.map_or(0, |quantity| amount("pods", &quantity.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Amounts {
        let all = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), Quantity((*v).to_owned())))
            .collect();
        Amounts::of(Some(&all))
    }

    #[test]
    fn sums_and_differences() {
        let mut a = of(&[
            ("cpu", "100m"),
            ("memory", "1Ki"),
            ("x/gpu", "2"),
            ("pods", "5"),
        ]);
        let b = of(&[("cpu", "1"), ("x/fpga", "1")]);
        a.add(&b);
        assert_eq!((a.cpu, a.memory, a.get("x/gpu")), (1100, 1024, 2));
        assert_eq!((a.get("x/fpga"), a.get("pods"), a.get("none")), (1, 0, 0));
        a.subtract(&b);
        assert_eq!(a.asked().count(), 3);
        a.most(&of(&[("x/gpu", "1"), ("memory", "2Ki")]));
        assert_eq!((a.get("x/gpu"), a.memory), (2, 2048));
    }
}
