//! The streaming operators. Each is synchronous and deterministic and knows no thread, clock or file.
