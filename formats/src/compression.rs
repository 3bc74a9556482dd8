//! The four codecs of Pulsar, as its clients write them, under a limit.
//!
//! LZ4 is a raw block, ZLIB has its header, ZSTD is a frame and Snappy is raw. The size that an entry claims is compared with the limit before
//! anything is allocated, and the inflated size must be exactly what was claimed.
//!
//! LZ4 goes through its own C library: a decoder in safe Rust took twice as long, a tenth of a live read.

use std::io::Write;

use aquifer_model::{Error, Result};

/// How an entry's payload is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// Raw LZ4 block.
    Lz4,
    /// Zlib with header.
    Zlib,
    /// A zstd frame.
    Zstd,
    /// Raw Snappy.
    Snappy,
}

/// Compresses `bytes`.
pub fn compress(compression: Compression, bytes: &[u8]) -> Result<Vec<u8>> {
    let failed = |error: std::io::Error| Error::internal("compressing a payload").with_source(error);
    match compression {
        Compression::None => Ok(bytes.to_vec()),
        Compression::Lz4 => lz4::block::compress(bytes, None, false).map_err(failed),
        Compression::Zlib => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).map_err(failed)?;
            encoder.finish().map_err(failed)
        }
        Compression::Zstd => zstd::bulk::compress(bytes, 1).map_err(failed),
        Compression::Snappy => snap::raw::Encoder::new()
            .compress_vec(bytes)
            .map_err(|e| Error::internal("compressing a payload").with_source(e)),
    }
}

/// The bytes that a payload claims to inflate to, refused if they are above `limit`.
pub fn check_claim(claimed: usize, limit: usize) -> Result<usize> {
    if claimed > limit {
        return Err(Error::unsupported(format!(
            "an entry claims to inflate to {claimed} bytes, above the limit of {limit}: if it is right, set 'aquifer.max-inflated-bytes' of the table or its catalog higher"
        )));
    }
    Ok(claimed)
}

/// Inflates `bytes` to exactly as many as there is room for.
pub fn inflate_into(compression: Compression, bytes: &[u8], inflated: &mut [u8]) -> Result<()> {
    let claimed = inflated.len();
    if bytes.is_empty() && claimed == 0 {
        return Ok(());
    }
    let torn =
        || Error::corrupt(format!("a {compression:?} payload does not inflate to the {claimed} bytes it claims"));
    let length = match compression {
        Compression::None if bytes.len() == claimed => {
            inflated.copy_from_slice(bytes);
            claimed
        }
        Compression::None => return Err(torn()),
        Compression::Lz4 => {
            // The library counts in 31 bits.
            let room = i32::try_from(claimed).map_err(|_| torn())?;
            lz4::block::decompress_to_buffer(bytes, Some(room), inflated).map_err(|e| torn().with_source(e))?
        }
        Compression::Zlib => inflate_zlib(bytes, inflated).map_err(|e| torn().with_source(e))?,
        Compression::Zstd => zstd::bulk::decompress_to_buffer(bytes, inflated).map_err(|e| torn().with_source(e))?,
        Compression::Snappy => {
            if snap::raw::decompress_len(bytes).map_err(|e| torn().with_source(e))? != claimed {
                return Err(torn());
            }
            snap::raw::Decoder::new().decompress(bytes, inflated).map_err(|e| torn().with_source(e))?
        }
    };
    if length != claimed {
        return Err(torn());
    }
    Ok(())
}

/// How many bytes a stream inflates to: those that fit are in `into`, and more than that says that it is longer. The stream may lack its last
/// block and checksum: the Java client ends one with a flush.
fn inflate_zlib(bytes: &[u8], into: &mut [u8]) -> Result<usize, flate2::DecompressError> {
    let mut decoder = flate2::Decompress::new(true);
    let mut beyond = [0];
    loop {
        let (read, written) = (decoder.total_in() as usize, decoder.total_out() as usize);
        let room = if written < into.len() { &mut into[written..] } else { &mut beyond[..] };
        let status = decoder.decompress(&bytes[read..], room, flate2::FlushDecompress::None)?;
        let (read_now, written_now) = (decoder.total_in() as usize, decoder.total_out() as usize);
        let stands = (read_now, written_now) == (read, written);
        if status == flate2::Status::StreamEnd || stands || written_now > into.len() {
            return Ok(written_now);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn inflate(compression: Compression, bytes: &[u8], claimed: usize, limit: usize) -> Result<Vec<u8>> {
        // Old bytes lie where it is put.
        let mut inflated = vec![0xa5; check_claim(claimed, limit)?];
        inflate_into(compression, bytes, &mut inflated)?;
        Ok(inflated)
    }

    const ALL: [Compression; 5] =
        [Compression::None, Compression::Lz4, Compression::Zlib, Compression::Zstd, Compression::Snappy];

    proptest! {
        #[test]
        fn what_is_compressed_inflates_to_itself(bytes in prop::collection::vec(0u8..4, 0..2000)) {
            for compression in ALL {
                let packed = compress(compression, &bytes).expect("any bytes");
                let inflated = inflate(compression, &packed, bytes.len(), 1 << 20).expect("made by us");
                prop_assert_eq!(&inflated[..], &bytes[..]);
            }
        }

        #[test]
        fn hostile_bytes_neither_panic_nor_give_another_size(bytes in prop::collection::vec(any::<u8>(), 0..300), claimed in 0usize..5000) {
            for compression in ALL.into_iter().skip(1) {
                if let Ok(inflated) = inflate(compression, &bytes, claimed, 1 << 20) {
                    prop_assert_eq!(inflated.len(), claimed);
                }
            }
        }
    }

    #[test]
    fn a_zlib_stream_that_ends_with_a_flush_is_whole_and_one_that_is_cut_is_not() {
        let text: Vec<u8> = (0..5000u32).flat_map(u32::to_be_bytes).collect();
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&text).expect("to memory");
        encoder.flush().expect("to memory");
        let flushed = encoder.get_ref().clone();
        let inflated = inflate(Compression::Zlib, &flushed, text.len(), 1 << 20).expect("as the Java client ends it");
        assert_eq!(&inflated[..], &text[..]);
        let whole = compress(Compression::Zlib, &text).expect("any bytes");
        for (bytes, claimed) in [
            (&flushed[..flushed.len() / 2], text.len()),
            (&flushed, text.len() - 1),
            (&flushed, text.len() + 1),
            (&whole[..whole.len() / 2], text.len()),
            (&whole, text.len() - 1),
            (&whole, 0),
        ] {
            assert!(inflate(Compression::Zlib, bytes, claimed, 1 << 20).is_err(), "{claimed} of {}", bytes.len());
        }
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_inflated() {
        let bomb = compress(Compression::Zstd, &vec![0; 10 << 20]).expect("zeros");
        assert!(inflate(Compression::Zstd, &bomb, 10 << 20, 1 << 20).is_err());
        assert!(inflate(Compression::Zstd, &bomb, 1 << 20, 1 << 20).is_err(), "it is larger than it claims");
        assert!(inflate(Compression::Lz4, &[], 0, 0).is_ok(), "an empty payload may be no bytes at all");
    }
}
