//! A line of JSON for each image.

use serde::Serialize;

use crate::eval::Item;

#[derive(Serialize)]
struct Start<'a> {
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<&'a str>,
}

/// Appends `{"path": …, "features": […]}`; features of a map are nested as its shape says.
///
/// # Errors
/// None that values and names can cause.
pub(super) fn line(
    item: &Item,
    shape: &[usize],
    values: &[f32],
    bytes: &mut Vec<u8>,
) -> Result<(), String> {
    let start = Start {
        path: &item.name,
        path_bytes: item.name_bytes.as_deref(),
    };
    let wrong = |error: serde_json::Error| error.to_string();
    serde_json::to_writer(&mut *bytes, &start).map_err(wrong)?;
    // Another member follows.
    bytes.pop();
    bytes.extend(b",\"features\":");
    nested(shape, values, bytes).map_err(wrong)?;
    bytes.extend(b"}\n");
    Ok(())
}

fn nested(shape: &[usize], values: &[f32], bytes: &mut Vec<u8>) -> serde_json::Result<()> {
    let [_, inner @ ..] = shape else {
        return Ok(());
    };
    if inner.is_empty() {
        return serde_json::to_writer(bytes, values);
    }
    let length = inner.iter().product::<usize>().max(1);
    for (place, values) in values.chunks(length).enumerate() {
        bytes.push(if place == 0 { b'[' } else { b',' });
        nested(inner, values, bytes)?;
    }
    bytes.push(b']');
    Ok(())
}
