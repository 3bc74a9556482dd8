//! The embedded log: append-only segment files with the semantics of a Pulsar topic, for one process.
