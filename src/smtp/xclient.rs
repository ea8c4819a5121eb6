//! xclient
