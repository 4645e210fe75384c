//! How long the networks take on this machine.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use candle_core::Tensor;

use crate::cli::args::DeviceArgs;
use crate::cli::bench::median;
use crate::cli::output::Messages;
use crate::cli::{INTERRUPTED, SOME_FAILED, SUCCESS, session};
use crate::error::Result;
use crate::labels::LabelSet;
use crate::model::ModelOptions;
use crate::nets::{Network, random_weights};
use crate::zoo::{Card, CardError};

/// A network is timed for so long, after a pass that is not timed, or for so many passes.
const ENOUGH: Duration = Duration::from_millis(500);
const FEWEST: usize = 3;
const MOST: usize = 50;

/// A checkpoint at an input size.
pub(super) type Point<'a> = (&'a Card, [usize; 2]);

/// Median milliseconds for one image, by name and size.
#[derive(Default)]
pub(super) struct Times {
    milliseconds: BTreeMap<(String, [usize; 2]), f64>,
    /// The exit code.
    pub(super) code: u8,
}

impl Times {
    pub(super) fn of(&self, (card, size): Point<'_>) -> Option<f64> {
        let key = (card.name.to_string(), size);
        self.milliseconds.get(&key).copied()
    }

    /// Whether anything is timed.
    pub(super) fn any(&self) -> bool {
        !self.milliseconds.is_empty()
    }

    /// Times the networks, the smallest first. An error of one is printed; Ctrl-C ends it early.
    pub(super) fn measure(
        mut points: Vec<Point<'_>>,
        device: &DeviceArgs,
        messages: Messages,
    ) -> anyhow::Result<Self> {
        let cost = |(card, [height, width]): &Point<'_>| card.params * height * width;
        points.sort_by_key(cost);
        let stop = session::stop_on_interrupt()?;
        let what = format!(
            "{} timed with random weights, one image at a time,",
            counted(points.len())
        );
        let options = session::open_device(device, &what, messages)?;
        let mut times = Self {
            code: SUCCESS,
            ..Self::default()
        };
        let bar = messages.bar(
            points.len() as u64,
            "{bar:30.cyan/dim} {pos} of {len}  {msg}  {eta}",
        );
        for (card, size) in points {
            if session::is_stopped(&stop) {
                times.code = INTERRUPTED;
                break;
            }
            bar.set_message(card.name.to_string());
            match time((card, size), &options, &stop) {
                Ok(found) => {
                    let key = (card.name.to_string(), size);
                    times.milliseconds.insert(key, found);
                }
                Err(error) => {
                    times.code = SOME_FAILED;
                    let text = format!("{} at {}: {}", card.name, size[0], error.with_causes());
                    bar.suspend(|| messages.failure(text));
                }
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        if times.code == INTERRUPTED {
            let done = times.milliseconds.len();
            messages.note(format!(
                "interrupted: {} timed, the others not",
                counted(done)
            ));
        }
        Ok(times)
    }
}

fn counted(networks: usize) -> String {
    match networks {
        1 => "1 network".into(),
        more => format!("{more} networks"),
    }
}

fn time(
    (card, [height, width]): Point<'_>,
    options: &ModelOptions,
    stop: &AtomicBool,
) -> Result<f64> {
    let classes = LabelSet::builtin_len(&card.labels).map_err(CardError::from)?;
    let plan = card.network.plan(card.naming, classes)?;
    let weights = random_weights(&plan)?;
    let network = Network::load(&plan, &weights, &options.device, options.precision)?;
    drop(weights);
    let count = plan.inputs() * height * width;
    // Reproducible values between -2 and 2.
    let values = (0..count).map(|index| (index * 7919 % 4001) as f32 / 1000.0 - 2.0);
    let shape = (1, plan.inputs(), height, width);
    let x = Tensor::from_vec(values.collect(), shape, &options.device)?;
    network.forward(&x)?;
    let mut times = Vec::new();
    let start = Instant::now();
    while times.len() < FEWEST || (times.len() < MOST && start.elapsed() < ENOUGH) {
        let pass = Instant::now();
        // The logits are on the CPU when all is done, whatever the device.
        network.forward(&x)?;
        times.push(pass.elapsed().as_secs_f64() * 1e3);
        if session::is_stopped(stop) {
            break;
        }
    }
    Ok(median(&times))
}
