//! Sums over several GPUs, by a stand-in for NCCL; here each is an engine in a thread of its own.

use crate::standin::standin;
use cm_gpu::standin::products;
use cm_gpu::{Gpu, Invitation, Options, Together};
use std::thread;
use std::time::Duration;

/// Values of which sums in another order have other bits.
fn value(rank: usize, place: usize) -> f32 {
    1.0 / (1 + rank + 7 * place) as f32
}

#[test]
fn sums_over_gpus_are_balanced_trees_over_the_ranks_the_same_bits_on_each() {
    let Some(_) = standin().and_then(|_| products()) else { return };
    for size in [1, 2, 4, 8] {
        let invitation = Invitation::new().unwrap();
        let sums = thread::scope(|scope| {
            let member = |rank: usize| {
                scope.spawn(move || {
                    let gpu = Gpu::open(&Options { cache: None, ..Options::default() }).unwrap();
                    let together = Together::join(&gpu, invitation, rank, size).unwrap();
                    // Large enough to lie in page-locked memory until something behind it is done.
                    let sums: Vec<Vec<f32>> = [0, 1, 70_001]
                        .into_iter()
                        .map(|len| {
                            let values: Vec<f32> = (0..len).map(|place| value(rank, place)).collect();
                            let values = gpu.upload(&values).unwrap();
                            gpu.download(&together.sum(&values).unwrap()).unwrap()
                        })
                        .collect();
                    together.settle(Duration::from_secs(60)).unwrap();
                    sums
                })
            };
            let members: Vec<_> = (0..size).map(member).collect();
            members.into_iter().map(|member| member.join().unwrap()).collect::<Vec<_>>()
        });
        for sums in &sums {
            assert_eq!(sums.iter().map(Vec::len).collect::<Vec<_>>(), [0, 1, 70_001]);
            for place in [0, 1, 255, 256, 70_000] {
                let mut tree: Vec<f32> = (0..size).map(|rank| value(rank, place)).collect();
                while tree.len() > 1 {
                    tree = tree.chunks(2).map(|pair| pair[0] + pair[1]).collect();
                }
                assert_eq!(sums[2][place].to_bits(), tree[0].to_bits(), "{size} {place}");
            }
        }
    }
}

#[test]
fn others_that_have_died_are_given_up() {
    let Some(_) = standin().and_then(|_| products()) else { return };
    let gpu = Gpu::open(&Options { cache: None, ..Options::default() }).unwrap();
    let together = Together::join(&gpu, Invitation::new().unwrap(), 0, 1).unwrap();
    // The stand-in never brings this many together.
    let values = gpu.upload(&[1.0_f32; 13]).unwrap();
    drop(together.sum(&values).unwrap());
    let error = together.settle(Duration::from_millis(20)).unwrap_err();
    assert_eq!(error.to_string(), "NCCL, waiting for the others: not all came within 0.02 seconds");
    assert_eq!(gpu.download::<f32>(&gpu.scaled(&values, 2.0).unwrap()).unwrap(), [2.0; 13]);
}
