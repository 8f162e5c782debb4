//! Which names, labels and keys are allowed, and upstream's words for those that are not.

/// Longest DNS label, bytes (RFC 1123).
pub const LABEL_MAX: usize = 63;
/// Longest DNS subdomain, bytes (RFC 1123).
pub const SUBDOMAIN_MAX: usize = 253;

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters \
    or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', \
    regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
    characters, '-' or '.', and must start and end with an alphanumeric character (e.g. \
    'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or \
    '-', start with an alphabetic character, and end with an alphanumeric character (e.g. \
    'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, \
    '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or \
    'my_value',  or '12345', regex used for validation is \
    '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const KEY_NAME: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start \
    and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex \
    used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or \
    '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is \
    '[-._a-zA-Z0-9]+')";
const ENV_NAME: &str = "a valid environment variable name must consist only of printable ASCII \
    characters other than '='";

fn too_long(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

fn lower(c: u8) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

fn is_label(s: &str) -> bool {
    let b = s.as_bytes();
    b.first().is_some_and(|c| lower(*c))
        && b.last().is_some_and(|c| lower(*c))
        && b.iter().all(|c| lower(*c) || *c == b'-')
}

/// What keeps `s` from being a DNS label; empty if nothing does.
pub fn dns_label(s: &str) -> Vec<String> {
    let mut out = Vec::new();
    if s.len() > LABEL_MAX {
        out.push(too_long(LABEL_MAX));
    }
    if !is_label(s) {
        // Upstream answers a name that is a fine subdomain with a special hint.
        out.push(if s.contains('.') && dns_subdomain(s).is_empty() {
            "must not contain dots".to_owned()
        } else {
            LABEL.to_owned()
        });
    }
    out
}

/// What keeps `s` from being a DNS subdomain; the rule for most object names.
pub fn dns_subdomain(s: &str) -> Vec<String> {
    let mut out = Vec::new();
    if s.len() > SUBDOMAIN_MAX {
        out.push(too_long(SUBDOMAIN_MAX));
    }
    if !s.split('.').all(is_label) {
        out.push(SUBDOMAIN.to_owned());
    }
    out
}

/// What keeps `s` from being a DNS label that starts with a letter; the rule for Services.
pub fn dns1035_label(s: &str) -> Vec<String> {
    let mut out = Vec::new();
    if s.len() > LABEL_MAX {
        out.push(too_long(LABEL_MAX));
    }
    if !is_label(s) || s.as_bytes()[0].is_ascii_digit() {
        out.push(LABEL_1035.to_owned());
    }
    out
}

fn is_word(s: &str) -> bool {
    let b = s.as_bytes();
    b.first().is_some_and(u8::is_ascii_alphanumeric)
        && b.last().is_some_and(u8::is_ascii_alphanumeric)
        && b.iter()
            .all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(c))
}

/// What keeps `s` from being a label or annotation key: `[prefix/]name`.
pub fn qualified_name(s: &str) -> Vec<String> {
    let mut out = Vec::new();
    let parts: Vec<&str> = s.split('/').collect();
    let name = match parts.as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                out.push("prefix part must be non-empty".to_owned());
            } else {
                out.extend(
                    dns_subdomain(prefix)
                        .iter()
                        .map(|e| format!("prefix part {e}")),
                );
            }
            *name
        }
        _ => {
            return vec![format!(
                "a qualified name {KEY_NAME} with an optional DNS subdomain prefix and '/' \
                 (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        out.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_MAX {
        out.push(format!("name part {}", too_long(LABEL_MAX)));
    }
    if !is_word(name) {
        out.push(format!("name part {KEY_NAME}"));
    }
    out
}

/// What keeps `s` from being a label value.
pub fn label_value(s: &str) -> Vec<String> {
    let mut out = Vec::new();
    if s.len() > LABEL_MAX {
        out.push(too_long(LABEL_MAX));
    }
    if !s.is_empty() && !is_word(s) {
        out.push(VALUE.to_owned());
    }
    out
}

/// What keeps `s` from being a key of a ConfigMap or Secret.
pub fn config_key(s: &str) -> Vec<String> {
    let mut out = Vec::new();
    if s.len() > SUBDOMAIN_MAX {
        out.push(too_long(SUBDOMAIN_MAX));
    }
    if s.is_empty()
        || !s
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c))
    {
        out.push(CONFIG_KEY.to_owned());
    }
    if s == "." || s == ".." {
        out.push(format!("must not be '{s}'"));
    } else if s.starts_with("..") {
        out.push("must not start with '..'".to_owned());
    }
    out
}

/// What keeps `s` from being the name of an environment variable.
pub fn env_name(s: &str) -> Vec<String> {
    if s.is_empty() {
        return vec!["environment variable name must be non-empty".to_owned()];
    }
    if s.bytes().all(|c| (b' '..=b'~').contains(&c) && c != b'=') {
        Vec::new()
    } else {
        vec![ENV_NAME.to_owned()]
    }
}

/// What keeps `s` from being the name of a container port (an IANA service name).
pub fn port_name(s: &str) -> Vec<String> {
    let mut out = Vec::new();
    if s.len() > 15 {
        out.push(too_long(15));
    }
    if !s.bytes().all(|c| lower(c) || c == b'-') {
        out.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".into());
    }
    if !s.bytes().any(|c| c.is_ascii_lowercase()) {
        out.push("must contain at least one letter (a-z)".into());
    }
    if s.contains("--") {
        out.push("must not contain consecutive hyphens".into());
    }
    if s.starts_with('-') || s.ends_with('-') {
        out.push("must not begin or end with a hyphen".into());
    }
    out
}

/// What keeps `n` from being a TCP or UDP port.
pub fn port_number(n: i64) -> Vec<String> {
    if (1..=65535).contains(&n) {
        Vec::new()
    } else {
        vec!["must be between 1 and 65535, inclusive".to_owned()]
    }
}

/// What keeps `s` from being part of a path, e.g. a name with a slash.
pub fn path_segment(s: &str) -> Vec<String> {
    if s == "." || s == ".." {
        return vec![format!("may not be '{s}'")];
    }
    ["/", "%"]
        .iter()
        .filter(|c| s.contains(**c))
        .map(|c| format!("may not contain '{c}'"))
        .collect()
}

/// How new a version is by its name: `v2` before `v1` before `v1beta2` before `v1alpha1`,
/// and other names last (the order of Kubernetes' version priority).
pub fn version_rank(name: &str) -> (u8, u32, u32) {
    let parsed = || {
        let rest = name.strip_prefix('v')?;
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let major: u32 = rest[..digits].parse().ok()?;
        let tail = &rest[digits..];
        for (stage, rank) in [("beta", 2), ("alpha", 1)] {
            if let Some(minor) = tail.strip_prefix(stage) {
                return Some((rank, major, minor.parse().ok()?));
            }
        }
        tail.is_empty().then_some((3, major, 0))
    };
    parsed().unwrap_or((0, 0, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_pass() {
        assert!(dns_label("telescope-pod").is_empty());
        assert!(dns_label("0").is_empty());
        assert!(dns_subdomain("a.b-c.0").is_empty());
        assert!(dns1035_label("a0").is_empty());
        assert!(qualified_name("app.kubernetes.io/name").is_empty());
        assert!(qualified_name("a_B.c").is_empty());
        assert!(label_value("").is_empty());
        assert!(config_key("..data".trim_start_matches('.')).is_empty());
        assert!(env_name("my.VAR-1").is_empty());
        assert!(port_name("http").is_empty());
        assert!(dns_label(&"a".repeat(63)).is_empty());
    }

    #[test]
    fn bad_names_get_upstreams_words() {
        assert_eq!(dns_label("a.b"), ["must not contain dots"]);
        assert!(dns_label("A")[0].starts_with("a lowercase RFC 1123 label must consist of"));
        assert!(dns_label("")[0].contains("(e.g. 'my-name',  or '123-abc', regex used"));
        assert_eq!(
            dns_label(&"a".repeat(64)),
            ["must be no more than 63 bytes"]
        );
        assert!(dns_subdomain("a..b")[0].starts_with("a lowercase RFC 1123 subdomain"));
        assert!(dns_subdomain("flask -service").len() == 1);
        assert!(dns1035_label("1a")[0].starts_with("a DNS-1035 label"));
        assert_eq!(dns1035_label("").len(), 1);
        assert_eq!(qualified_name("/a")[0], "prefix part must be non-empty");
        assert!(qualified_name("a/b/c")[0].starts_with("a qualified name must consist"));
        assert_eq!(qualified_name("").len(), 2);
        assert!(label_value("-a")[0].starts_with("a valid label must be"));
        assert_eq!(config_key(".."), ["must not be '..'"]);
        assert_eq!(env_name("a=b").len(), 1);
        assert!(port_name("0").contains(&"must contain at least one letter (a-z)".to_owned()));
        assert_eq!(port_number(0).len() + port_number(65536).len(), 2);
        assert_eq!(path_segment("a/b"), ["may not contain '/'"]);
    }
}
