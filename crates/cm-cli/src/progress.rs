//! What a run shows while it works: a bar on a terminal, now and then a line elsewhere. Both say how far the whole is.

use cm_host::{Part, Progress};
use cm_study::duration;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
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

/// How far a work of several trainings is. Its time is that of its trainings' arithmetic at the rate so far, scores
/// included.
#[derive(Default)]
struct Whole {
    part: Option<Part>,
    /// Images of the present phase, and how many there are.
    phase: (u64, u64),
    /// When the first step here was over, and the share that was done with it.
    origin: Option<(Instant, f64)>,
    share: f64,
}

impl Whole {
    /// Less of the whole than this tells nothing of the rest.
    const LEAST: f64 = 0.01;

    fn begin(&mut self, total_images: u64) {
        self.phase = (0, total_images);
    }

    /// More images of the phase; only a training has losses.
    fn advance(&mut self, images: u64, trains: bool, now: Instant) {
        self.phase.0 += images;
        let (done, total) = self.phase;
        let Some(part) = self.part.filter(|_| trains && total > 0) else { return };
        self.share = part.before + (part.with - part.before) * done as f64 / total as f64;
        self.origin.get_or_insert((now, self.share));
    }

    /// `training 2 of 5, 31% of all, 4 min left`; nothing of a single training, whose own line says it.
    fn told(&self, now: Instant) -> Option<String> {
        let part = self.part.filter(|part| part.of > 1)?;
        let percent = (100.0 * self.share.max(part.before)).floor();
        let mut told = format!("training {} of {}, {percent}% of all", part.number, part.of);
        if let Some((began, share)) = self.origin
            && self.share - share > Self::LEAST
        {
            let left = (1.0 - self.share) / (self.share - share) * now.duration_since(began).as_secs_f64();
            told += &format!(", {} left", duration(left));
        }
        Some(told)
    }
}

/// A bar with rate, remaining time and loss.
#[derive(Default)]
struct Bar {
    bar: Option<ProgressBar>,
    whole: Whole,
}

impl Progress for Bar {
    fn part(&mut self, part: Part) {
        self.whole.part = Some(part);
    }

    fn phase(&mut self, name: &str, total_images: u64) {
        self.finish_phase();
        self.whole.begin(total_images);
        let bar = if total_images == 0 { ProgressBar::new_spinner() } else { ProgressBar::new(total_images) };
        let style = ProgressStyle::with_template(
            "{prefix} {bar:30} {human_pos}/{human_len} images, {per_sec}, {left} {msg}",
        )
        .expect("the template is a constant")
        .with_key("left", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            // Before the first images nothing is known of the rest.
            let told = match state.pos() {
                0 => "just begun".to_owned(),
                _ => format!("{} left", duration(state.eta().as_secs_f64())),
            };
            // A formatter that cannot write shows nothing.
            let _ = out.write_str(&told);
        });
        bar.set_style(style);
        bar.set_prefix(name.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        self.bar = Some(bar);
    }

    fn advance(&mut self, images: u64, loss: Option<f64>) {
        let now = Instant::now();
        self.whole.advance(images, loss.is_some(), now);
        if let Some(bar) = &self.bar {
            bar.inc(images);
            let loss = loss.map(|loss| format!("loss {loss:.5}"));
            let told: Vec<String> = loss.into_iter().chain(self.whole.told(now)).collect();
            bar.set_message(told.join("; "));
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
    whole: Whole,
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
        Self { out, phase: None, whole: Whole::default() }
    }

    fn advance_at(&mut self, images: u64, loss: Option<f64>, now: Instant) {
        self.whole.advance(images, loss.is_some(), now);
        let Some(phase) = &mut self.phase else { return };
        phase.done += images;
        phase.loss = loss.or(phase.loss);
        let twentieth = phase.total > 0 && phase.done - phase.told_done >= phase.total.div_ceil(20);
        let pause = now.duration_since(phase.told_at) >= PAUSE;
        if pause && (twentieth || phase.total == 0) || now.duration_since(phase.told_at) >= 6 * PAUSE {
            phase.told_done = phase.done;
            phase.told_at = now;
            let mut line = phase.line(now);
            if let Some(whole) = self.whole.told(now) {
                line += &format!("; {whole}");
            }
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
            line += &format!("/{} images ({percent:.0}%), {rate:.0}/s", self.total);
            if self.done < self.total {
                line += &format!(", {} left", duration(left));
            }
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
    fn part(&mut self, part: Part) {
        self.whole.part = Some(part);
    }

    fn phase(&mut self, name: &str, total_images: u64) {
        self.finish_phase();
        self.whole.begin(total_images);
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
            Some("l1/seed-0: 500/10000 images (5%), 10/s, 16 minutes left, loss 0.50000")
        );
    }

    #[test]
    fn the_whole_is_told_by_the_trainings_so_far() {
        let mut whole = Whole::default();
        let start = Instant::now();
        let after = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!(whole.told(start), None);
        // Taken up in the middle of the second of four equal parts.
        whole.part = Some(Part { number: 2, of: 4, before: 0.25, with: 0.5 });
        whole.begin(1000);
        whole.advance(500, true, after(0));
        assert_eq!(whole.told(start).as_deref(), Some("training 2 of 4, 37% of all"));
        whole.advance(400, true, after(90));
        // A tenth of the whole and more in 90 s.
        assert_eq!(whole.told(after(90)).as_deref(), Some("training 2 of 4, 47% of all, 7.9 minutes left"));
        // Samples are not counted, and take their time.
        whole.begin(200);
        whole.advance(200, false, after(300));
        assert_eq!(whole.told(after(300)).as_deref(), Some("training 2 of 4, 47% of all, 26 minutes left"));
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
