//! What a run shows while it works: a bar on a terminal, now and then a line elsewhere.

use cm_host::Progress;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// The progress that suits standard error.
pub(crate) fn to_stderr() -> Box<dyn Progress> {
    if !cm_experiment::is_first() {
        Box::new(cm_host::Silent)
    } else if std::io::stderr().is_terminal() {
        Box::new(Bar::default())
    } else {
        Box::new(Lines::new(Box::new(std::io::stderr())))
    }
}

/// A bar with rate, remaining time and loss.
#[derive(Default)]
struct Bar {
    bar: Option<ProgressBar>,
}

impl Progress for Bar {
    fn phase(&mut self, name: &str, total_images: u64) {
        self.finish_phase();
        let bar = if total_images == 0 { ProgressBar::new_spinner() } else { ProgressBar::new(total_images) };
        let style = ProgressStyle::with_template(
            "{prefix} {bar:30} {human_pos}/{human_len} images, {per_sec}, {eta} left {msg}",
        )
        .expect("the template is a constant");
        bar.set_style(style);
        bar.set_prefix(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        self.bar = Some(bar);
    }

    fn advance(&mut self, images: u64, loss: Option<f64>) {
        if let Some(bar) = &self.bar {
            bar.inc(images);
            if let Some(loss) = loss {
                bar.set_message(format!("loss {loss:.5}"));
            }
        }
    }

    fn note(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            // Nothing is left to do about a terminal that cannot be written to.
            None => drop(writeln!(std::io::stderr(), "{text}")),
        }
    }

    fn finish_phase(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.abandon();
        }
    }
}

/// A line at the start, for every twentieth of the work or every ten seconds (whichever is later), and at the end.
struct Lines {
    out: Box<dyn Write>,
    phase: Option<Phase>,
}

struct Phase {
    name: String,
    total: u64,
    done: u64,
    loss: Option<f64>,
    started: Instant,
    told_done: u64,
    told_at: Instant,
}

/// Between two lines of one phase.
const PAUSE: Duration = Duration::from_secs(10);

impl Lines {
    fn new(out: Box<dyn Write>) -> Self {
        Self { out, phase: None }
    }

    fn advance_at(&mut self, images: u64, loss: Option<f64>, now: Instant) {
        let Some(phase) = &mut self.phase else { return };
        phase.done += images;
        phase.loss = loss.or(phase.loss);
        let twentieth = phase.total > 0 && phase.done - phase.told_done >= phase.total.div_ceil(20);
        let pause = now.duration_since(phase.told_at) >= PAUSE;
        if pause && (twentieth || phase.total == 0) || now.duration_since(phase.told_at) >= 6 * PAUSE {
            phase.told_done = phase.done;
            phase.told_at = now;
            let line = phase.line(now);
            self.tell(&line);
        }
    }

    fn tell(&mut self, line: &str) {
        // Progress that cannot be written is not worth a failed run.
        drop(writeln!(self.out, "{line}").and_then(|()| self.out.flush()));
    }
}

impl Phase {
    fn line(&self, now: Instant) -> String {
        let seconds = now.duration_since(self.started).as_secs_f64();
        let rate = self.done as f64 / seconds.max(1e-9);
        let mut line = format!("{}: {}", self.name, self.done);
        if self.total > 0 {
            let percent = 100.0 * self.done as f64 / self.total as f64;
            let left = self.total.saturating_sub(self.done) as f64 / rate.max(1e-9);
            line += &format!("/{} images ({percent:.0}%), {rate:.0}/s, {left:.0} s left", self.total);
        } else {
            line += &format!(" images, {rate:.0}/s");
        }
        if let Some(loss) = self.loss {
            line += &format!(", loss {loss:.5}");
        }
        line
    }
}

impl Progress for Lines {
    fn phase(&mut self, name: &str, total_images: u64) {
        self.finish_phase();
        let now = Instant::now();
        self.tell(&format!("{name}: begins"));
        self.phase = Some(Phase {
            name: name.to_owned(),
            total: total_images,
            done: 0,
            loss: None,
            started: now,
            told_done: 0,
            told_at: now,
        });
    }

    fn advance(&mut self, images: u64, loss: Option<f64>) {
        self.advance_at(images, loss, Instant::now());
    }

    fn note(&mut self, text: &str) {
        self.tell(text);
    }

    fn finish_phase(&mut self) {
        if let Some(phase) = self.phase.take() {
            let line = phase.line(Instant::now());
            self.tell(&format!("{line}; done"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    #[derive(Clone, Default)]
    struct Shared(Rc<RefCell<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.borrow_mut().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_long_phase_is_told_in_few_lines() {
        let out = Shared::default();
        let mut lines = Lines::new(Box::new(out.clone()));
        lines.phase("l1/seed-0", 10_000);
        let start = lines.phase.as_ref().unwrap().started;
        // A thousand steps of 10 images, one each second: 5% are 50 seconds.
        for step in 1..=1000 {
            lines.advance_at(10, Some(0.5), start + Duration::from_secs(step));
        }
        let text = String::from_utf8(out.0.borrow().clone()).unwrap();
        assert_eq!(text.lines().count(), 1 + 20, "{text}");
        assert_eq!(
            text.lines().nth(1),
            Some("l1/seed-0: 500/10000 images (5%), 10/s, 950 s left, loss 0.50000")
        );
    }

    #[test]
    fn a_short_phase_is_told_at_its_ends_only() {
        let out = Shared::default();
        let mut lines = Lines::new(Box::new(out.clone()));
        lines.phase("a", 0);
        (0..100).for_each(|_| lines.advance(1, None));
        lines.note("remark");
        lines.finish_phase();
        lines.finish_phase();
        let text = String::from_utf8(out.0.borrow().clone()).unwrap();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.starts_with("a: begins\nremark\na: 100 images, "));
    }
}
