//! Asks others by HTTP: one request, one connection, one bounded answer. Deadlines are the caller's.

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Bytes of an answer.
const ANSWER_MAX: usize = 1 << 20;

/// What is asked.
pub struct Question<'a> {
    /// Whom.
    pub host: &'a str,
    /// On which port.
    pub port: u16,
    /// GET, without a body, or POST, with one.
    pub method: Method,
    /// With its slash.
    pub path: &'a str,
    /// JSON, or nothing.
    pub body: Bytes,
}

/// Asks, and returns the answer's body.
///
/// # Errors
/// Whatever came between, or an answer that does not say that all is well, as a sentence.
pub async fn ask(question: Question<'_>) -> Result<Bytes, String> {
    let Question { host, port, method, path, body } = question;
    let tcp = TcpStream::connect((host, port)).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await.map_err(|error| error.to_string())?;
    let request = Request::builder().method(method).uri(path).header(HOST, format!("{host}:{port}"));
    let request = request.header(CONTENT_TYPE, "application/json").body(Full::new(body));
    let request = request.map_err(|error| error.to_string())?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        if response.status() != StatusCode::OK {
            return Err(format!("answers {}", response.status()));
        }
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
        body.map(|body| body.to_bytes()).map_err(|error| error.to_string())
    };
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        // The connection may be over before the answer is looked at.
        _ = connection => exchange.await,
    }
}
