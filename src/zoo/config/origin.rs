//! Recognises the `config.json` of other libraries.

use super::fields::Fields;
use crate::zoo::CardError;

/// Rejects a file that is not timm's, naming the library that wrote it.
pub(super) fn check(root: Fields<'_>) -> Result<(), CardError> {
    if root.get("architecture").is_some() {
        return Ok(());
    }
    let text = |field: &str| root.get(field).and_then(|value| value.as_str());
    let listed = |field: &str| {
        let first = root.get(field).and_then(|value| value.get(0));
        first.and_then(|value| value.as_str())
    };
    let found = |library: &'static str, kind: Option<&str>| {
        Err(CardError::OtherLibrary {
            file: root.file.to_owned(),
            library,
            kind: kind.map(str::to_owned),
        })
    };
    let has = |field: &str| root.get(field).is_some();
    if has("encoder_name") || has("encoder_weights") || has("decoder_channels") {
        return found("segmentation_models_pytorch", text("encoder_name"));
    }
    if has("architectures") || has("model_type") || has("transformers_version") {
        let kind = listed("architectures").or(text("model_type"));
        return found("transformers", kind);
    }
    if has("model_cfg") || has("preprocess_cfg") {
        return found("open_clip", None);
    }
    Ok(())
}
