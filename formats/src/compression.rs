//! The four codecs of Pulsar, as its clients write them, under a limit.
//!
//! LZ4 is a raw block, ZLIB has its header, ZSTD is a frame and Snappy is raw. The size that an entry claims is compared with the limit before
//! anything is allocated, and the inflated size must be exactly what was claimed.

use std::io::{Read, Write};

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
            "an entry claims to inflate to {claimed} bytes, above the limit of {limit}; raise the limit if it is right"
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
        Compression::Zlib => {
            let mut decoder = flate2::read::ZlibDecoder::new(bytes.as_ref());
            decoder.read_exact(&mut inflated).map_err(|e| torn().with_source(e))?;
            let rest = decoder.read(&mut [0]).map_err(|e| torn().with_source(e))?;
            claimed + rest
        }
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
    fn a_bomb_is_refused_before_it_is_inflated() {
        let bomb = Bytes::from(compress(Compression::Zstd, &vec![0; 10 << 20]).expect("zeros"));
        assert!(inflate(Compression::Zstd, &bomb, 10 << 20, 1 << 20).is_err());
        assert!(inflate(Compression::Zstd, &bomb, 1 << 20, 1 << 20).is_err(), "it is larger than it claims");
        assert!(inflate(Compression::Lz4, &Bytes::new(), 0, 0).is_ok(), "an empty payload may be no bytes at all");
    }
}
