//! Web addresses given as a model: pages of the Hugging Face hub.

use super::resolve::hub_name;
use super::{CardError, Selection};

/// Hosts of the hub's pages; a model's page has the same path on each.
const HOSTS: [&str; 3] = ["huggingface.co", "www.huggingface.co", "hf.co"];
/// Pages of the hub whose paths look like a model's but are something else.
const OTHER_PAGES: [&str; 7] = [
    "api",
    "blog",
    "collections",
    "datasets",
    "docs",
    "papers",
    "spaces",
];

/// What `text` means if it is a web address; `None` for anything else.
///
/// A page of the hub, with or without `https://`, means its repository, at the revision that the
/// page shows; so does the `hf://` of other programs.
pub(super) fn repository(text: &str) -> Option<Result<Selection<'static>, CardError>> {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
        None => (String::new(), text),
    };
    let is_web = match &*scheme {
        "hf" => return Some(page(text, true, rest)),
        "http" | "https" => true,
        "" => false,
        _ => return None,
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let is_hub = HOSTS.iter().any(|known| known.eq_ignore_ascii_case(host));
    (is_web || is_hub).then(|| page(text, is_hub, path))
}

fn page(text: &str, is_hub: bool, path: &str) -> Result<Selection<'static>, CardError> {
    let error = |reason: &str, hint: String| CardError::Address {
        address: text.to_owned(),
        reason: reason.to_owned(),
        hint,
    };
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let named = match parts[..] {
        [organisation, name, ref rest @ ..] if !OTHER_PAGES.contains(&organisation) => {
            let revision = rest
                .get(1)
                .map(|part| part.replace("%2F", "/").replace("%2f", "/"));
            let at = revision.map(|revision| format!("@{revision}"));
            let full = format!("{organisation}/{name}{}", at.unwrap_or_default());
            hub_name(&full).ok().map(|named| (full, named, rest))
        }
        _ => None,
    };
    let Some((full, (repo, revision), rest)) = named else {
        let hint = "the page of a model is `https://huggingface.co/ORG/REPO`; short, it is `hf-hub:ORG/REPO`";
        return Err(error("it names no model", hint.into()));
    };
    match rest {
        _ if !is_hub => {
            let hint = format!(
                "for a mirror of the hub, set `HF_ENDPOINT` to its address and write `hf-hub:{full}`; \
                 a weights file is downloaded first and given as the weights"
            );
            Err(error("it is not on huggingface.co", hint))
        }
        [] | ["tree" | "commit", _] => Ok(Selection::Hub {
            repo,
            revision,
            note: Some(format!("{text} is hf-hub:{full}")),
        }),
        ["blob" | "resolve" | "raw", ..] => {
            let hint = format!(
                "the repository is `hf-hub:{full}`; to use just this file, download it and give it \
                 as the weights"
            );
            Err(error("it is one file of a repository", hint))
        }
        _ => {
            let hint = format!("the repository is `hf-hub:{repo}`");
            Err(error("it is not a repository's main page", hint))
        }
    }
}
