//! The hash of a pod template, by which its pods and its ReplicaSet are told from others.

use k8s_openapi::api::core::v1::PodTemplateSpec;

/// Letters and digits that spell no bad words and look like no others (upstream's).
const SAFE: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Ten letters at most, of the template as JSON and of how often it has collided. Upstream
/// hashes its own memory layout, which differs from release to release; as there, only that
/// equal templates have equal hashes counts.
///
/// # Errors
/// If the template cannot be written as JSON.
pub fn of(template: &PodTemplateSpec, collisions: Option<i32>) -> serde_json::Result<String> {
    // By way of Value, so that members are in one order.
    let text = serde_json::to_value(template)?.to_string();
    let mut hash = fnv1a(0x811c_9dc5, text.as_bytes());
    if let Some(collisions) = collisions {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&collisions.to_le_bytes());
        hash = fnv1a(hash, &bytes);
    }
    Ok(safe(&hash.to_string()))
}

/// FNV-1a, 32 bits.
fn fnv1a(seed: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(seed, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

/// Each letter replaced by a safe one.
fn safe(text: &str) -> String {
    let letter = |byte: u8| char::from(SAFE[usize::from(byte) % SAFE.len()]);
    text.bytes().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_safe_and_depend_on_collisions() {
        // Known values of FNV-1a.
        assert_eq!(fnv1a(0x811c_9dc5, b""), 0x811c_9dc5);
        assert_eq!(fnv1a(0x811c_9dc5, b"foobar"), 0xbf9c_f968);
        // '0' is byte 48: 48 % 27 = 21, the letter 4.
        assert_eq!(safe("09"), "4f");
        let template = PodTemplateSpec::default();
        let first = of(&template, None).unwrap();
        assert_eq!(of(&template, None).unwrap(), first);
        assert_ne!(of(&template, Some(0)).unwrap(), first);
        assert_ne!(
            of(&template, Some(1)).unwrap(),
            of(&template, Some(2)).unwrap()
        );
        assert!(first.len() <= 10 && first.bytes().all(|byte| SAFE.contains(&byte)));
    }
}
