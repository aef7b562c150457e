//! HTTP/1.1 over a bare socket: a test decides on every byte that is sent, and sees whether an answer came whole.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// Longer than every time limit of ingest.
const DEADLINE: Duration = Duration::from_secs(60);
const HEAD_END: &[u8] = b"\r\n\r\n";

pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: String,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Self {
        Self::try_open(address).await.expect("a connection")
    }

    /// None where nothing listens.
    pub async fn try_open(address: SocketAddr) -> Option<Self> {
        Self::over(TcpStream::connect(address).await)
    }

    /// The same from an address of the loopback network, which makes it another peer.
    pub async fn try_open_from(from: Ipv4Addr, address: SocketAddr) -> Option<Self> {
        let socket = TcpSocket::new_v4().ok()?;
        socket.bind((from, 0).into()).ok()?;
        Self::over(socket.connect(address).await)
    }

    pub async fn open_from(from: Ipv4Addr, address: SocketAddr) -> Self {
        Self::try_open_from(from, address).await.expect("a connection")
    }

    fn over(stream: io::Result<TcpStream>) -> Option<Self> {
        let stream = stream.ok()?;
        stream.set_nodelay(true).ok()?;
        Some(Self { stream, received: Vec::new() })
    }

    /// Ignores errors: ingest may have answered and closed the connection before it had read everything.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// Closes the half of the connection that sends.
    pub async fn finish(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// The next answer; none where the connection ends before the answer is whole.
    pub async fn answer(&mut self) -> Option<Answer> {
        loop {
            if let Some((answer, length)) = parse(&self.received) {
                self.received.drain(..length);
                return Some(answer);
            }
            if !matches!(self.receive().await, Ok(1..)) {
                return None;
            }
        }
    }

    pub async fn exchange(&mut self, request: impl AsRef<[u8]>) -> Option<Answer> {
        self.send(request).await;
        self.answer().await
    }

    /// Waits for the end of the connection, before which nothing may come that was not read. False after a reset, which
    /// can throw away an answer that is still under way.
    pub async fn ended(&mut self) -> bool {
        let end = loop {
            match self.receive().await {
                Ok(1..) => {}
                end => break end,
            }
        };
        assert_eq!(String::from_utf8_lossy(&self.received), "", "something came before the end");
        end.is_ok()
    }

    /// Whether nothing arrives within `time`, not even the end of the connection.
    pub async fn is_silent(&mut self, time: Duration) -> bool {
        self.received.is_empty() && timeout(time, self.stream.read_buf(&mut self.received)).await.is_err()
    }

    async fn receive(&mut self) -> io::Result<usize> {
        timeout(DEADLINE, self.stream.read_buf(&mut self.received)).await.expect("something, or the end")
    }
}

impl Answer {
    /// The value of a header, whose name is given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// Fails unless it is a problem of RFC 9457 with this status, and a 503 says when to try again.
    pub fn assert_problem(&self, status: u16) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!((&problem["type"], &problem["status"]), (&"about:blank".into(), &status.into()));
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{self:?}");
        assert_eq!(self.header("retry-after").is_some(), status == 503, "{self:?}");
    }
}

fn parse(received: &[u8]) -> Option<(Answer, usize)> {
    let end = received.windows(HEAD_END.len()).position(|window| window == HEAD_END)? + HEAD_END.len();
    let head = String::from_utf8(received[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let mut answer = Answer { status, head, body: String::new() };
    let length: usize = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
    let body = received.get(end..end + length)?;
    answer.body = String::from_utf8(body.to_vec()).unwrap();
    Some((answer, end + length))
}
