//! Chromium without a window, led by its own protocol (DevTools over a pipe: documents with a
//! zero byte after each). What is waited for is a condition of the page; what the page itself
//! complains of is kept.
#![allow(dead_code)] // each suite uses its part

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

/// Longest wait for a condition, in milliseconds: under software emulation a pod takes minutes.
const LONGEST: u64 = 240_000;

/// The keys that tests press: name, key code of Windows, which the protocol wants too.
const KEYS: [(&str, u32); 6] = [
    ("Enter", 13),
    ("Tab", 9),
    ("Escape", 27),
    ("ArrowDown", 40),
    ("ArrowRight", 39),
    ("F6", 117),
];

/// See the module's opening. Ends when dropped.
pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: String,
    asked: u64,
    troubles: Vec<String>,
    _profile: tempfile::TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have ended by itself; waiting tells.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Browser {
    /// Opens `url`, through the SOCKS server at `proxy` if there is one.
    pub fn open(url: &str, proxy: Option<&str>) -> Browser {
        let profile = tempfile::tempdir().expect("profile");
        let mut command = Command::new("sh");
        // The protocol is spoken at descriptors 3 and 4.
        command.args([
            "-c",
            "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1",
        ]);
        command.arg("chromium").args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--remote-debugging-pipe",
            "--window-size=1280,860",
        ]);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        match proxy {
            Some(proxy) => {
                command.arg(format!("--proxy-server=socks5://{proxy}"));
                command.arg("--proxy-bypass-list=<-loopback>");
            }
            None => {
                command.arg("--no-proxy-server");
            }
        }
        command.env("HOME", profile.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("chromium: apt-get install chromium");
        let to = child.stdin.take().expect("a pipe");
        let from = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut browser = Browser {
            child,
            to,
            from,
            session: String::new(),
            asked: 0,
            troubles: Vec::new(),
            _profile: profile,
        };
        let target = browser.ask("Target.createTarget", json!({"url": "about:blank"}));
        let target = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.ask("Target.attachToTarget", target);
        browser.session = attached["sessionId"]
            .as_str()
            .expect("a session")
            .to_owned();
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.ask(domain, json!({}));
        }
        let gone = browser.ask("Page.navigate", json!({"url": url}));
        assert!(gone["errorText"].is_null(), "{url}: {gone}");
        browser
    }

    /// Sends a command and gives its result.
    #[track_caller]
    fn ask(&mut self, method: &str, params: Value) -> Value {
        let mut answer = self.try_ask(method, params);
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].take()
    }

    #[track_caller]
    fn try_ask(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let mut command = json!({"id": self.asked, "method": method, "params": params});
        if !self.session.is_empty() {
            command["sessionId"] = json!(self.session);
        }
        let sent = write!(self.to, "{command}\0").and_then(|()| self.to.flush());
        sent.expect("chromium listens");
        loop {
            let mut bytes = Vec::new();
            let read = self
                .from
                .read_until(0, &mut bytes)
                .expect("chromium speaks");
            assert!(read > 0, "chromium has ended");
            bytes.pop();
            let told: Value = serde_json::from_slice(&bytes).expect("JSON");
            if told["id"] == self.asked {
                return told;
            }
            self.note(&told);
        }
    }

    /// Keeps what the page did not catch, and what the browser refused it.
    fn note(&mut self, told: &Value) {
        let params = &told["params"];
        match told["method"].as_str() {
            Some("Runtime.exceptionThrown") => {
                self.troubles.push(params["exceptionDetails"].to_string());
            }
            Some("Log.entryAdded") => {
                let entry = &params["entry"];
                // Refusals of the API are entries of the network, and no trouble.
                if entry["source"] != "network" && entry["level"] == "error" {
                    self.troubles.push(entry.to_string());
                }
            }
            _ => {}
        }
    }

    /// What an expression, or the promise it is, comes to.
    #[track_caller]
    pub fn eval(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let mut result = self.ask("Runtime.evaluate", params);
        let thrown = &result["exceptionDetails"];
        assert!(thrown.is_null(), "{expression}\n{thrown:#}");
        result["result"]["value"].take()
    }

    /// Waits until an expression is true, or something; gives that.
    #[track_caller]
    pub fn until(&mut self, expression: &str) -> Value {
        let quoted = json!(expression);
        self.eval(&format!(
            "new Promise((done, fail) => {{
                const end = Date.now() + {LONGEST};
                (function look() {{
                    let value;
                    try {{ value = ({expression}); }} catch {{ value = null; }}
                    if (value) done(value);
                    else if (Date.now() < end) setTimeout(look, 50);
                    else fail(new Error('never ' + {quoted} + '; the page says: ' + document.body.innerText));
                }})();
            }})"
        ))
    }

    /// Waits for an element and clicks it.
    #[track_caller]
    pub fn click(&mut self, selector: &str) {
        let found = element(selector);
        self.until(&format!("{found} && !{found}.disabled"));
        self.eval(&format!("{found}.click()"));
    }

    /// Waits for a button that says this, inside `within`, and clicks it.
    #[track_caller]
    pub fn press(&mut self, within: &str, label: &str) {
        let find = format!(
            "[...document.querySelectorAll({} + ' button')].find((one) => one.textContent === {} && !one.disabled)",
            json!(within),
            json!(label)
        );
        self.until(&find);
        self.eval(&format!("{find}.click()"));
    }

    /// Waits for a field and writes into it as a keyboard would, over what is there.
    #[track_caller]
    pub fn fill(&mut self, selector: &str, text: &str) {
        let found = element(selector);
        self.until(&found);
        self.eval(&format!("{found}.focus(), {found}.select()"));
        self.type_text(text);
    }

    /// Writes where the focus is.
    #[track_caller]
    pub fn type_text(&mut self, text: &str) {
        self.ask("Input.insertText", json!({"text": text}));
    }

    /// Presses a key where the focus is.
    #[track_caller]
    pub fn key(&mut self, name: &str) {
        let (_, code) = KEYS.iter().find(|(key, _)| *key == name).expect("a key");
        let mut params =
            json!({"type": "rawKeyDown", "key": name, "code": name, "windowsVirtualKeyCode": code});
        if name == "Enter" {
            // The one of them that is text too.
            params["type"] = json!("keyDown");
            params["text"] = json!("\r");
        }
        self.ask("Input.dispatchKeyEvent", params.clone());
        params["type"] = json!("keyUp");
        self.ask("Input.dispatchKeyEvent", params);
    }

    /// Goes to an address inside the page.
    #[track_caller]
    pub fn go(&mut self, hash: &str) {
        self.eval(&format!("location.hash = {}", json!(hash)));
    }

    /// Shows the page in `light` or `dark` from now on.
    #[track_caller]
    pub fn scheme(&mut self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.ask("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// Keeps a picture of the page in the folder that `CADET_SHOTS` names, if it names one.
    #[track_caller]
    pub fn shot(&mut self, name: &str) {
        use base64::Engine as _;
        let Some(folder) = std::env::var_os("CADET_SHOTS") else {
            return;
        };
        let taken = self.ask("Page.captureScreenshot", json!({"format": "png"}));
        let picture = taken["data"].as_str().expect("a picture");
        let picture = base64::prelude::BASE64_STANDARD.decode(picture);
        let folder = Path::new(&folder);
        std::fs::create_dir_all(folder).expect("folder");
        let file = folder.join(format!("{name}.png"));
        std::fs::write(file, picture.expect("base64")).expect("write");
    }

    /// What the page did wrong so far: exceptions nobody caught, and what its policy forbids.
    pub fn troubles(&mut self) -> Vec<String> {
        // What was said before an answer has been read with it.
        self.eval("1");
        std::mem::take(&mut self.troubles)
    }
}

fn element(selector: &str) -> String {
    format!("document.querySelector({})", json!(selector))
}
