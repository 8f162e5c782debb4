//! What a browser is told: profile files and arguments. Pure.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::find::{Browser, Family, System, World};
use crate::{BrowserError, Result};

/// What to show and through which proxy, if any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    url: String,
    port: u16,
    proxy: Option<SocketAddr>,
}

impl Page {
    /// Checks the address: only `http` and `https`, nothing a shell or a browser could
    /// take for an argument. `proxy` is the tunnel's SOCKS server.
    ///
    /// # Errors
    /// [`BrowserError::BadUrl`].
    pub fn new(url: &str, proxy: SocketAddr) -> Result<Self> {
        Self::read(url, Some(proxy))
    }

    /// An address of this computer, which needs no proxy.
    ///
    /// # Errors
    /// [`BrowserError::BadUrl`].
    pub fn direct(url: &str) -> Result<Self> {
        Self::read(url, None)
    }

    fn read(url: &str, proxy: Option<SocketAddr>) -> Result<Self> {
        let bad = || BrowserError::BadUrl { url: url.into() };
        let (rest, default) = match url.split_once("://") {
            Some(("http", rest)) => (rest, 80),
            Some(("https", rest)) => (rest, 443),
            _ => return Err(bad()),
        };
        let plain =
            |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\'' | '\\' | '`' | '<' | '>');
        if !rest.chars().all(plain) {
            return Err(bad());
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(bad());
        }
        // An IPv6 address has colons of its own, inside brackets.
        let (host, after) = match authority.rfind(']') {
            Some(end) => authority.split_at(end + 1),
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        let port = match after.strip_prefix(':') {
            None if after.is_empty() => default,
            Some(digits) => digits.parse().map_err(|_| bad())?,
            None => return Err(bad()),
        };
        if host.is_empty() || port == 0 {
            return Err(bad());
        }
        Ok(Self {
            url: url.into(),
            port,
            proxy,
        })
    }

    /// The address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The same request without a browser; can be pasted into a shell.
    pub fn curl(&self) -> String {
        match self.proxy {
            Some(proxy) => format!("curl --socks5-hostname {proxy} '{}'", self.url),
            None => format!("curl '{}'", self.url),
        }
    }
}

/// How to start one browser on one page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The program.
    pub program: PathBuf,
    /// Its arguments, the address last.
    pub arguments: Vec<String>,
    /// Files to write into the profile folder first.
    pub profile_files: Vec<(&'static str, String)>,
    /// What the user should know about this way of starting.
    pub warnings: Vec<&'static str>,
}

impl Plan {
    /// Plans a start with the throw-away profile in `profile`.
    pub fn new(browser: &Browser, page: &Page, profile: &Path, world: &World) -> Self {
        let mut plan = Self {
            program: browser.program.clone(),
            arguments: Vec::new(),
            profile_files: Vec::new(),
            warnings: Vec::new(),
        };
        match browser.family {
            Family::Chromium => plan.chromium(page, profile, world),
            Family::Firefox => plan.firefox(page, profile),
        }
        plan
    }

    fn chromium(&mut self, page: &Page, profile: &Path, world: &World) {
        let mut say = |text: String| self.arguments.push(text);
        say(format!("--user-data-dir={}", profile.display()));
        if let Some(proxy) = page.proxy {
            say(format!("--proxy-server=socks5://{proxy}"));
            // Pod and cluster names exist only in the guest: never ask this computer.
            say("--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1".into());
            // Chromium exempts loopback from proxies unless told not to.
            say("--proxy-bypass-list=<-loopback>".into());
        }
        // A pod may listen on a port browsers refuse, such as 6000.
        say(format!("--explicitly-allowed-ports={}", page.port));
        for quiet in [
            "--no-first-run",
            "--no-default-browser-check",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-quic",
        ] {
            say(quiet.into());
        }
        if world.system == System::Linux && world.is_root {
            say("--no-sandbox".into());
            self.warnings.push(
                "the browser runs as root, which it only does without its own sandbox; \
                 look at nothing but your cluster in it",
            );
        }
        self.arguments.push(page.url.clone());
    }

    fn firefox(&mut self, page: &Page, profile: &Path) {
        let mut lines = match page.proxy {
            Some(proxy) => vec![
                // 1 is "manual proxy" in Firefox's own numbering.
                "user_pref(\"network.proxy.type\", 1);".to_owned(),
                format!("user_pref(\"network.proxy.socks\", \"{}\");", proxy.ip()),
                format!("user_pref(\"network.proxy.socks_port\", {});", proxy.port()),
                "user_pref(\"network.proxy.socks_version\", 5);".into(),
                "user_pref(\"network.proxy.socks_remote_dns\", true);".into(),
                "user_pref(\"network.proxy.no_proxies_on\", \"\");".into(),
                "user_pref(\"network.proxy.allow_hijacking_localhost\", true);".into(),
            ],
            None => Vec::new(),
        };
        lines.extend([
            format!(
                "user_pref(\"network.security.ports.banned.override\", \"{}\");",
                page.port
            ),
            // Nothing is looked up or sent on behalf of this profile.
            "user_pref(\"network.trr.mode\", 5);".into(),
            "user_pref(\"network.dns.disablePrefetch\", true);".into(),
            "user_pref(\"network.captive-portal-service.enabled\", false);".into(),
            "user_pref(\"network.connectivity-service.enabled\", false);".into(),
            "user_pref(\"app.normandy.enabled\", false);".into(),
            "user_pref(\"app.update.auto\", false);".into(),
            "user_pref(\"browser.shell.checkDefaultBrowser\", false);".into(),
            "user_pref(\"browser.aboutwelcome.enabled\", false);".into(),
            "user_pref(\"datareporting.policy.dataSubmissionEnabled\", false);".into(),
            "user_pref(\"datareporting.healthreport.uploadEnabled\", false);".into(),
            "user_pref(\"toolkit.telemetry.enabled\", false);".into(),
            // Cluster pages speak plain http.
            "user_pref(\"dom.security.https_first\", false);".into(),
            "user_pref(\"dom.security.https_only_mode\", false);".into(),
            String::new(),
        ]);
        self.profile_files.push(("user.js", lines.join("\n")));
        self.arguments = vec![
            "--no-remote".into(),
            "--new-instance".into(),
            "--profile".into(),
            profile.display().to_string(),
            page.url.clone(),
        ];
    }

    /// Adds arguments for a run without a window (tests, screenshots).
    pub fn headless(mut self, extra: &[&str]) -> Self {
        let at = self.arguments.len() - 1;
        let mut arguments = vec!["--headless".to_owned()];
        arguments.extend(extra.iter().map(|a| (*a).to_owned()));
        self.arguments.splice(at..at, arguments);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(url: &str) -> Result<Page> {
        Page::new(url, "127.0.0.1:8082".parse().unwrap())
    }

    fn world(is_root: bool) -> World {
        World {
            system: System::Linux,
            path: vec![],
            home: None,
            program_folders: vec![],
            is_root,
            has_display: true,
        }
    }

    #[test]
    fn addresses_are_read_and_checked() {
        for (url, port) in [
            ("http://10.244.0.7", 80),
            ("http://10.244.0.7:6000/a?b=c#d", 6000),
            ("https://web.default.svc.cluster.local/", 443),
            ("http://[fd00::1]:8080/", 8080),
            ("http://[fd00::1]", 80),
        ] {
            assert_eq!(page(url).unwrap().port, port, "{url}");
        }
        for bad in [
            "",
            "file:///etc/passwd",
            "javascript://x",
            "http://",
            "http://a:0/",
            "http://a:99999",
            "http://a b/",
            "http://a/'; rm -rf /;'",
            "http://user:pw@a/",
            "--proxy-server=http://evil",
        ] {
            assert!(
                matches!(page(bad), Err(BrowserError::BadUrl { .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn the_curl_line_is_the_same_request() {
        assert_eq!(
            page("http://10.244.0.7/?a=1&b=2").unwrap().curl(),
            "curl --socks5-hostname 127.0.0.1:8082 'http://10.244.0.7/?a=1&b=2'"
        );
    }

    #[test]
    fn chromium_asks_nobody_but_the_proxy() {
        let browser = Browser {
            program: "chromium".into(),
            family: Family::Chromium,
            name: "Chromium".into(),
        };
        let page = page("http://10.244.0.7:6000/").unwrap();
        let plan = Plan::new(&browser, &page, Path::new("/tmp/p"), &world(false));
        for wanted in [
            "--user-data-dir=/tmp/p",
            "--proxy-server=socks5://127.0.0.1:8082",
            "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
            "--proxy-bypass-list=<-loopback>",
            "--explicitly-allowed-ports=6000",
        ] {
            assert!(plan.arguments.iter().any(|a| a == wanted), "{wanted}");
        }
        assert_eq!(plan.arguments.last().unwrap(), "http://10.244.0.7:6000/");
        assert!(!plan.arguments.iter().any(|a| a == "--no-sandbox"));
        assert!(plan.warnings.is_empty());
        let as_root = Plan::new(&browser, &page, Path::new("/tmp/p"), &world(true));
        assert!(as_root.arguments.iter().any(|a| a == "--no-sandbox"));
        assert_eq!(as_root.warnings.len(), 1);
    }

    #[test]
    fn a_page_of_this_computer_goes_through_no_proxy() {
        let page = Page::direct("http://127.0.0.1:6000/").unwrap();
        assert_eq!(page.curl(), "curl 'http://127.0.0.1:6000/'");
        assert!(Page::direct("file:///etc/passwd").is_err());
        for (family, name) in [(Family::Chromium, "Chromium"), (Family::Firefox, "Firefox")] {
            let browser = Browser {
                program: name.into(),
                family,
                name: name.into(),
            };
            let plan = Plan::new(&browser, &page, Path::new("/tmp/p"), &world(false));
            let files = plan.profile_files.iter().map(|(_, text)| text.as_str());
            let arguments = plan.arguments.iter().map(String::as_str);
            let all: Vec<_> = arguments.chain(files).collect();
            let all = all.join("\n");
            for absent in ["proxy", "NOTFOUND"] {
                assert!(!all.contains(absent), "{name}: {all}");
            }
            // A Service may have a port that browsers refuse.
            assert!(all.contains("allowed-ports=6000") || all.contains("override\", \"6000"));
        }
    }

    #[test]
    fn firefox_gets_its_settings_by_file() {
        let browser = Browser {
            program: "firefox".into(),
            family: Family::Firefox,
            name: "Firefox".into(),
        };
        let page = page("http://web:6000/").unwrap();
        let plan = Plan::new(&browser, &page, Path::new("/tmp/p"), &world(true));
        let (name, text) = &plan.profile_files[0];
        assert_eq!(*name, "user.js");
        for wanted in [
            "\"network.proxy.socks\", \"127.0.0.1\"",
            "\"network.proxy.socks_port\", 8082",
            "\"network.proxy.socks_remote_dns\", true",
            "\"network.security.ports.banned.override\", \"6000\"",
            "\"network.proxy.allow_hijacking_localhost\", true",
        ] {
            assert!(text.contains(wanted), "{wanted}");
        }
        assert_eq!(plan.arguments.last().unwrap(), "http://web:6000/");
    }
}
