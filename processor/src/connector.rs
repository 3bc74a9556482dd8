//! The contracts of sources and sinks, and the registry by which SQL finds them.
