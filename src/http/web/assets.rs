//! The style sheet, the script and the icon: built in, and named after their content so that browsers keep them for ever.

use crate::chart;
use axum::{
    extract::Path,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use ring::digest;
use std::{fmt::Write as _, sync::LazyLock};

/// The path of a file.
pub(super) fn path(name: &str) -> String {
    format!("/assets/{}/{name}", *VERSION)
}

pub(super) async fn serve(Path((version, name)): Path<(String, String)>) -> Response {
    let found = FILES.iter().find(|file| file.name == name);
    let Some(file) = found.filter(|_| version == *VERSION) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let kept = HeaderValue::from_static("public, max-age=31536000, immutable");
    ([(header::CONTENT_TYPE, file.kind)], [(header::CACHE_CONTROL, kept)], (file.content)())
        .into_response()
}

struct File {
    name: &'static str,
    kind: &'static str,
    content: fn() -> &'static str,
}

static FILES: [File; 3] = [
    File { name: "style.css", kind: "text/css; charset=utf-8", content: || &STYLE },
    File { name: "live.js", kind: "text/javascript; charset=utf-8", content: || SCRIPT },
    File { name: "icon.svg", kind: "image/svg+xml", content: || ICON },
];

/// The drawings' style first, so that the pages' colours hold for them too.
static STYLE: LazyLock<String> =
    LazyLock::new(|| format!("{}\n{}", chart::STYLE, include_str!("static/style.css")));
const SCRIPT: &str = include_str!("static/live.js");
const ICON: &str = include_str!("static/icon.svg");

/// The first octets of a digest over all files.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let mut all = digest::Context::new(&digest::SHA256);
    for file in &FILES {
        all.update((file.content)().as_bytes());
    }
    all.finish().as_ref()[..8].iter().fold(String::new(), |mut text, octet| {
        let _infallible = write!(text, "{octet:02x}");
        text
    })
});
