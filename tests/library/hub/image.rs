//! Images on the web: limits of size and time.

use std::time::{Duration, Instant};

use senet::hub::{HubError, fetch_image};

use super::{chain, setup, weights};
use crate::common::hub_server::{HubServer, Mode};

#[test]
fn the_size_of_an_image_is_limited() {
    let setup = setup();
    let server = HubServer::start(&[("v1", "photo.png", &weights())]);
    let url = format!("{}/v1/photo.png?token=secret", server.file_server());
    let length = weights().len() as u64;
    for mode in [Mode::Direct, Mode::Chunked] {
        server.set(mode);
        let bytes = fetch_image(&url, length, &setup.options).unwrap();
        assert!(bytes == weights(), "{mode:?}");
        let error = fetch_image(&url, length - 1, &setup.options).unwrap_err();
        assert!(
            matches!(error, HubError::TooLarge { limit, .. } if limit == length - 1),
            "{mode:?}: {error:?}"
        );
        assert!(!chain(&error).contains("secret"), "{}", chain(&error));
    }
    // The announced length is believed: no data is waited for.
    server.set(Mode::Stall);
    let start = Instant::now();
    let error = fetch_image(&url, length - 1, &setup.options).unwrap_err();
    assert!(matches!(error, HubError::TooLarge { .. }), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[test]
fn the_time_for_an_image_is_limited() {
    let mut setup = setup();
    setup.options.patience.image = Duration::from_millis(300);
    let server = HubServer::start(&[("v1", "photo.png", &weights())]);
    let url = format!("{}/v1/photo.png", server.file_server());
    // One server sends steadily, one stalls, and neither is silent for as long as a server may be.
    for mode in [Mode::Drip, Mode::Stall] {
        server.set(mode);
        let start = Instant::now();
        let error = fetch_image(&url, 1 << 20, &setup.options).unwrap_err();
        let time = start.elapsed();
        assert!(
            (Duration::from_millis(250)..Duration::from_secs(2)).contains(&time),
            "{mode:?}: {time:?}"
        );
        assert!(matches!(error, HubError::Interrupted { .. }), "{error:?}");
        assert_eq!(error.hint().unwrap(), "try again");
    }
}
