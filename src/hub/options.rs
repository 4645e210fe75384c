//! Where the hub and the caches are: the settings of Python's `huggingface_hub`, read from the same
//! environment variables, so that both find the same files and the same token.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hf_hub::Cache;

use super::address::without_password;
use super::{HubError, Lockfile, Proxies};
use crate::bounded;

/// The public hub.
pub const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// Which hub is asked, as whom, and where files are kept.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubOptions {
    /// The Hugging Face cache, shared with Python.
    pub cache: PathBuf,
    /// Folder for what does not come from a hub: the authors' release files.
    pub own_cache: PathBuf,
    /// Address of the hub, `https://…` or `http://…`.
    pub endpoint: String,
    /// Access token; it is sent to the endpoint only.
    pub token: Option<String>,
    /// Use only cached files; never access the network.
    pub offline: bool,
    /// Whether files of a snapshot may be links to their blobs. If not, or if the file system has no
    /// links, such a file is the only copy.
    pub symlinks: bool,
    /// Timeouts and retries.
    pub patience: Patience,
    /// How servers are reached.
    pub proxies: Proxies,
    /// If given, only the files that it lists are used.
    pub locked: Option<Arc<Lockfile>>,
}

/// How long to wait for a server, and how often to retry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Patience {
    /// Longest silence of a server before the connection counts as dead.
    pub silence: Duration,
    /// Attempts in a row that may fail.
    pub attempts: u32,
    /// Wait before the second attempt; it doubles with each further one.
    pub delay: Duration,
    /// Longest time for one image, however steadily it comes.
    pub image: Duration,
}

impl Default for Patience {
    /// Half a minute of silence; five attempts within about eight seconds; a minute for an image.
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(30),
            attempts: 5,
            delay: Duration::from_millis(500),
            image: Duration::from_secs(60),
        }
    }
}

impl Default for HubOptions {
    /// The public hub without a token, and the usual caches in the home folder, or in the working
    /// directory where there is none. No variable is read: see [`HubOptions::from_env`].
    fn default() -> Self {
        let home = std::env::home_dir().unwrap_or_default();
        let caches = home.join(".cache");
        Self {
            cache: caches.join("huggingface/hub"),
            own_cache: caches.join("senet"),
            endpoint: DEFAULT_ENDPOINT.to_owned(),
            token: None,
            offline: false,
            symlinks: true,
            patience: Patience::default(),
            proxies: Proxies::default(),
            locked: None,
        }
    }
}

/// Shows whether there is a token, never the token itself.
impl fmt::Debug for HubOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubOptions")
            .field("cache", &self.cache)
            .field("own_cache", &self.own_cache)
            .field("endpoint", &without_password(&self.endpoint))
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("offline", &self.offline)
            .field("symlinks", &self.symlinks)
            .field("patience", &self.patience)
            .field("proxies", &self.proxies)
            .field("locked", &self.locked.as_ref().map(|lock| &lock.path))
            .finish()
    }
}

impl HubOptions {
    /// The settings of the process's environment.
    ///
    /// * cache: `HF_HUB_CACHE`, else `HUGGINGFACE_HUB_CACHE`, else `$HF_HOME/hub`, else
    ///   `$XDG_CACHE_HOME/huggingface/hub`, else `~/.cache/huggingface/hub`
    /// * own cache: `SENET_CACHE`, else `$XDG_CACHE_HOME/senet`, else `~/.cache/senet`
    /// * endpoint: `HF_ENDPOINT`, else [`DEFAULT_ENDPOINT`]
    /// * token: `HF_TOKEN`, else `HUGGING_FACE_HUB_TOKEN`, else the file `HF_TOKEN_PATH`, else the
    ///   file `token` in `HF_HOME`; none where `HF_HUB_DISABLE_IMPLICIT_TOKEN` is set
    /// * offline: `HF_HUB_OFFLINE`, else `TRANSFORMERS_OFFLINE`, is 1, true, yes or on
    /// * no links in the cache: `HF_HUB_DISABLE_SYMLINKS` is one of these
    /// * longest silence of a server: `HF_HUB_DOWNLOAD_TIMEOUT` in whole seconds, at most a day, else
    ///   [`Patience::default`]
    /// * authorities that are trusted: the file `SSL_CERT_FILE` and the folders `SSL_CERT_DIR`, else the
    ///   file or folder `REQUESTS_CA_BUNDLE`, else `CURL_CA_BUNDLE`, else those that the system trusts,
    ///   else those that are built in; they are read when a server is asked
    /// * proxy: `HTTPS_PROXY` for `https://` addresses, `HTTP_PROXY` for `http://` ones, else
    ///   `ALL_PROXY`; none for the hosts in `NO_PROXY`; each also in lower case, which counts first
    ///
    /// An empty variable counts as not set. In paths a leading `~` and then `$NAME` and `${NAME}`
    /// are expanded, as in a file of variables that no shell has read; a name that is not set stays
    /// as it is.
    ///
    /// # Errors
    /// [`HubError::NoHome`] if a home folder is needed and there is none.
    pub fn from_env() -> Result<Self, HubError> {
        Self::from_lookup(|name| std::env::var_os(name), std::env::home_dir())
    }

    /// Like [`Self::from_env`], with the variables and the home folder given.
    fn from_lookup(
        lookup: impl Fn(&str) -> Option<OsString>,
        home: Option<PathBuf>,
    ) -> Result<Self, HubError> {
        let home = home.filter(|home| !home.as_os_str().is_empty());
        let set = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let path = |name: &str| {
            let path = expand_home(set(name)?, home.as_deref());
            Some(expand_variables(path, &lookup))
        };
        let text =
            |name: &str| Some(set(name)?.to_str()?.trim().to_owned()).filter(|s| !s.is_empty());

        let user_cache = path("XDG_CACHE_HOME")
            .or_else(|| Some(home.as_ref()?.join(".cache")))
            .ok_or(HubError::NoHome);
        let hf_home = match path("HF_HOME") {
            Some(path) => Ok(path),
            None => user_cache.as_ref().map(|cache| cache.join("huggingface")),
        };
        let token = if is_true(text("HF_HUB_DISABLE_IMPLICIT_TOKEN")) {
            None
        } else {
            let variables = text("HF_TOKEN").or_else(|| text("HUGGING_FACE_HUB_TOKEN"));
            variables.or_else(|| match path("HF_TOKEN_PATH") {
                Some(file) => read_token(&file),
                None => Cache::new(hf_home.as_ref().ok()?.join("hub")).token(),
            })
        };
        Ok(Self {
            cache: match path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE")) {
                Some(path) => path,
                None => hf_home.map_err(|_| HubError::NoHome)?.join("hub"),
            },
            own_cache: match path("SENET_CACHE") {
                Some(path) => path,
                None => user_cache?.join("senet"),
            },
            endpoint: text("HF_ENDPOINT")
                .unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned())
                .trim_end_matches('/')
                .to_owned(),
            token,
            offline: is_true(text("HF_HUB_OFFLINE").or_else(|| text("TRANSFORMERS_OFFLINE"))),
            symlinks: !is_true(text("HF_HUB_DISABLE_SYMLINKS")),
            patience: patience(text("HF_HUB_DOWNLOAD_TIMEOUT")),
            proxies: Proxies::from_lookup(text, path),
            locked: None,
        })
    }
}

/// A value that is 0 or not a number is ignored.
fn patience(silence: Option<String>) -> Patience {
    let default = Patience::default();
    let seconds = silence.and_then(|seconds| seconds.parse().ok());
    Patience {
        silence: seconds
            .filter(|seconds| *seconds > 0)
            .map_or(default.silence, Duration::from_secs),
        ..default
    }
}

/// The values that `huggingface_hub` reads as true.
fn is_true(value: Option<String>) -> bool {
    value.is_some_and(|value| {
        matches!(
            value.to_ascii_lowercase().as_str(),
            "1" | "true" | "yes" | "on"
        )
    })
}

/// `~/x` in a variable that no shell has expanded.
fn expand_home(value: OsString, home: Option<&Path>) -> PathBuf {
    let path = PathBuf::from(value);
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path,
    }
}

/// `$NAME` and `${NAME}`, as Python's `os.path.expandvars` does it on POSIX systems.
fn expand_variables(path: PathBuf, lookup: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    let Some(mut rest) = path.to_str().filter(|path| path.contains('$')) else {
        return path;
    };
    let mut expanded = OsString::new();
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push(before);
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let braced = after
            .strip_prefix('{')
            .and_then(|rest| rest.split_once('}'));
        let (name, tail) = braced.unwrap_or_else(|| {
            let end = after.find(|c| !word(c)).unwrap_or(after.len());
            after.split_at(end)
        });
        match Some(name).filter(|name| !name.is_empty()).and_then(&lookup) {
            Some(value) => expanded.push(value),
            None => expanded.push(&rest[before.len()..rest.len() - tail.len()]),
        }
        rest = tail;
    }
    expanded.push(rest);
    expanded.into()
}

fn read_token(file: &Path) -> Option<String> {
    let token = bounded::read_to_string(file, bounded::SMALL)
        .ok()?
        .trim()
        .to_owned();
    Some(token).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::fs;

    use super::*;

    fn options(variables: &[(&str, &str)]) -> HubOptions {
        let map: HashMap<String, OsString> = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).into()))
            .collect();
        HubOptions::from_lookup(|name| map.get(name).cloned(), Some("/home/me".into())).unwrap()
    }

    #[test]
    fn the_environment_is_read_as_python_does() {
        for (variables, cache) in [
            (vec![], "/home/me/.cache/huggingface/hub"),
            (vec![("XDG_CACHE_HOME", "/xdg")], "/xdg/huggingface/hub"),
            (
                vec![("HF_HOME", "/hf"), ("XDG_CACHE_HOME", "/xdg")],
                "/hf/hub",
            ),
            (vec![("HF_HUB_CACHE", "/c"), ("HF_HOME", "/hf")], "/c"),
            (
                vec![("HF_HUB_CACHE", ""), ("HF_HOME", "~/hf")],
                "/home/me/hf/hub",
            ),
            (
                vec![("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HOME", "/hf")],
                "/old",
            ),
            (
                vec![("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HUB_CACHE", "/c")],
                "/c",
            ),
            (
                vec![
                    ("HF_HOME", "$DATA/${USER_}x/$NONE"),
                    ("DATA", "/d"),
                    ("USER_", "$DATA"),
                ],
                "/d/$DATAx/$NONE/hub",
            ),
            (
                vec![("HF_HUB_CACHE", "~/é$/${}/$DATA.1${DATA"), ("DATA", "d")],
                "/home/me/é$/${}/d.1${DATA",
            ),
            (
                vec![("XDG_CACHE_HOME", "$X"), ("X", "/x")],
                "/x/huggingface/hub",
            ),
        ] {
            assert_eq!(options(&variables).cache, Path::new(cache), "{variables:?}");
        }
        assert_eq!(options(&[]).own_cache, Path::new("/home/me/.cache/senet"));
        assert_eq!(
            options(&[("XDG_CACHE_HOME", "/xdg")]).own_cache,
            Path::new("/xdg/senet")
        );
        assert_eq!(
            options(&[("SENET_CACHE", "/s"), ("XDG_CACHE_HOME", "/xdg")]).own_cache,
            Path::new("/s")
        );
        assert_eq!(options(&[]).endpoint, "https://huggingface.co");
        assert_eq!(
            options(&[("HF_ENDPOINT", "http://127.0.0.1:8080/")]).endpoint,
            "http://127.0.0.1:8080"
        );
        for (value, offline) in [
            ("1", true),
            ("TRUE", true),
            ("Yes", true),
            ("on", true),
            ("0", false),
            ("no", false),
            ("", false),
        ] {
            assert_eq!(
                options(&[("HF_HUB_OFFLINE", value)]).offline,
                offline,
                "{value}"
            );
        }
        for (hub, transformers, offline) in [("", "1", true), ("0", "1", false), ("1", "0", true)] {
            let variables = [
                ("HF_HUB_OFFLINE", hub),
                ("TRANSFORMERS_OFFLINE", transformers),
            ];
            assert_eq!(options(&variables).offline, offline, "{variables:?}");
        }
    }

    #[test]
    fn without_a_home_folder_the_variables_are_enough() {
        let none = HubOptions::from_lookup(|_| None, None);
        assert!(matches!(none, Err(HubError::NoHome)));
        let some = HubOptions::from_lookup(
            |name| {
                ["HF_HOME", "SENET_CACHE"]
                    .contains(&name)
                    .then(|| "/data".into())
            },
            None,
        )
        .unwrap();
        assert_eq!(some.cache, Path::new("/data/hub"));
    }

    #[test]
    fn the_token_comes_from_a_variable_or_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        let file = folder.path().join("other");
        let other = file.to_str().unwrap();
        fs::write(folder.path().join("token"), "from-home\n").unwrap();
        fs::write(&file, " from-path \n").unwrap();
        for (variables, token) in [
            (vec![("HF_HOME", "/nowhere")], None),
            (vec![("HF_HOME", home)], Some("from-home")),
            (
                vec![("HF_HOME", home), ("HF_HUB_CACHE", "/elsewhere")],
                Some("from-home"),
            ),
            (
                vec![("HF_HOME", home), ("HF_TOKEN_PATH", other)],
                Some("from-path"),
            ),
            (
                vec![("HF_TOKEN", " direct "), ("HF_TOKEN_PATH", other)],
                Some("direct"),
            ),
            (
                vec![("HUGGING_FACE_HUB_TOKEN", "old"), ("HF_TOKEN_PATH", other)],
                Some("old"),
            ),
            (
                vec![("HUGGING_FACE_HUB_TOKEN", "old"), ("HF_TOKEN", "direct")],
                Some("direct"),
            ),
            (
                vec![
                    ("HF_TOKEN", "direct"),
                    ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"),
                ],
                None,
            ),
        ] {
            assert_eq!(options(&variables).token.as_deref(), token, "{variables:?}");
        }
    }
}
