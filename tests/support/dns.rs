//! Blocklists to ask: a real rbldnsd with zones of its own, and a small server for what a rightful one never does.

use super::{
    Faults, Settings,
    ports::{self, free_port},
    wait_for,
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::HashMap,
    fs::{self, File},
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};
use tempfile::TempDir;
use tollgate::types::Timestamp;

/// A running rbldnsd; ends when it is dropped.
pub(crate) struct Rbldnsd {
    pub(crate) address: SocketAddr,
    folder: TempDir,
    child: Child,
}

impl Rbldnsd {
    /// Serves zones, each of data sets: zone, kind of data set, its lines.
    pub(crate) fn start(zones: &[(&str, &str, &str)]) -> Self {
        let folder = tempfile::Builder::new().prefix("rbldnsd-").tempdir().unwrap();
        // It gives up being root.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let address = free_port();
        let mut arguments =
            vec!["-n".to_owned(), "-l".into(), "+-".into(), "-c".into(), "0".into()];
        arguments.extend(["-b".into(), format!("{}/{}", address.ip(), address.port())]);
        for (number, (zone, kind, lines)) in zones.iter().enumerate() {
            fs::write(folder.path().join(format!("{number}")), lines).unwrap();
            arguments.push(format!("{zone}:{kind}:{number}"));
        }
        let log = File::create(folder.path().join("log")).unwrap();
        let child = Command::new("/usr/sbin/rbldnsd")
            .args(arguments)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("tests/run installs rbldnsd");
        let server = Self { address, folder, child };
        wait_for("rbldnsd to answer", || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            socket.send_to(&question("2.0.0.127", zones[0].0), address).ok()?;
            socket.recv(&mut [0; 512]).ok()
        });
        server
    }

    /// Another content for the data set of this number.
    pub(crate) fn replace(&self, number: usize, lines: &str) {
        fs::write(self.folder.path().join(format!("{number}")), lines).unwrap();
        kill_process(Pid::from_child(&self.child), Signal::HUP).unwrap();
    }

    /// The names that it was asked for, with their types.
    pub(crate) fn asked(&self) -> Vec<String> {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        log.lines().filter(|line| line.contains(" IN:")).map(ToOwned::to_owned).collect()
    }
}

impl Drop for Rbldnsd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the small server does with a question.
#[derive(Debug, Clone)]
pub(crate) enum Says {
    Codes(&'static [&'static str]),
    NoName,
    NoData,
    ServerFailure,
    Refused,
    /// Nothing at all.
    Silence,
    /// Nothing the first time, then this.
    AtSecond(&'static str),
    /// Over UDP it is cut off; over TCP it is this.
    OnlyByTcp(&'static str),
    /// Another name, which has this address.
    Alias(&'static str),
}

/// A question that came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) name: String,
    /// By the gate's wall clock.
    pub(crate) at: Timestamp,
    pub(crate) by_tcp: bool,
}

type Script = dyn Fn(&str) -> Says + Send + Sync;

/// A name server that says what a test wants; ends when it is dropped.
pub(crate) struct Names {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    script: Mutex<Arc<Script>>,
    asked: Mutex<Vec<Asked>>,
    seen: Mutex<HashMap<String, u32>>,
    faults: Arc<Faults>,
    is_over: AtomicBool,
}

impl Names {
    pub(crate) fn start(
        faults: &Arc<Faults>,
        script: impl Fn(&str) -> Says + Send + Sync + 'static,
    ) -> Self {
        let address = free_port();
        let shared = Arc::new(Shared {
            script: Mutex::new(Arc::new(script)),
            asked: Mutex::default(),
            seen: Mutex::default(),
            faults: faults.clone(),
            is_over: AtomicBool::new(false),
        });
        let udp = UdpSocket::bind(address).unwrap();
        let tcp = ports::listen(address);
        let (by_udp, by_tcp) = (shared.clone(), shared.clone());
        thread::spawn(move || by_udp.serve_udp(&udp));
        thread::spawn(move || by_tcp.serve_tcp(&tcp));
        Self { address, shared }
    }

    /// From now on it says something else.
    pub(crate) fn now(&self, script: impl Fn(&str) -> Says + Send + Sync + 'static) {
        *self.shared.script.lock().unwrap() = Arc::new(script);
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        let _ = UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&[0], self.address);
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    fn serve_udp(&self, socket: &UdpSocket) {
        let mut octets = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut octets) {
            if self.is_over() {
                return;
            }
            if let Some(answer) = self.answer(&octets[..length], false) {
                let _ = socket.send_to(&answer, from);
            }
        }
    }

    fn serve_tcp(&self, listener: &TcpListener) {
        for stream in listener.incoming() {
            if self.is_over() {
                return;
            }
            let Ok(mut stream) = stream else { continue };
            stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
            let mut length = [0; 2];
            while stream.read_exact(&mut length).is_ok() {
                let mut octets = vec![0; usize::from(u16::from_be_bytes(length))];
                if stream.read_exact(&mut octets).is_err() {
                    break;
                }
                let Some(answer) = self.answer(&octets, true) else { break };
                let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
                let _ = stream.write_all(&[&length[..], &answer].concat());
            }
        }
    }

    fn answer(&self, question: &[u8], by_tcp: bool) -> Option<Vec<u8>> {
        let (name, end) = name_of(question)?;
        let record = u16::from_be_bytes([question[end], question[end + 1]]);
        let at = self.faults.wall_now();
        self.asked.lock().unwrap().push(Asked { name: name.clone(), at, by_tcp });
        let times = {
            let mut seen = self.seen.lock().unwrap();
            let times = seen.entry(name.clone()).or_default();
            *times += 1;
            *times
        };
        let script = self.script.lock().unwrap().clone();
        let said = if record == A { script(&name) } else { Says::NoData };
        let codes = |codes: &[&str]| codes.iter().map(|code| code.parse().unwrap()).collect();
        let (code, truncated, addresses, alias): (u8, bool, Vec<Ipv4Addr>, bool) = match said {
            Says::Codes(list) => (0, false, codes(list), false),
            Says::NoName => (3, false, vec![], false),
            Says::NoData => (0, false, vec![], false),
            Says::ServerFailure => (2, false, vec![], false),
            Says::Refused => (5, false, vec![], false),
            Says::Silence => return None,
            Says::AtSecond(_) if times == 1 => return None,
            Says::AtSecond(code) => (0, false, codes(&[code]), false),
            Says::OnlyByTcp(_) if !by_tcp => (0, true, vec![], false),
            Says::OnlyByTcp(code) => (0, false, codes(&[code]), false),
            Says::Alias(code) => (0, false, codes(&[code]), true),
        };
        let mut answer = question[..2].to_vec();
        // An answer, authoritative, with recursion; whether it is cut off (RFC 1035 §4.1.1).
        answer.extend([0x85 | (u8::from(truncated) << 1), 0x80 | code, 0, 1]);
        let count = u16::try_from(addresses.len() + usize::from(alias)).unwrap();
        answer.extend(count.to_be_bytes());
        answer.extend([0; 4]);
        answer.extend(&question[12..end + 4]);
        let mut owner = vec![0xc0, 12];
        if alias {
            let other = labels("elsewhere.example");
            answer.extend(&owner);
            answer.extend([0, 5, 0, 1, 0, 0, 0, 0]);
            answer.extend(u16::try_from(other.len()).unwrap().to_be_bytes());
            answer.extend(&other);
            owner = other;
        }
        for address in addresses {
            // It may be remembered for no time at all.
            answer.extend(&owner);
            answer.extend([0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
            answer.extend(address.octets());
        }
        Some(answer)
    }
}

/// The name of a question in lower case, and where it ends.
fn name_of(octets: &[u8]) -> Option<(String, usize)> {
    let (mut name, mut at) = (String::new(), 12);
    loop {
        let length = usize::from(*octets.get(at)?);
        at += 1;
        if length == 0 {
            return (octets.len() >= at + 4).then(|| (name.to_ascii_lowercase(), at));
        }
        name.push_str(&String::from_utf8_lossy(octets.get(at..at + length)?));
        name.push('.');
        at += length;
    }
}

fn labels(name: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        octets.push(u8::try_from(label.len()).unwrap());
        octets.extend(label.bytes());
    }
    octets.push(0);
    octets
}

fn question(label: &str, zone: &str) -> Vec<u8> {
    let mut octets = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    octets.extend(labels(&format!("{label}.{zone}")));
    octets.extend([0, 1, 0, 1]);
    octets
}

/// The type of addresses.
const A: u16 = 1;

impl Settings {
    /// It asks these lists of a file of its own through this server, about these addresses and domains.
    pub(crate) fn blocklists(
        self,
        folder: &TempDir,
        file: &str,
        (server, lists): (SocketAddr, &[&str]),
        watched: &[&str],
    ) -> Self {
        let path = folder.path().join("lists.toml");
        fs::write(&path, file).unwrap();
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (addresses, domains): (Vec<&str>, Vec<&str>) =
            watched.iter().partition(|text| text.parse::<std::net::IpAddr>().is_ok());
        self.set("blocklist.lists_file", path.to_string_lossy().into_owned())
            .set("blocklist.lists", words(lists))
            .set("blocklist.resolvers", vec![server.to_string()])
            .set("blocklist.addresses", words(&addresses))
            .set("blocklist.domains", words(&domains))
            .set("blocklist.tries", 2)
            .set("blocklist.time_max", "2s")
            .set("blocklist.timeout", "500ms")
            .set("blocklist.interval", "15m")
    }
}
