//! For how long node agents may use what they know of Secrets and ConfigMaps before they ask
//! again: an annotation of each node, by how many nodes there are. Pure; upstream's steps.

/// The annotation: seconds.
pub const TTL: &str = "node.alpha.kubernetes.io/ttl";

/// From how many nodes to how many a value holds. Steps overlap, so that a node more or less
/// does not change all the others.
const STEPS: [(usize, usize, &str); 5] = [
    (0, 100, "0"),
    (90, 500, "15"),
    (450, 1000, "30"),
    (900, 2000, "60"),
    (1800, usize::MAX, "300"),
];

/// The value a node of so many should have, if it has another.
pub fn wanted(has: Option<&str>, nodes: usize) -> Option<&'static str> {
    let holds = |(from, to, _): &&(usize, usize, &str)| (*from..=*to).contains(&nodes);
    let mut holding = STEPS.iter().filter(holds).map(|(_, _, value)| *value);
    match holding.clone().any(|value| Some(value) == has) {
        true => None,
        false => holding.next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stays_until_its_step_is_left() {
        assert_eq!(wanted(None, 1), Some("0"));
        assert_eq!(wanted(Some("0"), 100), None);
        assert_eq!(wanted(Some("0"), 101), Some("15"));
        assert_eq!(wanted(Some("15"), 95), None);
        assert_eq!(wanted(Some("15"), 89), Some("0"));
        assert_eq!(wanted(Some("mine"), 5000), Some("300"));
    }
}
