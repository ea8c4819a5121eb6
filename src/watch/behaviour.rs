//! Writes down what is remembered of senders, and lets go of what is not in use.

use crate::{
    clock::Clock,
    store::behaviour::{Minds, Wanted},
};
use std::{sync::Arc, time::Duration};

/// The task.
pub struct Scribe {
    /// What is remembered.
    pub minds: Arc<Minds>,
    /// The time.
    pub clock: Clock,
}

impl Scribe {
    /// Writes again and again; never ends. What comes last is written when the program stops.
    pub async fn run(self) {
        let mut is_failing = false;
        for round in 1_u32.. {
            tokio::time::sleep(WRITE_EVERY).await;
            let written = self.minds.write(self.clock.now(), Wanted::Due).await;
            if let (Err(error), false) = (&written, is_failing) {
                tracing::error!(%error, "what is learnt of senders cannot be written down");
            }
            is_failing = written.is_err();
            if round % ROUNDS_PER_SWEEP == 0 {
                self.minds.sweep(self.clock.now());
            }
        }
    }
}

/// What was learnt in this time is lost in a crash.
const WRITE_EVERY: Duration = Duration::from_secs(5);
const ROUNDS_PER_SWEEP: u32 = 12;
