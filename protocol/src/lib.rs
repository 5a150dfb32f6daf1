//! Corelog: bytes only.
