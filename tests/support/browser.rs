//! Chromium without a window, driven over WebDriver, as somebody looks at a page: reads, clicks, types, prefers the dark.
//!
//! Each browser has a profile and a driver of its own and ends with its value. What its console says of errors, and what
//! axe-core (tests/requirements.txt, installed by `tests/run`) finds hard to read or to use, can be asked at any time.

use super::{ports::free_port, wait_for};
use fantoccini::{ClientBuilder, Locator, elements::Element, wd::WebDriverCompatibleCommand};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use std::{
    fs,
    future::Future,
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
};
use tokio::runtime::Runtime;

/// A browser.
pub(crate) struct Browser {
    runtime: Runtime,
    client: fantoccini::Client,
    driver: Child,
}

/// What somebody prefers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// Dark ink on a light ground.
    Light,
    /// The other way round.
    Dark,
}

/// What somebody looks at a page with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Screen {
    /// A desk's.
    Desk,
    /// A phone's, the narrowest that WCAG 2.2 §1.4.10 asks for.
    Phone,
}

impl Screen {
    /// How many pixels wide it is, and how high.
    pub(crate) const fn size(self) -> (u32, u32) {
        match self {
            Self::Desk => (1440, 900),
            Self::Phone => (320, 640),
        }
    }
}

impl Browser {
    /// Starts a browser whose user prefers this language.
    #[track_caller]
    pub(crate) fn start(language: &str) -> Self {
        let port = free_port().port();
        let driver = start_driver(port);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let capabilities = capabilities(language).as_object().cloned().unwrap_or_default();
        let client = runtime.block_on(async {
            ClientBuilder::new(HttpConnector::new())
                .capabilities(capabilities)
                .connect(&format!("http://127.0.0.1:{port}"))
                .await
                .unwrap_or_else(|error| panic!("chromium does not start: {error}"))
        });
        Self { runtime, client, driver }
    }

    /// Goes to an address.
    #[track_caller]
    pub(crate) fn open(&self, address: &str) {
        self.run(self.client.goto(address)).unwrap();
    }

    /// The path of the page that is shown, with its query.
    pub(crate) fn path(&self) -> String {
        let address = self.run(self.client.current_url()).unwrap();
        let query = address.query().map(|query| format!("?{query}")).unwrap_or_default();
        format!("{}{query}", address.path())
    }

    /// The text of the first such element, as it is shown.
    #[track_caller]
    pub(crate) fn text(&self, css: &str) -> String {
        let element = self.run(self.client.find(Locator::Css(css)));
        let element = element.unwrap_or_else(|e| panic!("no {css} in {}: {e}", self.path()));
        self.run(element.text()).unwrap()
    }

    /// True if there is such an element.
    pub(crate) fn has(&self, css: &str) -> bool {
        !self.run(self.client.find_all(Locator::Css(css))).unwrap().is_empty()
    }

    /// Types into a field.
    #[track_caller]
    pub(crate) fn fill(&self, css: &str, text: &str) {
        let field = self.run(self.client.find(Locator::Css(css))).unwrap();
        self.run(field.send_keys(text)).unwrap();
    }

    /// Clicks what leads to no other page.
    #[track_caller]
    pub(crate) fn press(&self, css: &str) -> Element {
        let element = self.run(self.client.find(Locator::Css(css)));
        let element = element.unwrap_or_else(|e| panic!("no {css} in {}: {e}", self.path()));
        self.run(element.click()).unwrap();
        element
    }

    /// Clicks, and waits for the page to which that leads.
    #[track_caller]
    pub(crate) fn click(&self, css: &str) {
        let clicked = self.press(css);
        // An element of a page that was left cannot be asked any more.
        wait_for("the next page", || self.run(clicked.tag_name()).is_err().then_some(()));
    }

    /// What a script returns.
    #[track_caller]
    pub(crate) fn script(&self, script: &str) -> Value {
        self.run(self.client.execute(script, vec![])).unwrap()
    }

    /// From the next page on the user prefers this, on this screen.
    #[track_caller]
    pub(crate) fn prefer(&self, scheme: Scheme, screen: Screen) {
        let scheme = if scheme == Scheme::Dark { "dark" } else { "light" };
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.tell("Emulation.setEmulatedMedia", &json!({ "features": [feature] }));
        let (width, height) = screen.size();
        let mobile = screen == Screen::Phone;
        let metrics =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile });
        self.tell("Emulation.setDeviceMetricsOverride", &metrics);
    }

    /// Runs no scripts of pages from the next page on.
    pub(crate) fn without_scripts(&self) {
        self.tell("Emulation.setScriptExecutionDisabled", &json!({ "value": true }));
    }

    /// What the console said since it was last asked: errors of scripts, what the page's policy forbade, what could not be fetched.
    #[track_caller]
    pub(crate) fn console(&self) -> Vec<String> {
        let entries = self.command("se/log", &json!({ "type": "browser" }));
        let entries = entries.as_array().cloned().unwrap_or_default();
        // Advice about forms of the browser's own is verbose.
        let complaints = entries.iter().filter(|entry| entry["level"] != "DEBUG");
        complaints.map(|entry| format!("{} {}", entry["level"], entry["message"])).collect()
    }

    /// What axe-core finds wrong with the page: rule, help and the elements, one finding a line.
    #[track_caller]
    pub(crate) fn axe(&self) -> Vec<String> {
        self.run(self.client.execute(&axe(), vec![])).unwrap();
        let found = self.run(self.client.execute_async(ASK_AXE, vec![])).unwrap();
        assert!(
            found["passes"].as_u64().is_some_and(|rules| rules > 10),
            "axe did not run: {found}"
        );
        let violations = found["violations"].as_array().cloned().unwrap_or_default();
        violations.iter().map(ToString::to_string).collect()
    }

    /// A command of the DevTools protocol.
    fn tell(&self, command: &str, parameters: &Value) -> Value {
        self.command("goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    #[track_caller]
    fn command(&self, path: &'static str, body: &Value) -> Value {
        let command = OwnCommand { path, body: body.to_string() };
        self.run(self.client.issue_cmd(command)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends its browser with the session; both may be gone already.
        let _ = self.runtime.block_on(self.client.clone().close());
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

fn start_driver(port: u16) -> Child {
    let mut driver = Command::new("chromedriver")
        .args([format!("--port={port}"), "--log-level=SEVERE".into()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("chromedriver: {error}; tests/run installs chromium-driver")
        });
    wait_for("chromedriver to listen", || {
        assert!(driver.try_wait().unwrap().is_none(), "chromedriver ended");
        TcpStream::connect(("127.0.0.1", port)).ok()
    });
    driver
}

fn capabilities(language: &str) -> Value {
    json!({
        "browserName": "chrome",
        "goog:loggingPrefs": { "browser": "ALL" },
        "goog:chromeOptions": {
            // Root may not have a sandbox, and /dev/shm may be small.
            "args": ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars"],
            "prefs": { "intl.accept_languages": language, "credentials_enable_service": false },
        },
    })
}

/// A command that fantoccini does not know.
#[derive(Debug)]
struct OwnCommand {
    path: &'static str,
    body: String,
}

impl WebDriverCompatibleCommand for OwnCommand {
    fn endpoint(
        &self,
        base: &url::Url,
        session: Option<&str>,
    ) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &url::Url) -> (hyper::Method, Option<String>) {
        (hyper::Method::POST, Some(self.body.clone()))
    }
}

/// The script of axe-core, from the wheel that brings it.
fn axe() -> String {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/lib");
    let versions = fs::read_dir(&python).into_iter().flatten().flatten();
    let file = "site-packages/axe_playwright_python/axe.min.js";
    let found = versions.map(|version| version.path().join(file)).find(|path| path.exists());
    let found =
        found.unwrap_or_else(|| panic!("no axe-core below {python:?}; tests/run installs it"));
    fs::read_to_string(found).unwrap()
}

/// Rules of WCAG 2.2 up to AA and what axe calls best practice. What it cannot decide is not a violation.
const ASK_AXE: &str = "
const done = arguments[arguments.length - 1];
axe.run(document, { resultTypes: ['violations'] }).then(found => done({
    passes: found.passes.length,
    violations: found.violations.map(v => v.id + ' (' + v.impact + '): ' + v.help + ': '
        + v.nodes.map(n => n.html.slice(0, 200) + ' ' + n.failureSummary).join(' | ')),
}), error => done({ error: String(error) }));
";
