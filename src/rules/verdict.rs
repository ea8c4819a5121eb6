//! What the client hears: the one place where decisions become replies.
