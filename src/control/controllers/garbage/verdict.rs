//! What becomes of an object, given its owners. Pure.

use super::wire::{FOREGROUND, ORPHAN, Seen};

/// What is known of one owner that an object names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// There and staying, or going without waiting for anybody.
    Solid,
    /// Being deleted, and waits for what it owns.
    Waiting,
    /// Not there.
    Dangling,
}

/// See the module's opening.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Stay,
    /// Stays, but forgets the owners with these uids.
    Disown(Vec<String>),
    /// Goes after what it owns itself, as its owner waits for it.
    Follow,
    /// Goes; how, in the words of DeleteOptions.
    Go(&'static str),
}

/// Decides about an object as it is now; `owns` is whether anybody names it as owner.
pub fn verdict(object: &Seen, standings: &[Standing], owns: bool) -> Verdict {
    let owners = &object.metadata.owner_references;
    let count = |wanted| standings.iter().filter(|s| **s == wanted).count();
    if owners.is_empty() {
        return Verdict::Stay;
    }
    if count(Standing::Solid) > 0 {
        let lost = owners.iter().zip(standings);
        let lost = lost.filter(|(_, standing)| **standing != Standing::Solid);
        let lost: Vec<String> = lost.map(|(owner, _)| owner.uid.clone()).collect();
        return match lost.is_empty() {
            true => Verdict::Stay,
            false => Verdict::Disown(lost),
        };
    }
    if count(Standing::Waiting) > 0 && owns {
        return Verdict::Follow;
    }
    Verdict::Go(match object {
        object if object.is_held_by(ORPHAN) => "Orphan",
        object if object.is_held_by(FOREGROUND) => "Foreground",
        _ => "Background",
    })
}

#[cfg(test)]
mod tests {
    use super::Standing::{Dangling, Solid, Waiting};
    use super::*;
    use serde_json::json;

    fn object(owners: usize, finalizers: &[&str]) -> Seen {
        let owners: Vec<_> = (0..owners)
            .map(|n| json!({"apiVersion": "v1", "kind": "K", "name": "n", "uid": n.to_string()}))
            .collect();
        serde_json::from_value(
            json!({"metadata": {"name": "o", "ownerReferences": owners, "finalizers": finalizers}}),
        )
        .unwrap()
    }

    #[test]
    fn an_object_goes_with_its_last_owner() {
        let of = |standings: &[Standing]| verdict(&object(standings.len(), &[]), standings, false);
        assert_eq!(of(&[]), Verdict::Stay);
        assert_eq!(of(&[Solid]), Verdict::Stay);
        assert_eq!(of(&[Dangling]), Verdict::Go("Background"));
        assert_eq!(of(&[Waiting]), Verdict::Go("Background"));
        assert_eq!(
            of(&[Solid, Dangling, Waiting]),
            Verdict::Disown(vec!["1".into(), "2".into()])
        );
    }

    #[test]
    fn who_owns_others_lets_them_go_first() {
        assert_eq!(verdict(&object(1, &[]), &[Waiting], true), Verdict::Follow);
        assert_eq!(
            verdict(&object(1, &[]), &[Dangling], true),
            Verdict::Go("Background")
        );
        assert_eq!(
            verdict(&object(1, &[ORPHAN]), &[Dangling], true),
            Verdict::Go("Orphan")
        );
        assert_eq!(
            verdict(&object(1, &[FOREGROUND]), &[Dangling], true),
            Verdict::Go("Foreground")
        );
    }
}
