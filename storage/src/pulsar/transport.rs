//! The bytes' way to a broker: a TCP stream, plain or under TLS, read and written from one task.
//!
//! Writing goes first and takes many pieces at once, so that a pipeline of entries costs few system calls. What TLS holds back is
//! flushed as soon as there is nothing more to write.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// So many pieces are given to the system in one call.
const PIECES: usize = 64;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl Stream for TcpStream {}
impl Stream for TlsStream<TcpStream> {}

/// An open stream.
pub(super) struct Transport {
    stream: Box<dyn Stream>,
    unflushed: bool,
}

/// What moved.
pub(super) enum Moved {
    Written,
    /// So many bytes were read; 0: the other side closed.
    Read(usize),
}

impl Transport {
    /// Dials `HOST:PORT`; with `tls` the host's certificate must name it.
    pub async fn dial(address: &str, tls: Option<Arc<ClientConfig>>) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let Some(config) = tls else { return Ok(Self { stream: Box::new(stream), unflushed: false }) };
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_string();
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        Ok(Self { stream: Box::new(stream), unflushed: false })
    }

    /// Writes some of `output`, taking off what is written, or reads some into `buffer`. Cancel-safe.
    pub async fn step(&mut self, output: &mut VecDeque<Bytes>, buffer: &mut BytesMut) -> io::Result<Moved> {
        std::future::poll_fn(|context| self.poll_step(context, output, buffer)).await
    }

    fn poll_step(
        &mut self,
        context: &mut Context<'_>,
        output: &mut VecDeque<Bytes>,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<Moved>> {
        let stream = &mut *self.stream;
        if !output.is_empty() {
            let mut pieces = [IoSlice::new(&[]); PIECES];
            let count = output.len().min(PIECES);
            for (piece, bytes) in pieces.iter_mut().zip(output.iter()) {
                *piece = IoSlice::new(bytes);
            }
            if let Poll::Ready(written) = Pin::new(&mut *stream).poll_write_vectored(context, &pieces[..count]) {
                self.unflushed = true;
                take_off(output, written?);
                return Poll::Ready(Ok(Moved::Written));
            }
        } else if self.unflushed
            && let Poll::Ready(flushed) = Pin::new(&mut *stream).poll_flush(context)
        {
            flushed?;
            self.unflushed = false;
        }
        let mut reading = pin!(stream.read_buf(buffer));
        let read = ready!(reading.as_mut().poll(context))?;
        Poll::Ready(Ok(Moved::Read(read)))
    }

    /// Writes all of `output` and says goodbye. **Not cancel-safe.**
    pub async fn finish(&mut self, output: VecDeque<Bytes>) -> io::Result<()> {
        for bytes in output {
            self.stream.write_all(&bytes).await?;
        }
        self.stream.flush().await?;
        self.stream.shutdown().await
    }
}

/// Takes `written` bytes off the front. Empty pieces go too.
fn take_off(output: &mut VecDeque<Bytes>, mut written: usize) {
    while let Some(front) = output.front_mut() {
        if front.len() > written {
            front.advance(written);
            return;
        }
        written -= front.len();
        output.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_taken_off_across_pieces() {
        let whole = || VecDeque::from([Bytes::from_static(b"ab"), Bytes::new(), Bytes::from_static(b"cde")]);
        for written in 0..=5 {
            let mut output = whole();
            take_off(&mut output, written);
            let left: Vec<u8> = output.iter().flatten().copied().collect();
            assert_eq!(left, b"abcde"[written..], "{written}");
        }
    }
}
