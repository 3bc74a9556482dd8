//! The four codecs of Pulsar, as its clients write them, under a limit.
//!
//! LZ4 is a raw block, ZLIB has its header, ZSTD is a frame and Snappy is raw. The size that an entry claims is compared with the limit before
//! anything is allocated, and the inflated size must be exactly what was claimed.

use std::io::Write;

use aquifer_model::{Error, Result};
use bytes::Bytes;

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
        Compression::Lz4 => Ok(lz4_flex::block::compress(bytes)),
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

/// Inflates `bytes` to exactly `claimed` bytes, refused if that is above `limit`. What is not compressed is given as it is.
pub fn inflate(compression: Compression, bytes: &Bytes, claimed: usize, limit: usize) -> Result<Bytes> {
    if compression == Compression::None {
        return Ok(bytes.clone());
    }
    if claimed > limit {
        return Err(Error::corrupt(format!(
            "an entry claims to inflate to {claimed} bytes, above the limit of {limit}: if it is right, set 'aquifer.max-inflated-bytes' of the table or its catalog higher"
        )));
    }
    if bytes.is_empty() && claimed == 0 {
        return Ok(Bytes::new());
    }
    let torn =
        || Error::corrupt(format!("a {compression:?} payload does not inflate to the {claimed} bytes it claims"));
    let mut inflated = vec![0; claimed];
    let length = match compression {
        Compression::None => claimed,
        Compression::Lz4 => {
            lz4_flex::block::decompress_into(bytes, &mut inflated).map_err(|e| torn().with_source(e))?
        }
        Compression::Zlib => inflate_zlib(bytes, &mut inflated).map_err(|e| torn().with_source(e))?,
        Compression::Zstd => {
            zstd::bulk::decompress_to_buffer(bytes, &mut inflated).map_err(|e| torn().with_source(e))?
        }
        Compression::Snappy => {
            if snap::raw::decompress_len(bytes).map_err(|e| torn().with_source(e))? != claimed {
                return Err(torn());
            }
            snap::raw::Decoder::new().decompress(bytes, &mut inflated).map_err(|e| torn().with_source(e))?
        }
    };
    if length != claimed {
        return Err(torn());
    }
    Ok(Bytes::from(inflated))
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

    const ALL: [Compression; 5] =
        [Compression::None, Compression::Lz4, Compression::Zlib, Compression::Zstd, Compression::Snappy];

    proptest! {
        #[test]
        fn what_is_compressed_inflates_to_itself(bytes in prop::collection::vec(0u8..4, 0..2000)) {
            for compression in ALL {
                let packed = Bytes::from(compress(compression, &bytes).expect("any bytes"));
                let inflated = inflate(compression, &packed, bytes.len(), 1 << 20).expect("made by us");
                prop_assert_eq!(&inflated[..], &bytes[..]);
            }
        }

        #[test]
        fn hostile_bytes_neither_panic_nor_give_another_size(bytes in prop::collection::vec(any::<u8>(), 0..300), claimed in 0usize..5000) {
            for compression in ALL.into_iter().skip(1) {
                if let Ok(inflated) = inflate(compression, &Bytes::from(bytes.clone()), claimed, 1 << 20) {
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
        let flushed = Bytes::from(encoder.get_ref().clone());
        let inflated = inflate(Compression::Zlib, &flushed, text.len(), 1 << 20).expect("as the Java client ends it");
        assert_eq!(&inflated[..], &text[..]);
        let whole = Bytes::from(compress(Compression::Zlib, &text).expect("any bytes"));
        for (bytes, claimed) in [
            (flushed.slice(..flushed.len() / 2), text.len()),
            (flushed.clone(), text.len() - 1),
            (flushed, text.len() + 1),
            (whole.slice(..whole.len() / 2), text.len()),
            (whole.clone(), text.len() - 1),
            (whole, 0),
        ] {
            assert!(inflate(Compression::Zlib, &bytes, claimed, 1 << 20).is_err(), "{claimed} of {}", bytes.len());
        }
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_inflated() {
        let bomb = Bytes::from(compress(Compression::Zstd, &vec![0; 10 << 20]).expect("zeros"));
        assert!(inflate(Compression::Zstd, &bomb, 10 << 20, 1 << 20).is_err());
        assert!(inflate(Compression::Zstd, &bomb, 1 << 20, 1 << 20).is_err(), "it is larger than it claims");
        assert!(inflate(Compression::Lz4, &Bytes::new(), 0, 0).is_ok(), "an empty payload may be no bytes at all");
    }
}
