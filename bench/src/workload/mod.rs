//! The load: producers and consumers of the client library, as an application
//! would use them, and the check that every record came back.

pub(crate) mod client;
pub(crate) mod clients;
pub(crate) mod consume;
pub(crate) mod end_to_end;
pub(crate) mod group;
pub(crate) mod ledger;
pub(crate) mod payload;
pub(crate) mod produce;
pub(crate) mod session;
