//! A database that signs anybody in, refuses, or hangs, and counts.

use crate::net::Address;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How the database answers a sign-in.
#[derive(Debug, Clone, PartialEq)]
pub enum Mood {
    Kind,
    /// Refuses with this SQLSTATE.
    Refuses(&'static str),
    /// Says nothing.
    Hangs,
    /// Takes a while.
    Slow(Duration),
}

/// A running fake; ends when dropped.
pub struct Fake {
    pub address: Address,
    pub mood: watch::Sender<Mood>,
    /// Changes to close every connection.
    pub massacre: watch::Sender<u32>,
    pub counts: Arc<Counts>,
    listening: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Default)]
pub struct Counts {
    /// Connections that asked to sign in, ever.
    pub attempts: AtomicU64,
    /// Connections signed in, ever.
    pub logins: AtomicU64,
    /// Connections open now, and the most there were.
    pub open: AtomicU32,
    pub most: AtomicU32,
    /// Sign-ins under way now, and the most there were.
    pub signing_in: AtomicU32,
    pub most_signing_in: AtomicU32,
    /// Requests to cancel.
    pub cancels: AtomicU64,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.listening.abort();
        self.massacre.send_modify(|count| *count += 1);
    }
}

impl Fake {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
        let port = listener.local_addr().expect("it is bound").port();
        let (mood, massacre) = (watch::Sender::new(Mood::Kind), watch::Sender::new(0));
        let counts = Arc::<Counts>::default();
        let listening = tokio::spawn({
            let (mood, massacre, counts) = (mood.clone(), massacre.clone(), counts.clone());
            async move {
                while let Ok((socket, _)) = listener.accept().await {
                    let (mood, counts) = (mood.borrow().clone(), counts.clone());
                    let mut end = massacre.subscribe();
                    tokio::spawn(async move {
                        rise(&counts.open, &counts.most);
                        tokio::select! {
                            _ = serve(socket, mood, &counts) => {}
                            _ = end.changed() => {}
                        }
                        counts.open.fetch_sub(1, SeqCst);
                    });
                }
            }
        });
        let address = Address::Tcp { host: "127.0.0.1".to_owned(), port };
        Self { address, mood, massacre, counts, listening }
    }

    /// Refuses connections from now on, and cuts those that are open.
    pub async fn stop(&mut self) {
        self.listening.abort();
        let _ = (&mut self.listening).await;
        self.massacre.send_modify(|count| *count += 1);
    }

    pub fn logins(&self) -> u64 {
        self.counts.logins.load(SeqCst)
    }

    pub fn open(&self) -> u32 {
        self.counts.open.load(SeqCst)
    }
}

fn rise(now: &AtomicU32, most: &AtomicU32) {
    most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
}

async fn serve(mut socket: TcpStream, mood: Mood, counts: &Counts) -> std::io::Result<()> {
    let length = socket.read_u32().await?;
    let mut startup = vec![0; length as usize - 4];
    socket.read_exact(&mut startup).await?;
    if startup.starts_with(&80_877_102u32.to_be_bytes()) {
        counts.cancels.fetch_add(1, SeqCst);
        return Ok(());
    }
    counts.attempts.fetch_add(1, SeqCst);
    rise(&counts.signing_in, &counts.most_signing_in);
    let outcome = sign_in(&mut socket, mood, counts).await;
    counts.signing_in.fetch_sub(1, SeqCst);
    outcome?;
    let mut byte = [0; 512];
    while socket.read(&mut byte).await? > 0 {}
    Ok(())
}

async fn sign_in(socket: &mut TcpStream, mood: Mood, counts: &Counts) -> std::io::Result<()> {
    match mood {
        Mood::Kind => {}
        Mood::Slow(pause) => tokio::time::sleep(pause).await,
        Mood::Hangs => std::future::pending().await,
        Mood::Refuses(code) => {
            let body = format!("SFATAL\0VFATAL\0C{code}\0Mnot today\0\0");
            let mut message = vec![b'E'];
            message.extend((body.len() as u32 + 4).to_be_bytes());
            message.extend(body.as_bytes());
            socket.write_all(&message).await?;
            return Err(std::io::ErrorKind::ConnectionRefused.into());
        }
    }
    let number = counts.logins.fetch_add(1, SeqCst) as u32;
    let mut hello = b"R\0\0\0\x08\0\0\0\0K\0\0\0\x0c".to_vec();
    hello.extend(number.to_be_bytes());
    hello.extend(7u32.to_be_bytes());
    hello.extend(b"Z\0\0\0\x05I");
    socket.write_all(&hello).await
}

/// Waits until something holds; says what, if it never does.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
