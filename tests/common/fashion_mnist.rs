//! The 10,000 test images of Fashion-MNIST, from Debian's package `dataset-fashion-mnist`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;

/// Where Debian's package `dataset-fashion-mnist` puts it.
const DATA: &str = "/usr/share/datasets/fashion-mnist";

fn read(name: &str, header: usize) -> Vec<u8> {
    let folder = std::env::var("FASHION_MNIST").unwrap_or_else(|_| DATA.to_owned());
    let path = Path::new(&folder).join(name);
    let file = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut bytes = Vec::new();
    GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    bytes.split_off(header)
}

/// Grey images of 28 x 28, and their labels.
pub(crate) fn test_set() -> (Vec<Vec<u8>>, Vec<u8>) {
    let images = read("t10k-images-idx3-ubyte.gz", 16);
    let labels = read("t10k-labels-idx1-ubyte.gz", 8);
    let images: Vec<Vec<u8>> = images.chunks_exact(28 * 28).map(<[u8]>::to_vec).collect();
    assert_eq!((images.len(), labels.len()), (10_000, 10_000));
    (images, labels)
}
