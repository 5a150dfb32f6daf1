//! The real back end: glommio's direct files, and blocking calls for everything about names.

mod directory;
mod file;
mod gate;

pub(super) use directory::Directory;
pub(super) use file::DirectFile;
pub(super) use gate::gated;
