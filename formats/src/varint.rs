//! Numbers in seven bits a byte, the lowest first, as Avro and Protobuf write them.

/// Writes a number in as many bytes as it takes.
pub fn write_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A signed number as one that is small where it is near zero: 0, -1, 1, -2 … become 0, 1, 2, 3 …
pub fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_prost_writes_them_and_signed_ones_by_their_size() {
        for number in [0, 1, 127, 128, 300, 1 << 35, u64::MAX] {
            let (mut ours, mut prosts) = (vec![9], vec![9]);
            write_varint(number, &mut ours);
            prost::encoding::encode_varint(number, &mut prosts);
            assert_eq!(ours, prosts, "{number}");
        }
        assert_eq!([0, -1, 1, -2, i64::MAX, i64::MIN].map(zigzag), [0, 1, 2, 3, u64::MAX - 1, u64::MAX]);
    }
}
