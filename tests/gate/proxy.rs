//! Behind a load balancer: the PROXY header, by hand and by the real HAProxy.

use crate::support::{Client, Gate, gate, ports::free_port, sink, wait_for};
use std::{
    fs,
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
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (v2(1, 0x11, &four), "192.0.2.9"),
        (v2(1, 0x21, &six), "2001:db8::9"),
        // LOCAL: the balancer itself looks whether the server lives.
        (v2(0, 0x00, &[]), "127.0.0.1"),
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
    ] {
        let greeted = Client::try_connect(gate.proxied(), wrong);
        assert!(greeted.is_err(), "{} was greeted", String::from_utf8_lossy(wrong));
    }
    gate.logged("connection-refused", |line| line["reason"] == "proxy-header");
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
