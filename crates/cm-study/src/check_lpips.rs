//! What LPIPS cannot be asked for, as a distance and as a score.

use crate::problem::Problem;
use cm_consistency::LpipsConfig;
use cm_datasets::{DatasetConfig, Outline, Split};
use cm_network::feature_net::{LpipsPooling, LpipsResize, LpipsTrunk};

/// With paths that begin with `path_to`. Files are looked for now: a teacher's training is long.
pub(crate) fn problems(config: &LpipsConfig, dataset: &DatasetConfig, path_to: &str) -> Vec<Problem> {
    let LpipsConfig { network, trunk_weights, heads } = config;
    let mut problems = Vec::new();
    for (field, path) in [("trunk_weights", Some(trunk_weights)), ("heads", heads.as_ref())] {
        let Some(path) = path.filter(|path| !path.is_file()) else { continue };
        let field = format!("{path_to}.{field}");
        let allowed = "a file with torchvision's or the LPIPS package's names";
        problems.push(match path.as_os_str().is_empty() {
            true => Problem::new(field, "LPIPS needs the weights of its trunk", allowed),
            false => Problem::absent(field, format!("there is no file {}", path.display()), allowed),
        });
    }
    let mut say = |field: &str, message: String, allowed: &str| {
        problems.push(Problem::new(format!("{path_to}.{field}"), message, allowed));
    };
    if network.pooling == LpipsPooling::Average && network.trunk != LpipsTrunk::Vgg16 {
        let message = format!("pooling by means was only ever used with Vgg16, not with {:?}", network.trunk);
        say("network.pooling", message, "Max, or trunk: Vgg16");
    }
    // Data that cannot be built are reported on their own.
    if let Ok(Outline { shape, .. }) = dataset.outline(Split::Train) {
        let least = network.trunk.min_side();
        if shape.channels != 1 && shape.channels != 3 {
            say(
                "network",
                format!("LPIPS looks at pictures, and the data are {shape}"),
                "images of 1 or 3 channels",
            );
        } else if !network.sees(shape.height, shape.width) {
            let message =
                format!("the trunk needs images of at least {least} pixels, and the data are {shape}");
            let allowed = match network.resize {
                LpipsResize::Never => "Below256",
                LpipsResize::Below256 => "higher images: so wide ones are not resized",
            };
            say("network.resize", message, allowed);
        }
    }
    problems
}
