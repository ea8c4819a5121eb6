//! Behind a load balancer: the PROXY header, by hand and by the real HAProxy.

use crate::support::{Client, Gate, gate, ports::free_port, programs::python, sink, wait_for};
use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Child, Command},
};

/// Sends one message behind a PROXY header and returns the client that the gate saw.
#[track_caller]
fn client_seen(gate: &Gate, header: &[u8]) -> String {
    let mut client = Client::connect_saying(gate.proxied(), header);
    client.expect(250, "EHLO client.example");
    assert_eq!(client.send("a@shop.example", &["b@remote.example"], "text").code, 250);
    client_of_message(gate, 1)
}

/// The client of the n-th message in the log, once it is there.
fn client_of_message(gate: &Gate, nth: usize) -> String {
    wait_for("a message in the log", || {
        let log = gate.log();
        let message = log.iter().filter(|line| line["event"] == "message").nth(nth - 1)?;
        message["client"].as_str().map(ToOwned::to_owned)
    })
}

fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x20 | command, family]);
    header.extend(u16::try_from(addresses.len()).unwrap().to_be_bytes());
    header.extend(addresses);
    header
}

#[test]
fn the_client_of_a_proxy_header_is_the_client() {
    let sink = sink().run();
    let four = [192, 0, 2, 9, 127, 0, 0, 1, 0x12, 0x34, 0, 25];
    let mut six = vec![0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
    six.extend([0; 15]);
    six.extend([1, 0x12, 0x34, 0, 25]);
    for (header, client) in [
        (b"PROXY TCP4 192.0.2.8 127.0.0.1 4660 25\r\n".to_vec(), "192.0.2.8"),
        (b"PROXY TCP6 2001:db8::8 ::1 4660 25\r\n".to_vec(), "2001:db8::8"),
        (v2(1, 0x11, &four), "192.0.2.9"),
        (v2(1, 0x21, &six), "2001:db8::9"),
        // Fields behind the addresses, a name and a checksum say, are passed over.
        (v2(1, 0x11, &[&four[..], &[2, 0, 1, b'x', 3, 0, 4, 1, 2, 3, 4]].concat()), "192.0.2.9"),
        // An IPv4 address in the form of IPv6 is that IPv4 address.
        (b"PROXY TCP6 ::ffff:192.0.2.8 ::1 4660 25\r\n".to_vec(), "192.0.2.8"),
    ] {
        let gate = gate().trust("networks = [\"127.0.0.0/8\", \"192.0.2.0/24\", \"2001:db8::/32\"]\nrelay = true\nproxy = true").next_hop(&sink).run();
        assert_eq!(client_seen(&gate, &header), client, "{}", String::from_utf8_lossy(&header));
    }
}

#[test]
fn the_clients_address_decides_whether_it_may_relay() {
    let sink = sink().run();
    let gate = gate().trust("relay = true\nproxy = true").next_hop(&sink).run();
    let mut stranger =
        Client::connect_saying(gate.proxied(), b"PROXY TCP4 198.51.100.7 127.0.0.1 4660 25\r\n");
    stranger.expect(250, "EHLO client.example");
    let mail = stranger.say("MAIL FROM:<a@shop.example>");
    let reply = if mail.code == 250 { stranger.say("RCPT TO:<b@remote.example>") } else { mail };
    assert_eq!((reply.code / 100, sink.count()), (5, 0), "{reply}");
}

#[test]
fn a_connection_without_a_proper_header_is_closed_without_a_word() {
    let sink = sink().run();
    let gate = gate().next_hop(&sink).run();
    for wrong in [
        &b"EHLO client.example\r\n"[..],
        b"PROXY TCP4 999.0.2.8 127.0.0.1 4660 25\r\n",
        b"PROXY TCP4 192.0.2.8 127.0.0.1 4660\r\n",
        b"PROXY NONSENSE\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\x00\x0c",
        // A longer line than the protocol knows, and a version 2 header that is longer than any, or too short for an address.
        &[&b"PROXY UNKNOWN "[..], &[b'x'; 200], b"\r\n"].concat(),
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x04\x7f\0\0\x01",
        // Datagrams, and a UNIX socket.
        b"\r\n\r\n\0\r\nQUIT\n\x21\x12\x00\x0c\x7f\0\0\x01\x7f\0\0\x01\x12\x34\0\x19",
    ] {
        let greeted = Client::try_connect(gate.proxied(), wrong);
        assert!(greeted.is_err(), "{} was greeted", String::from_utf8_lossy(wrong));
    }
    gate.logged("connection-refused", |line| line["reason"] == "proxy-header");
}

#[test]
fn a_balancer_may_look_whether_the_gate_lives_and_nothing_else() {
    let sink = sink().run();
    let gate = gate().next_hop(&sink).run();
    for header in [b"PROXY UNKNOWN\r\n".to_vec(), v2(0, 0x00, &[]), v2(1, 0x00, &[])] {
        let mut probe = Client::connect_saying(gate.proxied(), &header);
        probe.expect(250, "EHLO balancer.example");
        probe.expect(250, "NOOP");
        probe.expect(550, "MAIL FROM:<a@shop.example>");
        probe.expect(221, "QUIT");
    }
    // Half a header is waited for, but not for long.
    let begun = tollgate::clock::steady_now();
    assert!(Client::try_connect(gate.proxied(), b"PROXY TCP4 192.0.2.8").is_err());
    assert!(begun.elapsed() < std::time::Duration::from_secs(20));
    assert_eq!(sink.count(), 0);
}

#[test]
fn a_proxy_header_at_a_listener_without_one_is_no_command() {
    let sink = sink().run();
    let gate = gate().next_hop(&sink).run();
    let mut client = gate.client();
    client.expect(500, "PROXY TCP4 192.0.2.8 127.0.0.1 4660 25");
    client.write(&v2(1, 0x11, &[192, 0, 2, 9, 127, 0, 0, 1, 0x12, 0x34, 0, 25]));
    let answers = String::from_utf8_lossy(&client.rest()).into_owned();
    assert!(answers.lines().all(|line| line.starts_with('5')), "{answers}");
    let mut client = gate.client();
    client.expect(500, "PROXY TCP4 192.0.2.8 127.0.0.1 4660 25");
    assert_eq!(client.send("a@shop.example", &["b@remote.example"], "text").code, 250);
    assert_eq!(client_of_message(&gate, 1), "127.0.0.1");
}

#[test]
fn who_may_not_send_the_header_is_not_heard() {
    let sink = sink().run();
    let gate = gate()
        .trust("name = \"balancer\"\nnetworks = [\"192.0.2.1\"]\nproxy = true")
        .trust("relay = true")
        .next_hop(&sink)
        .run();
    let header = b"PROXY TCP4 192.0.2.8 127.0.0.1 4660 25\r\n";
    assert!(Client::try_connect(gate.proxied(), header).is_err());
}

/// Sends the octets FIRST (in hexadecimal) and its ClientHello in one packet, logs in and sends one message over TLS:
/// PORT FIRST. Prints the codes of the answers, or what went wrong with TLS and all that came in its stead.
const TLS_BEHIND: &str = r#"
import socket, ssl, sys
raw = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=30)
trusting = ssl.create_default_context()
trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
came, going, heard = ssl.MemoryBIO(), ssl.MemoryBIO(), b""
tls = trusting.wrap_bio(came, going)
def over_tls(work, first=b""):
    global heard
    while True:
        try:
            return work()
        except ssl.SSLWantReadError:
            raw.sendall(first + going.read())
            first = b""
            octets = raw.recv(65536)
            heard += octets
            came.write(octets) if octets else came.write_eof()
def reply():
    lines = ""
    while not (lines.endswith("\r\n") and lines.splitlines()[-1][3:4] == " "):
        lines += over_tls(lambda: tls.read(4096)).decode()
    return lines[:3]
try:
    over_tls(tls.do_handshake, bytes.fromhex(sys.argv[2]))
except (ssl.SSLError, ConnectionError) as error:
    sys.exit(f"no TLS: {error}; heard {heard}")
codes = [reply()]
for line in ["EHLO client.example", "AUTH PLAIN AGFAc2hvcC5leGFtcGxlAHNlY3JldA==", "MAIL FROM:<a@shop.example>",
             "RCPT TO:<b@remote.example>", "DATA", "Subject: behind\r\n\r\ntext\r\n.", "QUIT"]:
    tls.write(line.encode() + b"\r\n")
    raw.sendall(going.read())
    codes.append(reply())
print(*codes)
"#;

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[test]
fn tls_may_begin_in_the_packet_of_the_header() {
    let sink = sink().run();
    let gate = gate().submissions_proxied().user("a@shop.example", "secret").next_hop(&sink).run();
    let four = [192, 0, 2, 9, 127, 0, 0, 1, 0x12, 0x34, 0, 25];
    let headers = [
        (b"PROXY TCP4 192.0.2.8 127.0.0.1 4660 465\r\n".to_vec(), "192.0.2.8"),
        (v2(1, 0x11, &four), "192.0.2.9"),
    ];
    for (nth, (header, client)) in headers.iter().enumerate() {
        let port = gate.submissions().port().to_string();
        let codes = python(TLS_BEHIND, &[&port, &hexadecimal(header)]).well();
        assert_eq!(codes.trim(), "220 250 235 250 250 354 250 221", "{client}");
        assert_eq!(client_of_message(&gate, nth + 1), *client);
    }
    assert!(sink.last().fields("Received")[0].contains("ESMTPSA"), "{:?}", sink.last());
}

#[test]
fn plain_smtp_between_the_header_and_tls_is_not_obeyed() {
    let sink = sink().run();
    let gate = gate().submissions_proxied().user("a@shop.example", "secret").next_hop(&sink).run();
    let plain = b"PROXY TCP4 192.0.2.8 127.0.0.1 4660 465\r\nEHLO client.example\r\n\
        MAIL FROM:<a@shop.example>\r\nRCPT TO:<b@remote.example>\r\n";
    let refusals = || {
        let refused = |line: &&serde_json::Value| line["event"] == "connection-refused";
        gate.log().iter().filter(refused).filter(|line| line["reason"] == "tls").count()
    };

    // Alone: nothing but a TLS alert comes back (RFC 8446 §6, content type 21).
    let mut stream = TcpStream::connect(gate.submissions()).unwrap();
    stream.write_all(plain).unwrap();
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer);
    assert!(matches!(answer.first(), None | Some(21)), "{}", String::from_utf8_lossy(&answer));
    wait_for("the refusal", || (refusals() == 1).then_some(()));

    // With a proper ClientHello after it, in one packet: there is no TLS, let alone a session that heard the commands.
    let port = gate.submissions().port().to_string();
    let said = python(TLS_BEHIND, &[&port, &hexadecimal(plain)]).badly();
    assert!(said.contains("no TLS") && !said.contains("250 "), "{said}");
    wait_for("the refusal", || (refusals() == 2).then_some(()));
    assert_eq!(
        (sink.heard().iter().any(|line| line.starts_with("MAIL")), sink.count()),
        (false, 0)
    );
}

#[test]
fn behind_a_header_the_balancers_right_to_xclient_does_not_hold() {
    let sink = sink().run();
    let row = "networks = [\"127.0.0.0/8\", \"192.0.2.0/24\"]\nrelay = true\nproxy = true\nxclient = true\nxforward = true";
    let gate = gate().trust(row).next_hop(&sink).run();
    let offered = |client: &mut Client| {
        let offers = client.expect(250, "EHLO client.example").lines;
        offers.iter().any(|offer| offer.starts_with("XCLIENT") || offer.starts_with("XFORWARD"))
    };
    let header = b"PROXY TCP4 192.0.2.8 127.0.0.1 4660 25\r\n";
    let mut client = Client::connect_saying(gate.proxied(), header);
    assert!(!offered(&mut client));
    client.expect(550, "XCLIENT ADDR=192.0.2.99 LOGIN=victim@other.example");
    client.expect(550, "XFORWARD ADDR=192.0.2.99");
    assert_eq!(client.send("a@shop.example", &["b@remote.example"], "text").code, 250);
    assert_eq!(client_of_message(&gate, 1), "192.0.2.8");

    // The same row without a header: the right is there.
    let mut server = Client::connect(gate.smarthost());
    assert!(offered(&mut server));
    server.expect(220, "XCLIENT ADDR=192.0.2.99");
}

#[test]
fn haproxy_tells_who_its_client_is() {
    let sink = sink().run();
    let gate = gate().next_hop(&sink).run();
    for (option, nth) in [("send-proxy", 1), ("send-proxy-v2", 2)] {
        let balancer = Haproxy::start(&gate, option);
        let mut client = Client::hello_from([127, 0, 0, 9].into(), balancer.address);
        assert_eq!(client.send("a@shop.example", &["b@remote.example"], "text").code, 250);
        assert_eq!(client_of_message(&gate, nth), "127.0.0.9", "{option}");
    }
    assert_eq!(sink.count(), 2);
}

struct Haproxy {
    address: SocketAddr,
    child: Child,
}

impl Haproxy {
    fn start(gate: &Gate, option: &str) -> Self {
        let address = free_port();
        let config = gate.file("haproxy.cfg");
        let server = gate.proxied();
        let text = format!(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n\
             listen smtp\n bind {address}\n server gate {server} {option}\n"
        );
        fs::write(&config, text).unwrap();
        let child = Command::new("haproxy").arg("-db").arg("-f").arg(&config).spawn().unwrap();
        wait_for("HAProxy to listen", || TcpStream::connect(address).ok());
        Self { address, child }
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
