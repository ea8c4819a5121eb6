//! Whole conversations: any input, cut in any way, any answers, any waits. What is asserted stands in `judge` and `session` of
//! this crate's library; docs/testing.md sums it up.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_fuzz::{
    program::Program,
    session::{Cut, play},
};

fuzz_target!(|input: &[u8]| {
    let Some(program) = Program::read(input) else { return };
    let whole = play(&program, Cut::Whole);
    if program.is_comparable() && !whole.text_refused {
        // Octet by octet for everything that is not there to fill a buffer.
        let cut = if program.bytes() <= 16_384 { Cut::Octets } else { Cut::Pieces };
        let other = play(&program, cut);
        let same = other == whole || program.stops();
        assert!(same, "another cut, another conversation: {other}\n—\n{whole}");
    }
});
