//! TLS as the server, with real handshakes over loopback.

use super::{
    CertificateFiles, ClientCertificates, HandshakeFailure, Listener, Stream, TlsError, TlsServer,
    TlsSettings,
    certificate::{load_chain, make_self_signed},
};
use crate::types::ClientCertificate;
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
};
use std::{fs, io, os::unix::fs::MetadataExt, path::Path, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client};

/// A server with files of its own.
struct Bench {
    server: TlsServer,
    listener: Listener,
    settings: TlsSettings,
    folder: tempfile::TempDir,
}

fn settings_in(folder: &Path, timeout_handshake: Duration) -> TlsSettings {
    TlsSettings {
        certificates: vec![CertificateFiles {
            certificate: folder.join("tls/cert.pem"),
            key: folder.join("tls/key.pem"),
        }],
        self_signed_for: Some("gate.example".parse().unwrap()),
        client_ca: None,
        timeout_handshake,
    }
}

impl Bench {
    fn set_up(timeout_handshake: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings_in(dir.path(), timeout_handshake);
        Self {
            server: TlsServer::new(settings.clone()).unwrap(),
            listener: Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap(),
            settings,
            folder: dir,
        }
    }

    /// A connection's two ends before TLS.
    async fn pair(&self) -> (TcpStream, TcpStream) {
        let connect = TcpStream::connect(self.listener.address());
        let (client, (server, _)) = tokio::join!(connect, self.listener.accept());
        (client.unwrap(), server)
    }

    /// What a client does that believes the present certificate file.
    async fn handshake(
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
        load_chain(&self.files().certificate).unwrap().remove(0)
    }

    /// The certificate that a client sees, if it believes the one in the file.
    async fn shown(&self, name: &'static str) -> io::Result<CertificateDer<'static>> {
        let (client, server) = self.pair().await;
        let (client, _server) =
            tokio::join!(self.handshake(client, name), self.server.accept(server, NONE));
        Ok(client?.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned())
    }

    fn files(&self) -> &CertificateFiles {
        &self.settings.certificates[0]
    }

    /// Puts another pair of files in place.
    fn renew(&self) {
        fs::remove_file(&self.files().certificate).unwrap();
        fs::remove_file(&self.files().key).unwrap();
        make_self_signed(self.files(), &"gate.example".parse().unwrap()).unwrap();
    }
}

const NONE: ClientCertificates = ClientCertificates::None;
const PATIENT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_self_signed_certificate_is_made_for_name_and_loopback() {
    let bench = Bench::set_up(PATIENT);
    for name in ["gate.example", "localhost", "127.0.0.1"] {
        assert_eq!(bench.shown(name).await.unwrap(), bench.certificate_in_file(), "{name}");
    }
    assert!(bench.shown("other.example").await.is_err());
    let mode = |path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&bench.files().key), 0o600);
    assert_eq!(mode(&bench.files().certificate) & 0o133, 0);
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
    fs::write(&bench.files().key, key).unwrap();
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
        tokio::join!(bench.handshake(client, "gate.example"), bench.server.accept(server, NONE));
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
        for (path, text) in [
            (&settings.certificates[0].certificate, certificate),
            (&settings.certificates[0].key, key),
        ] {
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
    let server = async { Stream::from(server).into_tls(&bench.server, NONE).await };
    fn sendable<F: Future + Send>(future: F) -> F {
        future
    }
    let (client, server) = tokio::join!(client, sendable(server));
    assert!(client.is_ok() && server.is_ok());
}

/// What a handshake fails with when the client sends this and then, unless it waits, hangs up.
async fn failure(bench: &Bench, octets: &[u8], waits: bool) -> HandshakeFailure {
    let (mut client, server) = bench.pair().await;
    client.write_all(octets).await.unwrap();
    let waiting = waits.then_some(client);
    let error = bench.server.accept(server, NONE).await.unwrap_err();
    drop(waiting);
    error.failure
}

/// A ClientHello of TLS 1.1 (RFC 4346 §7.4.1.2) with one cipher suite and no extensions.
fn hello_of_tls_1_1() -> Vec<u8> {
    let body = [&[3, 2][..], &[7; 32], &[0, 0, 2, 0xc0, 0x14, 1, 0]].concat();
    let length = u8::try_from(body.len()).unwrap();
    [&[22, 3, 1, 0, length + 4, 1, 0, 0, length], &body[..]].concat()
}

#[tokio::test]
async fn every_failure_of_a_handshake_has_a_name() {
    let bench = Bench::set_up(PATIENT);
    let impatient = Bench::set_up(Duration::from_millis(20));
    let old = hello_of_tls_1_1();
    assert_eq!(failure(&impatient, b"", true).await, HandshakeFailure::Timeout);
    assert_eq!(failure(&impatient, &old[..7], true).await, HandshakeFailure::Timeout);
    assert_eq!(failure(&bench, b"EHLO client.example\r\n", true).await, HandshakeFailure::NotTls);
    assert_eq!(failure(&bench, b"", false).await, HandshakeFailure::ClientGone);
    assert_eq!(failure(&bench, &old[..7], false).await, HandshakeFailure::ClientGone);
    assert_eq!(failure(&bench, &old, true).await, HandshakeFailure::NoCommonVersion);

    // A client that does not believe our certificate says so.
    let (client, server) = bench.pair().await;
    let handshake = bench.handshake(client, "other.example");
    let (_, server) = tokio::join!(handshake, bench.server.accept(server, NONE));
    assert_eq!(server.unwrap_err().failure, HandshakeFailure::ClientRefused);
}

/// A certificate for a name and its key, signed by the given authority or by itself.
fn made(
    name: &str,
    issuer: Option<&rcgen::Issuer<'_, rcgen::KeyPair>>,
) -> (rcgen::Certificate, rcgen::KeyPair) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = match issuer {
        Some(issuer) => params.signed_by(&key, issuer),
        None => params.self_signed(&key),
    };
    (certificate.unwrap(), key)
}

impl Bench {
    /// Shows this certificate as well.
    fn add(&mut self, name: &str) -> CertificateDer<'static> {
        let folder = self.folder.path();
        let path = |kind: &str| folder.join(format!("{}.{kind}", name.replace('*', "any")));
        let files = CertificateFiles { certificate: path("pem"), key: path("key") };
        let (certificate, key) = made(name, None);
        fs::write(&files.certificate, certificate.pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        self.settings.certificates.push(files);
        certificate.der().clone()
    }

    /// The certificate that is shown to whoever asks for this name, believed or not.
    async fn shown_to(&self, name: &'static str) -> CertificateDer<'static> {
        let (client, server) = self.pair().await;
        let connector = TlsConnector::from(Arc::new(trusting(rustls::ALL_VERSIONS, None)));
        let client = connector.connect(ServerName::try_from(name).unwrap(), client);
        let (client, _server) = tokio::join!(client, self.server.accept(server, NONE));
        client.unwrap().get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    }
}

/// A client that believes everybody, and shows this.
fn trusting(
    versions: &[&'static SupportedProtocolVersion],
    own: Option<&(rcgen::Certificate, rcgen::KeyPair)>,
) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(super::connect::any_certificate());
    match own {
        Some((certificate, key)) => {
            let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
            builder.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap()
        }
        None => builder.with_no_client_auth(),
    }
}

#[tokio::test]
async fn each_name_has_its_certificate_and_all_others_get_the_first() {
    let mut bench = Bench::set_up(PATIENT);
    let first = bench.certificate_in_file();
    let shop = bench.add("mail.shop.example");
    let any = bench.add("*.shop.example");
    let _shadowed = bench.add("gate.example");
    bench.server.reload_with(bench.settings.clone()).unwrap();
    for (name, certificate) in [
        ("mail.shop.example", &shop),
        ("MAIL.shop.example", &shop),
        ("smtp.shop.example", &any),
        ("a.b.shop.example", &first),
        ("shop.example", &first),
        ("gate.example", &first),
        ("other.example", &first),
        // An address is no server name (RFC 6066 §3), so none is asked for.
        ("127.0.0.1", &first),
    ] {
        assert_eq!(&bench.shown_to(name).await, certificate, "{name}");
    }
}

#[tokio::test]
async fn one_wrong_file_among_several_changes_nothing_and_is_named() {
    let mut bench = Bench::set_up(PATIENT);
    let shop = bench.add("mail.shop.example");
    bench.server.reload_with(bench.settings.clone()).unwrap();
    let old = bench.shown_to("gate.example").await;
    bench.renew();
    let second = bench.settings.certificates[1].clone();
    let right = [fs::read(&second.certificate).unwrap(), fs::read(&second.key).unwrap()];
    let (nameless, its_key) = made("127.0.0.1", None);
    for (certificate, key, says) in [
        (&right[0][..], &b"nonsense"[..], "mail.shop.example.key"),
        (&right[0], its_key.serialize_pem().as_bytes(), "mail.shop.example.pem"),
        (nameless.pem().as_bytes(), its_key.serialize_pem().as_bytes(), "a host name"),
    ] {
        fs::write(&second.certificate, certificate).unwrap();
        fs::write(&second.key, key).unwrap();
        let error = bench.server.reload().unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
        assert_eq!(bench.shown_to("gate.example").await, old, "not half of it");
        assert_eq!(bench.shown_to("mail.shop.example").await, shop);
    }
    fs::write(&second.certificate, &right[0]).unwrap();
    fs::write(&second.key, &right[1]).unwrap();
    bench.server.reload().unwrap();
    assert_ne!(bench.shown_to("gate.example").await, old);
}

/// Shakes hands and exchanges an octet each way, so that tickets arrive; whether the session was resumed, and what the
/// client was seen to show.
async fn visit(
    bench: &Bench,
    client: &Arc<ClientConfig>,
    ask: ClientCertificates,
) -> Result<(bool, Option<ClientCertificate>), HandshakeFailure> {
    let (stream, server) = bench.pair().await;
    let connector = TlsConnector::from(client.clone());
    let name = ServerName::try_from("gate.example").unwrap();
    let at_client = async {
        let mut stream = connector.connect(name, stream).await?;
        stream.write_all(b"?").await?;
        stream.read_u8().await
    };
    let at_server = async {
        let mut stream = Stream::from(server).into_tls(&bench.server, ask).await?;
        let seen = (stream.tls().unwrap().resumed, bench.server.client_certificate(&stream));
        stream.read_u8().await?;
        stream.write_all(b"!").await?;
        stream.flush().await?;
        Ok::<_, super::HandshakeError>(seen)
    };
    let (_, seen) = tokio::join!(at_client, at_server);
    seen.map_err(|error| error.failure)
}

#[tokio::test]
async fn sessions_are_resumed_until_something_is_read_again() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let bench = Bench::set_up(PATIENT);
        let client = Arc::new(trusting(&[version], None));
        let resumed = async |ask| visit(&bench, &client, ask).await.unwrap().0;
        assert!(!resumed(NONE).await && resumed(NONE).await && resumed(NONE).await);
        bench.server.reload().unwrap();
        assert!(!resumed(NONE).await && resumed(NONE).await, "{version:?}");
        // A ticket from where nobody was asked for a certificate is worth nothing where somebody is.
        assert!(!resumed(ClientCertificates::Optional).await, "{version:?}");
        let refused = visit(&bench, &client, ClientCertificates::Required).await;
        assert_eq!(refused, Err(HandshakeFailure::NoCertificate), "{version:?}");
    }
}

#[tokio::test]
async fn a_certificate_is_seen_where_it_is_asked_for_also_when_a_session_is_resumed() {
    use ClientCertificates::{Optional, Required};
    let bench = Bench::set_up(PATIENT);
    let own = made("web01.shop.example", None);
    let print = |der: &[u8]| {
        let digest = ::ring::digest::digest(&::ring::digest::SHA256, der);
        crate::types::Fingerprint::new(digest.as_ref().try_into().unwrap())
    };
    let expected =
        (print(own.0.der()), print(&rcgen::PublicKeyData::subject_public_key_info(&own.1)));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let client = Arc::new(trusting(&[version], Some(&own)));
        assert_eq!(visit(&bench, &client, NONE).await, Ok((false, None)));
        for ask in [Optional, Required] {
            for resumed in [false, true] {
                let (was_resumed, seen) = visit(&bench, &client, ask).await.unwrap();
                assert_eq!(was_resumed, resumed, "{version:?} {ask:?}");
                let seen = seen.unwrap();
                assert_eq!((seen.certificate, seen.key), expected);
                assert_eq!(seen.names, [], "nobody vouches for the name");
            }
        }
    }
}

#[tokio::test]
async fn an_authority_vouches_for_names_and_strangers_may_be_let_in() {
    use ClientCertificates::{Optional, Required};
    let mut bench = Bench::set_up(PATIENT);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(params, key);
    let file = bench.folder.path().join("authority.pem");
    fs::write(&file, authority.pem()).unwrap();
    bench.settings.client_ca = Some(file.clone());
    bench.server.reload_with(bench.settings.clone()).unwrap();

    let versions = rustls::ALL_VERSIONS;
    let vouched = made("web01.shop.example", Some(&issuer));
    let vouched = Arc::new(trusting(versions, Some(&vouched)));
    let stranger = made("web01.shop.example", None);
    let stranger = Arc::new(trusting(versions, Some(&stranger)));
    let nobody = Arc::new(trusting(versions, None));
    let names = async |client: &Arc<ClientConfig>, ask| {
        let (_, seen) = visit(&bench, client, ask).await?;
        Ok(seen.map(|seen| seen.names.iter().map(ToString::to_string).collect::<Vec<_>>()))
    };
    let web01 = Ok(Some(vec![String::from("web01.shop.example")]));
    assert_eq!(names(&vouched, Optional).await, web01);
    assert_eq!(names(&vouched, Required).await, web01);
    assert_eq!(names(&stranger, Optional).await, Ok(Some(vec![])));
    assert_eq!(names(&stranger, Required).await, Err(HandshakeFailure::BadCertificate));
    assert_eq!(names(&nobody, Optional).await, Ok(None));
    assert_eq!(names(&nobody, Required).await, Err(HandshakeFailure::NoCertificate));

    fs::write(&file, "nonsense").unwrap();
    let error = bench.server.reload().unwrap_err().to_string();
    assert!(error.contains("authority.pem"), "{error}");
    assert_eq!(names(&vouched, Required).await, web01, "the former authority stays");
}

#[tokio::test]
async fn a_plain_stream_becomes_tls() {
    let bench = Bench::set_up(PATIENT);
    let (client, server) = bench.pair().await;
    let remote = client.local_addr().unwrap();
    let plain = Stream::from(server);
    assert!(plain.tls().is_none());
    let (client, server) =
        tokio::join!(bench.handshake(client, "gate.example"), plain.into_tls(&bench.server, NONE));
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
    assert!(server.into_tls(&bench.server, NONE).await.is_err(), "there is no TLS within TLS");
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
            Stream::from(server).into_tls(&bench.server, NONE)
        );
        let (_client, server) = (client.unwrap(), server.unwrap());
        let facts = server.tls().unwrap();
        assert_eq!(facts.version, name);
        assert!(facts.cipher.starts_with(cipher), "{}", facts.cipher);
    }
}
