//! What can go wrong between a file and a network's input.

use std::path::{Path, PathBuf};

/// An error of the `image` module; [`ImageError::hint`] says what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The file could not be read at all.
    #[error("cannot read `{}`: {error}", path.display())]
    Read {
        path: PathBuf,
        error: std::io::Error,
    },
    /// A picture that is not in a file of its own could not be read.
    #[error("cannot read the picture: {0}")]
    Unreadable(String),
    /// A file was read, but its content did not give a picture.
    #[error("`{}`: {error}", path.display())]
    InFile {
        path: PathBuf,
        error: Box<ImageError>,
    },
    /// Not read to its end.
    #[error("the file is longer than {limit} bytes, which no picture should be")]
    FileTooLong { limit: u64 },
    /// The first bytes are not those of a format this crate reads.
    #[error("{found}, expected a picture: {KNOWN_FORMATS}")]
    UnknownFormat { found: Content },
    /// The format is known, the data is broken or of a kind no decoder here reads.
    #[error("cannot decode this {format}: {reason}")]
    Decode {
        format: &'static str,
        reason: String,
    },
    /// The header announces more pixels than [`DecodeOptions::max_pixels`](super::DecodeOptions).
    #[error(
        "the {format} is {width} x {height} = {} pixels, more than the limit of {limit}",
        u64::from(*width) * u64::from(*height)
    )]
    TooLarge {
        format: &'static str,
        width: u32,
        height: u32,
        limit: u64,
    },
    /// A network that images cannot be made into the input of.
    #[error("the network takes {channels} channels, and an image has 3, or 1 when it is grey")]
    Channels { channels: usize },
    /// An [`InputSpec`](super::InputSpec) that describes no transform.
    #[error("invalid input specification: `{field}` must be {expected}, found {found}")]
    InvalidSpec {
        field: &'static str,
        expected: &'static str,
        found: String,
    },
}

const KNOWN_FORMATS: &str = "JPEG, PNG, WebP, GIF, BMP, TIFF, PNM, QOI or ICO";

/// What a file is that is not a picture of a known format, as far as its first bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    Empty,
    /// A pointer file of git's large file storage, in place of the file itself.
    GitLfsPointer,
    /// A web page or another document in tags; often a failed download.
    Markup,
    Text,
    /// A picture format that is recognised and not read.
    OtherPicture(&'static str),
    Unknown,
}

impl std::fmt::Display for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Empty => "the file is empty",
            Self::GitLfsPointer => "this is a git-lfs pointer",
            Self::Markup => "this is an HTML, XML or SVG document",
            Self::Text => "this is a text file",
            Self::OtherPicture(name) => return write!(f, "{name} images are not supported"),
            Self::Unknown => "the format is unknown",
        })
    }
}

impl ImageError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::InFile { error, .. } => error.hint(),
            Self::UnknownFormat { found } => match found {
                Content::GitLfsPointer => Some("fetch the file itself with `git lfs pull`".into()),
                Content::Markup => Some("a download may have saved an error page".into()),
                Content::OtherPicture(name) => {
                    let command = super::kind::command(name);
                    Some(format!(
                        "convert the image to PNG, for example with `{command}`"
                    ))
                }
                Content::Unknown => Some(
                    "if it is an image of another format, convert it to PNG, for example with \
                     `magick IN OUT.png`"
                        .into(),
                ),
                Content::Empty | Content::Text => None,
            },
            Self::TooLarge { width, height, .. } => Some(format!(
                "if the image is trusted, raise the limit to {} pixels",
                u64::from(*width) * u64::from(*height)
            )),
            Self::Channels { .. } => Some(
                "such a network can be shown, measured and compared with stored numbers".into(),
            ),
            Self::Read { .. }
            | Self::Unreadable(_)
            | Self::FileTooLong { .. }
            | Self::Decode { .. }
            | Self::InvalidSpec { .. } => None,
        }
    }

    pub(super) fn decode(format: &'static str, reason: impl ToString) -> Self {
        let reason = reason.to_string();
        Self::Decode { format, reason }
    }

    pub(super) fn in_file(self, path: &Path) -> Self {
        Self::InFile {
            path: path.to_owned(),
            error: Box::new(self),
        }
    }
}
