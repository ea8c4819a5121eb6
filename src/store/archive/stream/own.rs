//! What this node told all and has not read back yet, so that it is not made out of its octets again. What finds no room here, or is
//! told in the transaction of something else, is read like what others told. What comes back is compared with what went.

use super::{Content, Header, Origin};
use parking_lot::Mutex;
use std::collections::VecDeque;

#[derive(Default)]
pub(in crate::store::archive) struct Own(Mutex<VecDeque<Told>>);

/// A content that is in the journal.
pub(super) struct Told {
    pub(super) origin: Origin,
    pub(super) number: i64,
    pub(super) body: Vec<u8>,
    pub(super) content: Content,
}

impl Own {
    pub(super) fn keep(&self, told: Told) {
        let mut kept = self.0.lock();
        let mut octets = told.body.len() + kept.iter().map(|told| told.body.len()).sum::<usize>();
        while octets > OCTETS_MAX || kept.len() >= TOLD_MAX {
            let Some(oldest) = kept.pop_front() else { return };
            octets -= oldest.body.len();
        }
        kept.push_back(told);
    }

    /// The content that arrives, if it is one of these; those before it are forgotten.
    pub(super) fn take(&self, header: &Header, body: &[u8]) -> Option<Content> {
        let mut kept = self.0.lock();
        let place = kept
            .iter()
            .position(|told| (told.origin, told.number) == (header.origin, header.number))?;
        let told = kept.drain(..=place).next_back()?;
        (told.body == body).then_some(told.content)
    }
}

/// Parcels that are kept, and their octets as they are sent: some ten times as much in memory.
const TOLD_MAX: usize = 64;
const OCTETS_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::{super::wire, *};
    use crate::{
        rules::{
            alarm::Sign,
            tally::{
                Counts, EgressKey, EgressShare, Minute, Seen, Share, Sketch, Tally, Top, Whose,
                calendar::{Day, Hour},
            },
        },
        store::archive::{Mark, NewEvent},
        types::Timestamp,
    };
    use std::time::Duration;

    fn header(origin: u8, number: i64) -> Header {
        let (node, at) = ("a".to_owned(), Timestamp::EPOCH);
        Header { origin: [origin; 8], node, number, events_before: 0, at }
    }

    fn told(origin: u8, number: i64, octets: usize) -> Told {
        let content = Content { delivered: vec![number.to_string()], ..Content::default() };
        Told { origin: [origin; 8], number, body: vec![7; octets], content }
    }

    #[test]
    fn what_comes_back_is_what_went_and_nothing_else() {
        let own = Own::default();
        (1..=4).for_each(|number| own.keep(told(1, number, 9)));
        let taken = |origin, number, body: &[u8]| {
            own.take(&header(origin, number), body).map(|content| content.delivered)
        };
        assert_eq!(taken(2, 1, &[7; 9]), None);
        assert_eq!(taken(1, 2, &[7; 9]), Some(vec!["2".to_owned()]));
        assert_eq!(taken(1, 1, &[7; 9]), None, "it was before one that came");
        assert_eq!(taken(1, 3, &[8; 9]), None, "it is another one");
        assert_eq!(taken(1, 4, &[7; 9]), Some(vec!["4".to_owned()]));
        assert_eq!(taken(1, 4, &[7; 9]), None);
    }

    #[test]
    fn only_so_much_is_kept() {
        let own = Own::default();
        let kept = || own.0.lock().iter().map(|told| told.number).collect::<Vec<_>>();
        (1..=65).for_each(|number| own.keep(told(1, number, 1)));
        assert_eq!((kept().len(), kept()[0]), (TOLD_MAX, 2));
        own.keep(told(1, 66, OCTETS_MAX - 1));
        assert_eq!(kept(), [65, 66]);
        own.keep(told(1, 67, OCTETS_MAX + 1));
        assert_eq!(kept(), [0_i64; 0]);
    }

    #[test]
    fn what_is_read_of_it_elsewhere_is_the_same() {
        let at = Timestamp::from_millis(1_790_000_000_123);
        let whose = Whose {
            tenant: "shop.example".parse().unwrap(),
            account: Some("a@shop.example".parse().unwrap()),
        };
        let mut recipients = Sketch::default();
        (0..9_000_u32).for_each(|n| recipients.insert(n.wrapping_mul(2_654_435_761)));
        let (mut few, mut networks) = (Sketch::default(), Top::default());
        few.insert(7);
        (0..200_u64).for_each(|n| networks.add(&format!("192.0.{n}.0/24"), n, 200 - n));
        let share = |recipients| Share {
            day: Day::new(20_717),
            counts: Counts { messages: 3, recipients: 9, bounced: 1, ..Counts::default() },
            seen: Seen { first: at, last: at },
            recipients,
            networks: networks.clone(),
            domains: Top::default(),
        };
        let key = EgressKey { address: "192.0.2.1".parse().unwrap(), hour: Hour::new(9), whose };
        let egress = EgressShare { messages: 1, points: 12.3, ..EgressShare::default() };
        let counted =
            Minute { collected: Duration::from_millis(59_999), lost: 1, ..Minute::default() };
        let mut usage = Tally::default();
        usage.shares.insert((key.whose.clone(), Hour::new(9)), share(recipients));
        usage.shares.insert((key.whose.clone(), Hour::new(10)), share(few));
        usage.shares.insert((key.whose.clone(), Hour::new(11)), share(Sketch::default()));
        usage.minutes.insert(29_833_333, counted);
        usage.reasons.insert((Hour::new(9), Some(key.whose.clone()), "limit".into()), 4);
        usage.reasons.insert((Hour::new(9), None, "no-relay".into()), 1);
        usage.egress.insert(key.clone(), egress);
        let event = NewEvent {
            at,
            name: "message".into(),
            tenant: Some(key.whose.tenant.clone()),
            account: key.whose.account,
            body: r#"{"event":"message","from":"\u00e9\"@shop.example"}"#.into(),
            marks: vec![Mark::Recipient("x@remote.example".parse().unwrap())],
        };
        let signs = vec![(at, Sign::Clear("limit-near account a@shop.example".into()))];
        let content = Content { usage, events: vec![event], signs, ..Content::default() };
        let read = wire::decode(&wire::encode(&content).unwrap()).unwrap();
        assert_eq!(format!("{content:?}"), format!("{read:?}"));
    }
}
