use super::config::{Change, DownBlock, UpBlock};
use super::*;
use cm_image::ImageShape;
use cm_network::{AdmConfig, HeadsConfig, NetworkConfig, Preset};
use cm_study::WeightsCard;

fn card(adm: &AdmConfig, size: usize, classes: Option<usize>) -> WeightsCard {
    let network = NetworkConfig::Adm(adm.clone());
    WeightsCard { network, height: size, width: size, classes, ..WeightsCard::default() }
}

#[test]
fn the_published_networks_go_there_and_back() {
    for (preset, size, classes) in [(Preset::AdmImagenet64, 64, Some(1000)), (Preset::AdmLsun256, 256, None)]
    {
        let NetworkConfig::Adm(adm) = preset.config() else { panic!("{preset:?} is ADM") };
        let config = UnetConfig::of(&adm, &card(&adm, size, classes)).unwrap();
        let (back, shape, found) = config.adm().unwrap();
        assert_eq!((shape, found), (ImageShape::new(size, size, 3), classes));
        assert_eq!(back, adm);
    }
    // As diffusers' own converter has it.
    let NetworkConfig::Adm(adm) = Preset::AdmImagenet64.config() else { panic!("it is ADM") };
    let config = UnetConfig::of(&adm, &card(&adm, 64, Some(1000))).unwrap();
    let attends = DownBlock::Attention;
    assert_eq!(config.down_block_types, [DownBlock::Resnet, attends, attends, attends]);
    assert_eq!(config.up_block_types[3], UpBlock::Resnet);
    assert_eq!((config.downsample_type, config.attention_head_dim), (Change::Resnet, Some(64)));
    assert_eq!(config.block_out_channels, [192, 384, 576, 768]);
}

#[test]
fn what_the_other_program_has_not_is_told() {
    let adm = AdmConfig { channels: 32, heads: HeadsConfig::Channels(32), ..AdmConfig::default() };
    let told = |change: AdmConfig| UnetConfig::of(&change, &card(&change, 64, None)).unwrap_err();
    assert!(told(AdmConfig { embedding_scale: 1.0, ..adm.clone() }).contains("embedding_scale is 1"));
    assert!(told(AdmConfig { multipliers: vec![2, 4], ..adm.clone() }).contains("do not begin with 1"));
    assert!(told(AdmConfig { small_groups: true, ..adm.clone() }).contains("small_groups"));
    assert!(told(AdmConfig { heads: HeadsConfig::Count(2), ..adm.clone() }).contains("heads"));
    let wide = WeightsCard { width: 32, ..card(&adm, 64, None) };
    assert!(UnetConfig::of(&adm, &wide).unwrap_err().contains("square"));
}

#[test]
fn a_configuration_of_another_network_is_refused_by_its_field() {
    let known = UnetConfig { sample_size: Some(64), attn_norm_num_groups: Some(32), ..UnetConfig::default() };
    known.adm().unwrap();
    let told = |change: UnetConfig| change.adm().unwrap_err();
    assert!(told(UnetConfig { norm_num_groups: 16, ..known.clone() }).contains("`norm_num_groups` is 16"));
    assert!(told(UnetConfig { sample_size: None, ..known.clone() }).contains("`sample_size`"));
    assert!(told(UnetConfig { freq_shift: 1.0, ..known.clone() }).contains("`freq_shift` is 1.0"));
    assert!(told(UnetConfig { upsample_type: Change::Resnet, ..known.clone() }).contains("`upsample_type`"));
    let up = vec![UpBlock::Plain; 4];
    assert!(told(UnetConfig { up_block_types: up, ..known.clone() }).contains("`up_block_types`"));
    let told = serde_json::from_str::<UnetConfig>(r#"{"act_fn": "gelu"}"#).unwrap_err().to_string();
    assert!(told.contains("unknown variant `gelu`, expected `silu` or `swish`"), "{told}");
}
