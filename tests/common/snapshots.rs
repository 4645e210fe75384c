//! Whether stored outputs are written anew instead of compared.

/// `UPDATE_SNAPSHOTS` is for a person who reads the diff afterwards.
///
/// # Panics
/// On a CI machine, where every comparison would pass.
pub(crate) fn update() -> bool {
    let update = std::env::var_os("UPDATE_SNAPSHOTS").is_some();
    let ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false");
    assert!(!(update && ci), "UPDATE_SNAPSHOTS is set on a CI machine");
    update
}
