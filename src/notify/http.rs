//! One HTTP client for each receiver: bounded in time and in what it reads.

use super::NotifyError;
use reqwest::{Client, RequestBuilder, StatusCode, Url, redirect::Policy};
use rustls::ClientConfig;
use std::{error::Error, fmt, str::FromStr, time::Duration};

/// Where a receiver is: an `http` or `https` URL without a login in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target(Url);

/// A text that is no [`Target`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a URL such as https://alerts.example/hook")]
pub struct TargetError;

impl Target {
    pub(super) const fn url(&self) -> &Url {
        &self.0
    }

    /// The same host, another path.
    pub(super) fn with_path(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}{path}"));
        url
    }

    /// True if TLS protects the way there.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// True if what is sent there can be read on its way by others.
    #[must_use]
    pub fn is_open_to_others(&self) -> bool {
        let host = self.0.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let is_loopback = host == "localhost"
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        self.0.scheme() == "http" && !is_loopback
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let url: Url = text.parse().map_err(|_| TargetError)?;
        let is_web = matches!(url.scheme(), "http" | "https") && url.host().is_some();
        let has_login = !url.username().is_empty() || url.password().is_some();
        if is_web && !has_login { Ok(Self(url)) } else { Err(TargetError) }
    }
}

/// Without its query, which may hold a secret.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.0.scheme(), self.0.authority())?;
        f.write_str(self.0.path())
    }
}

/// A client that goes nowhere but where it is sent.
pub(super) fn client(tls: &ClientConfig, timeout: Duration) -> Result<Client, NotifyError> {
    Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .redirect(Policy::none())
        .no_proxy()
        .connect_timeout(timeout)
        .timeout(timeout)
        .pool_max_idle_per_host(1)
        .user_agent(concat!("tollgate/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| NotifyError::Setup(told(&error)))
}

/// Sends; anything but a 2xx is an error, and whose fault follows from the status.
pub(super) async fn send(request: RequestBuilder) -> Result<(), NotifyError> {
    let unavailable = |error: reqwest::Error| NotifyError::Unavailable(told(&error.without_url()));
    let mut answer = request.send().await.map_err(unavailable)?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let mut text = Vec::new();
    while text.len() < ANSWER_BYTES_SHOWN_MAX
        && let Ok(Some(piece)) = answer.chunk().await
    {
        text.extend_from_slice(&piece);
    }
    text.truncate(ANSWER_BYTES_SHOWN_MAX);
    let detail = format!("it answered {status}: {}", String::from_utf8_lossy(&text).trim());
    Err(if is_about_the_message(status) {
        NotifyError::Refused(detail)
    } else {
        NotifyError::Unavailable(detail)
    })
}

/// True of a status that speaks of this message; others pass, or say that nobody is there or that the way in is wrong, which is
/// so for every message.
fn is_about_the_message(status: StatusCode) -> bool {
    let is_about_all = matches!(
        status,
        StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::NOT_FOUND
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::TOO_EARLY
            | StatusCode::TOO_MANY_REQUESTS
    );
    status.is_client_error() && !is_about_all
}

/// An error with its causes, which say what happened.
fn told(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// How much of an answer an error repeats.
const ANSWER_BYTES_SHOWN_MAX: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_web_address_without_a_login() {
        for (text, shown) in [
            ("https://alerts.example/hook?token=secret", "https://alerts.example/hook"),
            ("http://127.0.0.1:9093", "http://127.0.0.1:9093/"),
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), shown);
        }
        for wrong in ["", "alerts.example", "ftp://x", "https://user:pw@x.example/", "file:///etc"]
        {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_status_speaks_of_the_message_or_of_the_receiver() {
        for (status, of_the_message) in [
            (400, true),
            (413, true),
            (422, true),
            (401, false),
            (404, false),
            (429, false),
            (500, false),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(is_about_the_message(status), of_the_message, "{status}");
        }
    }

    #[test]
    fn what_goes_over_the_net_in_the_clear_is_known() {
        for (text, open) in [
            ("http://127.0.0.1:1/", false),
            ("http://[::1]:1/", false),
            ("http://localhost/", false),
            ("https://alerts.example/", false),
            ("http://alerts.example/", true),
        ] {
            assert_eq!(text.parse::<Target>().unwrap().is_open_to_others(), open, "{text}");
        }
    }
}
