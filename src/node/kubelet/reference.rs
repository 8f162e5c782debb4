//! Image names: their full form, and which lesson entry covers one.

use std::fmt;

use cadet_api::install::LessonImage;

/// An image name in full: `docker.io/library/mongo:latest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Registry and path, e.g. `docker.io/library/mongo`.
    pub repository: String,
    /// Tag; `latest` if neither tag nor digest was given.
    pub tag: Option<String>,
    /// `sha256:…`, if the name pins one.
    pub digest: Option<String>,
}

/// A text that is no image name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("couldn't parse image name \"{0}\": invalid reference format")]
pub struct InvalidReference(pub String);

impl Reference {
    /// Reads a name the way Docker does: no registry means Docker Hub, no path means
    /// its official images, no tag means `latest`.
    ///
    /// # Errors
    /// On upper-case repositories, empty parts and characters no registry accepts.
    pub fn parse(text: &str) -> Result<Self, InvalidReference> {
        let invalid = || InvalidReference(text.to_owned());
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        if digest.is_some_and(|digest| !is_digest(digest)) {
            return Err(invalid());
        }
        // A colon before the last slash belongs to a registry's port.
        let tag_at = name
            .rfind(':')
            .filter(|colon| !name[*colon..].contains('/'));
        let (path, tag) = match tag_at {
            Some(colon) => (&name[..colon], Some(&name[colon + 1..])),
            None => (name, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(invalid());
        }
        let (registry, rest) = match path.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
                (first, rest.to_owned())
            }
            Some(_) => ("docker.io", path.to_owned()),
            None => ("docker.io", format!("library/{path}")),
        };
        let registry = if registry == "index.docker.io" {
            "docker.io"
        } else {
            registry
        };
        let rest = if registry == "docker.io" && !rest.contains('/') {
            format!("library/{rest}")
        } else {
            rest
        };
        if !rest.split('/').all(is_path_part) || !is_registry(registry) {
            return Err(invalid());
        }
        let tag = match (tag, digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, Some(_)) => None,
            (None, None) => Some("latest".to_owned()),
        };
        Ok(Self {
            repository: format!("{registry}/{rest}"),
            tag,
            digest: digest.map(str::to_owned),
        })
    }

    /// The registry's host, e.g. `docker.io`.
    #[must_use]
    pub fn registry(&self) -> &str {
        self.repository.split('/').next().unwrap_or_default()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(word)
        && text
            .bytes()
            .all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

fn is_path_part(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.bytes().next().is_some_and(plain)
        && text.bytes().last().is_some_and(plain)
        && text
            .bytes()
            .all(|byte| plain(byte) || matches!(byte, b'.' | b'_' | b'-'))
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let label = |label: &str| {
        let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
        edge(label.bytes().next())
            && edge(label.bytes().last())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    host.split('.').all(label) && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// The first lesson entry for `reference` run with `words` (command and arguments).
#[must_use]
pub fn lesson_for<'a>(
    lessons: &'a [LessonImage],
    reference: &Reference,
    words: &[String],
) -> Option<&'a LessonImage> {
    let tag = reference.tag.as_deref()?;
    // A digest names exact bytes; nothing may stand in for it.
    if reference.digest.is_some() {
        return None;
    }
    lessons.iter().find(|entry| {
        entry.repository == reference.repository
            && entry.tags.iter().any(|candidate| candidate == tag)
            && (entry.when_args.is_empty()
                || words.iter().any(|word| {
                    entry
                        .when_args
                        .iter()
                        .any(|needle| word.contains(needle.as_str()))
                }))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn full(text: &str) -> String {
        Reference::parse(text).unwrap().to_string()
    }

    #[test]
    fn names_are_completed_as_docker_does() {
        assert_eq!(full("mongo"), "docker.io/library/mongo:latest");
        assert_eq!(full("docker.io/mongo:4.0"), "docker.io/library/mongo:4.0");
        assert_eq!(
            full("index.docker.io/mongo"),
            "docker.io/library/mongo:latest"
        );
        assert_eq!(
            full("meteorhacks/telescope"),
            "docker.io/meteorhacks/telescope:latest"
        );
        assert_eq!(full("localhost/x"), "localhost/x:latest");
        assert_eq!(full("localhost:5000/a/b:v1"), "localhost:5000/a/b:v1");
        assert_eq!(full("gcr.io/p/q_r"), "gcr.io/p/q_r:latest");
        assert_eq!(Reference::parse("mongo").unwrap().registry(), "docker.io");
        let local = Reference::parse("localhost:5000/a/b").unwrap();
        assert_eq!(local.registry(), "localhost:5000");
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(
            full(&format!("busybox@{digest}")),
            format!("docker.io/library/busybox@{digest}")
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "UPPER",
            "a b",
            "a:",
            "a//b",
            "/a",
            "a/",
            "mongo:tag:tag",
            "mongo@sha256:short",
            "mongo:-x",
            "../etc",
            "a$(reboot)",
            "host:99999/x",
        ] {
            assert!(Reference::parse(text).is_err(), "{text:?}");
        }
    }

    fn entry(repository: &str, when_args: &[&str], context: &str) -> LessonImage {
        LessonImage {
            repository: repository.into(),
            tags: vec!["latest".into()],
            when_args: when_args.iter().map(|s| (*s).to_owned()).collect(),
            pull_instead: None,
            context: context.into(),
            always: false,
            own: false,
            build_args: BTreeMap::new(),
            says: String::new(),
        }
    }

    #[test]
    fn lessons_match_by_name_tag_and_arguments() {
        let lessons = [
            entry("docker.io/library/mongo", &["--smallfiles"], "old"),
            entry("docker.io/library/mongo", &[], "any"),
        ];
        let context = |image: &str, words: &[&str]| {
            let words: Vec<String> = words.iter().map(|s| (*s).to_owned()).collect();
            lesson_for(&lessons, &Reference::parse(image).unwrap(), &words)
                .map(|entry| entry.context.clone())
        };
        assert_eq!(
            context("mongo", &["mongod", "--smallfiles"]).as_deref(),
            Some("old")
        );
        assert_eq!(
            context("docker.io/mongo:latest", &[]).as_deref(),
            Some("any")
        );
        assert_eq!(context("mongo:7", &["--smallfiles"]), None);
        assert_eq!(context("me/mongo", &["--smallfiles"]), None);
        let pinned = format!("mongo@sha256:{}", "b".repeat(64));
        assert_eq!(context(&pinned, &["--smallfiles"]), None);
    }
}
