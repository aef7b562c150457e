//! A TCP proxy that cuts, stalls and slows the connections through it, as a network that fails does.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const DEADLINE: Duration = Duration::from_secs(60);

/// What the proxy does with bytes that come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkState {
    /// Passes them on at once.
    Open,
    /// Closes every connection, and new ones as soon as they are accepted.
    Cut,
    /// Keeps them; the connections stay open.
    Stalled,
    /// Passes on this many bytes per second, in each direction of each connection.
    Slow(usize),
}

/// A proxy on a free port; it ends with the runtime.
pub struct NetworkProxy {
    address: SocketAddr,
    state: watch::Sender<NetworkState>,
    bytes_from_clients: watch::Receiver<usize>,
}

impl NetworkProxy {
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (state, states) = watch::channel(NetworkState::Open);
        let (count, bytes_from_clients) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, target, states.clone(), count.clone()));
            }
        });
        Self { address, state, bytes_from_clients }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Takes effect on open connections, too.
    pub fn set(&self, state: NetworkState) {
        self.state.send_replace(state);
    }

    /// Waits until clients have sent this many more bytes.
    pub async fn wait_for_bytes(&self, more: usize) {
        let mut bytes = self.bytes_from_clients.clone();
        let wanted = *bytes.borrow() + more;
        let came = tokio::time::timeout(DEADLINE, bytes.wait_for(|bytes| *bytes >= wanted)).await;
        assert!(came.is_ok_and(|came| came.is_ok()), "{more} more bytes from clients: not within {DEADLINE:?}");
    }
}

async fn serve(
    client: TcpStream,
    target: SocketAddr,
    state: watch::Receiver<NetworkState>,
    count: watch::Sender<usize>,
) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut cut = state.clone();
    tokio::select! {
        () = copy(from_client, to_server, state.clone(), Some(count)) => {}
        () = copy(from_server, to_client, state, None) => {}
        _ = cut.wait_for(|state| *state == NetworkState::Cut) => {}
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<NetworkState>,
    count: Option<watch::Sender<usize>>,
) {
    let mut buffer = [0; 512];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if let Some(count) = &count {
            count.send_modify(|bytes| *bytes += length);
        }
        if state.wait_for(|state| *state != NetworkState::Stalled).await.is_err() {
            return;
        }
        let current = *state.borrow();
        if let NetworkState::Slow(bytes_per_second) = current {
            tokio::time::sleep(Duration::from_secs_f64(length as f64 / bytes_per_second as f64)).await;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
