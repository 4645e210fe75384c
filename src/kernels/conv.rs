//! Convolution by the algorithm that suits its geometry.

use super::element::Word;
use super::{
    Activation, ConvGeometry, DepthwiseConv, DirectConv, Element, Epilogue, GroupedConv, Isa,
    RowSums, TileSize, Winograd,
};

/// A convolution with bias and activation on maps `[N, H, W, C]`.
#[derive(Debug)]
pub struct Conv<T: Element = f32> {
    geometry: ConvGeometry,
    activation: Option<Activation>,
    algorithm: Algorithm<T>,
}

#[derive(Debug)]
enum Algorithm<T: Element> {
    Direct(DirectConv<T>),
    /// In f32 alone: in bf16 the transforms would lose digits.
    Winograd(Winograd),
    Depthwise(DepthwiseConv<T>),
    Grouped(GroupedConv<T::Word>),
    /// For groups whose inputs do not form whole words.
    Single(GroupedConv<T::Single>),
}

impl<T: Element> Conv<T> {
    /// Packs filters `[outputs, inputs / groups, kernel, kernel]` and one bias per output.
    ///
    /// # Panics
    /// If a slice does not fit the geometry.
    pub fn new(
        isa: Isa,
        filters: &[f32],
        bias: &[f32],
        geometry: ConvGeometry,
        activation: Option<Activation>,
    ) -> Self {
        let is_whole = geometry.group_inputs().is_multiple_of(T::Word::INPUTS);
        let algorithm = if DepthwiseConv::<T>::supports(&geometry) {
            Algorithm::Depthwise(DepthwiseConv::new(isa, filters, bias, geometry))
        } else if let Some(size) = tile_size(isa, &geometry).filter(|_| !T::NARROW) {
            Algorithm::Winograd(Winograd::new(isa, filters, bias, geometry, size))
        } else if geometry.groups > 1 && is_whole {
            Algorithm::Grouped(GroupedConv::new(isa, filters, bias, geometry))
        } else if geometry.groups > 1 {
            Algorithm::Single(GroupedConv::new(isa, filters, bias, geometry))
        } else {
            Algorithm::Direct(DirectConv::new(isa, filters, bias, geometry))
        };
        Self {
            geometry,
            activation,
            algorithm,
        }
    }

    /// Whether a 1x1 convolution before this one is better computed with it, row by row: the map between the
    /// two is the largest of a block, and need not be written. With few inputs alone, as its rows are read
    /// anew for each vector of outputs (`cargo bench --bench kernels then`).
    pub fn joins(isa: Isa, first: &ConvGeometry, second: &ConvGeometry) -> bool {
        const MOST_INPUTS: usize = 32;
        // With narrower vectors, sums might be rounded in another way.
        let fills_vectors = second.inputs >= isa.lanes::<T>();
        !T::NARROW
            && first.is_pointwise()
            && first.groups == 1
            && first.outputs == second.inputs
            && first.inputs <= MOST_INPUTS
            && second.kernel_size > 1
            && fills_vectors
            && DepthwiseConv::<T>::supports(second)
    }

    /// This depthwise convolution after a 1x1 one that it [joins](Conv::joins), with filters `[channels, inputs]`.
    ///
    /// # Panics
    /// If the convolution is not depthwise, or a slice does not fit it.
    #[must_use]
    pub fn after(self, filters: &[f32], bias: &[f32], activation: Option<Activation>) -> Self {
        let algorithm = match self.algorithm {
            Algorithm::Depthwise(conv) => {
                Algorithm::Depthwise(conv.expanding(filters, bias, activation))
            }
            _ => panic!("only depthwise convolutions join the one before them"),
        };
        Self { algorithm, ..self }
    }

    /// Channels of the map that it takes.
    pub fn inputs(&self) -> usize {
        match &self.algorithm {
            Algorithm::Depthwise(conv) => conv.inputs(),
            _ => self.geometry.inputs,
        }
    }

    /// Its sizes; of two that are joined, those of the second.
    pub fn geometry(&self) -> &ConvGeometry {
        &self.geometry
    }

    /// The kernel that was chosen: algorithm, instruction set, element type, and the tile of
    /// results that is kept in registers, such as `winograd 4x4, avx2 f32 6x16`.
    pub fn kernel(&self) -> String {
        match &self.algorithm {
            Algorithm::Direct(conv) => format!("direct, {}", conv.kernel()),
            Algorithm::Winograd(conv) => {
                let side = conv.size().outputs();
                format!("winograd {side}x{side}, {}", conv.kernel())
            }
            Algorithm::Depthwise(conv) => format!("depthwise, {}", conv.kernel()),
            Algorithm::Grouped(conv) => format!("grouped, {}", conv.kernel()),
            Algorithm::Single(conv) => format!("grouped, {}", conv.kernel()),
        }
    }

    /// Whether the map's channels can be scaled on the way, without a pass of their own.
    pub fn scales(&self) -> bool {
        matches!(&self.algorithm, Algorithm::Direct(conv) if conv.is_pointwise())
    }

    /// As [`Conv::run`] without sums, of the map times one factor for each channel of each image,
    /// `[N, inputs]`.
    ///
    /// # Panics
    /// If a slice does not fit, or the convolution does not scale.
    pub fn run_scaled(&self, x: &[T], factors: &[f32], size: [usize; 3], y: &mut [T]) {
        let epilogue = Epilogue {
            activation: self.activation,
            sums: None,
        };
        match &self.algorithm {
            Algorithm::Direct(conv) => conv.run_scaled(x, factors, size, y, epilogue),
            _ => panic!("only pointwise convolutions scale their inputs"),
        }
    }

    /// `y[N, H', W', outputs] = activation(conv(x[N, H, W, inputs]) + bias)`, and optionally the sum of
    /// each channel of each image in `sums[N, outputs]`. `size` is `[N, H, W]`.
    ///
    /// # Panics
    /// If a slice does not fit.
    pub fn run(&self, x: &[T], size: [usize; 3], y: &mut [T], sums: Option<&mut [f32]>) {
        let [_, height, width] = size;
        let segment = self.geometry.output_size([height, width]).iter().product();
        let epilogue = Epilogue {
            activation: self.activation,
            sums: sums.map(|sums| RowSums { segment, sums }),
        };
        match &self.algorithm {
            Algorithm::Direct(conv) => conv.run(x, size, y, epilogue),
            // No casts in fact: the type is f32.
            Algorithm::Winograd(conv) => {
                let (x, y) = (bytemuck::cast_slice(x), bytemuck::cast_slice_mut(y));
                conv.run(x, size, y, epilogue);
            }
            Algorithm::Depthwise(conv) => conv.run(x, size, y, epilogue),
            Algorithm::Grouped(conv) => conv.run(x, size, y, epilogue),
            Algorithm::Single(conv) => conv.run(x, size, y, epilogue),
        }
    }
}

/// The fastest tile for a geometry, if Winograd's algorithm is faster than the direct convolution.
///
/// The larger tile saves more multiplications and reads 2.25 times as many weights. The weights
/// dominate where there are many of them and the maps are small, and the faster the machine
/// multiplies, the sooner they do (`cargo bench --bench kernels`).
fn tile_size(isa: Isa, geometry: &ConvGeometry) -> Option<TileSize> {
    // Narrower groups are faster with vectors of several of them.
    let fewest = if geometry.groups == 1 { 16 } else { 24 };
    let (inputs, outputs) = (geometry.group_inputs(), geometry.group_outputs());
    // With 16 values per vector the weights become the bottleneck sooner.
    let most_for_four = if isa.lanes::<f32>() >= 16 {
        128 * 128
    } else {
        256 * 256
    };
    if !Winograd::supports(geometry) || inputs < fewest {
        None
    } else if inputs * outputs <= most_for_four {
        Some(TileSize::Four)
    } else {
        Some(TileSize::Two)
    }
}
