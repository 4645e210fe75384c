//! Where a remote file is, as messages show it.

use std::fmt;

/// The remote file that an error is about. It never holds a token or a signed address.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Location {
    /// A file of a repository.
    Hub {
        /// Address of the hub.
        endpoint: String,
        /// `organisation/name`.
        repo: String,
        /// Branch, tag or commit.
        revision: String,
        /// Path in the repository.
        file: String,
    },
    /// A file that its authors publish outside the hub.
    Release {
        /// Its address.
        url: String,
    },
    /// An image on the web.
    Image {
        /// Its address.
        url: String,
    },
}

impl Location {
    /// The file's name, or its path in the repository.
    pub(super) fn file_name(&self) -> &str {
        match self {
            Self::Hub { file, .. } => file,
            Self::Release { url } | Self::Image { url } => url.rsplit('/').next().unwrap_or(url),
        }
    }

    /// The page a person would open.
    pub(super) fn page(&self) -> String {
        match self {
            Self::Hub { endpoint, repo, .. } => format!("{endpoint}/{repo}"),
            Self::Release { url } | Self::Image { url } => url.clone(),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub {
                endpoint,
                repo,
                revision,
                file,
            } => {
                write!(
                    f,
                    "`{file}` of `{repo}` (revision `{revision}`) at {endpoint}"
                )
            }
            Self::Release { url } | Self::Image { url } => write!(f, "{url}"),
        }
    }
}
