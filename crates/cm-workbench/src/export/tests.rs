use super::*;
use crate::import::{ImportRequest, import};
use cm_evaluator::NetworkJudge;
use cm_experiment::{WeightsFile, seal};
use cm_host::Identity;
use cm_image::random::Random;
use cm_network::{AdmConfig, HeadsConfig, MlpConfig, NetworkConfig, UNetConfig};
use cm_study::PreconditionConfig;
use serde_json::Value;
use std::fs;
use std::path::Path;

fn adm() -> NetworkConfig {
    NetworkConfig::Adm(AdmConfig {
        channels: 32,
        multipliers: vec![1, 2],
        blocks: 1,
        attention: vec![4],
        heads: HeadsConfig::Channels(32),
        ..AdmConfig::default()
    })
}

/// A file of weights of which none is at its beginning.
fn weights_file(folder: &Path, network: NetworkConfig, precondition: PreconditionConfig) -> PathBuf {
    let card = WeightsCard {
        network,
        height: 8,
        width: 8,
        classes: Some(5),
        precondition,
        sigma_max: 20.0,
        rho: 5.0,
        ..WeightsCard::default()
    };
    let (_, mut weights) = card.network.build(card.shape(), card.conditions(), 1).unwrap();
    let mut random = Random::new(3);
    weights.values_mut().for_each(|values| values.iter_mut().for_each(|v| *v += 0.1 * random.normal()));
    let path = folder.join("weights.safetensors");
    WeightsFile::write(&path, &card, &weights).unwrap();
    path
}

fn exported(model: &Path, format: ExportFormat, out: &Path) -> Result<Exported, WorkbenchError> {
    let model = ModelRequest { path: model.to_owned(), ema: None, class: None };
    export(&ExportRequest { model, format, out: out.to_owned() })
}

fn imported(input: &Path, out: &Path) -> Result<(), WorkbenchError> {
    let request = ImportRequest {
        input: input.to_owned(),
        out: out.to_owned(),
        network: None,
        size: None,
        prefix: None,
        precondition: None,
        heads: None,
        resampling: None,
        sigma_data: None,
        sigma_min: None,
        sigma_max: None,
        rho: None,
    };
    import(&request).map(drop)
}

#[test]
fn a_pipeline_that_is_imported_again_is_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let model = weights_file(folder.path(), adm(), PreconditionConfig::Consistency);
    let pipeline = folder.path().join("pipeline");
    let Exported { contents, .. } = exported(&model, ExportFormat::Diffusers, &pipeline).unwrap();
    assert!(contents.starts_with("model_index.json, scheduler/scheduler_config.json, unet/"), "{contents}");
    let again = folder.path().join("again.safetensors");
    imported(&pipeline, &again).unwrap();
    assert!(fs::read(&again).unwrap() == fs::read(&model).unwrap());
}

#[test]
fn a_pipeline_that_another_program_changed_is_refused_with_what_and_where() {
    let folder = tempfile::tempdir().unwrap();
    let model = weights_file(folder.path(), adm(), PreconditionConfig::Consistency);
    let out = folder.path().join("x.safetensors");
    let told = |file: &str, change: &dyn Fn(&mut Value)| {
        let pipeline = folder.path().join("pipeline");
        exported(&model, ExportFormat::Diffusers, &pipeline).unwrap();
        let path = pipeline.join(file);
        let mut value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut value);
        fs::write(&path, serde_json::to_vec(&value).unwrap()).unwrap();
        let error = imported(&pipeline, &out).unwrap_err();
        fs::remove_dir_all(&pipeline).unwrap();
        assert!(error.is_input() && error.to_string().contains(file), "{error}");
        assert!(!out.exists());
        error.to_string()
    };
    let set = |field: &'static str, value: Value| move |config: &mut Value| config[field] = value.clone();
    let class = set("_class_name", "DDPMPipeline".into());
    assert!(told("model_index.json", &class).contains("`DDPMPipeline`, and `ConsistencyModelPipeline`"));
    let class = set("_class_name", "UNet2DConditionModel".into());
    assert!(told("unet/config.json", &class).contains("`UNet2DConditionModel`, and `UNet2DModel`"));
    let blocks = set("down_block_types", serde_json::json!(["SkipDownBlock2D", "AttnDownBlock2D"]));
    assert!(told("unet/config.json", &blocks).contains("unknown variant `SkipDownBlock2D`, expected one of"));
    let groups = set("norm_num_groups", 8.into());
    assert!(told("unet/config.json", &groups).contains("`norm_num_groups` is 8"));
    let strange = set("encoder_hid_dim", 8.into());
    assert!(told("unet/config.json", &strange).contains("unknown field `encoder_hid_dim`"));
    let scheduler = set("_class_name", "DDPMScheduler".into());
    assert!(told("scheduler/scheduler_config.json", &scheduler).contains("`DDPMScheduler`"));
}

#[test]
fn arrays_that_are_missing_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let model = weights_file(folder.path(), adm(), PreconditionConfig::Consistency);
    let pipeline = folder.path().join("pipeline");
    exported(&model, ExportFormat::Diffusers, &pipeline).unwrap();
    let path = pipeline.join("unet/config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["layers_per_block"] = 2.into();
    fs::write(&path, serde_json::to_vec(&config).unwrap()).unwrap();
    let error = imported(&pipeline, &folder.path().join("x")).unwrap_err();
    assert!(error.is_input());
    let told = error.to_string();
    assert!(told.contains("unet/diffusion_pytorch_model.safetensors: its arrays are not those"), "{told}");
    assert!(told.contains("missing: down_blocks.0.resnets.1.norm1.weight"), "{told}");
    fs::remove_file(pipeline.join("unet/diffusion_pytorch_model.safetensors")).unwrap();
    let told = imported(&pipeline, &folder.path().join("x")).unwrap_err().to_string();
    assert!(told.contains("unet: there is neither diffusion_pytorch_model.safetensors nor"), "{told}");
}

#[test]
fn what_a_form_cannot_express_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let refused = |network: NetworkConfig, precondition, format| {
        let model = weights_file(folder.path(), network, precondition);
        let error = exported(&model, format, &out).unwrap_err();
        assert!(error.is_input() && !out.exists(), "{error}");
        error.to_string()
    };
    let consistency = PreconditionConfig::Consistency;
    let unet = NetworkConfig::UNet(UNetConfig {
        channels: 8,
        multipliers: vec![1],
        blocks: 1,
        ..UNetConfig::default()
    });
    assert!(refused(unet, consistency, ExportFormat::Diffusers).contains("DDPM++"));
    assert!(refused(adm(), PreconditionConfig::Edm, ExportFormat::Diffusers).contains("diffusion model"));
    let mlp = NetworkConfig::Mlp(MlpConfig::default());
    assert!(refused(mlp.clone(), consistency, ExportFormat::Diffusers).contains("perceptron"));
    assert!(refused(mlp, PreconditionConfig::Ve, ExportFormat::Torch).contains("diffusion model (VE)"));
}

#[test]
fn every_folder_has_its_files_and_a_card() {
    let folder = tempfile::tempdir().unwrap();
    let model = weights_file(folder.path(), adm(), PreconditionConfig::Consistency);
    for (format, files) in [
        (ExportFormat::Onnx, &["generator.onnx", "denoiser.onnx"][..]),
        (ExportFormat::Torch, &["weights.pt", "config.json", "model.py"]),
        (ExportFormat::Diffusers, &["model_index.json", "unet/config.json"]),
    ] {
        let out = folder.path().join("out");
        let Exported { contents, .. } = exported(&model, format, &out).unwrap();
        for file in files.iter().chain([&"README.md"]) {
            assert!(out.join(file).is_file() && contents.contains(file), "{file}");
        }
        let card = fs::read_to_string(out.join("README.md")).unwrap();
        for said in ["# weights\n", "| kind | a consistency model |", "```python\n", "0.002 to 20, rho 5"] {
            assert!(card.contains(said), "{said}: {card}");
        }
        // A folder that is there is left alone.
        assert!(exported(&model, format, &out).is_err());
        fs::remove_dir_all(&out).unwrap();
    }
    let out = folder.path().join("back.pt");
    exported(&model, ExportFormat::Original, &out).unwrap();
    assert!(fs::read_to_string(folder.path().join("back.pt.md")).unwrap().contains("cm import back.pt"));
    // A diffusion model draws in several steps.
    let model = weights_file(folder.path(), adm(), PreconditionConfig::Edm);
    let out = folder.path().join("diffusion");
    exported(&model, ExportFormat::Onnx, &out).unwrap();
    assert!(out.join("denoiser.onnx").exists() && !out.join("generator.onnx").exists());
}

#[test]
fn the_network_that_judges_is_a_model_of_onnx_and_of_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("judge");
    let Exported { contents, .. } = exported(Path::new("classifier"), ExportFormat::Onnx, &out).unwrap();
    assert_eq!(contents, "classifier.onnx, README.md");
    let card = fs::read_to_string(out.join("README.md")).unwrap();
    assert!(card.contains("| features | 64 |") && card.contains("\"classifier.onnx\""), "{card}");
    // A study's, by its file or its folder; the same network is the same model.
    let (network, weights) = (NetworkJudge::digits().unwrap(), folder.path().join("classifier.safetensors"));
    fs::write(&weights, NetworkJudge::to_file(network.network(), network.weights()).encode().unwrap())
        .unwrap();
    for path in [&weights, folder.path()] {
        let again = folder.path().join("again");
        exported(path, ExportFormat::Onnx, &again).unwrap();
        assert!(
            fs::read(again.join("classifier.onnx")).unwrap()
                == fs::read(out.join("classifier.onnx")).unwrap()
        );
        fs::remove_dir_all(&again).unwrap();
    }
    let refused = exported(&weights, ExportFormat::Torch, &folder.path().join("x")).unwrap_err();
    assert!(refused.is_input() && refused.to_string().contains("it is a classifier"), "{refused}");
    // One that is whole, but not the one that its study has sealed.
    let mut other = network.weights().clone();
    other.values_mut().for_each(|values| values.fill(0.0));
    let sealed = fs::read(&weights).unwrap();
    seal(folder.path(), Identity::new("judge", "digits", ""), &["classifier.safetensors"]).unwrap();
    fs::write(&weights, NetworkJudge::to_file(network.network(), &other).encode().unwrap()).unwrap();
    let changed = exported(&weights, ExportFormat::Onnx, &folder.path().join("x")).unwrap_err();
    assert!(changed.is_input() && changed.to_string().contains("classifier.safetensors"), "{changed}");
    fs::write(&weights, sealed).unwrap();
    exported(&weights, ExportFormat::Onnx, &folder.path().join("as-sealed")).unwrap();
    fs::remove_file(folder.path().join("manifest.json")).unwrap();
    fs::write(&weights, "no weights").unwrap();
    let damaged = exported(&weights, ExportFormat::Onnx, &folder.path().join("x")).unwrap_err();
    assert!(damaged.to_string().contains("classifier.safetensors"), "{damaged}");
    assert!(!folder.path().join("x").exists());
}
