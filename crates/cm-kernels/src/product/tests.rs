use super::vector::{Kernel, Vector, lanes, run};
use super::{Depth, Left, Out, Right, product};
use crate::dispatch::Isa;
use std::ops::Range;

fn numbers(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.5 - 1.0).collect()
}

/// A product of row-major matrices, the left one perhaps transposed, in runs of `run` terms.
struct Plain<'a> {
    sizes: (usize, usize, usize),
    run: usize,
    chain: usize,
    transposed: bool,
    left: &'a [f32],
    right: &'a [f32],
    out: &'a mut [f32],
    add: bool,
}

impl Kernel for Plain<'_> {
    unsafe fn call<V: Vector>(self) {
        let (rows, depth, vectors) = self.sizes;
        let width = vectors * V::LANES;
        let left = self.left.as_ptr();
        let left = if self.transposed {
            Left { run: self.run * rows, ..Left::columns(left, rows) }
        } else {
            Left { run: self.run, ..Left::rows(left, depth) }
        };
        let start = self.right.as_ptr();
        let right = Right::Vectors { start, vector: V::LANES, run: self.run * width, term: width };
        let out = Out::rows::<V>(self.out.as_mut_ptr(), width);
        let depth = Depth::in_runs(depth, self.run).in_chains(self.chain);
        // SAFETY: the matrices have these sizes; `run` was told an instruction set that is there.
        unsafe { product::<V>((rows, depth, vectors), left, right, out, self.add) };
    }
}

/// What is equal whatever the register blocks are: bits do not depend on how rows and columns are shared out.
#[test]
fn every_element_is_a_chain_of_multiply_adds_for_so_many_of_its_terms_in_their_order() {
    for isa in Isa::available() {
        let fused = isa != Isa::Portable;
        let multiply_add = |a: f32, b: f32, sum: f32| if fused { a.mul_add(b, sum) } else { a * b + sum };
        for rows in [1, 3, 4, 5, 8, 13, 16] {
            for (depth, run_len, chain) in
                [(1, 1, 32), (7, 3, usize::MAX), (16, 8, 16), (37, 16, usize::MAX), (37, 16, 32), (29, 4, 4)]
            {
                for vectors in 1..=7 {
                    let width = vectors * lanes(isa);
                    let (left, right) = (numbers(rows * depth, 1), numbers(depth * width, 2));
                    for (transposed, add) in [(false, false), (true, false), (false, true), (true, true)] {
                        let before = numbers(rows * width, 3);
                        let mut out = before.clone();
                        let sizes = (rows, depth, vectors);
                        let (left, right) = (&left, &right);
                        let plain =
                            Plain { sizes, run: run_len, chain, transposed, left, right, out: &mut out, add };
                        run(isa, plain);
                        for (i, &got) in out.iter().enumerate() {
                            let (r, c) = (i / width, i % width);
                            let sum = |start: f32, terms: Range<usize>| {
                                terms.fold(start, |sum, t| {
                                    let factor = left[if transposed { t * rows + r } else { r * depth + t }];
                                    multiply_add(right[t * width + c], factor, sum)
                                })
                            };
                            let before = if add { before[i] } else { 0.0 };
                            let expected = if chain == usize::MAX {
                                sum(before, 0..depth)
                            } else {
                                let chains = (0..depth).step_by(chain);
                                chains
                                    .fold(before, |all, from| all + sum(0.0, from..(from + chain).min(depth)))
                            };
                            assert_eq!(got.to_bits(), expected.to_bits(), "{isa:?} {sizes:?} at {r} {c}");
                        }
                    }
                }
            }
        }
    }
}
