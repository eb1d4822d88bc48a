//! A way to an engine that can be cut. Every connection of the cluster to the engine goes through it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What one connection may have on its way in one direction.
const BUFFER_BYTES: usize = 64 << 10;
/// Before the next connection is taken, after one could not be.
const REST: Duration = Duration::from_millis(50);

/// How the way is at the moment.
#[derive(Clone, Copy, Debug, Default)]
struct Way {
    /// Requests reach the engine, its answers are kept here.
    mute: bool,
    /// How often all connections were cut.
    cuts: u64,
}

/// A port of this process that leads to an engine's. It ends with the runtime.
pub(crate) struct Link {
    pub(crate) port: u16,
    way: Arc<watch::Sender<Way>>,
}

impl Link {
    /// Listens on a port that was free; nothing need listen at `target` yet.
    pub(crate) async fn to(target: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port is free for a link")?;
        let port = listener.local_addr()?.port();
        let way = Arc::new(watch::channel(Way::default()).0);
        let shown = way.clone();
        tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((client, _)) => drop(tokio::spawn(carry(client, target, shown.subscribe()))),
                    // Out of file descriptors, most likely: connections that end make room.
                    Err(_) => tokio::time::sleep(REST).await,
                }
            }
        });
        Ok(Self { port, way })
    }

    /// From now on requests arrive and are carried out, and nobody hears of it.
    pub(crate) fn mute(&self) {
        self.way.send_modify(|way| way.mute = true);
    }

    /// Ends all connections; answers that were kept are lost for ever. New connections are whole.
    pub(crate) fn cut(&self) {
        self.way.send_modify(|way| *way = Way { mute: false, cuts: way.cuts + 1 });
    }
}

/// One connection, until either side ends it or it is cut. A target that is not there ends it at once.
async fn carry(client: TcpStream, target: u16, mut way: watch::Receiver<Way>) {
    let cuts = way.borrow().cuts;
    let Ok(engine) = TcpStream::connect(("127.0.0.1", target)).await else { return };
    // Without these an answer would wait for the next packet, and every latency be the link's.
    if client.set_nodelay(true).is_err() || engine.set_nodelay(true).is_err() {
        return;
    }
    let (from_client, to_client) = client.into_split();
    let (from_engine, to_engine) = engine.into_split();
    let answers = way.clone();
    tokio::select! {
        // Errors are ends: both sockets are dropped here.
        _ = copy(from_client, to_engine, None, cuts) => {}
        _ = copy(from_engine, to_client, Some(answers), cuts) => {}
        _ = way.wait_for(|way| way.cuts > cuts) => {}
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut mute: Option<watch::Receiver<Way>>,
    cuts: u64,
) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        if let Some(way) = &mut mute {
            // A cut ends the silence and the connection at once: what was kept must not slip out in between.
            let open = way.wait_for(|way| !way.mute).await;
            if open.is_err() || open.is_ok_and(|way| way.cuts > cuts) {
                return Ok(());
            }
        }
        to.write_all(&buffer[..count]).await?;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Answers every byte with the next greater one, and tells what it was asked.
    async fn engine() -> (u16, tokio::sync::mpsc::UnboundedReceiver<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (told, asked) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let told = told.clone();
                tokio::spawn(async move {
                    while let Ok(byte) = client.read_u8().await {
                        told.send(byte).unwrap();
                        client.write_u8(byte + 1).await.unwrap();
                    }
                });
            }
        });
        (port, asked)
    }

    #[tokio::test]
    async fn a_mute_link_carries_requests_and_a_cut_one_loses_their_answers() {
        let (port, mut asked) = engine().await;
        let link = Link::to(port).await.unwrap();
        let mut client = TcpStream::connect(("127.0.0.1", link.port)).await.unwrap();
        client.write_u8(1).await.unwrap();
        assert_eq!((asked.recv().await, client.read_u8().await.unwrap()), (Some(1), 2));
        link.mute();
        client.write_u8(3).await.unwrap();
        assert_eq!(asked.recv().await, Some(3), "it is carried out");
        let silence = tokio::time::timeout(Duration::from_millis(100), client.read_u8()).await;
        assert!(silence.is_err(), "{silence:?}");
        link.cut();
        assert!(client.read_u8().await.is_err(), "the answer is lost with its connection");
        let mut client = TcpStream::connect(("127.0.0.1", link.port)).await.unwrap();
        client.write_u8(5).await.unwrap();
        assert_eq!((asked.recv().await, client.read_u8().await.unwrap()), (Some(5), 6));
    }
}
