//! The page: text, style and script, the module and the model in it.

use crate::card::{Card, CardError};
use crate::model::packed_model;
use crate::packed::PackError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cm_network::Weights;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::io::Write;

/// How every module of WebAssembly begins.
const MAGIC: &[u8] = b"\0asm";

/// A function of `abi.rs`, by which a module of this crate and of its version is known.
const ENTRY: &[u8] = b"cm_web_1_open";

/// Why there is no page.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PageError {
    /// The module is something else.
    #[error("it is no WebAssembly module of this version's cm-web")]
    Module,
    /// The model cannot be shown.
    #[error(transparent)]
    Card(#[from] CardError),
    /// The weights cannot be held.
    #[error(transparent)]
    Weights(#[from] PackError),
}

/// A page of HTML that draws from a model. `module` is this crate, compiled for a browser.
///
/// # Errors
/// [`PageError`] if the module is none, or the model cannot be held or shown.
pub fn page(card: &Card, weights: &Weights, module: &[u8]) -> Result<String, PageError> {
    if !module.starts_with(MAGIC) || !module.windows(ENTRY.len()).any(|name| name == ENTRY) {
        return Err(PageError::Module);
    }
    card.check()?;
    let model = packed_model(card, weights)?;
    Ok(html(card, weights.count(), [module, &model].map(embedded)).into_string())
}

/// Bytes as text: compressed, and as base64.
fn embedded(bytes: &[u8]) -> String {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    let packed = encoder.write_all(bytes).and_then(|()| encoder.finish());
    STANDARD.encode(packed.expect("writing to memory"))
}

fn html(card: &Card, parameters: usize, [module, model]: [String; 2]) -> Markup {
    let Card { name, height, width, channels, sigma_min, sigma_max, .. } = card;
    let colour = if *channels == 3 { "colour" } else { "grey" };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                // The page can ask no one for anything.
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; \
                    script-src 'unsafe-inline' 'wasm-unsafe-eval'; worker-src blob:";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (name) ": drawn in the browser" }
                style { (PreEscaped(include_str!("page.css"))) }
            }
            body {
                header {
                    h1 { (name) }
                    p.subject {
                        "A consistency model that draws " (colour) " images of " (width) "×" (height) " pixels from noise, on your own \
                         machine: it is all in this page, which asks no one for anything."
                    }
                }
                noscript { p.notice { "This page draws by a script, and scripts are turned off." } }
                p #fault .notice role="alert" hidden {}
                main { (drawing(card, parameters)) (editing(card)) (about(card, parameters, *sigma_min, *sigma_max)) }
                script type="text/plain" id="module" { (PreEscaped(module)) }
                script type="text/plain" id="model" { (PreEscaped(model)) }
                script type="text/plain" id="worker" { (PreEscaped(include_str!("worker.js"))) }
                script { (PreEscaped(include_str!("page.js"))) }
            }
        }
    }
}

/// A choice among the classes: any, and each by its name or number.
fn classes(card: &Card, id: &str, any: &str) -> Option<Markup> {
    card.classes.map(|classes| {
        html! {
            label for=(id) { "Class" }
            select id=(id) {
                option value="" { (any) }
                @for class in 0..classes {
                    option value=(class) { (card.class_names.get(class).map_or_else(|| class.to_string(), String::clone)) }
                }
            }
        }
    })
}

/// Images that are drawn when the page opens: so many that one waits seconds, not minutes.
fn at_first(parameters: usize) -> usize {
    match parameters {
        ..5_000_000 => 100,
        5_000_000..30_000_000 => 25,
        30_000_000.. => 1,
    }
}

fn drawing(card: &Card, parameters: usize) -> Markup {
    html! {
        section aria-labelledby="drawing" {
            h2 id="drawing" { "Draw" }
            form #controls .controls {
                @if let Some(classes) = classes(card, "class", "each image its own") { div { (classes) } }
                div {
                    label for="seed" { "Seed" }
                    input #seed inputmode="numeric" size="12" value="0" autocomplete="off" aria-describedby="seed-help";
                    button #another type="button" { "Another" }
                }
                div {
                    label for="count" { "Images" }
                    select #count { @for count in [1, 25, 100, 400] { option selected[count == at_first(parameters)] { (count) } } }
                }
                div.wide {
                    label for="evaluations" { "Evaluations of the network" }
                    input #evaluations type="range" min="1" max=(card.levels.len()) value="1";
                    output #levels for="evaluations" {}
                }
                div { button .main type="submit" { "Draw" } }
            }
            p #seed-help .help {
                "The same seed gives the same images, here and by the command below. One evaluation takes an image from noise at \
                 once; each further one adds some noise again, and takes it away."
            }
            p #status role="status" {}
            div #sheet role="listbox" tabindex="0" aria-label="Images drawn" aria-busy="true" {}
            p.help { "Choose an image, by a click or by the arrow keys, to have it redrawn in part." }
        }
    }
}

fn editing(card: &Card) -> Markup {
    html! {
        section aria-labelledby="editing" {
            h2 id="editing" { "Redraw a part" }
            p #hint .help {
                "Mark what is to be drawn anew: with the pointer, or with the arrow keys and the space bar. The rest stays as it is."
            }
            div.pair {
                figure {
                    canvas #marked tabindex="0" role="application" aria-label="The chosen image, to be marked" aria-describedby="hint place" {}
                    figcaption { "Chosen, and what is marked" }
                    p #place .help role="status" {}
                }
                figure {
                    canvas #filled role="img" aria-label="The image with the marked part drawn anew" {}
                    figcaption { "Drawn anew" }
                    p #filling .help role="status" {}
                }
            }
            form #edit .controls {
                @if let Some(classes) = classes(card, "edit-class", "by chance") { div { (classes) } }
                div {
                    label for="brush" { "Brush" }
                    input #brush type="range" min="1" max=(card.height.max(card.width).div_ceil(2)) value=(card.height.div_ceil(8));
                }
                div { button #lower type="button" { "Mark the lower half" } button #none type="button" { "Mark nothing" } }
                div { button .main type="submit" { "Draw the marked part" } }
            }
        }
    }
}

fn about(card: &Card, parameters: usize, sigma_min: f32, sigma_max: f32) -> Markup {
    html! {
        section aria-labelledby="about" {
            h2 id="about" { "About" }
            dl {
                div { dt { "Network" } dd { (parameters) " weights, in half precision" } }
                div { dt { "Noise levels" } dd { (sigma_min) " to " (sigma_max) ", where black is -1 and white is 1" } }
                @if let Some(classes) = card.classes { div { dt { "Classes" } dd { (classes) } } }
                div { dt { "The same images" } dd { code #command {} } }
            }
            p.help {
                "The command draws in single precision and this page in half: a pixel may differ by one of 256 levels. Made by "
                code { "cm export --format web" } ", version " (env!("CARGO_PKG_VERSION")) "."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cm_image::{ImageShape, Quantisation};
    use cm_network::{Conditions, MlpConfig, NetworkConfig};
    use std::io::Read;

    fn model() -> (Card, Weights) {
        let network = NetworkConfig::Mlp(MlpConfig { width: 16, blocks: 1, ..MlpConfig::default() });
        let shape = ImageShape::new(2, 2, 1);
        let conditions = Conditions { classes: Some(2), ..Conditions::default() };
        let (_, weights) = network.build(shape, conditions, 0).unwrap();
        let card = Card {
            name: "</script><b>a & b".to_owned(),
            network,
            height: 2,
            width: 2,
            channels: 1,
            classes: Some(2),
            class_names: vec!["<i>".to_owned(), "dog".to_owned()],
            sigma_data: 0.5,
            sigma_min: 0.02,
            sigma_max: 20.0,
            levels: vec![vec![]],
            edit_levels: vec![20.0],
            quantisation: Quantisation::Round,
        };
        (card, weights)
    }

    #[test]
    fn module_and_model_are_in_the_page_and_names_are_text() {
        let (card, weights) = model();
        let module = [MAGIC, ENTRY, &[7; 999]].concat();
        let page = page(&card, &weights, &module).unwrap();
        let held = |id: &str| {
            let (_, text) = page.split_once(&format!("id=\"{id}\">")).unwrap();
            let packed = STANDARD.decode(text.split_once('<').unwrap().0).unwrap();
            let mut bytes = Vec::new();
            flate2::read::ZlibDecoder::new(&packed[..]).read_to_end(&mut bytes).unwrap();
            bytes
        };
        assert_eq!(held("module"), module);
        assert_eq!(held("model"), packed_model(&card, &weights).unwrap());
        assert!(page.contains("<option value=\"0\">&lt;i&gt;</option>") && !page.contains("<b>"));
        // What would be fetched.
        for word in ["http://", "https://", "src=", "href=", "import "] {
            assert!(!page.contains(word), "{word}");
        }
    }

    #[test]
    fn a_module_of_something_else_is_refused() {
        let (card, weights) = model();
        for module in [&b""[..], MAGIC, ENTRY, b"\0asm cm_web_0_open"] {
            assert_eq!(page(&card, &weights, module), Err(PageError::Module));
        }
        let five = Card { channels: 5, ..card };
        assert!(matches!(page(&five, &weights, &[MAGIC, ENTRY].concat()), Err(PageError::Card(_))));
    }
}
