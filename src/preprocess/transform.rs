//! From an RGB image to the network's input, as in timm's `transforms_imagenet_eval`.

use std::borrow::Cow;

use image::{Rgb, RgbImage};

use serde::{Deserialize, Serialize};

use super::error::ImageError;
use super::placement::Placement;
use super::resize::{Window, resize_window};
use super::spec::{CropMode, InputSpec, Interpolation};
use crate::kernels::Isa;

/// Longest edge, in pixels, that an image is resized to.
const LARGEST_EDGE: usize = 1 << 16;

/// The views of an image that a network sees; if there are several, their probabilities are averaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Views {
    /// The crop of the recipe.
    #[default]
    One,
    /// That and its mirror image.
    Flip,
    /// The four corners and the centre, and those of the mirror image (torchvision's `TenCrop`).
    TenCrop,
}

impl Views {
    /// Number of network inputs for one image.
    pub fn count(self) -> usize {
        match self {
            Self::One => 1,
            Self::Flip => 2,
            Self::TenCrop => 10,
        }
    }
}

/// The order in which the values of an image are stored in a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Layout {
    /// `[C, H, W]`, one channel after another, as in PyTorch and Candle.
    #[default]
    ChannelsFirst,
    /// `[H, W, C]`, one pixel after another, as in the image and in this crate's kernels.
    ChannelsLast,
}

/// Resize, crop and normalisation of one [`InputSpec`], ready to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Transform {
    layout: Layout,
    /// 3, or 1 for a network of grey images.
    channels: usize,
    size: [usize; 2],
    scale: [usize; 2],
    crop_mode: CropMode,
    interpolation: Interpolation,
    /// Colour of the padding.
    fill: [u8; 3],
    /// The normalised value of each byte, per channel.
    normalised: [[f32; 256]; 3],
}

impl Transform {
    /// Checks the specification and prepares its transform for RGB input.
    ///
    /// # Errors
    /// [`ImageError::InvalidSpec`] for an edge of 0 or more than 65536 pixels, before or after the
    /// division by `crop_pct`, a `crop_pct` that is not above 0, and a `mean` or `std` that does not
    /// give finite numbers.
    pub fn new(spec: &InputSpec) -> Result<Self, ImageError> {
        Self::with_channels(spec, 3)
    }

    /// The transform for a network of 3 input channels, or of 1: then the image is converted to grey
    /// first, and the means over red, green and blue of `mean` and `std` are used, as in timm.
    ///
    /// # Errors
    /// As [`Transform::new`], and [`ImageError::Channels`] for any other number of channels.
    pub fn with_channels(spec: &InputSpec, channels: usize) -> Result<Self, ImageError> {
        if channels != 1 && channels != 3 {
            return Err(ImageError::Channels { channels });
        }
        let scale = spec.scale_size();
        let edge = |edge: &usize| (1..=LARGEST_EDGE).contains(edge);
        let finite = |values: &[f32; 3]| values.iter().all(|value| value.is_finite());
        let invalid = |field, expected, found: String| {
            Err(ImageError::InvalidSpec {
                field,
                expected,
                found,
            })
        };
        if !spec.size.iter().all(edge) {
            return invalid("size", "1 to 65536 pixels", format!("{:?}", spec.size));
        }
        if !(spec.crop_pct > 0.0 && spec.crop_pct.is_finite()) {
            return invalid("crop_pct", "above 0", spec.crop_pct.to_string());
        }
        if !scale.iter().all(edge) {
            let found = format!("{scale:?}");
            return invalid("size / crop_pct", "1 to 65536 pixels", found);
        }
        let [mean, std] = [spec.mean, spec.std].map(|values| match channels {
            1 => [(values.map(f64::from).iter().sum::<f64>() / 3.0) as f32; 3],
            _ => values,
        });
        if !finite(&mean) {
            return invalid("mean", "finite numbers", format!("{:?}", spec.mean));
        }
        if !finite(&std) || std.contains(&0.0) {
            return invalid("std", "finite and not 0", format!("{:?}", spec.std));
        }
        let fill = match spec.crop_mode {
            CropMode::Border => mean.map(colour),
            CropMode::Center | CropMode::Squash => [0; 3],
        };
        Ok(Self {
            layout: Layout::default(),
            channels,
            size: spec.size,
            scale,
            crop_mode: spec.crop_mode,
            interpolation: spec.interpolation,
            fill,
            normalised: std::array::from_fn(|channel| {
                let (mean, std) = (mean[channel], std[channel]);
                std::array::from_fn(|value| (value as f32 / 255.0 - mean) / std)
            }),
        })
    }

    /// The same transform, writing its values in another order.
    #[must_use]
    pub fn with_layout(self, layout: Layout) -> Self {
        Self { layout, ..self }
    }

    /// Height and width of the network's input in pixels.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// 3, or 1 for a network of grey images.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Number of values that one image takes in a batch: channels · height · width.
    pub(crate) fn image_len(&self) -> usize {
        self.channels * self.size[0] * self.size[1]
    }

    /// The image in the colours that the network sees.
    fn seen<'p>(&self, image: &'p RgbImage) -> Cow<'p, RgbImage> {
        match self.channels {
            1 => Cow::Owned(grey(image)),
            _ => Cow::Borrowed(image),
        }
    }

    /// The image after resize and crop, still 8-bit RGB; for a network of grey images with equal values.
    pub fn pixels(&self, image: &RgbImage) -> RgbImage {
        let [height, width] = self.resized_size(image);
        let rows = Crop::new(height, self.size[0]);
        let columns = Crop::new(width, self.size[1]);
        self.cropped(&self.seen(image), [height, width], &rows, &columns)
    }

    /// Resizes to `[height, width]` and takes the part that the crops keep.
    fn cropped(
        &self,
        image: &RgbImage,
        [height, width]: [usize; 2],
        rows: &Crop,
        columns: &Crop,
    ) -> RgbImage {
        let window = Window {
            columns: columns.start..columns.start + columns.length,
            rows: rows.start..rows.start + rows.length,
        };
        let kept = resize_window(
            image,
            width,
            height,
            &window,
            self.interpolation,
            Isa::best(),
        );
        if [rows.length, columns.length] == self.size {
            return kept;
        }
        let mut result =
            RgbImage::from_pixel(self.size[1] as u32, self.size[0] as u32, Rgb(self.fill));
        let bytes = columns.length * 3;
        for (row, kept) in result
            .chunks_exact_mut(self.size[1] * 3)
            .skip(rows.before)
            .zip(kept.chunks_exact(bytes))
        {
            row[columns.before * 3..][..bytes].copy_from_slice(kept);
        }
        result
    }

    /// Where the input that [`Transform::write`] makes lies in an image of `[height, width]`.
    pub fn placement(&self, image: [usize; 2]) -> Placement {
        Placement::new(image, self.resized_edges(image), self.size)
    }

    /// Writes the network's input for one image in the transform's [`Layout`]:
    /// `(value / 255 - mean) / std` in 32-bit floats, as torchvision computes it.
    ///
    /// # Panics
    /// If the length of `out` is not `channels * height * width`.
    pub fn write(&self, image: &RgbImage, out: &mut [f32]) {
        self.normalise(&self.pixels(image), out);
    }

    /// Writes the inputs for all views of the image, one after another.
    ///
    /// # Panics
    /// If the length of `out` is not `views.count() * channels * height * width`.
    pub fn write_views(&self, image: &RgbImage, views: Views, out: &mut [f32]) {
        let edges = self.resized_size(image);
        let image = &*self.seen(image);
        let [rows, columns] = [0, 1].map(|axis| Crop::new(edges[axis], self.size[axis]));
        let length = out.len() / views.count();
        let mut slots = out.chunks_exact_mut(length);
        let mut write = |rows: &Crop, columns: &Crop, mirrored: bool| {
            let mut pixels = self.cropped(image, edges, rows, columns);
            if mirrored {
                image::imageops::flip_horizontal_in_place(&mut pixels);
            }
            if let Some(slot) = slots.next() {
                self.normalise(&pixels, slot);
            }
        };
        write(&rows, &columns, false);
        match views {
            Views::One => {}
            Views::Flip => write(&rows, &columns, true),
            Views::TenCrop => {
                // The centre of the mirrored image, which differs if the margin is odd.
                write(&rows, &columns.opposite(edges[1]), true);
                for rows in rows.corners(edges[0]) {
                    for columns in columns.corners(edges[1]) {
                        write(&rows, &columns, false);
                        write(&rows, &columns, true);
                    }
                }
            }
        }
    }

    fn normalise(&self, pixels: &RgbImage, out: &mut [f32]) {
        let area = self.size[0] * self.size[1];
        assert_eq!(out.len(), self.channels * area, "the slot for one image");
        let pixels = pixels.as_chunks::<3>().0;
        match self.layout {
            Layout::ChannelsFirst => {
                let planes = out.chunks_exact_mut(area).zip(&self.normalised);
                for (channel, (plane, table)) in planes.enumerate() {
                    for (value, pixel) in plane.iter_mut().zip(pixels) {
                        *value = table[usize::from(pixel[channel])];
                    }
                }
            }
            Layout::ChannelsLast => {
                for (values, pixel) in out.chunks_exact_mut(self.channels).zip(pixels) {
                    let seen = pixel.iter().zip(&self.normalised);
                    for (value, (&byte, table)) in values.iter_mut().zip(seen) {
                        *value = table[usize::from(byte)];
                    }
                }
            }
        }
    }

    /// Height and width that the whole image is resized to before the crop.
    fn resized_size(&self, image: &RgbImage) -> [usize; 2] {
        self.resized_edges([image.height() as usize, image.width() as usize])
    }

    fn resized_edges(&self, old: [usize; 2]) -> [usize; 2] {
        match self.crop_mode {
            CropMode::Squash => self.scale,
            CropMode::Center if self.scale[0] == self.scale[1] => short_edge_to(old, self.scale[0]),
            CropMode::Center => keep_ratio(old, self.scale, f64::min),
            CropMode::Border => keep_ratio(old, self.scale, f64::max),
        }
    }
}

/// Pillow's conversion from RGB to `L`, with fixed-point weights of ITU-R 601-2. The result is RGB with
/// three equal channels, which a resize keeps equal.
fn grey(image: &RgbImage) -> RgbImage {
    let mut grey = image.clone();
    for pixel in grey.as_chunks_mut::<3>().0 {
        let [r, g, b] = pixel.map(u32::from);
        *pixel = [((r * 19_595 + g * 38_470 + b * 7_471 + 0x8000) >> 16) as u8; 3];
    }
    grey
}

/// torchvision's `Resize` with one number: the long edge is rounded down.
fn short_edge_to([height, width]: [usize; 2], edge: usize) -> [usize; 2] {
    let long = |long: usize, short: usize| ((edge * long) as f64 / short.max(1) as f64) as usize;
    if width <= height {
        [long(height, width), edge]
    } else {
        [edge, long(width, height)]
    }
}

/// timm's `ResizeKeepRatio`: scales both edges by one of their two factors and rounds half to even.
///
/// timm fails if an edge becomes 0; here it is at least one pixel.
fn keep_ratio(old: [usize; 2], scale: [usize; 2], choose: fn(f64, f64) -> f64) -> [usize; 2] {
    let ratio = choose(
        old[0] as f64 / scale[0] as f64,
        old[1] as f64 / scale[1] as f64,
    );
    old.map(|edge| ((edge as f64 / ratio).round_ties_even() as usize).max(1))
}

/// timm's border colour. timm's mean is a 64-bit number, which is the shortest decimal form of ours.
fn colour(mean: f32) -> u8 {
    let mean = mean.to_string().parse().unwrap_or(f64::from(mean));
    (255.0 * mean).round_ties_even() as u8
}

/// A centred crop or padding along one edge.
pub(super) struct Crop {
    /// First pixel of the image that is kept.
    pub(super) start: usize,
    /// Number of pixels of the image that are kept.
    length: usize,
    /// Pixels of padding in front.
    pub(super) before: usize,
}

impl Crop {
    /// torchvision's `CenterCrop`: half of the margin is rounded to even when cropping, and an odd pixel
    /// of padding goes to the end.
    pub(super) fn new(edge: usize, size: usize) -> Self {
        if edge < size {
            Self {
                start: 0,
                length: edge,
                before: (size - edge) / 2,
            }
        } else {
            Self {
                start: ((edge - size) as f64 / 2.0).round_ties_even() as usize,
                length: size,
                before: 0,
            }
        }
    }

    /// The same crop counted from the other end of an edge of `edge` pixels.
    fn opposite(&self, edge: usize) -> Self {
        Self {
            start: edge - self.length - self.start,
            ..*self
        }
    }

    /// The crops at both ends of an edge of `edge` pixels.
    fn corners(&self, edge: usize) -> [Self; 2] {
        [0, edge - self.length].map(|start| Self { start, ..*self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_hold_the_same_values() {
        let spec = InputSpec {
            size: [5, 7],
            crop_pct: 0.9,
            crop_mode: CropMode::Border,
            interpolation: Interpolation::Bicubic,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
            test_size: None,
            test_crop_pct: None,
        };
        let image = RgbImage::from_fn(13, 6, |x, y| {
            Rgb([x as u8 * 19, y as u8 * 40, (x * y) as u8])
        });
        for channels in [1, 3] {
            let first = Transform::with_channels(&spec, channels).unwrap();
            let last = first.clone().with_layout(Layout::ChannelsLast);
            for views in [Views::One, Views::Flip, Views::TenCrop] {
                let written = |transform: &Transform| {
                    let mut values = vec![0.0; views.count() * channels * 35];
                    transform.write_views(&image, views, &mut values);
                    values
                };
                let (first, last) = (written(&first), written(&last));
                for (first, last) in first.chunks(channels * 35).zip(last.chunks(channels * 35)) {
                    let moved: Vec<f32> = (0..35)
                        .flat_map(|pixel| (0..channels).map(move |channel| channel * 35 + pixel))
                        .map(|index| first[index])
                        .collect();
                    assert_eq!(moved, last);
                }
            }
        }
    }
}
