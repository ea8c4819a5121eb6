//! All lists together: whether the resolver answers at all, and what is told of lists that cannot be believed.
//!
//! If nobody answers for any list it is the resolver, and that is one thing and not one for each list.

use super::{Answer, Change, Finding, Health, Impairment, Lane, Question};
use crate::types::Timestamp;
use std::sync::Arc;

/// All lists.
#[derive(Debug, Clone, Default)]
pub struct Roster {
    lanes: Vec<Lane>,
    /// Of each list: its last question had no answer.
    silent: Vec<bool>,
    is_dead: bool,
}

/// What is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// A list cannot be believed.
    Impaired(Arc<str>, Impairment),
    /// It can again.
    Well(Arc<str>),
    /// No list answers: the resolver cannot be asked.
    ResolverDead,
    /// It can again.
    ResolverAlive,
}

impl Roster {
    /// These lists.
    #[must_use]
    pub fn new(lanes: Vec<Lane>) -> Self {
        Self { silent: vec![false; lanes.len()], lanes, is_dead: false }
    }

    /// The lists.
    #[must_use]
    pub fn lanes(&self) -> &[Lane] {
        &self.lanes
    }

    /// The lists, to ask what they want.
    pub fn lanes_mut(&mut self) -> &mut [Lane] {
        &mut self.lanes
    }

    /// True if no list answers.
    #[must_use]
    pub const fn is_dead(&self) -> bool {
        self.is_dead
    }

    /// Takes over what was told before; what was told of a list that is not asked any more is over.
    pub fn inherit(&mut self, before: &Self) -> Vec<Happening> {
        self.is_dead = before.is_dead;
        let mut over = Vec::new();
        for lane in before.lanes.iter().filter(|lane| lane.told.is_some()) {
            let name = lane.list().name();
            match self.lanes.iter_mut().find(|own| own.list().name() == name) {
                Some(own) => own.told = lane.told,
                None => over.push(Happening::Well(name.clone())),
            }
        }
        over
    }

    /// Takes the answer to a question of one list.
    pub fn answered(
        &mut self,
        number: usize,
        (question, answer): (&Question, &Answer),
        now: Timestamp,
        chance: u64,
    ) -> Option<(Finding, Option<Change>)> {
        let result = self.lanes.get_mut(number)?.answered(question, answer, now, chance);
        self.hear(number, !matches!(answer, Answer::Failed(_)), now);
        Some(result)
    }

    /// Takes note of what a list answered to somebody else.
    pub fn overheard(&mut self, number: usize, found: &Finding, now: Timestamp) {
        if let Some(lane) = self.lanes.get_mut(number) {
            lane.overheard(found, now);
        }
    }

    /// Takes note whether there was an answer; if there was none, the others are asked soon, so that it shows whose fault it is.
    pub fn hear(&mut self, number: usize, is_answered: bool, now: Timestamp) {
        let Some(silent) = self.silent.get_mut(number) else { return };
        let was_silent = std::mem::replace(silent, !is_answered);
        if is_answered == was_silent {
            self.lanes.iter_mut().for_each(|lane| lane.test_soon(now));
        }
    }

    /// What is to be told of lists and of the resolver since the last call.
    pub fn news(&mut self) -> Vec<Happening> {
        let mut news = Vec::new();
        let is_dead = self.lanes.len() > 1 && self.silent.iter().all(|silent| *silent);
        let is_known = is_dead || self.lanes.iter().all(|lane| lane.tested().is_some());
        if is_known && is_dead != self.is_dead {
            self.is_dead = is_dead;
            if !is_dead {
                self.lanes.iter_mut().for_each(Lane::forgive);
            }
            news.push(if is_dead { Happening::ResolverDead } else { Happening::ResolverAlive });
        }
        for lane in &mut self.lanes {
            let wanted = match lane.health() {
                Health::Untested => continue,
                Health::Well => lane.unexplained(),
                // It may be the resolver: that shows when the list was silent a second time.
                Health::Impaired(why)
                    if why.is_silence() && (is_dead || lane.silent_rounds < 2) =>
                {
                    lane.told
                }
                Health::Impaired(why) => Some(why),
            };
            if wanted == lane.told {
                continue;
            }
            lane.told = wanted;
            let name = lane.list().name().clone();
            news.push(
                wanted.map_or(Happening::Well(name.clone()), |why| Happening::Impaired(name, why)),
            );
        }
        news
    }
}
