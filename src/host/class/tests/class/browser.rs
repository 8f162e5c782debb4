//! A Chromium without a window that trusts the class's key and nobody else's, led by DevTools
//! over a pipe (documents with a zero byte after each). What the page complains of is kept.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

/// Longest wait for a condition of the page, in milliseconds.
const LONGEST: u64 = 60_000;

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
    /// Opens `url`; `class` is the fingerprint of the key it may show.
    pub fn open(url: &str, class: &[u8; 32]) -> Self {
        let profile = tempfile::tempdir().unwrap();
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
            "--no-first-run",
            "--no-proxy-server",
            "--disable-background-networking",
            "--disable-component-update",
            "--remote-debugging-pipe",
            "--window-size=1280,860",
        ]);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        let key = BASE64.encode(class);
        command.arg(format!("--ignore-certificate-errors-spki-list={key}"));
        command.env("HOME", profile.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("chromium: apt-get install chromium");
        let to = child.stdin.take().unwrap();
        let from = BufReader::new(child.stdout.take().unwrap());
        let mut browser = Self {
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
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            browser.ask(domain, json!({}));
        }
        browser.go(url);
        browser
    }

    /// Goes to another page.
    #[track_caller]
    pub fn go(&mut self, url: &str) {
        let gone = self.ask("Page.navigate", json!({"url": url}));
        assert!(gone["errorText"].is_null(), "{url}: {gone}");
    }

    #[track_caller]
    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let mut command = json!({"id": self.asked, "method": method, "params": params});
        if !self.session.is_empty() {
            command["sessionId"] = json!(self.session);
        }
        let sent = write!(self.to, "{command}\0").and_then(|()| self.to.flush());
        sent.expect("chromium listens");
        loop {
            let mut bytes = Vec::new();
            let read = self.from.read_until(0, &mut bytes).expect("it speaks");
            assert!(read > 0, "chromium has ended");
            bytes.pop();
            let mut told: Value = serde_json::from_slice(&bytes).expect("JSON");
            if told["id"] == self.asked {
                assert!(told["error"].is_null(), "{method}: {told}");
                return told["result"].take();
            }
            self.note(&told);
        }
    }

    /// Keeps what the page did not catch, and what its policy forbade.
    fn note(&mut self, told: &Value) {
        let params = &told["params"];
        match told["method"].as_str() {
            Some("Runtime.exceptionThrown") => {
                self.troubles.push(params["exceptionDetails"].to_string());
            }
            Some("Log.entryAdded") => {
                let entry = &params["entry"];
                // A refusal of the class is an entry of the network, and no trouble.
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

    /// Presses Enter where the focus is.
    pub fn enter(&mut self) {
        let key = |kind: &str| {
            json!({"type": kind, "key": "Enter", "code": "Enter", "text": "\r",
                "windowsVirtualKeyCode": 13})
        };
        self.ask("Input.dispatchKeyEvent", key("keyDown"));
        self.ask("Input.dispatchKeyEvent", key("keyUp"));
    }

    /// Writes where the focus is.
    pub fn write(&mut self, text: &str) {
        self.ask("Input.insertText", json!({"text": text}));
    }

    /// Shows the page on a screen of this size, in `light` or `dark`.
    pub fn screen(&mut self, width: u32, height: u32, scheme: &str) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1,
            "mobile": width < 600});
        self.ask("Emulation.setDeviceMetricsOverride", metrics);
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.ask("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// Keeps a picture of the page, to be looked at: in the folder that `CADET_SHOTS` names, or in
    /// `class-pages` of cargo's folder for tests (`target/.../tmp`).
    pub fn shot(&mut self, name: &str) {
        let folder = std::env::var_os("CADET_SHOTS").map_or_else(
            || std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("class-pages"),
            std::path::PathBuf::from,
        );
        let taken = self.ask("Page.captureScreenshot", json!({"format": "png"}));
        let picture = BASE64.decode(taken["data"].as_str().unwrap()).unwrap();
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), picture).unwrap();
    }

    /// What the page did wrong so far.
    pub fn troubles(&mut self) -> Vec<String> {
        // What was said before an answer has been read with it.
        self.eval("1");
        std::mem::take(&mut self.troubles)
    }
}
