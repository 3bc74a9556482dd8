//! `cargo +nightly fuzz run parquet_pages`, in the folder above `fuzz`.
#![no_main]

#[allow(dead_code)] // each target uses its own
#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::parquet_pages(bytes));
