use super::*;
use protocol::Secret;
use protocol::postgres::Postgres;
use std::str;
use tokio::net::{TcpListener, TcpStream};

/// An authentication request.
fn request(code: u32, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).expect("it is short") + 8;
    [b"R", length.to_be_bytes().as_slice(), &code.to_be_bytes(), data].concat()
}

/// Asks for much stretching, and counts how often this task has its turn
/// on the only worker until the proof is here.
async fn turns_while_stretching(socket: &mut TcpStream) -> io::Result<u32> {
    let mut heard = [0; 1024];
    let _startup = socket.read(&mut heard).await?;
    socket.write_all(&request(10, b"SCRAM-SHA-256\0\0")).await?;
    let length = socket.read(&mut heard).await?;
    let first = str::from_utf8(&heard[5..length]).expect("SCRAM is text");
    let (_, nonce) = first.split_once("r=").expect("it has a nonce");
    socket.write_all(&request(11, format!("r={nonce}x,s=c2FsdA==,i=20000").as_bytes())).await?;
    let mut turns = 0;
    loop {
        match socket.try_read(&mut heard) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => turns += 1,
            proof => return proof.map(|_| turns),
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn stretching_a_password_keeps_no_worker() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    let port = listener.local_addr().expect("it is bound").port();
    let address = Address::Tcp { host: "127.0.0.1".to_owned(), port };
    let tcp = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
    let terms = DialTerms {
        user: "app".to_owned(),
        password: Some(Secret::new("secret".to_owned())),
        database: "app".to_owned(),
        tls: DialTls::Off,
        flavour: 0,
    };
    let dial = tokio::spawn(async move {
        let dial = <Postgres as Protocol>::Dial::new(terms);
        drive_until_tls::<Postgres>(Stream::Tcp(tcp), dial, &address, &BackendTls::default()).await.is_ok()
    });
    let (mut socket, _) = listener.accept().await.expect("it connects");
    let turns = turns_while_stretching(&mut socket).await.expect("the dial goes on");
    drop(socket);
    assert!(!dial.await.expect("no panic"), "nobody signed it in");
    // Were it stretched on the worker, there would be no turn but the few until its bytes are seen.
    assert!(turns > 500, "{turns} turns");
}
