//! Files that authors publish outside the hub, such as the assets of a GitHub release.
//!
//! They lie in `release/` of the program's own cache. The name of such a file ends in `-` and the
//! first digits of its SHA-256 (`senet154-c7b49a05.pth`), which is what PyTorch's loader checks.

use std::path::PathBuf;

use super::cache::Part;
use super::error::Location;
use super::options::without_password;
use super::{HubError, HubOptions, Progress, transfer};

/// The file if it is on this machine.
pub(super) fn cached(url: &str, options: &HubOptions) -> Option<PathBuf> {
    let (name, _) = split(url).ok()?;
    Some(path(name, options)).filter(|path| path.is_file())
}

/// The file, downloaded if it is not on this machine.
pub(super) fn fetch(
    url: &str,
    options: &HubOptions,
    progress: &dyn Progress,
) -> Result<PathBuf, HubError> {
    let (name, digits) = split(url)?;
    let path = path(name, options);
    if path.is_file() {
        return Ok(path);
    }
    let location = Location::Release {
        url: without_password(url),
    };
    if options.offline {
        return Err(HubError::Offline {
            location: Box::new(location),
            cache: options.own_cache.clone(),
        });
    }
    let incoming = transfer::open(url, None, &location)?;
    let mut part = Part::create(&path)?;
    let found = incoming.save(&mut part, &location, progress)?;
    if !found.starts_with(&digits.to_ascii_lowercase()) {
        return Err(HubError::Checksum {
            location: Box::new(location),
            expected: format!("{digits}…"),
            found,
        });
    }
    part.persist(&path)?;
    Ok(path)
}

fn path(name: &str, options: &HubOptions) -> PathBuf {
    options.own_cache.join("release").join(name)
}

/// The file name of an address, and the digits of the SHA-256 in it.
fn split(url: &str) -> Result<(&str, &str), HubError> {
    let name = url.rsplit('/').next().unwrap_or(url);
    let digits = name
        .split_once('.')
        .and_then(|(stem, _)| stem.rsplit_once('-'))
        .map(|(_, digits)| digits)
        .filter(|digits| (8..=64).contains(&digits.len()))
        .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    let plain = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    match digits {
        Some(digits) if plain && url.contains("://") => Ok((name, digits)),
        _ => Err(HubError::BadName {
            what: "the release file",
            value: url.to_owned(),
            expected: "an address that ends in `-`, 8 or more digits of the SHA-256, and an extension",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_come_from_the_end_of_the_name() {
        let url = "https://example.org/v0.1-cadene/se_resnet50-ce0d4300.pth";
        assert_eq!(
            split(url).unwrap(),
            ("se_resnet50-ce0d4300.pth", "ce0d4300")
        );
        for bad in [
            "https://example.org/se_resnet50.pth",
            "https://example.org/se_resnet50-final.pth",
            "https://example.org/x-ce0d4300.pth?raw=1",
            "x-ce0d4300.pth",
        ] {
            assert!(matches!(split(bad), Err(HubError::BadName { .. })), "{bad}");
        }
    }
}
