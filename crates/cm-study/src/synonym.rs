//! What other programs call what the format has a name of its own for.

/// A name of other programs for one of the format's own.
pub(crate) fn synonym(name: &str) -> Option<&'static str> {
    let known = [
        ("lr", "learning_rate"),
        ("rate", "learning_rate"),
        ("epochs", "total_images"),
        ("steps", "total_images"),
        ("iterations", "total_images"),
        ("batch_size", "batch"),
        ("weight_average", "ema"),
        ("fid", "Frechet"),
        ("lpips", "Lpips"),
        ("optimizer", "optimiser"),
        ("discretization", "discretisation"),
        ("quantization", "quantisation"),
        ("loss", "distance"),
        ("data", "dataset"),
        ("model", "network"),
        ("unet", "UNet"),
    ];
    let lower = name.to_lowercase();
    known.iter().find(|(other, _)| *other == lower).map(|(_, own)| *own)
}
