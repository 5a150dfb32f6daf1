//! Corelog broker.
