//! A Pulsar cluster as a log: our own small session over the binary protocol, and the admin REST API.
