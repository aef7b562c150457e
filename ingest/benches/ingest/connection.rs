//! HTTP/1.1 over a bare socket, as far as the bench needs it: sends whole requests, and takes any answer but 200 as an
//! error.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
}

pub async fn open(address: SocketAddr, count: usize) -> anyhow::Result<Vec<Connection>> {
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        connections.push(Connection { stream, answer: Vec::with_capacity(4096) });
    }
    Ok(connections)
}

impl Connection {
    /// Sends `request` and reads the answer whole; anything but 200 is an error.
    pub async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(request).await.context("cannot send")?;
        self.answer.clear();
        while !is_whole(&self.answer)? {
            if self.stream.read_buf(&mut self.answer).await.context("cannot receive")? == 0 {
                bail!("closed before the answer was whole: {:?}", String::from_utf8_lossy(&self.answer));
            }
        }
        if !self.answer.starts_with(b"HTTP/1.1 200 ") {
            bail!("not answered 200: {}", String::from_utf8_lossy(&self.answer));
        }
        Ok(())
    }
}

fn is_whole(answer: &[u8]) -> anyhow::Result<bool> {
    const END: &[u8] = b"\r\n\r\n";
    let Some(end) = answer.windows(END.len()).position(|window| window == END) else { return Ok(false) };
    let (head, body) = answer.split_at(end + END.len());
    let length: usize = std::str::from_utf8(head)?
        .split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .context("an answer without a content-length")?
        .1
        .trim()
        .parse()?;
    Ok(body.len() >= length)
}
