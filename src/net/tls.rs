//! Our side of TLS: the certificate, its renewal, the handshake.
//!
//! TLS 1.2 and 1.3 by rustls with *ring* as the only provider. The certificate can be read again while the server runs;
//! connections keep the one that they began with, and a pair of files that does not fit leaves the former in force.
//! For trying things out a self-signed certificate is made where there is none. Client certificates are not asked for.

use super::TlsSettings;
use crate::{clock, types::Domain};
use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::ring::{self, Ticketer},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// Why there is no certificate to show.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("find {wanted} in {}: {problem}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
        /// What was found.
        problem: String,
    },
    /// The certificate and the key cannot be used together.
    #[error("use {} with the key {}: {problem}", certificate.display(), key.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why not.
        problem: String,
    },
    /// A self-signed certificate cannot be made.
    #[error("make a self-signed certificate: {0}")]
    SelfSigned(String),
    /// TLS itself cannot be set up.
    #[error("set up TLS: {0}")]
    Setup(#[from] rustls::Error),
}

/// Makes TLS of accepted connections.
pub struct TlsServer(ArcSwap<Loaded>);

struct Loaded {
    settings: TlsSettings,
    config: Arc<ServerConfig>,
}

impl TlsServer {
    /// Reads the certificate and the key, or makes them where the settings say so. Blocks, so call it at start.
    ///
    /// # Errors
    /// The files are missing, unreadable, or do not fit together.
    pub fn new(settings: TlsSettings) -> Result<Self, TlsError> {
        Ok(Self(ArcSwap::from_pointee(Loaded::new(settings)?)))
    }

    /// Reads the same files again; handshakes that begin from now on use them. Tickets of earlier sessions become void.
    /// Reads two small files, which is short enough for an event loop at a reload.
    ///
    /// # Errors
    /// As [`TlsServer::new`]; the former certificate stays in force.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.reload_with(self.0.load().settings.clone())
    }

    /// As [`TlsServer::reload`], with new settings.
    ///
    /// # Errors
    /// As [`TlsServer::new`]; the former certificate and settings stay in force.
    pub fn reload_with(&self, settings: TlsSettings) -> Result<(), TlsError> {
        self.0.store(Arc::new(Loaded::new(settings)?));
        Ok(())
    }

    /// Does the handshake.
    ///
    /// # Errors
    /// `TimedOut` after [`TlsSettings::timeout_handshake`], `InvalidData` if what came is not TLS or has nothing in common
    /// with us, or what the connection says.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let (acceptor, wait) = {
            let present = self.0.load();
            (TlsAcceptor::from(Arc::clone(&present.config)), present.settings.timeout_handshake)
        };
        handshake_within(wait, acceptor.accept(stream)).await
    }
}

impl Loaded {
    fn new(settings: TlsSettings) -> Result<Self, TlsError> {
        if let Some(name) = &settings.self_signed_for
            && !settings.certificate.exists()
            && !settings.key.exists()
        {
            make_self_signed(&settings, name)?;
        }
        let config = load(&settings)?;
        Ok(Self { settings, config })
    }
}

async fn handshake_within<T>(
    wait: Duration,
    handshake: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    tokio::time::timeout(wait, handshake).await.unwrap_or_else(|_| {
        Err(io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake took too long"))
    })
}

fn load(settings: &TlsSettings) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = load_chain(&settings.certificate)?;
    let key = load_key(&settings.key)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| TlsError::Mismatch {
            certificate: settings.certificate.clone(),
            key: settings.key.clone(),
            problem: error.to_string(),
        })?;
    config.ticketer = Ticketer::new()?;
    Ok(Arc::new(config))
}

fn load_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let content = |problem: String| TlsError::Content {
        path: path.to_owned(),
        wanted: "a certificate",
        problem,
    };
    let pem = read_pem(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|error| content(error.to_string()))?;
    if chain.is_empty() { Err(content(String::from("there is none"))) } else { Ok(chain) }
}

fn load_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read_pem(path)?).map_err(|error| TlsError::Content {
        path: path.to_owned(),
        wanted: "a private key",
        problem: error.to_string(),
    })
}

fn read_pem(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::Read { path: path.to_owned(), source };
    let mut pem = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(PEM_BYTES_MAX).read_to_end(&mut pem).map_err(failed)?;
    Ok(pem)
}

/// Writes a key and a certificate for `name`, `localhost` and 127.0.0.1.
fn make_self_signed(settings: &TlsSettings, name: &Domain) -> Result<(), TlsError> {
    let problem = |error: rcgen::Error| TlsError::SelfSigned(error.to_string());
    // An address literal goes in as an address.
    let own = name.as_str().trim_matches(['[', ']']);
    let mut names = vec![own, "localhost", "127.0.0.1"];
    names.dedup();
    let names: Vec<String> = names.into_iter().map(String::from).collect();
    let mut params = rcgen::CertificateParams::new(names).map_err(problem)?;
    params.distinguished_name.push(rcgen::DnType::CommonName, name.as_str());
    (params.not_before, params.not_after) = {
        let (year, month, day) = today();
        let on = |year| rcgen::date_time_ymd(year, month, day);
        (on(year), on(year + SELF_SIGNED_YEARS))
    };
    let key = rcgen::KeyPair::generate().map_err(problem)?;
    let certificate = params.self_signed(&key).map_err(problem)?;
    write_new(&settings.key, &key.serialize_pem(), 0o600)?;
    // A key without a certificate would be in the way at the next start.
    write_new(&settings.certificate, &certificate.pem(), 0o644)
        .inspect_err(|_| drop(fs::remove_file(&settings.key)))
}

/// The present date, with a day that exists in every year.
fn today() -> (i32, u8, u8) {
    let now = jiff::Timestamp::from_millisecond(clock::wall_now().as_millis()).unwrap_or_default();
    let date = jiff::tz::Offset::UTC.to_datetime(now).date();
    let part = |number: i8| u8::try_from(number).unwrap_or(1);
    (i32::from(date.year()), part(date.month()), part(date.day().min(28)))
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), TlsError> {
    let failed = |source| TlsError::Write { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    })
    .map_err(failed)
}

/// More than any chain; what comes after is not looked at.
const PEM_BYTES_MAX: u64 = 1024 * 1024;
const SELF_SIGNED_YEARS: i32 = 10;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::net::{Listener, Stream};
    use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, pki_types::ServerName};
    use std::os::unix::fs::MetadataExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::{TlsConnector, client};

    /// A server with files of its own.
    pub(in crate::net) struct Bench {
        pub(in crate::net) server: TlsServer,
        pub(in crate::net) listener: Listener,
        settings: TlsSettings,
        _dir: tempfile::TempDir,
    }

    fn settings_in(folder: &Path, timeout_handshake: Duration) -> TlsSettings {
        TlsSettings {
            certificate: folder.join("tls/cert.pem"),
            key: folder.join("tls/key.pem"),
            self_signed_for: Some("gate.example".parse().unwrap()),
            timeout_handshake,
        }
    }

    impl Bench {
        pub(in crate::net) fn set_up(timeout_handshake: Duration) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let settings = settings_in(dir.path(), timeout_handshake);
            Self {
                server: TlsServer::new(settings.clone()).unwrap(),
                listener: Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap(),
                settings,
                _dir: dir,
            }
        }

        /// A connection's two ends before TLS.
        pub(in crate::net) async fn pair(&self) -> (TcpStream, TcpStream) {
            let connect = TcpStream::connect(self.listener.address());
            let (client, (server, _)) = tokio::join!(connect, self.listener.accept());
            (client.unwrap(), server)
        }

        /// What a client does that believes the present certificate file.
        pub(in crate::net) async fn handshake(
            &self,
            stream: TcpStream,
            name: &'static str,
        ) -> io::Result<client::TlsStream<TcpStream>> {
            self.handshake_with(stream, name, rustls::DEFAULT_VERSIONS).await
        }

        async fn handshake_with(
            &self,
            stream: TcpStream,
            name: &'static str,
            versions: &[&'static SupportedProtocolVersion],
        ) -> io::Result<client::TlsStream<TcpStream>> {
            let mut roots = RootCertStore::empty();
            roots.add(self.certificate_in_file()).unwrap();
            let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_protocol_versions(versions)
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            let name = ServerName::try_from(name).unwrap();
            TlsConnector::from(Arc::new(config)).connect(name, stream).await
        }

        fn certificate_in_file(&self) -> CertificateDer<'static> {
            load_chain(&self.settings.certificate).unwrap().remove(0)
        }

        /// The certificate that a client sees, if it believes the one in the file.
        async fn shown(&self, name: &'static str) -> io::Result<CertificateDer<'static>> {
            let (client, server) = self.pair().await;
            let (client, _server) =
                tokio::join!(self.handshake(client, name), self.server.accept(server));
            Ok(client?.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned())
        }

        /// Puts another pair of files in place.
        fn renew(&self) {
            fs::remove_file(&self.settings.certificate).unwrap();
            fs::remove_file(&self.settings.key).unwrap();
            make_self_signed(&self.settings, &"gate.example".parse().unwrap()).unwrap();
        }
    }

    const PATIENT: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_self_signed_certificate_is_made_for_name_and_loopback() {
        let bench = Bench::set_up(PATIENT);
        for name in ["gate.example", "localhost", "127.0.0.1"] {
            assert_eq!(bench.shown(name).await.unwrap(), bench.certificate_in_file(), "{name}");
        }
        assert!(bench.shown("other.example").await.is_err());
        let mode = |path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&bench.settings.key), 0o600);
        assert_eq!(mode(&bench.settings.certificate) & 0o133, 0);
        let before = bench.certificate_in_file();
        TlsServer::new(bench.settings.clone()).unwrap();
        assert_eq!(bench.certificate_in_file(), before, "files that exist are left alone");
    }

    #[tokio::test]
    async fn a_reload_shows_the_new_certificate_and_keeps_the_old_when_the_new_is_wrong() {
        let bench = Bench::set_up(PATIENT);
        let first = bench.shown("gate.example").await.unwrap();
        bench.renew();
        assert!(bench.shown("gate.example").await.is_err(), "the first is still shown");
        bench.server.reload().unwrap();
        let second = bench.shown("gate.example").await.unwrap();
        assert_ne!(first, second);

        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        fs::write(&bench.settings.key, key).unwrap();
        let error = bench.server.reload().unwrap_err();
        assert!(matches!(error, TlsError::Mismatch { .. }), "{error}");
        assert!(error.to_string().contains("key.pem"), "{error}");
        assert_eq!(bench.shown("gate.example").await.unwrap(), second);
    }

    #[tokio::test]
    async fn a_connection_outlives_a_reload() {
        let bench = Bench::set_up(PATIENT);
        let (client, server) = bench.pair().await;
        let (client, server) =
            tokio::join!(bench.handshake(client, "gate.example"), bench.server.accept(server));
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        bench.renew();
        bench.server.reload().unwrap();
        client.write_all(b"EHLO x\r\n").await.unwrap();
        client.flush().await.unwrap();
        let mut heard = [0; 8];
        server.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"EHLO x\r\n");
    }

    #[test]
    fn wrong_files_are_named() {
        let check = |certificate: Option<&str>, key: Option<&str>, says: &str| {
            let dir = tempfile::tempdir().unwrap();
            let settings = settings_in(dir.path(), PATIENT);
            fs::create_dir(dir.path().join("tls")).unwrap();
            for (path, text) in [(&settings.certificate, certificate), (&settings.key, key)] {
                if let Some(text) = text {
                    fs::write(path, text).unwrap();
                }
            }
            let error = TlsServer::new(settings).err().unwrap().to_string();
            assert!(error.contains(says), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        };
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap().pem();
        let key = key.serialize_pem();
        check(Some(&certificate), None, "key.pem");
        check(None, Some(&key), "cert.pem");
        check(Some("hunter2"), Some(&key), "cert.pem: there is none");
        check(Some(&certificate), Some("hunter2"), "a private key in");
        check(Some(&key), Some(&key), "cert.pem: there is none");
        check(
            Some("-----BEGIN CERTIFICATE-----\nhunter2=\n-----END CERTIFICATE-----\n"),
            Some(&key),
            "cert.pem",
        );
    }

    #[tokio::test]
    async fn a_session_may_move_from_thread_to_thread() {
        let bench = Bench::set_up(PATIENT);
        let (client, server) = bench.pair().await;
        let client = bench.handshake(client, "gate.example");
        let server = async { Stream::from(server).into_tls(&bench.server).await };
        fn sendable<F: Future + Send>(future: F) -> F {
            future
        }
        let (client, server) = tokio::join!(client, sendable(server));
        assert!(client.is_ok() && server.is_ok());
    }

    #[tokio::test]
    async fn a_silent_client_is_not_waited_for() {
        let bench = Bench::set_up(Duration::from_millis(20));
        let (_client, server) = bench.pair().await;
        let error = bench.server.accept(server).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn what_is_not_tls_is_an_error() {
        let bench = Bench::set_up(PATIENT);
        let (mut client, server) = bench.pair().await;
        client.write_all(b"EHLO client.example\r\n").await.unwrap();
        let error = bench.server.accept(server).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);

        let (client, server) = bench.pair().await;
        drop(client);
        let error = bench.server.accept(server).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn a_plain_stream_becomes_tls() {
        let bench = Bench::set_up(PATIENT);
        let (client, server) = bench.pair().await;
        let remote = client.local_addr().unwrap();
        let plain = Stream::from(server);
        assert!(plain.tls().is_none());
        let (client, server) =
            tokio::join!(bench.handshake(client, "gate.example"), plain.into_tls(&bench.server));
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        let facts = server.tls().unwrap();
        assert_eq!(facts.server_name, Some("gate.example"));
        assert_eq!(server.peer_addr().unwrap(), remote);

        let pieces = [io::IoSlice::new(b"250-a\r\n"), io::IoSlice::new(b"250 b\r\n")];
        let written = server.write_vectored(&pieces).await.unwrap();
        server.write_all(&b"250-a\r\n250 b\r\n"[written..]).await.unwrap();
        server.shutdown().await.unwrap();
        let mut heard = String::new();
        client.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "250-a\r\n250 b\r\n", "and the end is a proper one");
        assert!(server.into_tls(&bench.server).await.is_err(), "there is no TLS within TLS");
    }

    #[tokio::test]
    async fn both_versions_of_tls_are_spoken() {
        let bench = Bench::set_up(PATIENT);
        for (versions, name, cipher) in [
            (&[&rustls::version::TLS12], "TLSv1.2", "TLS_ECDHE_ECDSA_"),
            (&[&rustls::version::TLS13], "TLSv1.3", "TLS13_"),
        ] {
            let (client, server) = bench.pair().await;
            let (client, server) = tokio::join!(
                bench.handshake_with(client, "gate.example", versions),
                Stream::from(server).into_tls(&bench.server)
            );
            let (_client, server) = (client.unwrap(), server.unwrap());
            let facts = server.tls().unwrap();
            assert_eq!(facts.version, name);
            assert!(facts.cipher.starts_with(cipher), "{}", facts.cipher);
        }
    }
}
