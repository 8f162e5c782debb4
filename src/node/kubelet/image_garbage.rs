//! Which images can go: what nobody uses, the longest unused first. Pure.

use std::collections::{HashMap, HashSet};

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::runtime::{ContainerInfo, ImageInfo};

/// Images that came later than so long ago are kept, upstream's figure: somebody may be about to
/// use them.
const AGE: SignedDuration = SignedDuration::from_mins(2);

/// When an image was first seen, and when last in use.
#[derive(Debug, Clone, Copy)]
struct Record {
    seen: Timestamp,
    used: Timestamp,
}

/// What is known of the images, by their ids.
#[derive(Debug, Default)]
pub(crate) struct Records {
    images: HashMap<String, Record>,
    /// Images have been looked at once: what comes now is new.
    begun: bool,
}

impl Records {
    /// Takes note of all images and of who uses them. Returns those that no container of ours was
    /// made from; ours to build are kept.
    pub(crate) fn unused(
        &mut self,
        images: &[ImageInfo],
        containers: &[ContainerInfo],
        now: Timestamp,
    ) -> Vec<ImageInfo> {
        let used: HashSet<&str> = containers
            .iter()
            .flat_map(|info| [info.image.as_str(), info.image_id.as_str()])
            .collect();
        let there: HashSet<&str> = images.iter().map(|image| image.id.as_str()).collect();
        self.images.retain(|id, _| there.contains(id.as_str()));
        let seen = if self.begun { now } else { Timestamp::MIN };
        self.begun = true;
        let mut garbage = Vec::new();
        for image in images {
            let record = self.images.entry(image.id.clone()).or_insert(Record {
                seen,
                used: Timestamp::MIN,
            });
            if is_used(image, &used) {
                record.used = now;
                continue;
            }
            let young = record.seen != Timestamp::MIN && now.duration_since(record.seen) < AGE;
            let ours = image
                .names
                .iter()
                .any(|name| name.starts_with("cadet/pause"));
            if !(young || ours) {
                garbage.push((*record, image.clone()));
            }
        }
        garbage.sort_by_key(|(record, image)| (record.used, record.seen, image.created_at));
        garbage.into_iter().map(|(_, image)| image).collect()
    }
}

fn is_used(image: &ImageInfo, used: &HashSet<&str>) -> bool {
    let id = format!("docker://{}", image.id);
    used.contains(id.as_str())
        || used.contains(image.id.as_str())
        || image.names.iter().any(|name| used.contains(name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(id: &str, name: &str) -> ImageInfo {
        ImageInfo {
            id: id.into(),
            names: vec![name.into()],
            ..ImageInfo::default()
        }
    }

    fn container(image: &str) -> ContainerInfo {
        ContainerInfo {
            image: image.into(),
            ..crate::testing::exited("c")
        }
    }

    #[test]
    fn what_nobody_uses_goes_the_longest_unused_first() {
        let now: Timestamp = "2026-11-20T20:00:00Z".parse().unwrap();
        let at = |minutes: i64| now + SignedDuration::from_mins(minutes);
        let mut all = vec![
            image("sha256:1", "late:1"),
            image("sha256:2", "never:1"),
            image("sha256:3", "cadet/pause:v1"),
            image("sha256:4", "busy:1"),
        ];
        let mut records = Records::default();
        let mut look = |all: &[ImageInfo], used: &[&str], minutes: i64| -> Vec<String> {
            let containers: Vec<_> = used.iter().map(|name| container(name)).collect();
            let garbage = records.unused(all, &containers, at(minutes));
            garbage.into_iter().map(|image| image.id).collect()
        };
        assert_eq!(look(&all, &["busy:1", "late:1"], 0), ["sha256:2"]);
        assert_eq!(look(&all, &["busy:1"], 1), ["sha256:2", "sha256:1"]);
        // However old it is itself: it has just come.
        all.push(image("sha256:5", "pulled:1"));
        assert_eq!(look(&all, &["busy:1"], 2), ["sha256:2", "sha256:1"]);
        assert_eq!(
            look(&all, &[], 4),
            ["sha256:2", "sha256:5", "sha256:1", "sha256:4"]
        );
    }
}
