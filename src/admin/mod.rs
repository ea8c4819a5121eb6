//! One function for each use case of an operator; no HTTP and no command-line types.
