//! Images on the web: into memory, within a limit of bytes and of time.

use std::io::Read;

use super::address::without_password;
use super::http::{Client, HTML_PAGE, Start};
use super::location::Location;
use super::{HubError, HubOptions};

/// Fetches the file at an address, without a token, and does not cache it.
///
/// # Errors
/// [`HubError::TooLarge`] above `limit` bytes; [`HubError::Offline`]; those of a request. It takes at
/// most the [patience](super::Patience::image) for an image.
pub fn fetch_image(url: &str, limit: u64, options: &HubOptions) -> Result<Vec<u8>, HubError> {
    let shown = without_password(url);
    let shown = shown.split(['?', '#']).next().unwrap_or(&shown).to_owned();
    let location = Location::Image { url: shown };
    if options.offline {
        return Err(HubError::Offline {
            location: Box::new(location),
            cache: options.cache.clone(),
        });
    }
    let client = Client::new(url, None, &location, options)?;
    let client = client.within(options.patience.image);
    let body = client.get(Start::default())?.response.into_body();
    if body.mime_type() == Some("text/html") {
        return Err(client.bad(HTML_PAGE));
    }
    let total = body.content_length();
    let too_large = || HubError::TooLarge {
        location: Box::new(location.clone()),
        limit,
    };
    if total.is_some_and(|total| total > limit) {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    let mut reader = body.into_reader();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = reader
            .read(&mut buffer)
            .map_err(|source| HubError::Interrupted {
                location: Box::new(location.clone()),
                done: bytes.len() as u64,
                total,
                source,
            })?;
        if count == 0 {
            return Ok(bytes);
        }
        bytes.extend_from_slice(&buffer[..count]);
        if bytes.len() as u64 > limit {
            return Err(too_large());
        }
    }
}
