//! Files of other programs read right, and hostile ones refused.

mod persistent;

use crate::{Archive, Dtype, Format, ImportError};
use proptest::prelude::*;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use zip::write::SimpleFileOptions;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn open(name: &str) -> Archive {
    Archive::open(&fixture(name)).unwrap()
}

fn from_bytes(bytes: impl Into<Vec<u8>>) -> Result<Archive, ImportError> {
    Archive::from_reader(Cursor::new(bytes.into()))
}

/// What `foreign_files.py` fills everything with: 0, 1/4, 2/4, ... less 2.
fn ramp(count: usize) -> Vec<f32> {
    (0..count).map(|i| i as f32 / 4.0 - 2.0).collect()
}

fn check(archive: &mut Archive, name: &str, dtype: Dtype, shape: &[usize], values: &[f32]) {
    let info = archive.find(name).unwrap_or_else(|| panic!("no {name} in {:?}", archive.tensors())).clone();
    assert_eq!((info.dtype, info.shape.as_slice()), (dtype, shape), "{name}");
    assert_eq!(archive.read(name).unwrap(), values, "{name}");
    let doubles = archive.read_f64(name).unwrap();
    assert!(doubles.iter().zip(values).all(|(a, b)| *a == f64::from(*b)), "{name}");
}

#[test]
fn pytorch_s_two_layouts_hold_the_same() {
    for (name, format) in [("zip.pt", Format::PytorchZip), ("stream.pt", Format::PytorchStream)] {
        let file = &mut open(name);
        assert_eq!(file.format(), format);
        let base = ramp(24);
        let at = |row: usize, column: usize| base[row * 6 + column];
        let of = |f: &dyn Fn(f32) -> f32| base.iter().map(|&v| f(v)).collect::<Vec<f32>>();
        check(file, "state_dict.conv.weight", Dtype::F32, &[2, 3, 3, 3], &ramp(54));
        check(file, "state_dict.half", Dtype::F16, &[4, 6], &base);
        check(file, "state_dict.brain", Dtype::Bf16, &[4, 6], &base);
        check(file, "state_dict.double", Dtype::F64, &[4, 6], &base);
        check(file, "state_dict.whole", Dtype::I64, &[4, 6], &of(&|v| v * 4.0));
        check(file, "state_dict.byte", Dtype::U8, &[4, 6], &of(&|v| v * 4.0 + 8.0));
        check(file, "state_dict.flag", Dtype::Bool, &[4, 6], &of(&|v| f32::from(u8::from(v > 0.0))));
        check(file, "state_dict.parameter", Dtype::F32, &[4, 6], &base);
        let turned: Vec<f32> = (0..24).map(|i| at(i % 4, i / 4)).collect();
        check(file, "state_dict.turned", Dtype::F32, &[6, 4], &turned);
        let part: Vec<f32> = (0..6).map(|i| at(1 + i / 3, 2 * (i % 3))).collect();
        check(file, "state_dict.part", Dtype::F32, &[2, 3], &part);
        check(file, "state_dict.row", Dtype::F32, &[6], &base[12..18]);
        let expanded: Vec<f32> = (0..20).map(|i| at(i / 5, 0)).collect();
        check(file, "state_dict.expanded", Dtype::F32, &[4, 5], &expanded);
        check(file, "state_dict.scalar", Dtype::F32, &[], &[0.25]);
        check(file, "state_dict.empty", Dtype::F32, &[0, 3], &[]);
        check(file, "state_dict.last", Dtype::F32, &[2, 4, 2, 2], &ramp(32));
        check(file, "list.0", Dtype::F32, &[4, 6], &of(&|v| v + 1.0));
        check(file, "list.1.0", Dtype::F32, &[4, 6], &of(&|v| v + 2.0));
        check(file, "numpy", Dtype::F32, &[2, 2], &ramp(4));
        check(file, "score", Dtype::F64, &[], &[0.75]);
        assert_eq!(file.tensors().len(), 19);
        assert!(matches!(file.read("epoch"), Err(ImportError::NoTensor(_))));
    }
}

#[test]
fn a_torchscript_archive_gives_its_parameters() {
    let file = &mut open("script.pt");
    check(file, "inner.weight", Dtype::F32, &[2, 3], &ramp(6));
    check(file, "inner.bias", Dtype::F32, &[2], &ramp(2));
}

#[test]
fn numpy_s_arrays_in_pickles_and_files() {
    for protocol in 2..=5 {
        let file = &mut open(&format!("arrays-{protocol}.pkl"));
        assert_eq!(file.format(), Format::Pickle);
        check(file, "a", Dtype::F32, &[3, 5], &ramp(15));
        check(file, "turned", Dtype::F32, &[3, 5], &ramp(15));
        check(file, "big", Dtype::F64, &[40], &ramp(40));
        check(file, "n", Dtype::I64, &[], &[7.0]);
    }
    check(&mut open("turned.npy"), "array", Dtype::F32, &[3, 5], &ramp(15));
    let stored = &mut open("stored.npz");
    check(stored, "x", Dtype::F32, &[2, 3], &ramp(6));
    check(stored, "labels", Dtype::I64, &[4], &[0.0, 1.0, 2.0, 3.0]);
    let compressed = &mut open("compressed.npz");
    check(compressed, "x", Dtype::F32, &[2, 3], &ramp(6));
    check(compressed, "turned", Dtype::F32, &[3, 5], &ramp(15));
}

#[test]
fn flax_s_trees_have_paths() {
    let file = &mut open("flax.msgpack");
    assert_eq!(file.format(), Format::FlaxMsgpack);
    check(file, "params/Conv_0/kernel", Dtype::F32, &[3, 3, 2, 4], &ramp(72));
    check(file, "params/Conv_0/bias", Dtype::Bf16, &[4], &ramp(4));
    check(file, "params/list/0", Dtype::F32, &[2], &ramp(2));
    check(file, "params/list/1", Dtype::F32, &[], &[0.5]);
    check(&mut open("flax-cut.msgpack"), "a/b", Dtype::F32, &[3, 5], &ramp(15));
}

#[test]
fn safetensors_keep_names_and_text() {
    let file = &mut open("plain.safetensors");
    check(file, "w.half", Dtype::F16, &[2, 3], &ramp(6));
    check(file, "b", Dtype::Bf16, &[3], &ramp(3));
    assert_eq!(file.metadata()["origin"], "foreign_files.py");
}

/// The bytes of a pickle: protocol 2, the instructions, the end.
fn pickle(instructions: &[&[u8]]) -> Vec<u8> {
    [&[b"\x80\x02".as_slice()], instructions, &[b".".as_slice()]].concat().concat()
}

fn text(text: &str) -> Vec<u8> {
    [b"X".as_slice(), &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()
}

/// A zip archive of stored entries.
fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in entries {
        zip.start_file(*name, stored).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A pickle of one tensor of 64-bit extents and strides, with its storage.
fn tensor(key: &str, len: u64, offset: u64, shape: &[u64], strides: &[u64]) -> Vec<u8> {
    let number = |n: u64| [b"\x8a\x09".as_slice(), &n.to_le_bytes(), b"\0"].concat();
    let numbers =
        |all: &[u64]| [b"(".to_vec(), all.iter().flat_map(|&n| number(n)).collect(), b"t".to_vec()].concat();
    let persistent =
        [b"(".to_vec(), text("storage"), b"ctorch\nFloatStorage\n".to_vec(), text(key), text("cpu")];
    let persistent = [persistent.concat(), number(len), b"tQ".to_vec()].concat();
    pickle(&[
        b"ctorch._utils\n_rebuild_tensor_v2\n(",
        &persistent,
        &number(offset),
        &numbers(shape),
        &numbers(strides),
        b"\x89}tR",
    ])
}

fn zip_of(tensor: &[u8], storage: &[u8]) -> Result<Archive, ImportError> {
    from_bytes(archive(&[("a/data.pkl", tensor), ("a/data/0", storage)]))
}

#[test]
fn a_well_made_archive_of_the_tests_is_read() {
    let file = &mut zip_of(&tensor("0", 4, 0, &[2, 2], &[2, 1]), &[0; 16]).unwrap();
    check(file, "tensor", Dtype::F32, &[2, 2], &[0.0; 4]);
}

/// Texts of Python 2 are byte strings; "little_endian" among them was not found, and such files taken for big-endian.
#[test]
fn a_stream_that_python_2_wrote_is_read() {
    let string = |text: &str| [&[b'U', text.len() as u8], text.as_bytes()].concat();
    let stream = |little: &[u8]| {
        let magic =
            [&[0x80, 2, 0x8a, 10][..], &0x1950_a86a_20f9_469c_fc6c_u128.to_le_bytes()[..10], b"."].concat();
        let protocol = b"\x80\x02M\xe9\x03.".to_vec();
        let system = [b"\x80\x02}", string("little_endian").as_slice(), little, b"s."].concat();
        let storage =
            [string("storage"), b"ctorch\nFloatStorage\n".to_vec(), string("7"), string("cpu")].concat();
        let content = [
            b"\x80\x02}",
            string("w").as_slice(),
            b"ctorch._utils\n_rebuild_tensor_v2\n((",
            &storage,
            b"K\x02NtQK\x00K\x02\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtRs.",
        ]
        .concat();
        let keys = [b"\x80\x02]", string("7").as_slice(), b"a."].concat();
        let values = [1.5_f32, -2.0].map(f32::to_le_bytes).concat();
        [magic, protocol, system, content, keys, 2_u64.to_le_bytes().to_vec(), values].concat()
    };
    check(&mut from_bytes(stream(b"\x88")).unwrap(), "w", Dtype::F32, &[2], &[1.5, -2.0]);
    let told = |little: &[u8]| from_bytes(stream(little)).unwrap_err().to_string();
    assert!(told(b"\x89").contains("big-endian"), "{}", told(b"\x89"));
    assert!(told(b"N").contains("does not say"), "{}", told(b"N"));
}

#[test]
fn what_is_not_on_the_list_is_refused_by_name() {
    for (module, name) in [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("torch", "load"),
        ("torch._utils", "_rebuild_from_type_v2"),
        ("numpy", "load"),
        ("collections", "defaultdict"),
        ("subprocess", "Popen"),
    ] {
        let by_name = format!("c{module}\n{name}\n");
        let told = |pickle: Vec<u8>| match from_bytes(pickle).unwrap_err() {
            ImportError::Forbidden(told) => told,
            other => panic!("{other}"),
        };
        let expected = format!("{module}.{name}");
        assert_eq!(told(pickle(&[by_name.as_bytes(), &text("echo"), b"\x85R"])), expected);
        assert_eq!(told(pickle(&[&text(module), &text(name), b"\x93)R"])), expected);
        let hidden = pickle(&[b"}", &text("a"), by_name.as_bytes(), b"s"]);
        assert_eq!(told(hidden.clone()), expected);
        match zip_of(&hidden, &[]).unwrap_err() {
            ImportError::Forbidden(told) => assert_eq!(told, expected),
            other => panic!("{other}"),
        }
    }
    // Instructions that import by other ways: INST, OBJ, EXT, NEWOBJ_EX, PERSID.
    for instruction in [b"(ios\nsystem\n".as_slice(), b"(o", b"\x82\x01", b"))\x92", b"Pname\n"] {
        assert!(
            matches!(from_bytes(pickle(&[instruction])), Err(ImportError::Forbidden(_))),
            "{instruction:?}"
        );
    }
}

#[test]
fn claims_beyond_the_file_are_refused_before_memory_is_taken() {
    let billion = 1_000_000_000;
    let cases = [
        // More values than the storage has, by shape, by offset, by stride.
        tensor("0", 4, 0, &[billion], &[1]),
        tensor("0", 4, 4, &[1], &[1]),
        tensor("0", 4, 0, &[2, 2], &[billion, 1]),
        // A storage that is smaller than it claims.
        tensor("0", billion, 0, &[billion], &[1]),
        // Products and sums beyond 64 bits.
        tensor("0", 4, 0, &[u64::MAX, 2], &[0, 0]),
        tensor("0", 4, u64::MAX, &[2], &[u64::MAX]),
        // A billion values of one.
        tensor("0", 4, 0, &[billion], &[0]),
        tensor("0", u64::MAX, 0, &[1], &[1]),
    ];
    for pickle in cases {
        let error = zip_of(&pickle, &[0; 16]).unwrap_err();
        assert!(matches!(error, ImportError::Malformed { .. } | ImportError::Limit { .. }), "{error}");
    }
    // Lengths of bytes, texts, numbers.
    for instruction in
        [b"B\xff\xff\xff\xff".as_slice(), b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f", b"X\xff\xff\xff\x03"]
    {
        assert!(
            matches!(from_bytes(pickle(&[instruction])), Err(ImportError::Truncated { .. })),
            "{instruction:?}"
        );
    }
    assert!(matches!(from_bytes(pickle(&[b"\x8b\xff\xff\xff\x7f"])), Err(ImportError::Limit { .. })));
    assert!(matches!(from_bytes(pickle(&[b"\x8d\xff\xff\xff\xff\0\0\0\0"])), Err(ImportError::Limit { .. })));
    // A list of four billion values in msgpack, and an array that is not there.
    assert!(matches!(
        from_bytes(b"\x81\xa1a\xdd\xff\xff\xff\xff".to_vec()),
        Err(ImportError::Truncated { .. })
    ));
    let array = b"\x81\xa1a\xc9\x00\x00\x00\x11\x01\x93\x91\xce\x3b\x9a\xca\x00\xa7float32\xc4\x00".to_vec();
    assert!(matches!(from_bytes(array), Err(ImportError::Malformed { .. })));
    // Headers.
    let header = [u64::MAX.to_le_bytes().as_slice(), b"{}"].concat();
    assert!(matches!(from_bytes(header), Err(ImportError::Limit { .. })));
    let header = br#"{"a":{"dtype":"F32","shape":[1000000000],"data_offsets":[0,4000000000]}}"#;
    let header = [(header.len() as u64).to_le_bytes().as_slice(), header].concat();
    assert!(matches!(from_bytes(header), Err(ImportError::Malformed { .. })));
    let npy = b"\x93NUMPY\x01\x00\x4c\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000,), }          \n";
    assert!(matches!(from_bytes(npy.to_vec()), Err(ImportError::Malformed { .. })));
}

#[test]
fn containers_that_contain_themselves_end() {
    // A list in itself, and forty lists each of two of the one before.
    let itself = pickle(&[b"]q\x00h\x00a"]);
    assert!(matches!(from_bytes(itself), Err(ImportError::Limit { .. })));
    let doubled: Vec<u8> = (0..40u8).flat_map(|i| [b'q', i, b'0', b'h', i, b'h', i, 0x86]).collect();
    assert!(matches!(from_bytes(pickle(&[b")", &doubled])), Err(ImportError::Limit { .. })));
    let deep = [[0x81, 0xa1, b'a'].repeat(200), vec![0xc0]].concat();
    assert!(matches!(from_bytes(deep), Err(ImportError::Limit { .. })));
    assert!(matches!(from_bytes(pickle(&[&b"(".repeat(5_000_000)])), Err(ImportError::Limit { .. })));
    assert!(matches!(from_bytes(pickle(&[&b"N".repeat(5_000_000)])), Err(ImportError::Limit { .. })));
}

#[test]
fn paths_that_lead_out_of_an_archive_are_refused() {
    let plain = tensor("0", 4, 0, &[4], &[1]);
    for key in ["../0", "/etc/passwd", "..", "a/../0", "a\\0", "", ".hidden"] {
        let error = zip_of(&tensor(key, 4, 0, &[4], &[1]), &[0; 16]).unwrap_err();
        assert!(error.to_string().contains("no name of a storage"), "{key}: {error}");
    }
    let storage = [0; 16];
    for name in ["../a/data/0", "a/../../x", "a\\data\\0"] {
        let bytes = archive(&[("a/data.pkl", &plain), ("a/data/0", &storage), (name, &storage)]);
        assert!(from_bytes(bytes).is_err(), "{name}");
    }
    let two = archive(&[("a/data.pkl", &plain), ("b/data.pkl", &plain), ("a/data/0", &storage)]);
    assert!(from_bytes(two).unwrap_err().to_string().contains("2 pickles"));
}

#[test]
fn every_truncation_of_a_file_is_an_error_or_tells_what_is_missing() {
    for name in ["zip.pt", "stream.pt", "arrays-4.pkl", "flax.msgpack", "plain.safetensors", "turned.npy"] {
        let bytes = std::fs::read(fixture(name)).unwrap();
        let step = (bytes.len() / 200).max(1);
        for len in (0..bytes.len()).step_by(step) {
            let short = from_bytes(&bytes[..len]);
            assert!(short.is_err(), "{name} cut to {len} of {} bytes", bytes.len());
        }
    }
}

/// The files whose bytes are changed at random.
const SEEDS: [&str; 7] = [
    "zip.pt",
    "stream.pt",
    "arrays-2.pkl",
    "arrays-5.pkl",
    "flax.msgpack",
    "plain.safetensors",
    "compressed.npz",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever is changed in a file, reading it ends, with an error or with values.
    #[test]
    fn damaged_files_are_read_or_refused_and_never_more(
        which in 0..SEEDS.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = std::fs::read(fixture(SEEDS[which])).unwrap();
        for (index, value) in changes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(mut archive) = from_bytes(bytes) {
            let names: Vec<String> = archive.tensors().iter().map(|t| t.name.clone()).collect();
            for name in names {
                let _ = archive.read(&name);
            }
        }
    }
}
