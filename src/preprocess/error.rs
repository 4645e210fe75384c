//! Errors on the way from a file to a network's input.

use std::path::{Path, PathBuf};

/// An image that cannot be read or decoded; [`ImageError::hint`] says what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The file could not be read at all.
    #[error("cannot read `{}`: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        error: std::io::Error,
    },
    /// An image inside an archive or table could not be read.
    #[error("cannot read the image: {0}")]
    Unreadable(String),
    /// A file was read but could not be decoded.
    #[error("`{}`: {error}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// The reason.
        error: Box<ImageError>,
    },
    /// The file is longer than [`MAX_FILE_BYTES`](super::MAX_FILE_BYTES).
    #[error("the file is longer than {limit} bytes, the limit for an image")]
    FileTooLong {
        /// The limit in bytes.
        limit: u64,
    },
    /// The content is of no supported format.
    #[error("{found}, expected an image: {KNOWN_FORMATS}")]
    UnknownFormat {
        /// What the file contains instead.
        found: Content,
    },
    /// The format is supported, but the data is damaged or of an unsupported kind.
    #[error("cannot decode this {format}: {reason}")]
    Decode {
        /// The format, such as `JPEG`.
        format: &'static str,
        /// What is wrong with the data.
        reason: String,
    },
    /// The header announces more pixels than [`DecodeOptions::max_pixels`](super::DecodeOptions).
    #[error(
        "the {format} is {width} x {height} = {} pixels, more than the limit of {limit}",
        u64::from(*width) * u64::from(*height)
    )]
    TooLarge {
        /// The format, such as `JPEG`.
        format: &'static str,
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
        /// The limit of width times height.
        limit: u64,
    },
    /// The network's input is neither RGB nor grey.
    #[error("the network takes {channels} channels, but images have 3, or 1 if grey")]
    Channels {
        /// Input channels of the network.
        channels: usize,
    },
    /// An [`InputSpec`](super::InputSpec) with an impossible value.
    #[error("invalid input specification: `{field}` must be {expected}, found {found}")]
    InvalidSpec {
        /// The field, such as `crop_pct`.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
        /// Its value.
        found: String,
    },
}

const KNOWN_FORMATS: &str = "JPEG, PNG, WebP, GIF, BMP, TIFF, PNM, QOI or ICO";

/// What a file that is not a supported image contains, as far as its first bytes show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// Nothing.
    Empty,
    /// A pointer of Git LFS in place of the file itself.
    GitLfsPointer,
    /// HTML, XML or SVG; often an error page from a failed download.
    Markup,
    /// Plain text.
    Text,
    /// An image format that is recognised but not supported.
    OtherFormat(&'static str),
    /// Anything else.
    Unknown,
}

impl std::fmt::Display for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Empty => "the file is empty",
            Self::GitLfsPointer => "this is a git-lfs pointer",
            Self::Markup => "this is an HTML, XML or SVG document",
            Self::Text => "this is a text file",
            Self::OtherFormat(name) => return write!(f, "{name} images are not supported"),
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
                Content::OtherFormat(name) => {
                    let command = super::decode::conversion_command(name);
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
            Self::Channels { .. } => {
                Some("the network can still be described, timed and verified".into())
            }
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
