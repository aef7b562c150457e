//! A TCP proxy that cuts, stalls and slows what goes through it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const DEADLINE: Duration = Duration::from_secs(60);

/// What becomes of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// They arrive.
    Open,
    /// Connections end at once, new ones too.
    Cut,
    /// They get stuck.
    Stalled,
    /// So many arrive in a second on each connection.
    Slow(usize),
}

/// Listens for as long as it lives.
pub struct Proxy {
    address: SocketAddr,
    network: watch::Sender<Network>,
    seen: watch::Receiver<usize>,
}

impl Proxy {
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (network, state) = watch::channel(Network::Open);
        let (count, seen) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (state, count) = (state.clone(), count.clone());
                tokio::spawn(serve(client, target, state, count));
            }
        });
        Self { address, network, seen }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn set(&self, network: Network) {
        self.network.send_replace(network);
    }

    /// Waits until so many more bytes have come from clients.
    pub async fn sees(&self, more: usize) {
        let wanted = *self.seen.borrow() + more;
        let mut seen = self.seen.clone();
        let seen = tokio::time::timeout(DEADLINE, seen.wait_for(|seen| *seen >= wanted)).await;
        assert!(seen.is_ok_and(|seen| seen.is_ok()), "{more} bytes: not within {DEADLINE:?}");
    }
}

async fn serve(client: TcpStream, target: SocketAddr, state: watch::Receiver<Network>, count: watch::Sender<usize>) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut ended = state.clone();
    tokio::select! {
        () = pump(from_client, to_server, state.clone(), Some(count)) => {}
        () = pump(from_server, to_client, state, None) => {}
        _ = ended.wait_for(|network| *network == Network::Cut) => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<Network>,
    count: Option<watch::Sender<usize>>,
) {
    let mut buffer = [0; 512];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if let Some(count) = &count {
            count.send_modify(|seen| *seen += length);
        }
        if state.wait_for(|network| *network != Network::Stalled).await.is_err() {
            return;
        }
        let network = *state.borrow();
        if let Network::Slow(bytes_per_second) = network {
            tokio::time::sleep(Duration::from_secs_f64(length as f64 / bytes_per_second as f64)).await;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
