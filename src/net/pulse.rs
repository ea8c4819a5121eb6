//! Whether loops that must go on do so: each is asked every few seconds and must have answered when it is asked again.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};
use tokio::sync::watch;

/// Asks, and knows who has answered.
#[derive(Debug)]
pub struct Pulse {
    /// How many times was asked.
    asked: watch::Sender<u64>,
    answers: Vec<Arc<AtomicU64>>,
}

/// Answers for one loop.
#[derive(Debug)]
pub struct Beat {
    asked: watch::Receiver<u64>,
    /// The last question that was answered with "all is well".
    answer: Arc<AtomicU64>,
}

impl Pulse {
    /// A pulse of so many loops, and their beats.
    #[must_use]
    pub fn of(loops: usize) -> (Self, Vec<Beat>) {
        let (sender, asked) = watch::channel(0);
        let beat = |_| Beat { asked: asked.clone(), answer: Arc::default() };
        let beats: Vec<Beat> = (0..loops).map(beat).collect();
        let answers = beats.iter().map(|beat| beat.answer.clone()).collect();
        (Self { asked: sender, answers }, beats)
    }

    /// Asks all loops. Those that did not answer the question before are silent from now on.
    pub fn ask(&self) {
        self.asked.send_modify(|asked| *asked += 1);
    }

    /// How many loops owe more than the present answer, of how many.
    #[must_use]
    pub fn silent(&self) -> (usize, usize) {
        let asked = *self.asked.borrow();
        let owes = |answer: &&Arc<AtomicU64>| answer.load(Relaxed) + 1 < asked;
        (self.answers.iter().filter(owes).count(), self.answers.len())
    }
}

impl Beat {
    /// Waits until the loop is asked. May be dropped while it waits.
    pub async fn asked(&mut self) {
        if self.asked.changed().await.is_err() {
            // Nobody will ask any more.
            std::future::pending::<()>().await;
        }
    }

    /// Answers that all is well.
    pub fn answer(&self) {
        self.answer.store(*self.asked.borrow(), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_owes_more_than_the_present_answer_is_silent() {
        let (pulse, mut beats) = Pulse::of(2);
        assert_eq!(pulse.silent(), (0, 2));
        pulse.ask();
        assert_eq!(pulse.silent(), (0, 2), "they have until the next question");
        for beat in &mut beats {
            beat.asked().await;
        }
        beats[0].answer();
        pulse.ask();
        assert_eq!(pulse.silent(), (1, 2));
        beats[1].asked().await;
        beats[1].answer();
        assert_eq!(pulse.silent(), (0, 2), "the first still has time");
        pulse.ask();
        assert_eq!(pulse.silent(), (1, 2));
    }
}
