//! Caffe's files: the names that its layers get, broken and hostile files, and a whole network.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{Device, Tensor};
use senet::nets::Network;
use senet::nn::Precision;
use senet::weights::{Weights, WeightsError};

use super::build::refused;
use super::data;
use crate::networks::{formula, plan};

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn chunk(field: u64, content: &[u8]) -> Vec<u8> {
    let head = [varint(field << 3 | 2), varint(content.len() as u64)];
    [&head.concat(), content].concat()
}

fn blob(shape: &[usize], values: &[f32]) -> Vec<u8> {
    let sides: Vec<u8> = shape.iter().flat_map(|&side| varint(side as u64)).collect();
    let values: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    [chunk(7, &chunk(1, &sides)), chunk(5, &values)].concat()
}

/// A layer in the newer form that works on `on` in place.
fn layer(name: &str, kind: &str, on: &str, blobs: &[Vec<u8>]) -> Vec<u8> {
    let mut content = [
        chunk(1, name.as_bytes()),
        chunk(2, kind.as_bytes()),
        chunk(3, on.as_bytes()),
        chunk(4, on.as_bytes()),
    ]
    .concat();
    blobs.iter().for_each(|blob| content.extend(chunk(7, blob)));
    chunk(100, &content)
}

fn network(layers: &[Vec<u8>]) -> Vec<u8> {
    [chunk(1, b"net"), layers.concat()].concat()
}

/// The file of layers ends anywhere between two of them, and then holds fewer.
#[test]
fn a_truncated_file_is_an_error_or_lacks_tensors() {
    for file in ["new.caffemodel", "old.caffemodel"] {
        let bytes = std::fs::read(data(file)).unwrap();
        let all = Weights::from_bytes(file, bytes.clone()).unwrap();
        let mut opened = 0;
        for length in 0..bytes.len() {
            let Ok(weights) = Weights::from_bytes(file, bytes[..length].to_vec()) else {
                continue;
            };
            opened += 1;
            assert!(weights.len() <= all.len());
            for name in weights.names() {
                assert_eq!(weights.f32(name).unwrap(), all.f32(name).unwrap(), "{name}");
            }
        }
        assert!(opened < 12, "{opened} lengths of {file}");
        let error = Weights::from_bytes("file", bytes[..bytes.len() - 1].to_vec()).unwrap_err();
        assert!(matches!(error, WeightsError::Truncated { .. }), "{error}");
    }
}

#[test]
fn lying_files_are_errors() {
    let conv = |blobs: &[Vec<u8>]| network(&[layer("c", "Convolution", "x", blobs)]);
    refused(conv(&[]), "without weights");
    refused(
        conv(&[blob(&[2, 1, 1, 1], &[1.0])]),
        "[2, 1, 1, 1] does not fit 1 values",
    );
    refused(conv(&[blob(&[usize::MAX, 2], &[])]), "a side of -1");
    let huge = vec![i32::MAX as usize; 32];
    refused(conv(&[blob(&huge, &[])]), "does not fit 0 values");
    refused(conv(&[blob(&[1; 33], &[1.0])]), "more than 32 sides");
    refused(conv(&[chunk(5, &[0; 4])]), "has no shape");
    refused(
        conv(&[[number(1, 1), chunk(5, &[0; 3])].concat()]),
        "no whole number",
    );
    refused(conv(&[number(5, 1)]), "wrong kind");
    let twice = layer("c", "Convolution", "x", &[blob(&[1], &[1.0])]);
    refused(network(&[twice.clone(), twice]), "`c.weight` occurs twice");
    let norm = |blobs: &[Vec<u8>]| network(&[layer("n", "BatchNorm", "x", blobs)]);
    let one = blob(&[1], &[1.0]);
    refused(norm(&[one.clone(), one.clone()]), "three blobs");
    let two = blob(&[2], &[1.0, 1.0]);
    refused(norm(&[one.clone(), one.clone(), two]), "has one value");
    refused(network(&[chunk(2, &chunk(1, &[]))]), "V0LayerParameter");
    let name = "n".repeat(2000);
    refused(
        network(&[layer("c", &name, "x", std::slice::from_ref(&one))]),
        "not a short text",
    );
    let good = conv(&[one]);
    refused([good.clone(), vec![0x0b]].concat(), "an unknown kind");
    refused([good.clone(), vec![0x00, 0x00]].concat(), "the number 0");
    refused([good.clone(), vec![0xff; 20]].concat(), "more than 64 bits");
    refused(
        [good.clone(), number(100, 1)].concat(),
        "a layer is no message",
    );
    let short = chunk(100, &[0x0a, 0x05, 0x00]);
    refused([good.clone(), short, good].concat(), "beyond the message");
    // Single values with something between them.
    let scattered: Vec<u8> = [0x2d, 0, 0, 0, 0, 0x08, 0x01].repeat(70_000);
    refused(conv(&[scattered]), "over the limit of 65536");
}

/// Every tensor of the plan in a Caffe file, with sums and their divisors for the means and variances.
fn caffe_file(weights: &Weights) -> Vec<u8> {
    let parts: BTreeMap<&str, BTreeSet<&str>> =
        weights.names().fold(BTreeMap::new(), |mut layers, name| {
            let (layer, part) = name.rsplit_once('.').unwrap();
            layers.entry(layer).or_default().insert(part);
            layers
        });
    let mut layers = Vec::new();
    for (name, parts) in parts {
        let part = |part: &str, factor: f32| {
            let name = format!("{name}.{part}");
            let values = weights.f32(&name).unwrap();
            let values: Vec<f32> = values.iter().map(|value| value * factor).collect();
            blob(weights.shape(&name).unwrap(), &values)
        };
        let parameters = |kind: &str, name: &str, on: &str| {
            let blobs: Vec<_> = ["weight", "bias"]
                .into_iter()
                .filter(|of| parts.contains(of))
                .map(|of| part(of, 1.0))
                .collect();
            layer(name, kind, on, &blobs)
        };
        if let Some(conv) = name.strip_suffix("/bn") {
            // A power of 2, so that nothing is rounded.
            let blobs = [
                part("running_mean", 4.0),
                part("running_var", 4.0),
                blob(&[1], &[4.0]),
            ];
            layers.push(layer(name, "BatchNorm", conv, &blobs));
            layers.push(parameters("Scale", &format!("{name}/scale"), conv));
        } else if name == "classifier" {
            layers.push(parameters("InnerProduct", name, name));
        } else {
            layers.push(parameters("Convolution", name, name));
        }
    }
    network(&layers)
}

#[test]
fn a_network_from_caffe_equals_that_from_safetensors() {
    let plan = plan("se_bn_inception", 1000);
    let tensors = Weights::from_bytes("formula", formula::weights(&plan).0).unwrap();
    let caffe = Weights::from_bytes("network.caffemodel", caffe_file(&tensors)).unwrap();
    let names: Vec<&str> = tensors.names().collect();
    assert_eq!(caffe.names().collect::<Vec<_>>(), names);
    let x = Tensor::zeros((1, 3, 64, 64), candle_core::DType::F32, &Device::Cpu).unwrap();
    let x = (x + 0.5).unwrap();
    let [expected, found] = [&tensors, &caffe].map(|weights| {
        let network = Network::load(&plan, weights, &Device::Cpu, Precision::F32).unwrap();
        network.forward(&x).unwrap().to_vec2::<f32>().unwrap()
    });
    assert_eq!(found, expected);
}
