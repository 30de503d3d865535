//! A thread that serves tunnels: one wait for all of them, and their buffers in common. EFFECTS.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::EventFd;

use super::end::End;
use super::endpoint::{Buffers, Gone};
use super::{Log, Tunnel, TunnelId};

/// Events taken from the kernel at once.
const EVENTS: usize = 64;

/// The event that says commands are waiting.
const WAKE: u64 = u64::MAX;

/// What a worker is told.
pub(super) enum Command {
    /// Serve this tunnel, and say so.
    Serve(TunnelId, Arc<Tunnel>, Box<End>, SyncSender<io::Result<()>>),
    /// Serve it no more, and say so.
    Stop(TunnelId, SyncSender<io::Result<()>>),
    /// End.
    End,
}

/// Which descriptor of a tunnel an event is about. The number is the place in [`End::descriptors`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Device,
    Wire,
    Routes,
}

impl Side {
    const ALL: [Side; 3] = [Side::Device, Side::Wire, Side::Routes];

    /// The event's number: tunnel and side in one.
    fn token(self, id: TunnelId) -> u64 {
        id.0 * 4 + self as u64
    }

    fn from_token(token: u64) -> Option<(TunnelId, Side)> {
        Side::ALL.get((token % 4) as usize).map(|side| (TunnelId(token / 4), *side))
    }
}

/// The thread's state.
pub(super) struct Worker {
    epoll: Epoll,
    wake: Arc<EventFd>,
    commands: Receiver<Command>,
    log: Log,
    buffers: Buffers,
    served: BTreeMap<TunnelId, (Arc<Tunnel>, Box<End>)>,
}

impl Worker {
    pub(super) fn new(wake: Arc<EventFd>, commands: Receiver<Command>, log: Log) -> io::Result<Worker> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(wake.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
        Ok(Worker { epoll, wake, commands, log, buffers: Buffers::new(), served: BTreeMap::new() })
    }

    /// Serves until told to end.
    pub(super) fn run(mut self) {
        let mut events = [EpollEvent::empty(); EVENTS];
        loop {
            let count = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Ok(count) => count,
                Err(nix::Error::EINTR) => continue,
                Err(e) => {
                    return (self.log)(&format!("tunnels are no longer served: cannot wait for packets: {e}"));
                }
            };
            let happened = events[..count].iter().map(EpollEvent::data);
            // News about routes come before the packets that may depend on them.
            for (id, side) in happened.clone().filter_map(Side::from_token) {
                if side == Side::Routes
                    && let Some((_, endpoint)) = self.served.get_mut(&id)
                {
                    endpoint.hear();
                }
            }
            for (id, side) in happened.clone().filter_map(Side::from_token) {
                self.carry(id, side);
            }
            if happened.clone().any(|token| token == WAKE) && !self.obey() {
                return;
            }
        }
    }

    fn carry(&mut self, id: TunnelId, side: Side) {
        let Some((tunnel, endpoint)) = self.served.get_mut(&id) else {
            return;
        };
        let carried = match side {
            Side::Device => endpoint.transmit(&mut self.buffers),
            Side::Wire => endpoint.receive(&mut self.buffers),
            Side::Routes => Ok(()),
        };
        if let Err(Gone(reason)) = carried {
            (self.log)(&format!("{} in {} is no longer served: {reason}", tunnel.device, tunnel.netns));
            tunnel.ended();
            self.served.remove(&id);
        }
    }

    /// Carries out all commands. False if the last was to end.
    fn obey(&mut self) -> bool {
        // The number of wake-ups does not matter; reading it makes the event pass.
        let _ = self.wake.read();
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Serve(id, tunnel, endpoint, answer) => {
                    let added = self.add(id, &endpoint);
                    if added.is_ok() {
                        self.served.insert(id, (tunnel, endpoint));
                    }
                    // Who asked may have given up.
                    let _ = answer.send(added);
                }
                Command::Stop(id, answer) => {
                    if let Some((tunnel, _)) = self.served.remove(&id) {
                        tunnel.ended();
                    }
                    let _ = answer.send(Ok(()));
                }
                Command::End => return false,
            }
        }
        true
    }

    fn add(&self, id: TunnelId, endpoint: &End) -> io::Result<()> {
        for (descriptor, side) in endpoint.descriptors().into_iter().zip(Side::ALL) {
            self.epoll.add(descriptor, EpollEvent::new(EpollFlags::EPOLLIN, side.token(id)))?;
        }
        Ok(())
    }
}
