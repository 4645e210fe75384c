//! Rules that a card must satisfy beyond the types of its fields.

use super::resolve::hub_name;
use super::{Architecture, Card, CardError, WeightsRef};
use crate::labels::LabelSet;
use crate::nets::NetError;
use crate::preprocess::{ImageError, InputSpec, MAX_INPUT_SIZE, Transform};

/// A field's name and what is wrong with it.
type Problem = (&'static str, String);

/// Checks one card; `file` is named in the error.
pub(super) fn card(card: &Card, file: &str) -> Result<(), CardError> {
    let error = |(field, reason): Problem| CardError::field(file, field, reason);
    texts(card).map_err(error)?;
    architecture(&Architecture::from(card), file)?;
    weights(&card.weights).map_err(error)?;
    published(card).map_err(error)
}

/// Checks the topology, its number of parameters, and the input settings.
pub(super) fn architecture(card: &Architecture, file: &str) -> Result<(), CardError> {
    let classes = LabelSet::builtin_len(&card.labels).map_err(|e| {
        let hint = e.hint().unwrap_or_default();
        CardError::field(file, "labels.set", format!("{e}; {hint}"))
    })?;
    let plan = card
        .network
        .plan(card.naming, classes)
        .map_err(|e| network(file, e))?;
    let params = plan.param_count();
    if params != card.params {
        let reason = format!("the network has {params} parameters, found {}", card.params);
        return Err(CardError::field(file, "params", reason));
    }
    input(&card.input)
        .map_err(|(field, reason)| CardError::field(file, &format!("input.{field}"), reason))
}

/// The error of a network that cannot be built from its spec.
pub(super) fn network(file: &str, error: NetError) -> CardError {
    match error {
        NetError::Spec { field, reason } => CardError::field(file, field, reason),
        other => CardError::field(file, "network", other.to_string()),
    }
}

fn texts(card: &Card) -> Result<(), Problem> {
    if card.license.trim().is_empty() {
        return Err((
            "license",
            "expected an SPDX expression, found nothing".into(),
        ));
    }
    if card.paper.is_empty() {
        return Err(("paper", "expected at least one arXiv identifier".into()));
    }
    if let Some(paper) = card.paper.iter().find(|id| !is_arxiv_id(id)) {
        return Err((
            "paper",
            format!("expected arXiv identifiers such as 1709.01507, found `{paper}`"),
        ));
    }
    if !card.origin.starts_with("https://") {
        return Err((
            "origin",
            format!("expected an https address, found `{}`", card.origin),
        ));
    }
    if card.notes.iter().any(|note| note.trim().is_empty()) {
        return Err(("notes", "one of the notes is empty".into()));
    }
    if card
        .cadene
        .as_ref()
        .is_some_and(|name| name.trim().is_empty())
    {
        return Err(("cadene", "expected a name, found nothing".into()));
    }
    match card.gmacs {
        Some(gmacs) if !(gmacs > 0.0 && gmacs.is_finite()) => Err((
            "gmacs",
            format!("expected a positive number, found {gmacs}"),
        )),
        _ => Ok(()),
    }
}

fn is_arxiv_id(text: &str) -> bool {
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    text.split_once('.').is_some_and(|(month, number)| {
        month.len() == 4 && (4..=5).contains(&number.len()) && digits(month) && digits(number)
    })
}

fn weights(weights: &WeightsRef) -> Result<(), Problem> {
    let WeightsRef {
        repo,
        revision,
        file,
        sha256,
        release,
        sha1,
        sha384,
        embedded,
    } = weights;
    if repo.is_none() && release.is_none() && embedded.is_none() {
        return Err((
            "weights",
            "expected one of `repo`, `release` and `embedded`".into(),
        ));
    }
    if let Some(repo) = repo {
        hub_name(repo).map_err(|error| ("weights.repo", error.to_string()))?;
        if repo.contains('@') {
            return Err(("weights.repo", "the revision has a field of its own".into()));
        }
    }
    if repo.is_some() != file.is_some() {
        return Err(("weights.file", "`repo` and `file` go together".into()));
    }
    for (field, value, digits, of, owner) in [
        ("weights.revision", revision, 40, repo, "repo"),
        ("weights.sha256", sha256, 64, repo, "repo"),
        ("weights.sha1", sha1, 40, release, "release"),
        ("weights.sha384", sha384, 96, release, "release"),
    ] {
        let Some(value) = value else { continue };
        if of.is_none() {
            return Err((field, format!("needs `{owner}`")));
        }
        if value.len() != digits || !is_hex(value) {
            return Err((
                field,
                format!("expected {digits} hexadecimal digits, found `{value}`"),
            ));
        }
    }
    if sha1.is_some() && sha384.is_some() {
        return Err(("weights.sha384", "a release has this or `sha1`".into()));
    }
    for (field, value) in [("weights.file", file), ("weights.embedded", embedded)] {
        let plain =
            |file: &str| !file.is_empty() && !file.contains(['/', '\\']) && !file.starts_with('.');
        if let Some(file) = value.as_deref().filter(|file| !plain(file)) {
            return Err((field, format!("expected a plain file name, found `{file}`")));
        }
    }
    match weights.released() {
        Some(release) if !release.url.starts_with("https://") || release.name().is_none() => {
            let ending = match sha1 {
                Some(sha1) => format!("-{}.pth.zip", &sha1[..8]),
                None if sha384.is_some() => ".caffemodel".to_owned(),
                None => "-<hash>.pth".to_owned(),
            };
            let url = release.url;
            let reason =
                format!("expected an https address that ends like `{ending}`, found `{url}`");
            Err(("weights.release", reason))
        }
        _ => Ok(()),
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Stricter than [`usable`]: a card's input settings must not be unusual either.
fn input(input: &InputSpec) -> Result<(), Problem> {
    usable(input)?;
    crop("crop_pct", input.crop_pct)?;
    if let Some(test) = input.test_crop_pct {
        if input.test_size.is_none() {
            return Err(("test_crop_pct", "needs a test size".into()));
        }
        crop("test_crop_pct", test)?;
    }
    if let Some(mean) = input.mean.iter().find(|mean| !(0.0..=1.0).contains(*mean)) {
        return Err(("mean", format!("expected values from 0 to 1, found {mean}")));
    }
    match input.std.iter().find(|&&std| !(std > 0.0 && std <= 1.0)) {
        Some(std) => Err((
            "std",
            format!("expected values above 0 and up to 1, found {std}"),
        )),
        None => Ok(()),
    }
}

/// Whether a transform can use the settings. The field's name is that of [`InputSpec`].
pub(super) fn usable(input: &InputSpec) -> Result<(), Problem> {
    size("size", input.size)?;
    if let Some(test) = input.test_size {
        size("test_size", test)?;
    }
    let runs = |input: &InputSpec| match Transform::new(input) {
        Err(ImageError::InvalidSpec {
            field,
            expected,
            found,
        }) => {
            let field = if field.ends_with("crop_pct") {
                "crop_pct"
            } else {
                field
            };
            Err((field, format!("expected {expected}, found {found}")))
        }
        _ => Ok(()),
    };
    runs(input)?;
    let tested = InputSpec {
        size: input.test_size.unwrap_or(input.size),
        crop_pct: input.test_crop_pct.unwrap_or(input.crop_pct),
        ..input.clone()
    };
    runs(&tested).map_err(|(_, reason)| ("test_crop_pct", reason))
}

fn size(field: &'static str, [height, width]: [usize; 2]) -> Result<(), Problem> {
    if [height, width]
        .iter()
        .all(|side| (1..=MAX_INPUT_SIZE).contains(side))
    {
        return Ok(());
    }
    Err((
        field,
        format!("expected 1 to {MAX_INPUT_SIZE} pixels, found {height}x{width}"),
    ))
}

fn crop(field: &'static str, value: f64) -> Result<(), Problem> {
    if value > 0.0 && value <= 1.2 {
        return Ok(());
    }
    Err((
        field,
        format!("expected a value above 0 and up to 1.2, found {value}"),
    ))
}

fn published(card: &Card) -> Result<(), Problem> {
    for entry in &card.published {
        let [height, width] = entry.size;
        if entry.size != card.input.size && Some(entry.size) != card.input.test_size {
            let reason = format!("{height}x{width} is neither `input.size` nor `input.test_size`");
            return Err(("published.size", reason));
        }
        crop("published.crop_pct", entry.crop_pct)?;
        if !(entry.top1 > 0.0 && entry.top1 <= 100.0) {
            let reason = format!("expected a percentage, found {}", entry.top1);
            return Err(("published.top1", reason));
        }
        let within = |top5: &f64| (entry.top1..=100.0).contains(top5);
        if let Some(top5) = entry.top5.filter(|top5| !within(top5)) {
            let reason = format!("expected {} to 100, found {top5}", entry.top1);
            return Err(("published.top5", reason));
        }
        if entry.source.trim().is_empty() {
            return Err((
                "published.source",
                "expected where the figure stands".into(),
            ));
        }
    }
    Ok(())
}
