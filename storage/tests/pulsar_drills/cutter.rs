//! A TCP proxy that cuts connections: it passes bytes on until a drawn number of them has gone through, and ends that connection there.
//!
//! The bytes of both directions and of all connections count together, so a cut falls anywhere: in a handshake, between the length of a
//! frame and the frame, between a publication and its receipt. What came before the cut is delivered. Half of the cuts are followed by a
//! reset instead of an orderly end.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A proxy before one address. Ends with its value.
pub struct Cutter {
    address: SocketAddr,
    plan: Arc<Mutex<Plan>>,
    accepting: tokio::task::JoinHandle<()>,
}

struct Plan {
    random: StdRng,
    /// So many cuts are still to be made.
    left: u64,
    /// So many bytes go through before the next.
    bytes: usize,
}

impl Plan {
    /// From a hundred bytes to half a million, every order of magnitude as likely.
    fn draw(&mut self) {
        self.bytes = 10f64.powf(self.random.random_range(2.0..5.7)) as usize;
    }

    /// How many of the next `length` bytes are the last of their connection.
    fn pass(&mut self, length: usize) -> Option<usize> {
        if self.left == 0 {
            return None;
        }
        if length < self.bytes {
            self.bytes -= length;
            return None;
        }
        let last = self.bytes;
        self.left -= 1;
        self.draw();
        Some(last)
    }
}

impl Cutter {
    /// Listens on a free port; cuts nothing yet.
    pub async fn start(target: SocketAddr, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let plan = Arc::new(Mutex::new(Plan { random: StdRng::seed_from_u64(seed), left: 0, bytes: 0 }));
        let shared = Arc::clone(&plan);
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(carry(client, target, Arc::clone(&shared)));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, plan, accepting }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins to cut, so many times.
    pub fn arm(&self, cuts: u64) {
        let mut plan = self.plan.lock().unwrap();
        plan.left = cuts;
        plan.draw();
    }

    /// How many cuts are still to be made.
    pub fn left(&self) -> u64 {
        self.plan.lock().unwrap().left
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn carry(client: TcpStream, target: SocketAddr, plan: Arc<Mutex<Plan>>) {
    // As a broker that is down: the client's connection ends.
    let Ok(broker) = TcpStream::connect(target).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_broker, mut to_broker) = broker.into_split();
    tokio::select! {
        () = pump(&mut from_client, &mut to_broker, &plan) => {}
        () = pump(&mut from_broker, &mut to_client, &plan) => {}
    }
    if plan.lock().unwrap().random.random() {
        let _ = to_client.shutdown().await;
        let _ = to_broker.shutdown().await;
    }
}

/// Passes bytes on until one side ends or a cut falls.
async fn pump(from: &mut tokio::net::tcp::OwnedReadHalf, to: &mut tokio::net::tcp::OwnedWriteHalf, plan: &Mutex<Plan>) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
        let last = plan.lock().unwrap().pass(length);
        let done = to.write_all(&buffer[..last.unwrap_or(length)]).await;
        if last.is_some() || done.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn bytes_go_through_whole_until_a_cut_and_cuts_are_counted() {
    let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = echo.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = echo.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    let cutter = Cutter::start(target, 1).await;
    let sent: Vec<u8> = (0..2_000_000u32).map(|n| (n % 251) as u8).collect();
    let exchange = async |sent: &[u8]| {
        let (mut read, mut write) = TcpStream::connect(cutter.address()).await.unwrap().into_split();
        let mut got = Vec::new();
        let writing = async {
            let _ = write.write_all(sent).await;
        };
        let reading = async {
            let mut part = vec![0; 64 * 1024];
            while got.len() < sent.len() {
                let Ok(length @ 1..) = read.read(&mut part).await else { break };
                got.extend_from_slice(&part[..length]);
            }
        };
        tokio::join!(writing, reading);
        got
    };
    assert!(exchange(&sent).await == sent);
    cutter.arm(5);
    let mut cut = 0;
    while cutter.left() > 0 {
        let got = exchange(&sent).await;
        assert!(sent.starts_with(&got));
        cut += u64::from(got.len() < sent.len());
    }
    assert_eq!(cut, 5);
    assert!(exchange(&sent).await == sent);
}
