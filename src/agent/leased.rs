//! A connection that ends when its pod does: an open one would hold the pod's namespace.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// A connection, and what says that it is over.
pub(super) struct Leased {
    stream: TcpStream,
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
    over: bool,
}

impl Leased {
    /// A connection that reads as closed once `end`'s sender is gone.
    pub(super) fn new(stream: TcpStream, mut end: watch::Receiver<()>) -> Leased {
        let end = Box::pin(async move {
            // Nothing is ever sent: this ends when the sender is gone.
            let _ = end.changed().await;
        });
        Leased { stream, end, over: false }
    }

    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        self.over = self.over || self.end.as_mut().poll(context).is_ready();
        self.over
    }
}

impl AsyncRead for Leased {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // No byte read is the end of the stream.
        if self.is_over(context) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Leased {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_over(context) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
