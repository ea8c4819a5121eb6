//! What a failing test says of the programs that it ran: their logs, and below each log once more why the test failed,
//! because a log is long, and its end may be all that is kept.

use std::{cell::RefCell, panic, sync::Once, thread};

/// From here on, panics of this process are kept for [`tell`].
pub(crate) fn remember() {
    static REMEMBERS: Once = Once::new();
    REMEMBERS.call_once(|| {
        let say = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            REASON.set(panic.to_string());
            say(panic);
        }));
    });
}

/// Says the log of `whose`, if the test of this thread is failing.
pub(crate) fn tell(whose: &str, log: impl FnOnce() -> String) {
    if thread::panicking() {
        let reason = REASON.with_borrow(Clone::clone);
        eprintln!("-- the log of {whose} --\n{}\n-- the test {reason} --", log());
    }
}

thread_local! {
    static REASON: RefCell<String> = const { RefCell::new(String::new()) };
}
