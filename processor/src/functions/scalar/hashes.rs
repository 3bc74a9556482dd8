//! Digests of texts, in hexadecimal digits.

use std::sync::Arc;

use aquifer_model::{Error, Result, SqlType};
use arrow::array::{Array, ArrayRef, AsArray, StringViewBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::ScalarValue;
use sha2::Digest;

use super::{Kernel, pure, want};

type Typed = Option<(Vec<SqlType>, SqlType)>;

fn text(types: &[SqlType], _: &[Option<&ScalarValue>]) -> Typed {
    want::any_of(types, &["s"], SqlType::STRING)
}

fn sized(types: &[SqlType], _: &[Option<&ScalarValue>]) -> Typed {
    want::any_of(types, &["si"], SqlType::STRING)
}

pub(super) const KERNELS: &[Kernel] = &[
    pure("SHA1", "SHA1(text)", text, |a, _| digest(a, |_| Ok(|s| hex(&sha1::Sha1::digest(s))))),
    pure("SHA2", "SHA2(text, 224 | 256 | 384 | 512)", sized, |a, _| {
        digest(a, |bits| {
            Ok(match bits {
                224 => |s: &[u8]| hex(&sha2::Sha224::digest(s)),
                256 => |s: &[u8]| hex(&sha2::Sha256::digest(s)),
                384 => |s: &[u8]| hex(&sha2::Sha384::digest(s)),
                512 => |s: &[u8]| hex(&sha2::Sha512::digest(s)),
                other => {
                    return Err(Error::invalid(format!("SHA2 gives 224, 256, 384 or 512 bits, not {other}")));
                }
            })
        })
    }),
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn digest(columns: &[ArrayRef], of: impl Fn(i64) -> Result<fn(&[u8]) -> String>) -> Result<ArrayRef> {
    let bits = columns.get(1).map(|column| cast(column, &DataType::Int64)).transpose()?;
    let bits = bits.as_ref().map(|bits| bits.as_primitive::<Int64Type>());
    let mut digests = StringViewBuilder::with_capacity(columns[0].len());
    for (row, text) in columns[0].as_string_view().iter().enumerate() {
        let bits = match bits {
            None => Some(0),
            Some(bits) => bits.is_valid(row).then(|| bits.value(row)),
        };
        match text.zip(bits) {
            Some((text, bits)) => digests.append_value(of(bits)?(text.as_bytes())),
            None => digests.append_null(),
        }
    }
    Ok(Arc::new(digests.finish()))
}
