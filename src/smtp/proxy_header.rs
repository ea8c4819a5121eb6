//! proxy_header
