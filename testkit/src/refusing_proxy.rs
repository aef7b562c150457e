//! An HTTP proxy in front of ClickHouse that answers inserts itself, as a gateway or a server in trouble does, or leaves
//! statements without an answer, as one that is overloaded does.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use tokio::net::TcpListener;

/// What inserts are answered with.
#[derive(Clone, Debug)]
pub struct Refusal {
    status: u16,
    /// The header that ClickHouse adds to its own answers.
    code: Option<u32>,
    text: String,
    /// Only inserts with more bytes are refused.
    above: usize,
}

impl Refusal {
    /// An exception as ClickHouse answers it.
    pub fn exception(code: u32) -> Self {
        let text = format!("Code: {code}. DB::Exception: the test says so. (SOME_NAME) (version 26.9.2.1)\n");
        Self { status: 500, code: Some(code), text, above: 0 }
    }

    /// The page of a gateway.
    pub fn page(status: u16, text: &str) -> Self {
        Self { status, code: None, text: text.into(), above: 0 }
    }

    /// Refuses only inserts of more than this many bytes, as they are sent: compressed.
    pub fn above(self, bytes: usize) -> Self {
        Self { above: bytes, ..self }
    }
}

#[derive(Debug, Default)]
struct Refusing {
    refusal: Option<Refusal>,
    count: usize,
    /// Statements with this text, in the URL or in the body, are not answered.
    silent: Option<String>,
    silenced: usize,
}

/// A proxy on a free port; it ends with the runtime.
#[derive(Clone, Debug)]
pub struct RefusingProxy {
    address: SocketAddr,
    state: Arc<Mutex<Refusing>>,
}

#[derive(Clone)]
struct Target {
    url: String,
    client: reqwest::Client,
    state: Arc<Mutex<Refusing>>,
}

impl RefusingProxy {
    /// Passes everything on to `url` until it is told to refuse.
    pub async fn to(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<Mutex<Refusing>>::default();
        let target = Target { url: url.into(), client: reqwest::Client::new(), state: Arc::clone(&state) };
        let router = Router::new().fallback(serve).with_state(target);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, state }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers inserts with `refusal` from now on, or passes them on again; begins to count anew.
    pub fn refuse(&self, refusal: Option<Refusal>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.refusal, state.count) = (refusal, 0);
    }

    /// Leaves statements with this text without an answer from now on, or passes them on again; begins to count anew.
    pub fn silence(&self, text: Option<&str>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.silent, state.silenced) = (text.map(str::to_owned), 0);
    }

    /// How many statements were left without an answer.
    pub fn silenced(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).silenced
    }

    /// How many inserts were refused with the current refusal.
    pub fn refused(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).count
    }
}

async fn serve(State(target): State<Target>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    if path.contains("query=INSERT")
        && let Some(refusal) = refusal(&target.state, body.len())
    {
        let code = refusal.code.map(|code| ("X-ClickHouse-Exception-Code", code.to_string()));
        let answer = Response::builder().status(refusal.status);
        let answer = code.into_iter().fold(answer, |answer, (name, value)| answer.header(name, value));
        return answer.body(refusal.text.into()).unwrap();
    }
    if is_silenced(&target.state, path, &body) {
        std::future::pending::<()>().await;
    }
    let url = format!("{}{path}", target.url);
    let mut passed = target.client.request(head.method, url).body(body);
    for (name, value) in head.headers.iter().filter(|(name, _)| !["host", "transfer-encoding"].contains(&name.as_str()))
    {
        passed = passed.header(name, value);
    }
    let Ok(answer) = passed.send().await else { return status(StatusCode::BAD_GATEWAY) };
    let mut passed = Response::builder().status(answer.status());
    for (name, value) in answer.headers().iter().filter(|(name, _)| *name != "transfer-encoding") {
        passed = passed.header(name, value);
    }
    match answer.bytes().await {
        Ok(body) => passed.body(body.into()).unwrap(),
        Err(_) => status(StatusCode::BAD_GATEWAY),
    }
}

/// The refusal of an insert of so many bytes, counted.
fn refusal(state: &Mutex<Refusing>, bytes: usize) -> Option<Refusal> {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let refusal = state.refusal.clone().filter(|refusal| bytes > refusal.above)?;
    state.count += 1;
    Some(refusal)
}

fn is_silenced(state: &Mutex<Refusing>, path: &str, body: &[u8]) -> bool {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let is_in = |text: &String| path.contains(text) || String::from_utf8_lossy(body).contains(text);
    let silent = state.silent.as_ref().is_some_and(is_in);
    state.silenced += usize::from(silent);
    silent
}

fn status(status: StatusCode) -> Response<Body> {
    Response::builder().status(status).body(Body::empty()).unwrap()
}
