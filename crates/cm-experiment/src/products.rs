//! Who computed a run's products on a GPU, if they were timed: `products.csv`, which is kept with the run, so that it goes
//! on by the same and ends with the same bits.

use crate::sealed::SealedFolder;
use cm_host::{FileError, Progress, durable};
use cm_tensor::devices;
use std::fs;
use std::path::Path;

/// The table: what each product's time was, who computes it, and on which card that was measured.
pub(crate) const PRODUCTS: &str = "products.csv";

/// From now on products are computed as they were so far in the training of this name in `folder`. Of another card's table it
/// is told that it is none.
pub(crate) fn take_up(folder: &Path, name: &str, progress: &mut dyn Progress) -> Result<(), FileError> {
    let Some(table) = SealedFolder::open(folder)?.text(PRODUCTS)? else { return Ok(()) };
    match devices::fix_products(&table) {
        Ok(None) => Ok(()),
        Ok(Some(other)) => {
            progress.note(&format!("{name}: {other}"));
            Ok(())
        }
        Err(reason) => Err(FileError::damaged(folder.join(PRODUCTS), reason)),
    }
}

/// Writes down who computes what. To be called before a checkpoint is written, which stands on it.
pub(crate) fn keep(folder: &Path) -> Result<(), FileError> {
    let path = folder.join(PRODUCTS);
    match devices::products_table() {
        Some(table) if fs::read_to_string(&path).ok().as_ref() != Some(&table) => {
            durable::write(&path, table.as_bytes()).map_err(FileError::io(&path))
        }
        Some(_) | None => Ok(()),
    }
}
