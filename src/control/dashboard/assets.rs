//! The page's files, as they lie in `assets/`: nothing is built, nothing comes from elsewhere.

/// A file of the page.
#[derive(Debug)]
pub struct Asset {
    pub name: &'static str,
    /// Its media type.
    pub kind: &'static str,
    pub bytes: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! assets {
    ($($name:literal: $kind:expr),* $(,)?) => {
        &[$(Asset {
            name: $name,
            kind: $kind,
            bytes: include_bytes!(concat!("assets/", $name)),
        }),*]
    };
}

const ALL: &[Asset] = assets! {
    "index.html": HTML,
    "icon.svg": "image/svg+xml",
    "style.css": CSS,
    "views.css": CSS,
    "actions.js": SCRIPT,
    "api.js": SCRIPT,
    "app.js": SCRIPT,
    "channels.js": SCRIPT,
    "copy.js": SCRIPT,
    "detail.js": SCRIPT,
    "dialog.js": SCRIPT,
    "dom.js": SCRIPT,
    "keys.js": SCRIPT,
    "kinds.js": SCRIPT,
    "layout.js": SCRIPT,
    "lines.js": SCRIPT,
    "list.js": SCRIPT,
    "live.js": SCRIPT,
    "logs.js": SCRIPT,
    "model.js": SCRIPT,
    "paths.js": SCRIPT,
    "picture.js": SCRIPT,
    "plain.js": SCRIPT,
    "route.js": SCRIPT,
    "rows.js": SCRIPT,
    "screen.js": SCRIPT,
    "sections.js": SCRIPT,
    "shell.js": SCRIPT,
    "signin.js": SCRIPT,
    "theme.js": SCRIPT,
    "vt.js": SCRIPT,
    "window.js": SCRIPT,
    "yaml.js": SCRIPT,
};

/// The file of this name.
pub fn find(name: &str) -> Option<&'static Asset> {
    ALL.iter().find(|asset| asset.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn text(asset: &Asset) -> &str {
        std::str::from_utf8(asset.bytes).expect("text")
    }

    #[test]
    fn every_file_is_served() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/assets");
        let there: BTreeSet<String> = std::fs::read_dir(folder)
            .expect("the folder")
            .map(|entry| entry.expect("an entry").file_name().into_string())
            .map(|name| name.expect("a name"))
            .collect();
        let served: BTreeSet<String> = ALL.iter().map(|asset| asset.name.to_owned()).collect();
        assert_eq!(there, served);
    }

    #[test]
    fn modules_import_what_is_served() {
        let scripts = ALL.iter().filter(|asset| asset.kind == SCRIPT);
        let mut imports = 0;
        for script in scripts {
            let code = |line: &&str| !line.trim_start().starts_with("//");
            for line in text(script).lines().filter(code) {
                let Some((_, path)) = line.rsplit_once(" from \"") else {
                    continue;
                };
                let name = path.trim_end_matches("\";").strip_prefix("./");
                let name = name.unwrap_or_else(|| panic!("{}: {line}", script.name));
                assert!(find(name).is_some(), "{}: {line}", script.name);
                imports += 1;
            }
        }
        assert!(imports > 40, "{imports}");
    }

    /// What the policy in the browser forbids is not tried, and nothing comes from elsewhere.
    #[test]
    fn nothing_is_inline_and_nothing_comes_from_elsewhere() {
        for asset in ALL {
            for forbidden in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "new Function",
                "document.cookie",
                " style=\"",
                " onclick=\"",
                "https://",
                "@import",
            ] {
                let found = text(asset).contains(forbidden);
                assert!(!found, "{}: {forbidden}", asset.name);
            }
            let elsewhere = text(asset).matches("http://").count();
            let namespaces = text(asset).matches("http://www.w3.org/2000/svg").count();
            assert_eq!(elsewhere, namespaces, "{}", asset.name);
        }
    }
}
