//! Asks others by HTTP or HTTPS: one request, one connection, one bounded answer. Deadlines are the caller's.

use crate::config::{Https, WebAddress};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use pool::net::{BackendTls, Stream, TlsMode, backend_tls};
use tokio::net::TcpStream;

/// Bytes of an answer.
const ANSWER_MAX: usize = 1 << 20;

/// What is asked.
pub struct Question<'a> {
    /// Whom.
    pub whom: &'a WebAddress,
    /// GET, without a body, or POST, with one.
    pub method: Method,
    /// With its slash.
    pub path: &'a str,
    /// JSON, or nothing.
    pub body: Bytes,
}

/// What HTTPS needs, read from its files.
///
/// # Errors
/// The file that cannot be used, as a sentence.
pub fn tls(https: &Https) -> Result<BackendTls, String> {
    let pair = https.pair.as_ref().map(|(cert, key)| (cert.as_path(), key.as_path()));
    let tls = backend_tls(TlsMode::VerifyFull, https.ca.as_deref(), pair);
    tls.map(|tls| tls.speaking(b"http/1.1")).map_err(|error| error.to_string())
}

async fn connect(whom: &WebAddress) -> Result<Stream, String> {
    let WebAddress { host, port, https } = whom;
    let tcp = TcpStream::connect((host.as_str(), *port)).await.map_err(|error| error.to_string())?;
    let Some(https) = https.clone() else { return Ok(Stream::Tcp(tcp)) };
    // Read each time: a certificate may have been renewed, and questions are few.
    let read = tokio::task::spawn_blocking(move || tls(&https)).await;
    let tls = read.map_err(|error| error.to_string())??;
    tls.upgrade(Stream::Tcp(tcp), host).await.map_err(|error| error.to_string())
}

/// Asks, and returns the answer's body.
///
/// # Errors
/// Whatever came between, or an answer that does not say that all is well, as a sentence.
pub async fn ask(question: Question<'_>) -> Result<Bytes, String> {
    match exchange(question).await? {
        (StatusCode::OK, body) => Ok(body),
        (status, _) => Err(format!("answers {status}")),
    }
}

/// Asks, and returns the answer's status and body.
///
/// # Errors
/// Whatever came between, as a sentence.
pub async fn exchange(question: Question<'_>) -> Result<(StatusCode, Bytes), String> {
    let Question { whom, method, path, body } = question;
    let stream = connect(whom).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let request = Request::builder().method(method).uri(path).header(HOST, whom.to_string());
    let request = request.header(CONTENT_TYPE, "application/json").body(Full::new(body));
    let request = request.map_err(|error| error.to_string())?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
        body.map(|body| (status, body.to_bytes())).map_err(|error| error.to_string())
    };
    tokio::pin!(answer);
    tokio::select! {
        answered = &mut answer => answered,
        // The connection may be over before the answer is looked at.
        _ = connection => answer.await,
    }
}
