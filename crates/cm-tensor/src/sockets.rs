//! Processes of one machine, joined by sockets: what `cm run --processes` and `--devices` start.
//!
//! They find each other in a folder that only their user can enter. Each is joined with those whose rank differs from its
//! own in one binary digit, which is all that a balanced tree asks for.

use crate::collective::{Collective, CollectiveError, check, join_group};
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How long a process waits for the others to come: they are programs that were started a moment ago.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks whether one has come.
const PAUSE: Duration = Duration::from_millis(5);
/// Bytes of single-precision values that cross at once.
const BLOCK: usize = 1 << 20;

/// Makes this process the one of rank `rank` in a group of `size` on this machine, which meet in `folder`: from now on
/// they are the [group](crate::collective::group). Returns when all have come: nobody needs the folder any longer.
///
/// # Errors
/// [`CollectiveError`] if `size` is no power of two, there is no such rank, another does not come within a minute, or
/// sockets fail.
pub fn join(folder: &Path, rank: usize, size: usize) -> Result<(), CollectiveError> {
    let group = Sockets::join(folder, rank, size)?;
    group.barrier()?;
    join_group(Box::new(group))
}

/// One process of several.
struct Sockets {
    rank: usize,
    size: usize,
    /// To the ranks that differ from this one's by 1, 2, 4, ...
    partners: Vec<UnixStream>,
}

fn transport(what: &str) -> impl Fn(io::Error) -> CollectiveError + '_ {
    move |error| CollectiveError::Transport(format!("{what}: {error}"))
}

impl Sockets {
    fn join(folder: &Path, rank: usize, size: usize) -> Result<Self, CollectiveError> {
        if !size.is_power_of_two() {
            return Err(CollectiveError::Size { size });
        }
        check(rank, size)?;
        let address = |rank: usize| folder.join(rank.to_string());
        let listener =
            UnixListener::bind(address(rank)).map_err(transport("listening to other processes"))?;
        listener.set_nonblocking(true).map_err(transport("listening to other processes"))?;
        let digits = size.trailing_zeros();
        let until = Instant::now() + PATIENCE;
        let waited = |partner: usize| match Instant::now() < until {
            true => {
                thread::sleep(PAUSE);
                Ok(())
            }
            false => Err(CollectiveError::Transport(format!("process {partner} of {size} did not come"))),
        };
        // Those of a higher rank come here; to those of a lower one this process goes.
        let mut partners: Vec<Option<UnixStream>> = (0..digits).map(|_| None).collect();
        for digit in (0..digits).filter(|digit| rank >> digit & 1 == 1) {
            let partner = rank ^ (1 << digit);
            partners[digit as usize] = Some(loop {
                match UnixStream::connect(address(partner)) {
                    Ok(stream) => break stream,
                    Err(_) => waited(partner)?,
                }
            });
            let mut stream = partners[digit as usize].as_ref().expect("it is there now");
            stream.write_all(&[digit as u8]).map_err(transport("greeting another process"))?;
        }
        while let Some(missing) = partners.iter().position(Option::is_none) {
            match listener.accept() {
                Ok((mut stream, _)) => {
                    let mut digit = [0];
                    stream.set_nonblocking(false).map_err(transport("joining another process"))?;
                    stream.read_exact(&mut digit).map_err(transport("joining another process"))?;
                    let place = partners.get_mut(usize::from(digit[0])).filter(|place| place.is_none());
                    let place = place.ok_or_else(|| {
                        CollectiveError::Transport("a stranger came to the processes' folder".into())
                    })?;
                    *place = Some(stream);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => waited(rank ^ (1 << missing))?,
                Err(error) => return Err(transport("joining another process")(error)),
            }
        }
        Ok(Self { rank, size, partners: partners.into_iter().flatten().collect() })
    }

    fn lost(&self, digit: usize, error: &io::Error) -> CollectiveError {
        let partner = self.rank ^ (1 << digit);
        CollectiveError::Transport(format!("process {partner} of {} is gone ({error})", self.size))
    }
}

/// Writes values in blocks; all these processes are of one machine, so its order of bytes is everybody's.
fn send(mut stream: &UnixStream, values: &[f32]) -> io::Result<()> {
    for block in values.chunks(BLOCK / 4) {
        let bytes: Vec<u8> = block.iter().flat_map(|value| value.to_ne_bytes()).collect();
        stream.write_all(&bytes)?;
    }
    Ok(())
}

/// Reads as many values as were sent, and hands each to `take` with its place.
fn receive(mut stream: &UnixStream, count: usize, mut take: impl FnMut(usize, f32)) -> io::Result<()> {
    let mut bytes = vec![0; BLOCK.min(4 * count)];
    for first in (0..count).step_by(BLOCK / 4) {
        let here = (count - first).min(BLOCK / 4);
        stream.read_exact(&mut bytes[..4 * here])?;
        for (place, value) in bytes[..4 * here].chunks_exact(4).enumerate() {
            take(first + place, f32::from_ne_bytes(value.try_into().expect("chunks of four")));
        }
    }
    Ok(())
}

impl Collective for Sockets {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    /// Neighbours exchange their sums, then neighbours of pairs, and so on. A sum of two does not depend on their order,
    /// so both have the same bits.
    fn all_reduce_sum(&self, values: &mut [f32]) -> Result<(), CollectiveError> {
        for (digit, stream) in self.partners.iter().enumerate() {
            let own = values.to_vec();
            // Both write first: what does not fit between them waits until the other reads.
            let (sent, received) = thread::scope(|scope| {
                let sending = scope.spawn(|| send(stream, &own));
                let received = receive(stream, own.len(), |place, value| values[place] += value);
                (sending.join().expect("sending does not panic"), received)
            });
            received.and(sent).map_err(|error| self.lost(digit, &error))?;
        }
        Ok(())
    }

    /// From the root to one other, from both to two others, and so on.
    fn broadcast(&self, values: &mut [f32], root: usize) -> Result<(), CollectiveError> {
        check(root, self.size)?;
        let from_root = self.rank ^ root;
        for (digit, stream) in self.partners.iter().enumerate() {
            let done = match from_root >> digit {
                0 => send(stream, values),
                1 => receive(stream, values.len(), |place, value| values[place] = value),
                _ => Ok(()),
            };
            done.map_err(|error| self.lost(digit, &error))?;
        }
        Ok(())
    }

    fn barrier(&self) -> Result<(), CollectiveError> {
        self.all_reduce_sum(&mut [0.0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each rank of `size` makes of a call, all in threads of this process.
    fn together<T: Send>(size: usize, call: impl Fn(&Sockets) -> T + Sync) -> Vec<T> {
        let folder = std::env::temp_dir().join(format!("cm-sockets-{}-{size}", std::process::id()));
        let folder = folder.join(format!("{:?}", thread::current().id()));
        std::fs::create_dir_all(&folder).unwrap();
        let results = thread::scope(|scope| {
            let start = |rank| {
                let (folder, call) = (&folder, &call);
                scope.spawn(move || call(&Sockets::join(folder, rank, size).unwrap()))
            };
            let members: Vec<_> = (0..size).map(start).collect();
            members.into_iter().map(|member| member.join().unwrap()).collect()
        });
        std::fs::remove_dir_all(&folder).unwrap();
        results
    }

    /// Values of which sums in another order have other bits.
    fn value(rank: usize, place: usize) -> f32 {
        1.0 / (1 + rank + 7 * place) as f32
    }

    #[test]
    fn sums_are_balanced_trees_over_the_ranks_the_same_bits_on_each() {
        // More than fits into a socket at once.
        let count = 300_001;
        for size in [1, 2, 4, 8] {
            let sums = together(size, |group| {
                let mut values: Vec<f32> = (0..count).map(|place| value(group.rank(), place)).collect();
                group.all_reduce_sum(&mut values).unwrap();
                values
            });
            for place in [0, 1, 4_096, 262_143, 262_144, count - 1] {
                let mut tree: Vec<f32> = (0..size).map(|rank| value(rank, place)).collect();
                while tree.len() > 1 {
                    tree = tree.chunks(2).map(|pair| pair[0] + pair[1]).collect();
                }
                assert!(sums.iter().all(|sum| sum[place].to_bits() == tree[0].to_bits()), "{size} {place}");
            }
        }
    }

    #[test]
    fn every_root_s_values_come_to_all() {
        for root in 0..4 {
            let values = together(4, |group| {
                group.barrier().unwrap();
                let mut values = vec![group.rank() as f32; 3];
                group.broadcast(&mut values, root).unwrap();
                values
            });
            assert_eq!(values, vec![vec![root as f32; 3]; 4]);
        }
    }

    #[test]
    fn who_is_gone_is_told_and_what_cannot_be_is_refused() {
        let ends = together(2, |group| match group.rank() {
            0 => group.all_reduce_sum(&mut [1.0]).unwrap_err().to_string(),
            _ => String::new(),
        });
        assert!(ends[0].starts_with("process 1 of 2 is gone"), "{}", ends[0]);
        let folder = std::env::temp_dir();
        let refused = |rank, size| Sockets::join(&folder, rank, size).err();
        assert_eq!(refused(0, 3), Some(CollectiveError::Size { size: 3 }));
        assert_eq!(refused(2, 2), Some(CollectiveError::Rank { rank: 2, size: 2 }));
    }
}
