//! Where in a file the wanted weights are: which family they belong to, and what their names begin with.

use super::guess::Dialect;
use cm_import::Archive;

/// A family of networks, known by the name of one of its arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// ADM, as OpenAI's programs write it.
    Adm,
    /// NCSN++ and DDPM++, as the programs of Song et al. 2021 write them.
    Song(Dialect),
    /// SongUNet and DhariwalUNet (Karras et al. 2022).
    Edm,
    /// The network of Karras et al. 2024.
    Edm2,
}

const ANCHORS: [(&str, Family); 5] = [
    ("input_blocks.0.0.weight", Family::Adm),
    ("Conv_0.weight", Family::Song(Dialect::Torch)),
    ("Conv_0/kernel", Family::Song(Dialect::Flax)),
    ("map_layer0.weight", Family::Edm),
    ("emb_fourier.freqs", Family::Edm2),
];

/// A set of weights.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Root {
    pub(crate) family: Family,
    /// What all its names begin with.
    pub(crate) prefix: String,
    /// What was chosen among several.
    pub(crate) notes: Vec<String>,
}

/// The set of weights that is meant: the only one, the only one that begins as it is `given`, or the only averaged one.
pub(crate) fn root(archive: &Archive, given: Option<&str>) -> Result<Root, String> {
    let all = roots(archive);
    if all.is_empty() {
        return Err(unknown(archive));
    }
    let fitting: Vec<&Root> = match given {
        None => all.iter().collect(),
        Some(given) => {
            let exact: Vec<&Root> = all.iter().filter(|root| root.prefix == given).collect();
            match exact.is_empty() {
                true => all.iter().filter(|root| begins(&root.prefix, given)).collect(),
                false => exact,
            }
        }
    };
    match fitting.as_slice() {
        [] => Err(format!(
            "no weights of a network begin with `{}`; those in the file begin with {}",
            given.unwrap_or_default(),
            listed(&all)
        )),
        [only] => {
            let mut root = (*only).clone();
            if given.is_none() && !root.prefix.is_empty() {
                root.notes.push(format!("its names begin with `{}`", root.prefix));
            }
            Ok(root)
        }
        several => {
            let averaged: Vec<&&Root> = several.iter().filter(|root| is_average(&root.prefix)).collect();
            let &[average] = averaged.as_slice() else {
                let all: Vec<Root> = several.iter().map(|root| (*root).clone()).collect();
                return Err(format!(
                    "it holds several sets of weights: name one with --prefix, which may be {}",
                    listed(&all)
                ));
            };
            let others: Vec<Root> =
                several.iter().filter(|root| root != &average).map(|root| (*root).clone()).collect();
            let mut root = (**average).clone();
            root.notes.push(format!(
                "the averaged weights, whose names begin with `{}`; with --prefix also {}",
                root.prefix,
                listed(&others)
            ));
            Ok(root)
        }
    }
}

/// All sets of weights of a file, whole networks and not what an optimiser keeps of them.
fn roots(archive: &Archive) -> Vec<Root> {
    let mut roots = Vec::new();
    for tensor in archive.tensors() {
        for (anchor, family) in ANCHORS {
            let Some(prefix) = tensor.name.strip_suffix(anchor) else { continue };
            let whole = prefix.is_empty() || prefix.ends_with(['.', '/']);
            // A part of a network has a first convolution, too.
            let part = prefix.contains("Block") || prefix.contains("block");
            if whole && !part && !segments(prefix).any(is_of_optimiser) {
                roots.push(Root { family, prefix: prefix.to_owned(), notes: vec![] });
            }
        }
    }
    roots
}

fn segments(prefix: &str) -> impl Iterator<Item = &str> {
    prefix.split(['.', '/']).filter(|segment| !segment.is_empty())
}

fn is_of_optimiser(segment: &str) -> bool {
    ["optim", "exp_avg", "momentum"].iter().any(|start| segment.to_ascii_lowercase().starts_with(start))
}

/// Whether people call such weights averaged: `ema`, `model_ema`, `params_ema`, `net_ema`, `ema_0`, `averaged`, `shadow`.
fn is_average(prefix: &str) -> bool {
    let word = |word: &str| {
        let word = word.to_ascii_lowercase();
        word.starts_with("ema") || word.starts_with("averag") || word.starts_with("shadow")
    };
    segments(prefix).any(|segment| segment.split(['_', '-']).any(word))
}

/// Whether a prefix begins with whole parts of what was given, with a dot behind or without.
fn begins(prefix: &str, given: &str) -> bool {
    prefix
        .strip_prefix(given)
        .is_some_and(|rest| given.is_empty() || given.ends_with(['.', '/']) || rest.starts_with(['.', '/']))
}

fn listed(roots: &[Root]) -> String {
    let of = |root: &Root| match root.prefix.as_str() {
        "" => "`` (nothing)".to_owned(),
        prefix => format!("`{prefix}`"),
    };
    roots.iter().map(of).collect::<Vec<_>>().join(", ")
}

fn unknown(archive: &Archive) -> String {
    let anchors = ANCHORS.map(|(anchor, _)| format!("`{anchor}`")).join(", ");
    let names: Vec<String> = archive.tensors().iter().take(3).map(|t| format!("`{}`", t.name)).collect();
    let names = match names.is_empty() {
        true => "it holds no arrays".to_owned(),
        false => format!("it has {}", names.join(", ")),
    };
    format!("its names are of no network known here, one of which would have {anchors}: {names}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// A file of empty arrays of these names.
    fn file(names: &[&str]) -> Archive {
        let entry = |name: &&str| {
            (name.to_string(), serde_json::json!({ "dtype": "F32", "shape": [0], "data_offsets": [0, 0] }))
        };
        let header: serde_json::Map<String, serde_json::Value> = names.iter().map(entry).collect();
        let header = serde_json::to_vec(&header).unwrap();
        let bytes = [(header.len() as u64).to_le_bytes().to_vec(), header].concat();
        Archive::from_reader(Cursor::new(bytes)).unwrap()
    }

    fn prefix(names: &[&str], given: Option<&str>) -> Result<String, String> {
        root(&file(names), given).map(|root| root.prefix)
    }

    #[test]
    fn the_only_set_of_weights_is_found_behind_any_wrapper() {
        for wrapper in
            ["", "module.", "_orig_mod.", "state_dict.model.", "net.module.", "ema.model.", "a.b.c."]
        {
            let names = [&format!("{wrapper}input_blocks.0.0.weight"), "optimizer.state.0.exp_avg", "epoch"];
            let names: Vec<&str> = names.to_vec();
            assert_eq!(prefix(&names, None).unwrap(), wrapper);
        }
        // An optimiser that keeps its state by name is no second network.
        let names =
            ["map_layer0.weight", "optimizer.exp_avg.map_layer0.weight", "exp_avg_sq.map_layer0.weight"];
        assert_eq!(prefix(&names, None).unwrap(), "");
    }

    #[test]
    fn averages_under_their_usual_names_are_taken_and_said() {
        for average in
            ["ema.", "model_ema.", "state_dict.net_ema.", "ema_model.module.", "averaged.", "params_ema."]
        {
            let names = [&format!("{average}map_layer0.weight"), "model.map_layer0.weight"];
            let found = root(&file(&names.map(|name| name as &str)), None).unwrap();
            assert_eq!(found.prefix, average);
            assert!(
                found.notes[0].contains(average) && found.notes[0].contains("`model.`"),
                "{:?}",
                found.notes
            );
        }
    }

    #[test]
    fn several_sets_are_listed_and_chosen_with_a_dot_or_without() {
        let names = ["student.map_layer0.weight", "teacher.map_layer0.weight"];
        let told = prefix(&names, None).unwrap_err();
        assert!(
            told.contains("--prefix") && told.contains("`student.`") && told.contains("`teacher.`"),
            "{told}"
        );
        for given in ["teacher", "teacher."] {
            assert_eq!(prefix(&names, Some(given)).unwrap(), "teacher.");
        }
        let told = prefix(&names, Some("teach")).unwrap_err();
        assert!(
            told.contains("begin with `teach`") && told.contains("`student.`") && told.contains("`teacher.`"),
            "{told}"
        );
        let names = ["ema_0.map_layer0.weight", "ema_1.map_layer0.weight", "net.map_layer0.weight"];
        let told = prefix(&names, None).unwrap_err();
        assert!(["`ema_0.`", "`ema_1.`", "`net.`"].iter().all(|name| told.contains(name)), "{told}");
        assert!(prefix(&["a.weight"], None).unwrap_err().contains("`a.weight`"));
        assert!(prefix(&[], None).unwrap_err().contains("no arrays"));
        assert_eq!(
            prefix(&["ema.unet.emb_fourier.freqs", "ema.logvar_fourier.freqs"], None).unwrap(),
            "ema.unet."
        );
    }
}
