//! Into a Maildir, for trying things out: the unstuffed text, not one octet more.
//!
//! A file is written in `tmp/`, synced, renamed into `new/` and the folder synced before `Accepted` is said, as
//! <https://cr.yp.to/proto/maildir.html> wants it. All file work happens off the event loop.

use super::{DeliverError, Handover, HopHealth, HopState, RecipientAnswer, Text, Verdict};
use crate::{
    clock,
    rules::egress::Use,
    smtp::data::Unstuffer,
    smtp::{Extensions, RcptRequest, Reply},
};
use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// A Maildir. Cheap to clone.
#[derive(Clone)]
pub(super) struct Folder(Arc<Maildir>);

struct Maildir {
    path: PathBuf,
    name: Arc<str>,
    /// Tells this process from others, also on other hosts.
    nonce: u64,
    stored: AtomicU64,
}

impl Folder {
    pub(super) fn new(path: &Path) -> Result<Self, DeliverError> {
        let shown = path.display().to_string();
        let wrong = |source| DeliverError::Folder { path: shown.clone(), source };
        for part in ["tmp", "new", "cur"] {
            std::fs::create_dir_all(path.join(part)).map_err(wrong)?;
        }
        let nonce = getrandom::u64().map_err(|error| DeliverError::Random(error.to_string()))?;
        let (path, name) = (path.to_owned(), shown.as_str().into());
        Ok(Self(Arc::new(Maildir { path, name, nonce, stored: AtomicU64::new(0) })))
    }

    /// A file takes anything; only DSN would need somebody who sends notices.
    pub(super) fn offers() -> Extensions {
        Extensions {
            pipelining: true,
            size: Some(None),
            eight_bit_mime: true,
            smtputf8: true,
            enhanced_status_codes: true,
            ..Extensions::default()
        }
    }

    pub(super) fn begin(&self) -> FolderTransaction {
        FolderTransaction { folder: self.clone() }
    }

    pub(super) fn health(&self) -> HopHealth {
        HopHealth {
            name: Arc::clone(&self.0.name),
            state: HopState::Up,
            connections_open: 0,
            connections_idle: 0,
            egress: Arc::default(),
            egress_use: Use::Free,
            last_error: None,
            offers: Some(Self::offers()),
        }
    }
}

/// A mail on its way into a folder.
pub(super) struct FolderTransaction {
    folder: Folder,
}

impl FolderTransaction {
    pub(super) fn recipients(requests: &[RcptRequest]) -> Vec<RecipientAnswer> {
        let reply = Reply::new(250, "2.1.5", "recipient ok");
        vec![RecipientAnswer::Answered(reply); requests.len()]
    }

    fn next_hop(&self) -> Arc<str> {
        Arc::clone(&self.folder.0.name)
    }

    pub(super) async fn send(self, text: &Text<'_>) -> Handover {
        let began = clock::steady_now();
        let verdict = match self.folder.0.store(text).await {
            Ok(Stored::Overdue) => Verdict::Overdue,
            Ok(Stored::Durably(name)) => {
                Verdict::Accepted(Reply::new(250, "2.0.0", format!("stored as {name}")))
            }
            Ok(Stored::Perhaps(error)) => {
                Verdict::Unknown(format!("the folder may have lost the mail: {error}"))
            }
            Err(error) => Verdict::Unavailable(format!("the folder cannot be written: {error}")),
        };
        let took = clock::steady_now().duration_since(began);
        Handover {
            verdict,
            next_hop: Some(self.next_hop()),
            egress: Arc::default(),
            took: Some(took),
        }
    }
}

impl Maildir {
    /// Returns the new file's name.
    async fn store(self: &Arc<Self>, text: &Text<'_>) -> io::Result<Stored> {
        let mut draft = Draft::new(Arc::clone(self), self.unique_name());
        let (mut pieces, mut unstuffer) = (text.pieces(), Unstuffer::default());
        while let Some(piece) = pieces.next().await? {
            if draft.pending.len() + piece.len() > PENDING_BYTES_MAX {
                draft = off_the_loop(move || draft.save().map(|()| draft)).await?;
            }
            unstuffer.unstuff(&piece, &mut draft.pending);
        }
        if text.is_overdue() {
            return Ok(Stored::Overdue);
        }
        off_the_loop(move || draft.publish()).await
    }

    fn unique_name(&self) -> String {
        let (now, count) = (clock::wall_now(), self.stored.fetch_add(1, Ordering::Relaxed));
        let (seconds, millis) =
            (now.as_millis().div_euclid(1000), now.as_millis().rem_euclid(1000));
        let (process, nonce) = (std::process::id(), self.nonce);
        format!("{seconds}.M{}P{process}Q{count}R{nonce:016x}.tollgate", millis * 1000)
    }
}

/// A mail that stands in the folder.
enum Stored {
    /// Under this name, also after power loss.
    Durably(String),
    /// Perhaps not after power loss.
    Perhaps(io::Error),
    /// It does not, because its time was over.
    Overdue,
}

/// A file that is being written; taken away again unless it is published.
struct Draft {
    maildir: Arc<Maildir>,
    name: String,
    pending: Vec<u8>,
    file: Option<File>,
}

impl Draft {
    const fn new(maildir: Arc<Maildir>, name: String) -> Self {
        Self { maildir, name, pending: Vec::new(), file: None }
    }

    fn path(&self) -> PathBuf {
        self.maildir.path.join("tmp").join(&self.name)
    }

    fn save(&mut self) -> io::Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => OpenOptions::new().write(true).create_new(true).open(self.path())?,
        };
        let written = file.write_all(&self.pending);
        self.file = Some(file);
        self.pending.clear();
        written
    }

    fn publish(mut self) -> io::Result<Stored> {
        self.save()?;
        if let Some(file) = &self.file {
            file.sync_all()?;
        }
        let new = self.maildir.path.join("new");
        std::fs::rename(self.path(), new.join(&self.name))?;
        // Past this point the mail is in the folder, so the draft must not be taken away.
        self.file = None;
        let name = std::mem::take(&mut self.name);
        Ok(match File::open(new).and_then(|folder| folder.sync_all()) {
            Ok(()) => Stored::Durably(name),
            Err(error) => Stored::Perhaps(error),
        })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // If this fails, a reader of the Maildir takes the file out of tmp/ after 36 hours.
            let _ = std::fs::remove_file(self.path());
        }
    }
}

async fn off_the_loop<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Octets that are gathered before they are written.
const PENDING_BYTES_MAX: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::Body;
    use bytes::Bytes;

    async fn stored(head: &'static str, body: &str, cuts: Vec<std::ops::Range<u64>>) -> Vec<u8> {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(&place.path().join("mail")).unwrap();
        let body = Body::from(Bytes::from(body.to_owned()));
        let text =
            Text { head: Bytes::from_static(head.as_bytes()), body: &body, cuts, dot_by: None };
        let handover = folder.begin().send(&text).await;
        assert!(
            matches!(&handover.verdict, Verdict::Accepted(r) if r.code() == 250),
            "{handover:?}"
        );
        let files = |part| std::fs::read_dir(place.path().join("mail").join(part)).unwrap();
        assert_eq!((files("tmp").count(), files("cur").count(), files("new").count()), (0, 0, 1));
        std::fs::read(files("new").next().unwrap().unwrap().path()).unwrap()
    }

    #[tokio::test]
    async fn the_text_is_stored_unstuffed_with_head_and_cuts() {
        let got = stored(
            "Received: x\r\n",
            "A: 1\r\nB: 2\r\n\r\n..dot\r\n...\r\n",
            std::iter::once(0..6).collect(),
        )
        .await;
        assert_eq!(got, b"Received: x\r\nB: 2\r\n\r\n.dot\r\n..\r\n");
        assert_eq!(stored("", "", vec![]).await, b"");
        let long = "x".repeat(998) + "\r\n";
        let long = long.repeat(600);
        assert!(stored("", &long, vec![]).await == long.as_bytes());
    }

    #[test]
    fn dots_are_taken_off_however_the_text_is_cut() {
        let text = b"..a\r\n.b\r\nc.\r\n..\r\n.\r\n\r\n...x";
        for step in 1..text.len() {
            let (mut unstuffer, mut out) = (Unstuffer::default(), Vec::new());
            text.chunks(step).for_each(|piece| unstuffer.unstuff(piece, &mut out));
            assert_eq!(out, b".a\r\nb\r\nc.\r\n.\r\n\r\n\r\n..x", "{step}");
        }
    }

    #[tokio::test]
    async fn a_folder_that_vanished_is_unavailable() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(place.path()).unwrap();
        place.close().unwrap();
        let body = Body::from(Bytes::from_static(b"x\r\n"));
        let text = Text { head: Bytes::new(), body: &body, cuts: vec![], dot_by: None };
        let verdict = folder.begin().send(&text).await.verdict;
        assert!(matches!(verdict, Verdict::Unavailable(_)), "{verdict:?}");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(Folder::new(&file).err(), Some(DeliverError::Folder { .. })));
    }
}
