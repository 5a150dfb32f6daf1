mod configs;
mod partitions;
mod topics;
