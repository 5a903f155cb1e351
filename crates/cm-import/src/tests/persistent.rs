//! Pickled networks: objects, and storages inside the pickle.

use super::*;
use crate::Attribute;

/// A stream of PyTorch's with one storage and nothing else, as Python's own pickling puts it inside another pickle.
fn saved_storage(values: &[f32]) -> Vec<u8> {
    let magic =
        [&[0x80, 2, 0x8a, 10][..], &0x1950_a86a_20f9_469c_fc6c_u128.to_le_bytes()[..10], b"."].concat();
    let system = pickle(&[b"}", &text("little_endian"), b"\x88s"]);
    let len = [b"J".as_slice(), &(values.len() as u32).to_le_bytes()].concat();
    let storage =
        pickle(&[b"(", &text("storage"), b"ctorch\nFloatStorage\n", &text("7"), &text("cpu"), &len, b"NtQ"]);
    let keys = pickle(&[b"]", &text("7"), b"a"]);
    let count = (values.len() as u64).to_le_bytes().to_vec();
    let values: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    [magic, pickle(&[b"M\xe9\x03"]), system, storage, keys, count, values].concat()
}

/// A tensor of all the values, as Python's own pickling writes it.
fn pickled_tensor(values: &[f32], bytes: &[u8]) -> Vec<u8> {
    let len = [b"J".as_slice(), &(values.len() as u32).to_le_bytes()].concat();
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n(ctorch.storage\n_load_from_bytes\n",
        bytes,
        b"\x85RK\x00",
        &len,
        b"\x85K\x01\x85\x89}tR",
    ]
    .concat()
}

/// Networks pickled with the source of their classes: tensors by the names of a state dict, numbers, and no source.
#[test]
fn a_persistent_network_is_its_tensors_and_its_numbers() {
    for count in [2, 100] {
        let values = ramp(count);
        let stream = saved_storage(&values);
        let binary = [b"B".as_slice(), &(stream.len() as u32).to_le_bytes(), &stream].concat();
        // Protocol 2 knows no bytes.
        let latin: String = stream.iter().map(|&byte| char::from(byte)).collect();
        let encoded = [b"c_codecs\nencode\n".as_slice(), &text(&latin), &text("latin1"), b"\x86R"].concat();
        for bytes in [binary, encoded] {
            let tensor = pickled_tensor(&values, &bytes);
            let module = |class: &str, parts: &[u8]| {
                [
                    b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n}",
                    text("class_name").as_slice(),
                    &text(class),
                    b"s",
                    &text("module_src"),
                    &text("raise SystemExit"),
                    b"s",
                    &text("state"),
                    b"}",
                    &text("out_channels"),
                    b"K\x08s",
                    &text("skip_scale"),
                    b"G\x3f\xe0\0\0\0\0\0\0s",
                    &text("filter"),
                    b"](K\x01K\x03es",
                    &text("grid"),
                    &tensor,
                    b"s",
                    parts,
                    b"s\x85R",
                ]
                .concat()
            };
            let entry = |name: &str, value: &[u8]| [text(name), value.to_vec(), b"s".to_vec()].concat();
            let parameters =
                [entry("_parameters", &[b"}".to_vec(), entry("weight", &tensor)].concat())].concat();
            let inner = module("Linear", &parameters);
            // A container of PyTorch's between them, and a set, as new versions have it.
            let container = [
                b"ctorch.nn.modules.container\nModuleDict\n)\x81}".to_vec(),
                entry("_non_persistent_buffers_set", b"cbuiltins\nset\n]\x85R"),
                entry("_modules", &[b"}".to_vec(), entry("4x4", &inner)].concat()),
                b"b".to_vec(),
            ];
            let outer = entry("_modules", &[b"}".to_vec(), entry("enc", &container.concat())].concat());
            let net = module("Net", &outer);
            let file = &mut from_bytes(pickle(&[b"}", &entry("ema", &net)])).unwrap();
            assert_eq!(file.format(), Format::Pickle);
            assert_eq!(file.tensors().len(), 1, "{:?}", file.tensors());
            check(file, "ema.enc.4x4.weight", Dtype::F32, &[count], &values);
            let modules: Vec<(&str, &str)> =
                file.modules().iter().map(|m| (m.path.as_str(), m.class.as_str())).collect();
            assert_eq!(modules, [("ema", "Net"), ("ema.enc", "ModuleDict"), ("ema.enc.4x4", "Linear")]);
            let net = &file.modules()[0];
            assert_eq!((net.number("out_channels"), net.number("skip_scale")), (Some(8.0), Some(0.5)));
            assert_eq!(net.attributes["filter"], Attribute::List(vec![1.0, 3.0]));
        }
    }
}

/// Such a pickle overflowed the stack: an object that was its own state.
#[test]
fn an_object_that_is_its_own_state_is_refused() {
    let itself = pickle(&[b"cargparse\nNamespace\n)Rq\x00h\x00b"]);
    assert!(matches!(from_bytes(itself), Err(ImportError::Limit { .. })));
}
