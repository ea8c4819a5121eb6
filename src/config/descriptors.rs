//! Who gets how many file descriptors.
//!
//! A connection needs one, and a text that comes in may need another for its file. What the program itself, its operator
//! and the way to the next hops need is kept for them, so clients hear 421 or 452 long before the system says EMFILE.

use super::Config;
use crate::{deliver, intake::places::HouseCounts};

/// What a configuration gets out of the descriptors that there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// How many connections, texts and sessions of a login there may be.
    pub house: HouseCounts,
    /// What is kept from clients.
    pub kept: usize,
    /// What of the configuration does not fit, as sentences that name its keys.
    pub warnings: Vec<String>,
}

/// Shares out so many descriptors; none if hardly any would be left for clients.
#[must_use]
pub fn budget(config: &Config, descriptors: usize) -> Option<Budget> {
    let kept = kept(config);
    let left = descriptors.checked_sub(kept).filter(|&left| left >= CLIENTS_MIN)?;
    let listeners: usize = config.listeners.iter().map(|listener| listener.connections_max).sum();
    let wanted = config.connections_max.unwrap_or(listeners);
    let texts = config.session.data_sessions_max.min(wanted).min(left / TEXTS_PART);
    let connections = wanted.min(left - texts);
    let house =
        HouseCounts { connections, texts, per_login: config.session.connections_per_account_max };
    let mut warnings = Vec::new();
    if connections < wanted {
        let key =
            config.connections_max.map_or("listener.connections_max", |_| "server.connections_max");
        warnings.push(format!(
            "{key}: {wanted} connections are more than {descriptors} file descriptors allow; {connections} are \
             served at a time (raise LimitNOFILE=)"
        ));
    }
    let texts_wanted = config.session.data_sessions_max.min(wanted);
    if texts < texts_wanted {
        warnings.push(format!(
            "session.data_sessions_max: {texts_wanted} texts are more than {descriptors} file descriptors allow; \
             {texts} come in at a time (raise LimitNOFILE=)"
        ));
    }
    Some(Budget { house, kept, warnings })
}

/// What the program itself, its operator and the way to the next hops may need at a time.
fn kept(config: &Config) -> usize {
    let hops = match &config.next_hop {
        deliver::Settings::Smarthost(smarthost) => {
            let slots = smarthost.hosts.iter().map(|host| usize::try_from(host.connections_max));
            slots.map(|count| count.unwrap_or(usize::MAX)).fold(0, usize::saturating_add)
        }
        deliver::Settings::Folder { .. } => FOLDER_FILES,
    };
    let sockets: usize = config.listeners.iter().map(|listener| listener.addresses.len()).sum();
    OWN.saturating_add(OPERATORS).saturating_add(sockets).saturating_add(hops)
}

/// The store's and the log's files, the event loop, look-ups of names, probes, files that are read again, and connections that
/// are just being refused.
const OWN: usize = 96;
/// Connections to the control socket, to the listener for metrics and health, and to that of the API and the dashboard.
const OPERATORS: usize = 3 * 64;
/// Messages that are being written into a folder.
const FOLDER_FILES: usize = 64;
/// With fewer descriptors left for clients the program does not start.
const CLIENTS_MIN: usize = 32;
/// At most one in so many of what is left is for texts.
const TEXTS_PART: usize = 4;
