//! The real back end: glommio's direct files and sockets, and blocking calls for everything about names.

mod blocking;
mod directory;
mod file;
mod gate;
mod keeper;
mod tcp;

pub(super) use blocking::settle;
pub(super) use directory::Directory;
pub(super) use file::DirectFile;
pub(super) use gate::gated;
pub(super) use keeper::{ROUND, keep_awake};
pub(super) use tcp::{Acceptor, TcpStream};
