//! Corelog client.
