//! Requests: one agent for a download, its redirects, and who may see the token.
//!
//! `hf-hub` has a client of its own, but it sends the token to the host that a file is redirected
//! to. Here the token stays with the server it is meant for.

use std::time::{Duration, Instant};

use ureq::http::header::{AUTHORIZATION, CONTENT_LENGTH, IF_RANGE, LOCATION, RANGE};
use ureq::http::{Method, Response, StatusCode};
use ureq::{Agent, Body};

use super::address::{origin, resolve, without_password};
use super::answer::{self, Metadata, header};
use super::hashing::PIECE;
use super::location::Location;
use super::proxy::Proxies;
use super::{HubError, HubOptions};

/// About as many as browsers and `huggingface_hub` allow.
const MAX_REDIRECTS: usize = 10;
/// What networks with a login, and broken mirrors, send in place of a file.
pub(super) const HTML_PAGE: &str = "expected a file, found an HTML page";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Upper bound of every timeout: adding more to a time could overflow.
const LONGEST_SILENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// Makes the requests for one file.
pub(super) struct Client<'a> {
    agent: Agent,
    url: &'a str,
    token: Option<&'a str>,
    location: &'a Location,
    proxies: &'a Proxies,
    /// Time by which all requests must end.
    deadline: Option<Instant>,
}

/// The part of a file that is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Start<'a> {
    /// First byte.
    pub(super) offset: u64,
    /// Number of bytes; `None` for all that follow.
    pub(super) length: Option<u64>,
    /// Etag that the file must still have at the first server; else it is sent whole.
    pub(super) validator: Option<&'a str>,
}

impl Start<'_> {
    /// The value of the header `Range`; `None` where the whole file is asked for.
    fn range(&self) -> Option<String> {
        let first = self.offset;
        match self.length {
            None if first == 0 => None,
            None => Some(format!("bytes={first}-")),
            Some(length) => {
                let last = first.saturating_add(length).saturating_sub(1);
                Some(format!("bytes={first}-{last}"))
            }
        }
    }
}

/// An answer that is neither a redirect nor a refusal.
pub(super) struct Answer {
    pub(super) response: Response<Body>,
    /// `None` where the server is not a hub.
    pub(super) metadata: Option<Metadata>,
}

impl<'a> Client<'a> {
    /// `location` is what errors are about. The token is not taken from `options`: not every server
    /// gets it.
    ///
    /// # Errors
    /// [`HubError::Authorities`].
    pub(super) fn new(
        url: &'a str,
        token: Option<&'a str>,
        location: &'a Location,
        options: &'a HubOptions,
    ) -> Result<Self, HubError> {
        let silence = options.patience.silence.min(LONGEST_SILENCE);
        let config = Agent::config_builder()
            .user_agent(concat!("senet/", env!("CARGO_PKG_VERSION")))
            .input_buffer_size(PIECE)
            // The length and the digest are those of the bytes as stored.
            .accept_encoding("identity")
            .http_status_as_error(false)
            .max_redirects(0)
            .tls_config(options.proxies.tls()?)
            // Each request has its own: a redirect may lead to another scheme and host.
            .proxy(None)
            .timeout_resolve(Some(CONNECT_TIMEOUT.min(silence)))
            .timeout_connect(Some(CONNECT_TIMEOUT.min(silence)))
            // A server that sends its headers too slowly counts as silent.
            .timeout_recv_response(Some(silence))
            .timeout_per_read(Some(silence))
            .timeout_per_write(Some(silence));
        Ok(Self {
            agent: config.build().into(),
            url,
            token,
            location,
            proxies: &options.proxies,
            deadline: None,
        })
    }

    /// Limits the time of all requests together, from now on.
    pub(super) fn within(self, time: Duration) -> Self {
        Self {
            deadline: Instant::now().checked_add(time),
            ..self
        }
    }

    pub(super) fn location(&self) -> &Location {
        self.location
    }

    /// What the hub says about the file, without its bytes.
    ///
    /// # Errors
    /// [`HubError`] for a failed request and any status but success.
    pub(super) fn head(&self) -> Result<Metadata, HubError> {
        let answer = self.ask(&Method::HEAD, Start::default())?;
        answer.metadata.ok_or_else(|| {
            self.bad(if answer.response.body().mime_type() == Some("text/html") {
                HTML_PAGE
            } else {
                "it has no `X-Repo-Commit` header"
            })
        })
    }

    /// Length of the file, from a server that need not be a hub.
    ///
    /// # Errors
    /// [`HubError`] for a failed request and any status but success.
    pub(super) fn length(&self) -> Result<Option<u64>, HubError> {
        let answer = self.ask(&Method::HEAD, Start::default())?;
        let length = header(answer.response.headers(), CONTENT_LENGTH.as_str());
        Ok(length.and_then(|length| length.parse().ok()))
    }

    /// The file, or its part from `start` on: status 200, 206 or 416.
    ///
    /// # Errors
    /// [`HubError`] for a failed request and any other status.
    pub(super) fn get(&self, start: Start<'_>) -> Result<Answer, HubError> {
        self.ask(&Method::GET, start)
    }

    fn ask(&self, method: &Method, start: Start<'_>) -> Result<Answer, HubError> {
        let mut metadata = None;
        let mut announced = None;
        let mut at = self.url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let home = origin(&at) == origin(self.url);
            let response = self.send(method, &at, home, start)?;
            let status = response.status();
            let is_part = matches!(
                status,
                StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE
            );
            let is_answer = status == StatusCode::OK || is_part && start.range().is_some();
            // The headers of a refusal are not about the file. Of several answers the last one counts:
            // an earlier one may describe the redirect.
            if home && (is_answer || status.is_redirection()) {
                let found = answer::read_metadata(response.headers(), status == StatusCode::OK)
                    .map_err(|problem| self.bad(problem))?;
                metadata = found.or(metadata);
                // A length named by a redirect holds if the last answer names none.
                announced = answer::linked_size(response.headers())
                    .map_err(|problem| self.bad(problem))?
                    .or(announced);
                if let Some(metadata) = &mut metadata {
                    metadata.size = metadata.size.or(announced);
                }
            }
            if status.is_redirection() {
                let target = header(response.headers(), LOCATION.as_str())
                    .ok_or_else(|| self.bad("a redirect without a `Location` header"))?;
                at = resolve(&at, target);
                // The file server behind a hub knows nothing of commits, and may not know `HEAD`.
                if method == Method::HEAD && metadata.is_some() && origin(&at) != origin(self.url) {
                    return Ok(Answer { response, metadata });
                }
                if self.url.starts_with("https://") && !at.starts_with("https://") {
                    return Err(self.bad("a redirect from https to an insecure address"));
                }
                if method == Method::HEAD
                    && metadata.is_none()
                    && let Some(endpoint) = self.moved(&at)
                {
                    return Err(HubError::Moved {
                        location: Box::new(self.location.clone()),
                        endpoint,
                    });
                }
                continue;
            }
            if !is_answer {
                return Err(answer::refusal(
                    &response,
                    home,
                    self.token.is_some(),
                    self.location,
                ));
            }
            answer::check_encoding(response.headers()).map_err(|problem| self.bad(problem))?;
            return Ok(Answer { response, metadata });
        }
        Err(self.bad("too many redirects"))
    }

    fn send(
        &self,
        method: &Method,
        at: &str,
        home: bool,
        start: Start<'_>,
    ) -> Result<Response<Body>, HubError> {
        let request = if method == Method::HEAD {
            self.agent.head(at)
        } else {
            self.agent.get(at)
        };
        let left = self
            .deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let mut request = request
            .config()
            .proxy(self.proxies.proxy(at)?)
            .timeout_global(left)
            .build();
        if let Some(token) = self.token.filter(|_| home) {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(range) = start.range() {
            request = request.header(RANGE, range);
            // Other servers have etags of their own.
            if let Some(validator) = start.validator.filter(|_| home) {
                request = request.header(IF_RANGE, validator);
            }
        }
        request.call().map_err(|source| HubError::Unreachable {
            location: Box::new(self.location.clone()),
            source: Box::new(source),
        })
    }

    /// The other hub, if `target` is the same file there. It is not contacted: the token is not meant
    /// for it, and trusting it is the user's decision.
    fn moved(&self, target: &str) -> Option<String> {
        let Location::Hub { repo, .. } = self.location else {
            return None;
        };
        let file = &self.url[self.url.find(&format!("/{repo}/resolve/"))?..];
        let hub = target.split(['?', '#']).next()?.strip_suffix(file)?;
        (origin(hub) != origin(self.url)).then(|| without_password(hub))
    }

    pub(super) fn bad(&self, problem: impl Into<String>) -> HubError {
        HubError::BadAnswer {
            location: Box::new(self.location.clone()),
            problem: problem.into(),
        }
    }
}
