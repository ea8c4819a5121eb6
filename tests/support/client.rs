//! A client that says one line at a time and looks at each answer.

use super::tls::Tls;
use socket2::{Domain, Socket, Type};
use std::{
    fmt,
    io::{self, BufRead, BufReader, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    time::Duration,
};

/// What a conversation goes over: TCP, or TLS over it.
pub(crate) trait Wire: Read + Write + Send {}

impl<T: Read + Write + Send> Wire for T {}

/// A connection to an SMTP server, greeted.
pub(crate) struct Client {
    stream: BufReader<Box<dyn Wire>>,
    /// The greeting.
    pub(crate) banner: Reply,
}

/// A server's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    /// The three digits.
    pub(crate) code: u16,
    /// The lines without their codes.
    pub(crate) lines: Vec<String>,
}

impl Reply {
    /// All lines as one text.
    pub(crate) fn text(&self) -> String {
        self.lines.join(" ")
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.text())
    }
}

impl Client {
    /// Connects, reads the greeting and says EHLO.
    pub(crate) fn hello(server: SocketAddr) -> Self {
        let mut client = Self::connect(server);
        client.expect(250, "EHLO client.example");
        client
    }

    /// Connects and reads the greeting.
    pub(crate) fn connect(server: SocketAddr) -> Self {
        Self::connect_saying(server, b"")
    }

    /// Connects from this address of the machine, reads the greeting and says EHLO.
    pub(crate) fn hello_from(source: IpAddr, server: SocketAddr) -> Self {
        let mut client = Self::try_connect_from(source, server, b"").unwrap();
        client.expect(250, "EHLO client.example");
        client
    }

    /// Connects from this address of the machine, sends `first` and reads the greeting, where there may be none.
    pub(crate) fn try_connect_from(
        source: IpAddr,
        server: SocketAddr,
        first: &[u8],
    ) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((source, 0)).into())?;
        socket.connect(&server.into())?;
        Self::greeted(socket.into(), first)
    }

    /// Connects, sends `first` (a PROXY header, say) and reads the greeting.
    pub(crate) fn connect_saying(server: SocketAddr, first: &[u8]) -> Self {
        Self::try_connect(server, first)
            .unwrap_or_else(|error| panic!("no greeting from {server}: {error}"))
    }

    /// The same where the server may be gone.
    pub(crate) fn try_connect(server: SocketAddr, first: &[u8]) -> io::Result<Self> {
        Self::greeted(TcpStream::connect(server)?, first)
    }

    fn greeted(stream: TcpStream, first: &[u8]) -> io::Result<Self> {
        stream.set_read_timeout(Some(READ_WAIT))?;
        stream.set_nodelay(true)?;
        let mut client = Self::over(Box::new(stream));
        client.try_write(first)?;
        client.banner = client.try_reply()?;
        Ok(client)
    }

    /// Speaks over what is connected already, without a word.
    pub(crate) fn over(wire: Box<dyn Wire>) -> Self {
        Self { stream: BufReader::new(wire), banner: Reply { code: 0, lines: vec![] } }
    }

    /// STARTTLS, the handshake and another EHLO.
    #[track_caller]
    pub(crate) fn starttls(mut self, tls: &Tls) -> Self {
        self.expect(220, "STARTTLS");
        let mut protected = self.protect(tls).unwrap_or_else(|error| panic!("no TLS: {error}"));
        protected.expect(250, "EHLO client.example");
        protected
    }

    /// Connects with TLS from the first octet, reads the greeting and says EHLO.
    #[track_caller]
    pub(crate) fn hello_tls(server: SocketAddr, tls: &Tls) -> Self {
        let stream = TcpStream::connect(server).unwrap();
        stream.set_read_timeout(Some(READ_WAIT)).unwrap();
        let protected = Self::over(Box::new(stream)).protect(tls);
        let mut client = protected.unwrap_or_else(|error| panic!("no TLS: {error}"));
        client.banner = client.reply();
        client.expect(250, "EHLO client.example");
        client
    }

    /// Shakes hands; what was read and not looked at is part of the handshake.
    pub(crate) fn protect(self, tls: &Tls) -> io::Result<Self> {
        assert_eq!(self.stream.buffer(), b"", "the server said something before the handshake");
        Ok(Self::over(Box::new(tls.handshake(self.stream.into_inner())?)))
    }

    /// Says a line and returns the answer.
    pub(crate) fn say(&mut self, line: &str) -> Reply {
        self.try_say(line).unwrap_or_else(|error| panic!("no answer to {line:?}: {error}"))
    }

    /// The same where the server may vanish.
    pub(crate) fn try_say(&mut self, line: &str) -> io::Result<Reply> {
        self.try_write(format!("{line}\r\n").as_bytes())?;
        self.try_reply()
    }

    /// Says a line that must be answered by this code.
    #[track_caller]
    pub(crate) fn expect(&mut self, code: u16, line: &str) -> Reply {
        let reply = self.say(line);
        assert_eq!(reply.code, code, "{line:?} was answered {reply}");
        reply
    }

    /// Sends octets as they are.
    pub(crate) fn write(&mut self, octets: &[u8]) {
        self.try_write(octets).unwrap_or_else(|error| panic!("failed to write: {error}"));
    }

    /// The same where the server may vanish.
    pub(crate) fn try_write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(octets)
    }

    /// Reads one answer.
    pub(crate) fn reply(&mut self) -> Reply {
        self.try_reply().unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    /// The same where the server may vanish.
    pub(crate) fn try_reply(&mut self) -> io::Result<Reply> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end_matches("\r\n");
            lines.push(line.get(4..).unwrap_or_default().to_owned());
            if line.as_bytes().get(3) != Some(&b'-') {
                let code = line.get(..3).and_then(|digits| digits.parse().ok());
                let code =
                    code.ok_or_else(|| io::Error::other(format!("not an answer: {line}")))?;
                return Ok(Reply { code, lines });
            }
        }
    }

    /// Sends one message that every station must accept up to its text; returns the answer to the final dot.
    #[track_caller]
    pub(crate) fn send(&mut self, sender: &str, recipients: &[&str], text: &str) -> Reply {
        self.expect(250, &format!("MAIL FROM:<{sender}>"));
        for recipient in recipients {
            self.expect(250, &format!("RCPT TO:<{recipient}>"));
        }
        self.text(text)
    }

    /// DATA and a text; returns the answer to the final dot. The text may be given with plain line ends.
    #[track_caller]
    pub(crate) fn text(&mut self, text: &str) -> Reply {
        self.expect(354, "DATA");
        let lines = text.replace("\r\n", "\n").trim_end().replace('\n', "\r\n");
        self.say(&format!("{lines}\r\n."))
    }

    /// One recipient of one message after the other until one is refused; returns how many passed, and the refusal.
    pub(crate) fn send_until_refused(&mut self, sender: &str, most: usize) -> (usize, Reply) {
        for passed in 0..most {
            self.expect(250, &format!("MAIL FROM:<{sender}>"));
            let reply = self.say("RCPT TO:<someone@remote.example>");
            if reply.code != 250 {
                self.expect(250, "RSET");
                return (passed, reply);
            }
            let reply = self.text("Subject: one more\n\ntext\n");
            assert_eq!(reply.code, 250, "message {passed} was answered {reply}");
        }
        panic!("{most} messages passed and none was refused");
    }

    /// Everything until the server closes.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A reset ends the connection as well as a proper close does.
        let _ = self.stream.read_to_end(&mut rest);
        rest
    }
}

const READ_WAIT: Duration = Duration::from_secs(60);
