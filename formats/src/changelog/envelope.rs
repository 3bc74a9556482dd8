//! What a changelog message says: which changes, and where in its text each row's image stands. Nothing of the images is read here.

use aquifer_model::RowKind;

use super::options::ChangeFormat;
use crate::payload::json_text::{Scanner, Step, Token};

/// One change. Of its images the first that has a field gives it: before an update Canal and Maxwell tell only what changed.
#[derive(Debug, PartialEq)]
pub(super) struct Change<'a> {
    pub kind: RowKind,
    pub images: [Option<&'a str>; 2],
}

fn whole(kind: RowKind, image: &str) -> Change<'_> {
    Change { kind, images: [Some(image), None] }
}

/// The changes of a message that is not a plain row.
pub(super) fn changes<'a>(format: &ChangeFormat, message: &'a str) -> Step<Vec<Change<'a>>> {
    match format {
        ChangeFormat::Rows => Ok(vec![whole(RowKind::Insert, message)]),
        ChangeFormat::Debezium { schema_include } => {
            let payload = match schema_include {
                false => message,
                true => match fields(message, ["payload"])? {
                    [Some(payload)] => payload,
                    // A tombstone, for the log's compaction.
                    [None] => return Ok(Vec::new()),
                },
            };
            let [op, before, after] = fields(payload, ["op", "before", "after"])?;
            match name(op)?.as_deref() {
                Some("c" | "r") => created(after),
                Some("u") => updated(before, after),
                Some("d") => deleted(before),
                Some(other) => Err(format!("unknown `op` `{other}` in a Debezium message").into()),
                None if !schema_include => {
                    Err("a Debezium message needs `op`; where it stands in `payload`, set 'debezium-json.schema-include' = 'true'"
                        .into())
                }
                None => Err("a Debezium message needs `op`".into()),
            }
        }
        ChangeFormat::Ogg => {
            let [op, before, after] = fields(message, ["op_type", "before", "after"])?;
            match name(op)?.as_deref() {
                Some("I") => created(after),
                Some("U") => updated(before, after),
                Some("D") => deleted(before),
                // TRUNCATE tells no rows.
                Some("T") => Ok(Vec::new()),
                Some(other) => Err(format!("unknown `op_type` `{other}` in an Ogg message").into()),
                None => Err("an Ogg message needs `op_type`".into()),
            }
        }
        ChangeFormat::Maxwell => {
            let [kind, data, old] = fields(message, ["type", "data", "old"])?;
            let data = || data.ok_or("a Maxwell message needs `data`");
            match name(kind)?.as_deref() {
                Some("insert") => Ok(vec![whole(RowKind::Insert, data()?)]),
                Some("delete") => Ok(vec![whole(RowKind::Delete, data()?)]),
                Some("update") => {
                    let old = old.ok_or("a Maxwell update needs `old`")?;
                    Ok(changed(old, data()?).into())
                }
                Some(other) => Err(format!("unknown `type` `{other}` in a Maxwell message").into()),
                None => Err("a Maxwell message needs `type`".into()),
            }
        }
        ChangeFormat::Canal { database, table } => {
            let names = ["type", "data", "old", "database", "table"];
            let [kind, data, old, in_database, in_table] = fields(message, names)?;
            for (include, found) in [(database, in_database), (table, in_table)] {
                if let Some(include) = include
                    && !name(found)?.is_some_and(|found| include.matches(&found))
                {
                    return Ok(Vec::new());
                }
            }
            let rows = || items(data.ok_or("a Canal message needs `data`")?);
            let all = |kind| Ok(rows()?.into_iter().map(|image| whole(kind, image)).collect());
            match name(kind)?.as_deref() {
                Some("INSERT") => all(RowKind::Insert),
                Some("DELETE") => all(RowKind::Delete),
                Some("UPDATE") => {
                    let (rows, old) = (rows()?, items(old.ok_or("a Canal update needs `old`")?)?);
                    if rows.len() != old.len() {
                        return Err("a Canal update has as many rows in `old` as in `data`".into());
                    }
                    Ok(old.into_iter().zip(rows).flat_map(|(old, row)| changed(old, row)).collect())
                }
                // The table's own statement; it tells no rows.
                Some("CREATE") => Ok(Vec::new()),
                Some(other) => Err(format!("unknown `type` `{other}` in a Canal message").into()),
                None => Err("a Canal message needs `type`".into()),
            }
        }
    }
}

fn created(after: Option<&str>) -> Step<Vec<Change<'_>>> {
    let after = after.ok_or("the `after` of an insert is missing")?;
    Ok(vec![whole(RowKind::Insert, after)])
}

fn updated<'a>(before: Option<&'a str>, after: Option<&'a str>) -> Step<Vec<Change<'a>>> {
    let before = before.ok_or(
        "the `before` of an update is missing; a Postgres table tells it after ALTER TABLE … REPLICA IDENTITY FULL",
    )?;
    let after = after.ok_or("the `after` of an update is missing")?;
    Ok(vec![whole(RowKind::UpdateBefore, before), whole(RowKind::UpdateAfter, after)])
}

fn deleted(before: Option<&str>) -> Step<Vec<Change<'_>>> {
    let before = before.ok_or(
        "the `before` of a delete is missing; a Postgres table tells it after ALTER TABLE … REPLICA IDENTITY FULL",
    )?;
    Ok(vec![whole(RowKind::Delete, before)])
}

/// An update of which `old` has what changed.
fn changed<'a>(old: &'a str, row: &'a str) -> [Change<'a>; 2] {
    [Change { kind: RowKind::UpdateBefore, images: [Some(old), Some(row)] }, whole(RowKind::UpdateAfter, row)]
}

/// The values of an object's fields, as their text; of a repeated field the first. `null` is none.
fn fields<'a, const N: usize>(object: &'a str, names: [&str; N]) -> Step<[Option<&'a str>; N]> {
    let mut values = [None; N];
    let mut json = Scanner::new(object);
    if json.value()? != Token::Object {
        return Err("the message is no JSON object".into());
    }
    let (mut first, mut scratch) = (true, String::new());
    while let Some(key) = json.next_key(&mut first)? {
        let found = names.iter().position(|name| *name == key.text(&mut scratch));
        let value = json.skip_value()?;
        if let Some(n) = found
            && values[n].is_none()
        {
            values[n] = Some(value);
        }
    }
    json.end()?;
    Ok(values.map(|value| value.filter(|text| *text != "null")))
}

/// The items of an array, as their text.
fn items(array: &str) -> Step<Vec<&str>> {
    let mut json = Scanner::new(array);
    if json.value()? != Token::Array {
        return Err("`data` and `old` of a Canal message are arrays".into());
    }
    let (mut first, mut items) = (true, Vec::new());
    while json.next_item(&mut first)? {
        items.push(json.skip_value()?);
    }
    Ok(items)
}

fn name(value: Option<&str>) -> Step<Option<String>> {
    let Some(value) = value else { return Ok(None) };
    match Scanner::new(value).value()? {
        Token::Text(text) => Ok(Some(text.text(&mut String::new()).to_string())),
        _ => Ok(Some(value.to_string())),
    }
}
