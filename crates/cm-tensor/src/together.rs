//! Sums over the GPUs of several processes: by NCCL where all of them can, else through their hosts.

use crate::collective::{Collective, CollectiveError, group};
use crate::device::{Device, done};
use cm_gpu::{Buffer, Invitation, Together};
use std::sync::OnceLock;
use std::time::Duration;

/// The environment variable that leaves sums to the hosts, if it is `off`.
pub const NCCL_VARIABLE: &str = "CM_NCCL";

/// How long sums wait for a process; then it is taken for dead.
const PATIENCE: Duration = Duration::from_secs(60);

/// `None` where the processes of this one's group cannot.
static TOGETHER: OnceLock<Option<Together>> = OnceLock::new();

/// Replaces each value of arrays on a GPU by its sum over all processes of `among`, a balanced tree over the ranks, without
/// their hosts. Returns whether that was done: NCCL must be there in each process, and each must have a GPU of its own.
///
/// # Errors
/// [`CollectiveError`] if the others cannot be reached while it is found out who can.
pub fn sum_on_gpus(
    device: &Device,
    among: &dyn Collective,
    arrays: &mut [Buffer],
) -> Result<bool, CollectiveError> {
    // Only the group that this process was started in, whose GPUs join once.
    if !std::ptr::addr_eq(among, group()) {
        return Ok(false);
    }
    let together = match TOGETHER.get() {
        Some(together) => together,
        None => {
            let joined = join(device, among)?;
            TOGETHER.get_or_init(|| joined)
        }
    };
    let Some(together) = together.as_ref().filter(|together| together.gpu() == device.gpu()) else {
        return Ok(false);
    };
    for array in arrays {
        *array = done(device.single(array).and_then(|values| together.sum(&values)));
    }
    done(together.settle(PATIENCE));
    Ok(true)
}

/// Whether all processes say yes.
fn all(among: &dyn Collective, yes: bool) -> Result<bool, CollectiveError> {
    let mut count = [if yes { 1.0 } else { 0.0 }];
    among.all_reduce_sum(&mut count)?;
    Ok(count[0] == among.size() as f32)
}

/// Joins the GPUs of all processes, of which each calls it; `None` for all of them if one cannot.
fn join(device: &Device, among: &dyn Collective) -> Result<Option<Together>, CollectiveError> {
    let wanted = std::env::var(NCCL_VARIABLE).map_or(true, |text| text != "off");
    if !all(among, wanted && Together::is_possible().is_ok())? {
        return Ok(None);
    }
    // Whether there is a place to meet, and its bytes.
    let mut told = [0.0_f32; 129];
    if among.rank() == 0
        && let Ok(Invitation(bytes)) = Invitation::new()
    {
        told[0] = 1.0;
        told[1..].iter_mut().zip(bytes).for_each(|(told, byte)| *told = f32::from(byte));
    }
    among.broadcast(&mut told, 0)?;
    if told[0] == 0.0 {
        return Ok(None);
    }
    let invitation = Invitation(std::array::from_fn(|place| told[place + 1] as u8));
    let joined = Together::join(device.gpu(), invitation, among.rank(), among.size());
    Ok(if all(among, joined.is_ok())? { joined.ok() } else { None })
}
