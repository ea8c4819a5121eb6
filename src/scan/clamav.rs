//! ClamAV's daemon: one connection for each message, `INSTREAM` as clamd(8) describes it.

use super::Failure;
use crate::{dial::connect, types::ServicePlace};
use bytes::Bytes;
use std::{io, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Where clamd is and how long it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Its socket.
    pub place: ServicePlace,
    /// Wait for its answer.
    pub timeout: Duration,
}

/// What it found in a text.
pub(super) async fn ask(place: &ServicePlace, text: Bytes) -> Result<Option<String>, Failure> {
    let down = |error: io::Error| Failure::Down(error.to_string());
    let mut stream = connect(place).await.map_err(down)?;
    let sent = send(&mut *stream, &text).await;
    // Where it stops reading it has said why.
    let mut answer = Vec::new();
    let heard = stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await;
    if !answer.is_empty() {
        return read(&answer);
    }
    sent.and(heard).map_err(down)?;
    Err(Failure::Down("it closed the connection without an answer".into()))
}

async fn send(stream: &mut (impl AsyncWriteExt + Unpin + ?Sized), text: &[u8]) -> io::Result<()> {
    stream.write_all(b"zINSTREAM\0").await?;
    for chunk in text.chunks(CHUNK_BYTES) {
        let length = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
        stream.write_all(&length.to_be_bytes()).await?;
        stream.write_all(chunk).await?;
    }
    stream.write_all(&0_u32.to_be_bytes()).await?;
    stream.flush().await
}

/// `stream: OK`, `stream: NAME FOUND` or `WHY ERROR`, each with a NUL at its end.
fn read(answer: &[u8]) -> Result<Option<String>, Failure> {
    let text = String::from_utf8_lossy(answer);
    let text = text.trim_end_matches(['\0', '\n']);
    let said = text.strip_prefix("stream: ").unwrap_or(text);
    if said == "OK" {
        return Ok(None);
    }
    match said.strip_suffix(" FOUND") {
        Some(name) => Ok(Some(presentable(name))),
        None => Err(Failure::Declined(presentable(said))),
    }
}

/// As it may stand in a reply and a log line.
fn presentable(text: &str) -> String {
    let shown = text.chars().take(NAME_CHARS_MAX);
    shown.map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect()
}

const CHUNK_BYTES: usize = 64 << 10;
const ANSWER_BYTES_MAX: u64 = 4_096;
const NAME_CHARS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_as_clamd_writes_them() {
        let long = format!("stream: {} FOUND\0", "x".repeat(500));
        let shown = "x".repeat(100);
        for (answer, wanted) in [
            ("stream: OK\0", Ok(None)),
            ("stream: Eicar-Signature FOUND\0", Ok(Some("Eicar-Signature"))),
            ("stream: Evil\r\n250 ok FOUND\0", Ok(Some("Evil??250 ok"))),
            (&long, Ok(Some(&*shown))),
            ("INSTREAM size limit exceeded. ERROR\0", Err("INSTREAM size limit exceeded. ERROR")),
            ("stream: Heuristics ERROR\0", Err("Heuristics ERROR")),
            ("HTTP/1.1 400 Bad Request", Err("HTTP/1.1 400 Bad Request")),
        ] {
            let found = read(answer.as_bytes());
            match (found, wanted) {
                (Ok(name), Ok(expected)) => assert_eq!(name.as_deref(), expected),
                (Err(Failure::Declined(detail)), Err(expected)) => assert_eq!(detail, expected),
                (found, _) => panic!("{answer:?}: {found:?}"),
            }
        }
    }
}
