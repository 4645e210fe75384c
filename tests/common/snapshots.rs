//! Whether snapshots are updated instead of compared.

/// `UPDATE_SNAPSHOTS` is for a person who then reads the diff.
///
/// # Panics
/// On a CI machine, where every comparison would pass.
pub(crate) fn update() -> bool {
    let update = std::env::var_os("UPDATE_SNAPSHOTS").is_some();
    let ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false");
    assert!(!(update && ci), "UPDATE_SNAPSHOTS is set on a CI machine");
    update
}
