//! Facts of a message: header fields that name the sender, Received counting; builds Received.
