//! Recognises images by their names and first bytes.

use std::io;
use std::path::Path;

use image::ImageFormat;

use super::{ico, pnm};
use crate::preprocess::error::{Content, ImageError};

/// Extensions of the files in a directory that are read as images. A file given by name is read whatever its
/// extension.
const EXTENSIONS: [&str; 25] = [
    "apng", "bmp", "dib", "gif", "ico", "jfi", "jfif", "jif", "jpe", "jpeg", "jpg", "mpo", "pam",
    "pbm", "pfm", "pgm", "pjp", "pjpeg", "png", "pnm", "ppm", "qoi", "tif", "tiff", "webp",
];

/// Extensions of unsupported images: those of the media types `image/*`, of raw photographs, and of
/// what Pillow and other image programs read.
const FOREIGN: [&str; 171] = [
    "3fr", "ani", "arw", "avci", "avcs", "avif", "avifs", "azv", "b16", "blp", "bpg", "btf",
    "btif", "bw", "cdr", "cdt", "cgm", "cin", "cmx", "cpt", "cr2", "cr3", "crw", "cur", "dcm",
    "dcr", "dcx", "dds", "dicom", "djv", "djvu", "dng", "dpx", "drle", "dwg", "dxf", "ecw", "emf",
    "eps", "erf", "exr", "farbfeld", "fbs", "ff", "fff", "fit", "fits", "flif", "fpx", "fst",
    "fts", "gpr", "hdp", "hdr", "heic", "heics", "heif", "heifs", "hej2", "hif", "hsj2", "icb",
    "icns", "ief", "iff", "iiq", "ilbm", "im", "j2c", "j2k", "jhc", "jls", "jng", "jp2", "jpc",
    "jpf", "jpg2", "jpgm", "jph", "jphc", "jpm", "jpt", "jpx", "jxl", "jxr", "jxra", "jxrs", "jxs",
    "jxsc", "jxsi", "jxss", "k25", "kdc", "kra", "ktx", "ktx2", "lbm", "mdi", "mef", "mmr", "mng",
    "mos", "mrw", "msp", "nef", "nrw", "ora", "orf", "pat", "pcd", "pct", "pcx", "pdn", "pef",
    "pgb", "pic", "pict", "ppic", "psb", "psd", "psp", "pspimage", "pti", "ptx", "pxr", "qtif",
    "raf", "ras", "raw", "rgb", "rgba", "rgbe", "rlc", "rw2", "rwl", "s1g", "s1j", "s1n", "sgi",
    "sgif", "sid", "sjp", "sjpg", "spn", "spng", "sr2", "srf", "srw", "svg", "svgz", "tap", "tfx",
    "tga", "uvg", "uvi", "uvvg", "uvvi", "vda", "vst", "vtf", "wbmp", "wbp", "wdp", "wmf", "x3f",
    "xbm", "xcf", "xif", "xpm", "xwd", "xyze",
];

/// First bytes of a file that are enough to recognise it.
pub(crate) const START: u64 = 512;

/// What a file in a directory or an archive looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// An image of a supported format.
    Image,
    /// An image of an unsupported format, described by its extension: `.heic`.
    Foreign(String),
    /// Nothing that looks like an image.
    Other,
}

/// Recognises a file by its extension, ignoring case, or else by its first [`START`] bytes, which
/// `start` reads.
pub(crate) fn look(path: &Path, start: impl FnOnce() -> io::Result<Vec<u8>>) -> Look {
    if is_image_name(path) {
        return Look::Image;
    }
    let extension = path
        .extension()
        .map(|extension| extension.to_string_lossy());
    let extension = extension.map(|extension| extension.to_lowercase());
    let known = extension
        .as_deref()
        .filter(|extension| FOREIGN.contains(extension));
    // An unreadable file does not count as an image.
    let start = start().unwrap_or_default();
    let dotted = |extension: &str| format!(".{extension}");
    match (format(&start, true), foreign(&start), known, &extension) {
        // Many raw photographs are TIFF files with a small preview image.
        (Some(ImageFormat::Tiff), _, Some(known), _) => Look::Foreign(dotted(known)),
        (Some(_), ..) => Look::Image,
        (_, _, Some(known), _) => Look::Foreign(dotted(known)),
        (_, Some(name), _, Some(extension)) => Look::Foreign(format!(".{extension} ({name})")),
        (_, Some(name), _, None) => Look::Foreign(format!("{name} without extension")),
        _ => Look::Other,
    }
}

/// Whether a file has the extension of a supported format, ignoring case.
pub(crate) fn is_image_name(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|found| {
        EXTENSIONS
            .iter()
            .any(|known| known.eq_ignore_ascii_case(found))
    })
}

/// The format of a supported image.
///
/// # Errors
/// [`ImageError::UnknownFormat`] with what the file contains instead.
pub(super) fn sniff(bytes: &[u8]) -> Result<ImageFormat, ImageError> {
    let found = match (format(bytes, false), foreign(bytes)) {
        (Some(format), _) => return Ok(format),
        (_, Some(name)) => Content::OtherFormat(name),
        _ => content(bytes),
    };
    Err(ImageError::UnknownFormat { found })
}

/// The format of a supported image, by its first bytes. If `is_strict`, because no name says that the
/// file is an image, a few bytes that a text may begin with are not enough.
fn format(start: &[u8], is_strict: bool) -> Option<ImageFormat> {
    const KINDS: [(&[u8], ImageFormat); 11] = [
        (b"\xFF\xD8\xFF", ImageFormat::Jpeg),
        (b"\x89PNG\r\n\x1A\n", ImageFormat::Png),
        (b"GIF87a", ImageFormat::Gif),
        (b"GIF89a", ImageFormat::Gif),
        (b"BM", ImageFormat::Bmp),
        (b"II*\0", ImageFormat::Tiff),
        (b"MM\0*", ImageFormat::Tiff),
        (b"II+\0", ImageFormat::Tiff),
        (b"MM\0+", ImageFormat::Tiff),
        (b"qoif", ImageFormat::Qoi),
        (b"RIFF", ImageFormat::WebP),
    ];
    let kind = KINDS.iter().find(|(magic, _)| start.starts_with(magic));
    match kind.map(|(_, format)| *format) {
        Some(ImageFormat::WebP) if start.get(8..12) != Some(b"WEBP") => None,
        Some(ImageFormat::Bmp) if is_strict && !ico::is_bitmap(start.get(14..)?) => None,
        Some(format) => Some(format),
        None if ico::begins(start) => Some(ImageFormat::Ico),
        None if pnm::begins(start) && (!is_strict || pnm::begins_well(start)) => {
            Some(ImageFormat::Pnm)
        }
        // Without its file header.
        None if ico::is_bitmap(start) => Some(ImageFormat::Bmp),
        None => None,
    }
}

/// The name of an image format that is recognised but not supported.
fn foreign(start: &[u8]) -> Option<&'static str> {
    const KINDS: [(&[u8], &str); 20] = [
        (b"\xFF\x0A", "JPEG XL"),
        (b"\0\0\0\x0CJXL \r\n\x87\n", "JPEG XL"),
        (b"\0\0\0\x0CjP  \r\n\x87\n", "JPEG 2000"),
        (b"\0\0\0\x0CjP\x1A\x1A\r\n\x87\n", "JPEG 2000"),
        (b"\xFF\x4F\xFF\x51", "JPEG 2000"),
        (b"II\xBC\x01", "JPEG XR"),
        (b"\0\0\0\x0CJXS \r\n\x87\n", "JPEG XS"),
        (b"8BPS", "Photoshop"),
        (b"gimp xcf", "GIMP"),
        (b"\x76\x2F\x31\x01", "OpenEXR"),
        (b"#?RADIANCE", "Radiance HDR"),
        (b"#?RGBE", "Radiance HDR"),
        (b"DDS ", "DirectDraw"),
        (b"icns", "Apple icon"),
        (b"\0\0\x02\0\x01\0", "Windows cursor"),
        (b"BPG\xFB", "BPG"),
        (b"FLIF", "FLIF"),
        (b"farbfeld", "farbfeld"),
        (b"FUJIFILMCCD-RAW", "raw photograph"),
        (b"AT&TFORM", "DjVu"),
    ];
    let kind = KINDS.iter().find(|(magic, _)| start.starts_with(magic));
    kind.map(|(_, name)| *name).or_else(|| brand(start))
}

/// The image format of an ISO media file (ISO/IEC 14496-12), by its major brand or else by its
/// compatible brands.
fn brand(start: &[u8]) -> Option<&'static str> {
    let (&length, rest) = start.split_first_chunk()?;
    let brands = rest.strip_prefix(b"ftyp")?;
    // A version lies between the two kinds of brands. A box of length 0 extends to the end.
    let length = match u32::from_be_bytes(length) as usize {
        0 => brands.len(),
        length => length.saturating_sub(8).min(brands.len()),
    };
    let mut brands: Vec<&[u8; 4]> = brands[..length].as_chunks().0.iter().collect();
    if brands.len() > 1 {
        brands.remove(1);
    }
    let name = |brand: &[u8; 4]| match brand {
        b"avif" | b"avis" | b"avio" => Some("AVIF"),
        b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"hevm" | b"hevs" => {
            Some("HEIC")
        }
        b"jp2 " | b"jpx " | b"jpm " | b"jph " | b"mjp2" => Some("JPEG 2000"),
        b"jxl " => Some("JPEG XL"),
        b"crx " => Some("raw photograph"),
        _ => None,
    };
    // Brands that only name the container.
    let container = |brand: &[u8; 4]| {
        matches!(
            brand,
            b"mif1"
                | b"mif2"
                | b"msf1"
                | b"miaf"
                | b"avci"
                | b"avcs"
                | b"jpeg"
                | b"jpgs"
                | b"vvic"
                | b"vvis"
                | b"j2ki"
                | b"j2is"
        )
    };
    let exact = brands.iter().find_map(|brand| name(brand));
    exact.or_else(|| {
        brands
            .iter()
            .any(|brand| container(brand))
            .then_some("HEIF")
    })
}

/// Describes the content of a file that is not an image.
fn content(bytes: &[u8]) -> Content {
    if bytes.is_empty() {
        return Content::Empty;
    }
    if bytes.starts_with(b"version https://git-lfs.") {
        return Content::GitLfsPointer;
    }
    let start = &bytes[..bytes.len().min(512)];
    let is_text = start.iter().all(|&b| b >= 0x20 || b.is_ascii_whitespace())
        && match std::str::from_utf8(start) {
            Ok(_) => true,
            // A character may be cut at the end of `start`.
            Err(error) => error.error_len().is_none(),
        };
    match start.trim_ascii_start().first() {
        Some(b'<') if is_text => Content::Markup,
        _ if is_text => Content::Text,
        _ => Content::Unknown,
    }
}

/// A command that converts an unsupported image to a supported format.
pub(in crate::preprocess) fn conversion_command(format: &str) -> &'static str {
    match format {
        "AVIF" => "avifdec IN.avif OUT.png",
        "HEIC" | "HEIF" => "heif-convert IN.heic OUT.png",
        "JPEG XL" => "djxl IN.jxl OUT.png",
        "JPEG 2000" => "opj_decompress -i IN.jp2 -o OUT.png",
        "JPEG XR" => "JxrDecApp -i IN.jxr -o OUT.bmp",
        "Windows cursor" | "Apple icon" => "magick IN[0] OUT.png",
        "raw photograph" => "dcraw_emu -T IN",
        _ => "magick IN OUT.png",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(major: &str, compatible: &[&str]) -> Vec<u8> {
        let brands = compatible.concat();
        let mut bytes = (16 + brands.len() as u32).to_be_bytes().to_vec();
        bytes.extend(format!("ftyp{major}\0\0\0\0{brands}").as_bytes());
        bytes.extend(b"\0\0\0\x08meta");
        bytes
    }

    #[test]
    fn formats_by_their_brands() {
        for (major, compatible, expected) in [
            ("avif", &["mif1", "miaf"][..], Some("AVIF")),
            ("avis", &[], Some("AVIF")),
            ("mif1", &["miaf", "avif"], Some("AVIF")),
            ("heic", &["mif1"], Some("HEIC")),
            ("hevc", &[], Some("HEIC")),
            ("heim", &[], Some("HEIC")),
            ("msf1", &["hevc"], Some("HEIC")),
            ("mif1", &["miaf"], Some("HEIF")),
            ("avci", &["mif1"], Some("HEIF")),
            ("jp2 ", &[], Some("JPEG 2000")),
            ("isom", &["mp41"], None),
            ("qt  ", &[], None),
        ] {
            assert_eq!(foreign(&container(major, compatible)), expected, "{major}");
        }
        // Cut at any place, with any length.
        let bytes = container("mif1", &["miaf", "avif"]);
        for length in 0..=255 {
            for end in 0..bytes.len() {
                let mut bytes = bytes[..end].to_vec();
                bytes.get_mut(3).into_iter().for_each(|byte| *byte = length);
                foreign(&bytes);
            }
        }
    }

    #[test]
    fn names_and_contents() {
        let png = b"\x89PNG\r\n\x1A\n".to_vec();
        let heic = container("heic", &[]);
        let tiff = b"II*\0\x08\0\0\0".to_vec();
        let foreign = |text: &str| Look::Foreign(text.to_owned());
        for (name, start, expected) in [
            ("a.JPG", &heic, Look::Image),
            ("a.webp", &heic, Look::Image),
            ("a", &png, Look::Image),
            ("a.txt", &png, Look::Image),
            ("a.heic", &png, Look::Image),
            ("a.HEIC", &heic, foreign(".heic")),
            ("a.nef", &tiff, foreign(".nef")),
            ("a.scan", &tiff, Look::Image),
            ("a.svg", &b"<svg>".to_vec(), foreign(".svg")),
            ("a", &heic, foreign("HEIC without extension")),
            ("a.jpg_large", &heic, foreign(".jpg_large (HEIC)")),
            ("a.txt", &b"P1 was faster than P2".to_vec(), Look::Other),
            ("a.txt", &b"P1 10 12 and P2".to_vec(), Look::Other),
            ("a.txt", &b"P2 2 1 9 0 9".to_vec(), Look::Image),
            ("a.txt", &b"BM is a company".to_vec(), Look::Other),
            ("a", &Vec::new(), Look::Other),
        ] {
            assert_eq!(
                look(name.as_ref(), || Ok(start.clone())),
                expected,
                "{name}"
            );
        }
        let unreadable = look("a".as_ref(), || Err(io::Error::other("denied")));
        assert_eq!(unreadable, Look::Other);
    }

    #[test]
    fn extensions_are_in_order() {
        assert!(EXTENSIONS.is_sorted() && FOREIGN.is_sorted());
        assert!(!FOREIGN.iter().any(|name| EXTENSIONS.contains(name)));
    }
}
