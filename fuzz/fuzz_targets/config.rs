//! Configuration files. Whatever they hold, reading them does not panic; every mistake names its line or its key; what is
//! accepted opens nothing: a submission listener wants a login, and TLS unless it says otherwise.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::path::Path;
use tollgate::{
    config::{Config, ConfigError, Moves, parse, warnings},
    intake::ListenerKind,
};

fuzz_target!(|text: &str| {
    // Files that a configuration names are read; which are there must not decide what is found.
    if text.contains("password_file") {
        return;
    }
    check(text);
    // Tables that add to a configuration, so that more is looked at than what is missing.
    check(&format!("{LEAST}{text}"));
});

/// Little more than the least that is a configuration.
const LEAST: &str = r#"
[server]
hostname = "gate.example"
[tls]
self_signed = true
[auth]
passwd_file = "passwd"
[limits]
default_plan = "p"
[plan.p]
[next_hop]
kind = "folder"
[[listener]]
name = "in"
kind = "submission"
address = "127.0.0.1:2587"
"#;

fn check(text: &str) {
    match parse(text, Path::new("x.toml"), &Moves::default()) {
        Ok(config) => check_accepted(config),
        Err(ConfigError::Wrong { problems, .. }) => {
            assert!(!problems.is_empty());
            for problem in problems {
                assert!(!problem.key.is_empty() && !problem.detail.is_empty(), "{problem}");
            }
        }
        Err(error) => {
            let said = error.to_string();
            assert!(said.contains("x.toml: line "), "{said}");
        }
    }
}

fn check_accepted(mut config: Config) {
    assert!(!config.listeners.is_empty());
    for listener in &config.listeners {
        let settings = config.session_settings(listener);
        let is_open = !settings.require_auth;
        assert!(!is_open || listener.kind == ListenerKind::Smarthost, "{listener:?}");
        assert!(settings.require_tls || listener.plaintext_auth || is_open, "{listener:?}");
        assert!(settings.recipients_max >= 1 && settings.errors_max >= 1);
        assert!(!settings.timeout_command.is_zero() && !settings.timeout_data.is_zero());
    }
    for warning in warnings(&config) {
        assert!(!warning.to_string().is_empty());
    }
    let running = config.clone();
    assert!(config.keep_fixed(&running).is_empty(), "a file differs from itself");
}
