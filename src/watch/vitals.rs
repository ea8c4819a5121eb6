//! What no event tells: the room on the disk, the ends of certificates, how full the spool and the way into the archive are.
//!
//! Looks every few seconds, shows the figures as metrics, and tells when a disk becomes scarce, or scarcer, or a certificate comes
//! to its end.

use super::{Backlog, StreamProgress};
use crate::{
    admin::Health,
    clock::Clock,
    event::{self, DiskRoom, Event, Events},
    net::{CertificateEnd, TlsServer},
    rules::vitals::{DiskLevel, certificate_distance, disk_level},
    spool::Spool,
    telemetry::{self, Metrics},
    types::Timestamp,
};
use std::{cmp::Ordering, path::PathBuf, sync::Arc, time::Duration};

/// Looks after what no event tells.
pub struct Vitals {
    /// Whether the program can do its work.
    pub health: Arc<dyn Health>,
    /// The state directory.
    pub folder: PathBuf,
    /// Texts on their way.
    pub spool: Spool,
    /// Our certificates.
    pub tls: Option<Arc<TlsServer>>,
    /// Events on their way into the archive.
    pub backlog: Backlog,
    /// What all nodes tell one another.
    pub stream: Option<Arc<StreamProgress>>,
    /// The time.
    pub clock: Clock,
    /// Where the figures are shown.
    pub metrics: Arc<Metrics>,
    /// Who is told.
    pub events: Events,
}

/// What was told last.
#[derive(Default)]
struct Told {
    disk: DiskLevel,
    certificate_distance: Option<u32>,
}

impl Told {
    /// What is to be told of the disk: that it became worse, or that it is well again.
    fn of_disk(&mut self, room: DiskRoom) -> Option<Event> {
        let is = disk_level(self.disk, room.free_bytes, room.size_bytes);
        let was = std::mem::replace(&mut self.disk, is);
        match is.cmp(&was) {
            Ordering::Greater => Some(Event::DiskScarce(room)),
            Ordering::Less => Some(Event::DiskAmple(room)),
            Ordering::Equal => None,
        }
    }
}

impl Vitals {
    /// Looks for ever.
    pub async fn run(self) {
        let mut told = Told::default();
        loop {
            let disk = self.look_at_disk().await;
            let certificate = self.tls.as_ref().and_then(|tls| tls.first_to_end());
            self.show(disk.as_ref(), certificate.as_ref()).await;
            self.tell(&mut told, disk, certificate);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn look_at(&self, stream: &StreamProgress) -> telemetry::StreamVitals {
        let now = self.clock.utc();
        telemetry::StreamVitals {
            behind: stream.behind(),
            quiet: stream.until().map_or(Duration::ZERO, |until| now.since(until)),
            waiting: stream.waiting(),
            missed: stream.missed(),
            works: stream.failure().is_none(),
        }
    }

    /// A disk that cannot be asked has no figures.
    async fn look_at_disk(&self) -> Option<DiskRoom> {
        let folder = self.folder.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let disk = rustix::fs::statvfs(&folder).ok()?;
            let octets = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
            let (free_bytes, size_bytes) = (octets(disk.f_bavail), octets(disk.f_blocks));
            Some(DiskRoom { folder: folder.display().to_string(), free_bytes, size_bytes })
        });
        asked.await.ok().flatten()
    }

    async fn show(&self, disk: Option<&DiskRoom>, certificate: Option<&CertificateEnd>) {
        let readiness = self.health.readiness().await;
        let hops = readiness.next_hops.iter();
        self.metrics.note_vitals(&telemetry::Vitals {
            ready: readiness.missing().is_empty(),
            next_hops: hops.map(|hop| (hop.next_hop.as_str().into(), hop.usable)).collect(),
            disk: disk.map(|disk| (disk.free_bytes, disk.size_bytes)),
            spool: (self.spool.used_bytes(), self.spool.used_bytes_max()),
            spool_memory: (self.spool.memory_bytes(), self.spool.memory_bytes_max()),
            certificate_end: certificate.map(|end| end.not_after),
            archive_queue: self.backlog.waiting(),
            archive_events: self.backlog.written(),
            stream: self.stream.as_ref().map(|stream| self.look_at(stream)),
        });
    }

    fn tell(&self, told: &mut Told, disk: Option<DiskRoom>, certificate: Option<CertificateEnd>) {
        if let Some(room) = disk {
            told.of_disk(room).iter().for_each(|event| self.say(event));
        }
        if let Some(end) = certificate {
            let end = told_end(&end, self.clock.utc());
            let before = told.certificate_distance;
            told.certificate_distance = certificate_distance(end.days);
            match (before, told.certificate_distance) {
                (Some(_), None) => self.say(&Event::CertificateRenewed(end)),
                (before, Some(now)) if before != Some(now) => {
                    self.say(&Event::CertificateExpiring(end));
                }
                _ => {}
            }
        }
    }

    fn say(&self, event: &Event) {
        self.events.tell(self.clock.now(), event);
    }
}

fn told_end(end: &CertificateEnd, utc: Timestamp) -> event::CertificateEnd {
    let days = end.not_after.since(utc).as_secs() / SECONDS_PER_DAY;
    event::CertificateEnd {
        certificate: end.path.display().to_string(),
        not_after: end.not_after,
        days: u32::try_from(days).unwrap_or(u32::MAX),
    }
}

const LOOK_EVERY: Duration = Duration::from_secs(10);
const SECONDS_PER_DAY: u64 = 24 * 3600;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::alarm::Book;

    #[test]
    fn a_disk_that_fills_up_is_told_again_when_it_becomes_critical() {
        let (mut told, mut book) = (Told::default(), Book::new(Timestamp::EPOCH));
        let mut said = Vec::new();
        for (minute, free_bytes) in [(0, 30), (1, 9), (2, 7), (3, 4), (4, 6), (5, 3), (6, 15)] {
            let at = Timestamp::from_millis(minute * 60_000);
            let room = DiskRoom { folder: "var".into(), free_bytes, size_bytes: 100 };
            told.of_disk(room).iter().for_each(|event| book.note(at, event));
            book.turn(at + Duration::from_secs(59));
            let notices = book.take().notices.into_iter();
            said.extend(notices.map(|n| (minute, n.why.name(), n.alert.severity.name())));
        }
        book.turn(Timestamp::from_millis(7 * 60_000));
        assert_eq!(said, [(1, "raised", "warning"), (3, "worse", "critical")]);
        assert_eq!(book.take().notices[0].why.name(), "resolved");
    }
}
