//! `cargo +nightly fuzz run schema`, in the folder above `fuzz`.
#![no_main]

#[allow(dead_code)] // each target uses its own
#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::schema(bytes));
