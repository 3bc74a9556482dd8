//! Names: as parts of object keys, found without case, and the nearest known one for messages.

use aquifer_model::{Error, Result};

/// The longest encoded name that every file system takes.
const MAX_ENCODED: usize = 200;

/// A name as one part of an object key: all but `a-z 0-9 _ -` as `=XX`, so two names never share a key, also where case is folded.
pub(crate) fn encode(name: &str) -> Result<String> {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("={byte:02X}")),
        }
    }
    if encoded.is_empty() || encoded.len() > MAX_ENCODED {
        return Err(Error::invalid(format!("the name `{name}` is empty or too long: use a shorter one")));
    }
    Ok(encoded)
}

/// The name that [`encode`] made this of.
pub(crate) fn decode(encoded: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'=' {
            bytes.push(u8::from_str_radix(std::str::from_utf8(tail.get(..2)?).ok()?, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok().filter(|name| encode(name).is_ok_and(|again| again == encoded))
}

/// The one of `known` that `name` means: the same, or the only one that is the same without case.
pub(crate) fn find<'a>(name: &str, known: &'a [String]) -> Option<&'a String> {
    known.iter().find(|one| *one == name).or_else(|| {
        let lower = name.to_lowercase();
        let mut same = known.iter().filter(|one| one.to_lowercase() == lower);
        same.next().filter(|_| same.next().is_none())
    })
}

/// The known name nearest to `name`, if it is near enough to be meant.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    let distance = |one: &str| strsim::normalized_damerau_levenshtein(&lower, &one.to_lowercase());
    let scored = known.into_iter().map(|one| (distance(one), one)).filter(|(score, _)| *score >= 0.6);
    scored.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, one)| one)
}

/// `: did you mean …?`, or what there is, or that there is nothing.
pub(crate) fn suggestion(name: &str, known: &[String], what: &str) -> String {
    match nearest(name, known.iter().map(String::as_str)) {
        Some(near) => format!(": did you mean `{near}`?"),
        None if known.is_empty() => format!(": there are no {what}"),
        None => {
            let shown: Vec<String> = known.iter().take(10).map(|one| format!("`{one}`")).collect();
            let more = if known.len() > 10 { ", …" } else { "" };
            format!(": there are the {what} {}{more}", shown.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_name_has_a_safe_key_of_its_own(name in ".{1,20}") {
            let encoded = encode(&name).expect("short enough");
            prop_assert!(encoded.chars().all(|c| c.is_ascii_alphanumeric() || "=_-".contains(c)));
            prop_assert_eq!(decode(&encoded), Some(name));
        }
    }

    #[test]
    fn keys_that_differ_in_case_only_are_not_made() {
        assert_ne!(encode("A").expect("fine").to_lowercase(), encode("a").expect("fine"));
        assert_eq!(encode("..").expect("fine"), "=2E=2E");
        assert_eq!(decode("=2e"), None);
        assert!(encode("").is_err() && encode(&"x".repeat(201)).is_err());
    }

    #[test]
    fn a_name_is_found_exactly_first_and_without_case_only_if_one_fits() {
        let known = ["Sensors", "sensors", "Rides"].map(String::from);
        assert_eq!(find("sensors", &known), Some(&known[1]));
        assert_eq!(find("SENSORS", &known), None);
        assert_eq!(find("rides", &known), Some(&known[2]));
        assert_eq!(suggestion("ridse", &known, "tables"), ": did you mean `Rides`?");
        assert_eq!(suggestion("q", &[], "tables"), ": there are no tables");
    }
}
