//! A forward pass: in portions that the device has memory for and that the caches hold, stage by stage.

use std::ops::Range;
use std::sync::atomic::Ordering;

use candle_core::{DType, Tensor};

use super::Network;
use crate::machine;
use crate::nets::NetError;
use crate::nets::check::{Input, read};
use crate::nets::watch::{Point, Watch};
use crate::nn::{Backend, Map};

/// Name of the work outside the layers: checking the input, converting it to the backend's layout, and
/// joining the portions of a batch.
const ENTRY: &str = "input";

/// Leading stages whose activations are larger than their weights; the stem is the first.
const FIRST_STAGES: usize = 2;

/// Bytes of L2 for each input pixel of a thread: half of the largest activations of the first stages, which have
/// 16 values per pixel.
const NEAR_PIXEL: usize = 32;

impl Network {
    pub(super) fn run(&self, x: &Tensor, watch: &mut Watch<'_, '_>) -> Result<Tensor, NetError> {
        self.compute(x, watch, |features, watch| {
            let logits = self.classifier.forward(&features)?;
            watch.lap_on(&self.plan.classifier.name, || self.classifier.kernel())?;
            Ok(logits)
        })
    }

    /// What `head` makes of the pooled features. Where the device has no memory left, with fewer images
    /// at once.
    pub(super) fn compute(
        &self,
        x: &Tensor,
        watch: &mut Watch<'_, '_>,
        head: impl Fn(Tensor, &mut Watch<'_, '_>) -> Result<Tensor, NetError>,
    ) -> Result<Tensor, NetError> {
        // A tensor of another device, or of another handle of this one, whose work is queued elsewhere.
        let moved;
        let x = if x.device().is_cpu() || x.device().same_device(self.device()) {
            x
        } else {
            x.device().synchronize()?;
            moved = x.to_device(self.device())?;
            &moved
        };
        let input = Input::check(&self.plan, x)?;
        loop {
            let most_images = self.most_images.load(Ordering::Relaxed);
            let images = match &self.backend {
                Backend::Candle(_) if watch.observer.is_none() => {
                    let portion = (self.most_values / input.largest).max(1);
                    portion.min(most_images).min(input.batch)
                }
                _ => input.batch,
            };
            let result = self
                .pooled(x, images, watch)
                .and_then(|features| read(&head(features, watch)?, input.sum.as_ref()));
            match result {
                Err(error) if error.is_out_of_memory() => {
                    let is_candle = matches!(self.backend, Backend::Candle(_));
                    if !is_candle || images == 1 || watch.observer.is_some() {
                        return Err(input.out_of_memory(images));
                    }
                    self.most_images.fetch_min(images / 2, Ordering::Relaxed);
                    watch.restart();
                }
                result => return result,
            }
        }
    }

    /// The pooled features of all images, which a device computes `images` at a time.
    fn pooled(
        &self,
        x: &Tensor,
        images: usize,
        watch: &mut Watch<'_, '_>,
    ) -> Result<Tensor, NetError> {
        match &self.backend {
            // The whole pass runs inside the thread pool: entered from outside, every layer would wake
            // it anew.
            Backend::Cpu(_) | Backend::Bf16(_) => rayon::scope(|_| self.run_layers(x, watch)),
            // On the caller's thread, as all work of a device.
            Backend::Candle(_) => {
                let batch = x.dim(0)?;
                let mut features = Vec::new();
                for start in (0..batch).step_by(images) {
                    let mut part = x.narrow(0, start, images.min(batch - start))?;
                    if part.device().is_cpu() && !self.device().is_cpu() {
                        // Otherwise, all of the memory that the part lies in would be uploaded.
                        part = part.force_contiguous()?;
                    }
                    features.push(self.run_layers(&part, watch)?);
                }
                match &features[..] {
                    [all] => Ok(all.clone()),
                    parts => Ok(Tensor::cat(parts, 0)?),
                }
            }
        }
    }

    fn run_layers(&self, x: &Tensor, watch: &mut Watch<'_, '_>) -> Result<Tensor, NetError> {
        let x = x.to_dtype(DType::F32)?;
        let first = 0..FIRST_STAGES.min(self.stages.len());
        let last = first.end..self.stages.len();
        let x = match self.portion(&x, watch)? {
            None => {
                let x = self.run_stem(&x, watch)?;
                self.run_stages(first, x, watch)?
            }
            Some(portion) => {
                let mut parts = Vec::new();
                let batch = x.dim(0)?;
                for start in (0..batch).step_by(portion) {
                    let part = x.narrow(0, start, portion.min(batch - start))?;
                    let part = self.run_stem(&part, watch)?;
                    parts.push(self.run_stages(first.clone(), part, watch)?);
                }
                let x = Map::cat(&parts)?;
                watch.lap(ENTRY, "")?;
                x
            }
        };
        let mut x = self.run_stages(last, x, watch)?;
        let mut features = None;
        if let Some(ending) = &self.ending {
            let (y, mean) = ending.forward(x, watch)?;
            (x, features) = (y, Some(mean));
        }
        if let Some(conv) = &self.head_conv {
            let (y, mean) = conv.forward_squeezed(&x, watch)?;
            (x, features) = (y, Some(mean));
        }
        let mut features = match features {
            Some(features) => {
                watch.see_map(Point::FinalConv, &x)?;
                features
            }
            None => x.mean()?,
        };
        watch.lap("pool", "")?;
        if let Some(conv) = &self.pooled_conv {
            let (batch, channels) = features.dims2()?;
            let pixel = features.reshape((batch, channels, 1, 1))?;
            // The mean of one pixel is the pixel.
            (_, features) = conv.forward_squeezed(&self.backend.enter(&pixel)?, watch)?;
        }
        watch.see(Point::PreLogits, &features)?;
        Ok(features)
    }

    /// How many images go through the first stages at a time: on the CPU, as many as have activations that
    /// fit in the caches. In later stages the weights are larger. With an observer, the whole batch.
    fn portion(&self, x: &Tensor, watch: &Watch<'_, '_>) -> Result<Option<usize>, NetError> {
        let (batch, _, height, width) = x.dims4()?;
        let is_cpu = matches!(self.backend, Backend::Cpu(_) | Backend::Bf16(_));
        let portion =
            (rayon::current_num_threads() * (machine::l2() / NEAR_PIXEL) / (height * width)).max(1);
        Ok((is_cpu && watch.observer.is_none() && portion < batch).then_some(portion))
    }

    fn run_stem(&self, x: &Tensor, watch: &mut Watch<'_, '_>) -> Result<Map, NetError> {
        let mut x = self.backend.enter(x)?;
        watch.lap(ENTRY, "")?;
        for conv in &self.stem {
            x = conv.forward(&x, watch)?;
        }
        watch.see_map(Point::Stem, &x)?;
        if let Some(pool) = self.plan.stem_pool.pool() {
            x = x.pool(pool)?;
            watch.lap("stem pool", "")?;
            watch.see_map(Point::StemPool, &x)?;
        }
        Ok(x)
    }

    fn run_stages(
        &self,
        stages: Range<usize>,
        mut x: Map,
        watch: &mut Watch<'_, '_>,
    ) -> Result<Map, NetError> {
        for index in stages {
            for block in &self.stages[index] {
                x = block.forward(&x, watch)?;
            }
            watch.see_map(Point::Stage(index + 1), &x)?;
        }
        Ok(x)
    }
}
