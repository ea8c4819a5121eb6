//! DNS: what resolvers say about one absolute name. Only the resolvers that are configured are asked, or those of the system; never
//! a public one because nothing else was said.
//!
//! [`Resolver`] remembers nothing: whoever asks knows how old an answer may be. An answer that was cut off is fetched again over TCP,
//! no search domain is ever added, and a question ends within its budget whatever the resolvers do.

mod lookups;

pub use lookups::{Found, LookupCounts, LookupSettings, Lookups, OnList};

use crate::rules::blocklist::{Answer, Failure};
use hickory_resolver::{
    TokioResolver,
    config::{
        ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
        ServerOrderingStrategy,
    },
    lookup::Lookup,
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::ResponseCode,
        rr::{Name, RData, RecordType},
    },
    system_conf::read_system_conf,
};
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// Who is asked, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The resolvers; empty: those of the system.
    pub servers: Vec<SocketAddr>,
    /// How long one of them may take.
    pub timeout: Duration,
    /// How often it is asked.
    pub tries: u32,
    /// How long all of that may take.
    pub time_max: Duration,
}

/// Asks resolvers.
pub struct Resolver {
    inner: TokioResolver,
    servers: Vec<SocketAddr>,
    time_max: Duration,
}

/// Why nobody can be asked; fits "failed to start: {error}".
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The system's resolvers are not known.
    #[error("read the system's resolvers (/etc/resolv.conf)")]
    System(#[source] NetError),
    /// They cannot be used.
    #[error("use the resolvers")]
    Use(#[source] NetError),
}

impl Resolver {
    /// Makes ready; asks nobody yet.
    ///
    /// # Errors
    /// [`ResolveError`] if no resolver is given and the system names none.
    pub fn new(settings: &Settings) -> Result<Self, ResolveError> {
        let mut servers = settings.servers.clone();
        if servers.is_empty() {
            servers = system_servers().map_err(ResolveError::System)?;
        }
        servers.truncate(SERVERS_MAX);
        let config =
            ResolverConfig::from_parts(None, Vec::new(), servers.iter().map(name_server).collect());
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options(settings);
        let inner = builder.build().map_err(ResolveError::Use)?;
        Ok(Self { inner, servers, time_max: settings.time_max })
    }

    /// Who is asked.
    #[must_use]
    pub fn servers(&self) -> &[SocketAddr] {
        &self.servers
    }

    /// The IPv4 addresses of an absolute name, as far as they fit ([`ADDRESSES_MAX`]).
    pub async fn addresses(&self, name: &str) -> Answer {
        match self.look_up(name, RecordType::A).await {
            Ok(found) => addresses(&found),
            Err(answer) => answer,
        }
    }

    /// The first text of an absolute name, if there is one.
    pub async fn text(&self, name: &str) -> Result<Option<String>, Failure> {
        match self.look_up(name, RecordType::TXT).await {
            Ok(found) => Ok(found.answers().iter().find_map(|record| text(&record.data))),
            Err(Answer::Failed(failure)) => Err(failure),
            Err(_) => Ok(None),
        }
    }

    /// True of a name that can be asked for at all.
    #[must_use]
    pub fn can_ask(name: &str) -> bool {
        Name::from_ascii(name).is_ok()
    }

    async fn look_up(&self, name: &str, record: RecordType) -> Result<Lookup, Answer> {
        let name = Name::from_ascii(name).map_err(|_| Answer::Failed(Failure::Other))?;
        match tokio::time::timeout(self.time_max, self.inner.lookup(name, record)).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(failed(&error)),
            Err(_) => Err(Answer::Failed(Failure::Timeout)),
        }
    }
}

fn name_server(server: &SocketAddr) -> NameServerConfig {
    let at_port = |mut connection: ConnectionConfig| {
        connection.port = server.port();
        connection
    };
    let connections = vec![at_port(ConnectionConfig::udp()), at_port(ConnectionConfig::tcp())];
    NameServerConfig::new(server.ip(), true, connections)
}

fn options(settings: &Settings) -> ResolverOpts {
    let mut options = ResolverOpts::default();
    options.timeout = settings.timeout;
    // It counts those after the first.
    options.attempts = usize::try_from(settings.tries.saturating_sub(1)).unwrap_or(0);
    options.cache_size = 0;
    options.positive_max_ttl = Some(Duration::ZERO);
    options.negative_max_ttl = Some(Duration::ZERO);
    options.use_hosts_file = ResolveHosts::Never;
    options.num_concurrent_reqs = 1;
    options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
    options
}

/// The resolvers of the system, without its search domains.
fn system_servers() -> Result<Vec<SocketAddr>, NetError> {
    let (config, _) = read_system_conf()?;
    let address = |server: &NameServerConfig| {
        let port = server.connections.first().map_or(DNS_PORT, |connection| connection.port);
        SocketAddr::new(server.ip, port)
    };
    Ok(config.name_servers().iter().map(address).collect())
}

fn addresses(found: &Lookup) -> Answer {
    let of_record =
        |data: &RData| if let RData::A(address) = data { Some(address.0) } else { None };
    let records = found.answers().iter().filter_map(|record| of_record(&record.data));
    let addresses: Vec<_> = records.take(ADDRESSES_MAX).collect();
    if addresses.is_empty() { Answer::NoData } else { Answer::Addresses(addresses) }
}

/// What can be shown of a text, as far as it fits.
fn text(data: &RData) -> Option<String> {
    let RData::TXT(text) = data else { return None };
    let octets: Vec<u8> = text.txt_data.iter().flatten().copied().take(TEXT_BYTES_MAX).collect();
    let shown = String::from_utf8_lossy(&octets);
    let shown: String = shown.chars().filter(|&c| crate::types::is_visible(c)).collect();
    Some(shown.trim().to_owned()).filter(|shown| !shown.is_empty())
}

fn failed(error: &NetError) -> Answer {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => Answer::NoName,
            ResponseCode::NoError => Answer::NoData,
            code => Answer::Failed(failure(code)),
        },
        NetError::Dns(DnsError::ResponseCode(code)) => Answer::Failed(failure(*code)),
        NetError::Timeout => Answer::Failed(Failure::Timeout),
        _ => Answer::Failed(Failure::Other),
    }
}

fn failure(code: ResponseCode) -> Failure {
    match code {
        ResponseCode::Refused => Failure::Refused,
        ResponseCode::ServFail => Failure::ServerFailure,
        _ => Failure::Other,
    }
}

/// True of resolvers that serve everybody: lists refuse them, because they cannot tell who asks.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    PUBLIC.iter().any(|public| public.parse() == Ok(address))
}

/// Google, Cloudflare, Quad9, OpenDNS, Level 3, AdGuard, Verisign, Yandex, DNS.SB.
const PUBLIC: [&str; 29] = [
    "8.8.8.8",
    "8.8.4.4",
    "2001:4860:4860::8888",
    "2001:4860:4860::8844",
    "1.1.1.1",
    "1.0.0.1",
    "1.1.1.2",
    "1.1.1.3",
    "2606:4700:4700::1111",
    "2606:4700:4700::1001",
    "9.9.9.9",
    "9.9.9.10",
    "149.112.112.112",
    "2620:fe::fe",
    "2620:fe::9",
    "208.67.222.222",
    "208.67.220.220",
    "2620:119:35::35",
    "2620:119:53::53",
    "4.2.2.1",
    "4.2.2.2",
    "94.140.14.14",
    "94.140.15.15",
    "64.6.64.6",
    "64.6.65.6",
    "77.88.8.8",
    "77.88.8.1",
    "185.222.222.222",
    "45.11.45.11",
];
/// Resolvers that are asked at most.
pub const SERVERS_MAX: usize = 8;
/// Addresses of one name that are looked at.
pub const ADDRESSES_MAX: usize = 32;
const TEXT_BYTES_MAX: usize = 400;
const DNS_PORT: u16 = 53;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_dns_cannot_have_are_told_apart() {
        let long = format!("{}.example.", "a".repeat(64));
        for (name, can) in [
            ("bad.example.urls.example.", true),
            ("-a.example.urls.example.", false),
            (&long, false),
        ] {
            assert_eq!(Resolver::can_ask(name), can, "{name}");
        }
    }
}
