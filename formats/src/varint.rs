//! Numbers in seven bits a byte, the lowest first, as Avro and Protobuf write them.

/// Writes a number in as many bytes as it takes.
pub fn write_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// The number that these bytes begin with, and how many of them are its own; `None` where it is longer.
///
/// All bytes are looked at in one word: numbers of every length take the same few steps, which a loop that must guess its end does not.
#[inline]
pub fn varint_of_eight(bytes: [u8; 8]) -> Option<(u64, usize)> {
    const LAST: u64 = 0x8080_8080_8080_8080;
    let word = u64::from_le_bytes(bytes);
    let ends = !word & LAST;
    if ends == 0 {
        return None;
    }
    let bits = ends.trailing_zeros() + 1;
    let groups = (word << (64 - bits)) >> (64 - bits) & !LAST;
    // Neighbours are joined: sevens to fourteens, these to twenty-eights, these to one number.
    let pairs = (groups & 0x007f_007f_007f_007f) | ((groups & 0x7f00_7f00_7f00_7f00) >> 1);
    let fours = (pairs & 0x0000_3fff_0000_3fff) | ((pairs & 0x3fff_0000_3fff_0000) >> 2);
    let number = (fours & 0x0fff_ffff) | ((fours & 0x0fff_ffff_0000_0000) >> 4);
    Some((number, (bits / 8) as usize))
}

/// A signed number as one that is small where it is near zero: 0, -1, 1, -2 … become 0, 1, 2, 3 …
pub fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bytes_at_once_are_read_as_they_were_written_whatever_follows() {
        for shift in 0..64 {
            for number in [1u64 << shift, (1 << shift) - 1, (0x5a5a_5a5a_5a5a_5a5a >> shift), u64::MAX >> shift] {
                for behind in [0, 0x7f, 0x80, 0xff] {
                    let mut bytes = Vec::new();
                    write_varint(number, &mut bytes);
                    let length = bytes.len();
                    bytes.resize(length.max(8), behind);
                    let eight = *bytes.first_chunk().expect("eight or more");
                    assert_eq!(varint_of_eight(eight), (length <= 8).then_some((number, length)), "{number:x}");
                }
            }
        }
    }

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
