//! What was drawn: the last pictures of every arm side by side, and how they came to be, checkpoint by checkpoint.

use crate::findings::Findings;
use crate::record::{Picture, Pictures, Record};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cm_experiment::COPIES;
use cm_study::StudentSamplerConfig;
use maud::{Markup, html};

/// Bytes of pictures in a page: browsers open it at once, and mail takes it.
const MOST_BYTES: usize = 24 << 20;
/// Sheets that are looked at side by side; more are folded away.
const SIDE_BY_SIDE: usize = 12;

/// Two sections of the page.
pub(super) struct Sheets {
    /// The last sheet of each arm and sampler, of the first seed.
    pub(super) drawn: Option<Markup>,
    /// All sheets, where there is more than the last one.
    pub(super) by_checkpoint: Option<Markup>,
}

/// Counts what a page holds, and what it has no room for.
#[derive(Default)]
struct Room {
    bytes: usize,
    left_out: usize,
}

impl Room {
    /// Whether there is room for some pictures, which is then taken.
    fn take(&mut self, pictures: &[&Picture]) -> bool {
        let more: usize = pictures.iter().map(|picture| picture.png.len()).sum();
        let fits = self.bytes + more <= MOST_BYTES;
        if fits {
            self.bytes += more;
        } else {
            self.left_out += 1;
        }
        fits
    }
}

impl Sheets {
    /// Those of a study or run: what was drawn last comes first, then the first seed of each arm, then other seeds, as
    /// far as there is room.
    pub(super) fn of(findings: &Findings) -> Self {
        let (mut first, mut others): (Vec<&Record>, Vec<&Record>) = (Vec::new(), Vec::new());
        for record in
            findings.runs.iter().chain(&findings.teachers).filter(|record| !record.pictures.is_empty())
        {
            let known = first.iter().any(|other| other.group == record.group);
            if known { &mut others } else { &mut first }.push(record);
        }
        let mut room = Room::default();
        // A teacher's first: what its students are held against.
        let is_teacher =
            |record: &&&Record| findings.teachers.iter().any(|teacher| std::ptr::eq(teacher, **record));
        let ordered =
            first.iter().filter(is_teacher).chain(first.iter().filter(|record| !is_teacher(record)));
        let last = ordered.flat_map(|record| record.pictures.iter().map(move |pictures| (*record, pictures)));
        let mut last: Vec<(&Record, &Pictures, &Picture)> = last
            .filter(|(_, pictures)| !pictures.sampler.starts_with(COPIES))
            .filter_map(|(record, pictures)| Some((record, pictures, pictures.shown.last()?)))
            .collect();
        // Within an arm, the fewest evaluations first.
        last.chunk_by_mut(|a, b| a.0.group == b.0.group).for_each(|of_group| {
            of_group.sort_by_key(|(record, pictures, _)| evaluations(findings, record, &pictures.sampler));
        });
        let last: Vec<Markup> = (last.into_iter())
            .filter(|(.., picture)| room.take(&[*picture]))
            .map(|(record, pictures, picture)| sheet(findings, record, pictures, picture))
            .collect();
        let mut strips = |records: &[&Record], is_first: bool| -> Vec<Markup> {
            let all = records
                .iter()
                .flat_map(|record| record.pictures.iter().map(move |pictures| (*record, pictures)));
            // A first seed's only picture was shown.
            let more = all.filter(|(_, Pictures { sampler, shown, .. })| {
                !is_first || shown.len() > 1 || sampler.starts_with(COPIES)
            });
            let fit = more.filter(|(_, pictures)| room.take(&pictures.shown.iter().collect::<Vec<_>>()));
            fit.map(|(record, pictures)| strip(record, pictures)).collect()
        };
        let (first, others) = (strips(&first, true), strips(&others, false));
        let left_out = room.left_out;
        let by_checkpoint = (first.len() + others.len() + left_out > 0).then(|| {
            html! {
                div.pictures { @for figure in first { (figure) } }
                @if !others.is_empty() {
                    details { summary { "Further seeds (" (others.len()) " figures)" } div.pictures { @for figure in others { (figure) } } }
                }
                @if left_out > 0 {
                    p.help { (left_out) " figures are left out: the page holds " (MOST_BYTES >> 20) " MiB of pictures. They are in the runs' samples folders." }
                }
            }
        });
        Self { drawn: drawn(&last), by_checkpoint }
    }
}

fn drawn(sheets: &[Markup]) -> Option<Markup> {
    let (shown, folded) = sheets.split_at(sheets.len().min(SIDE_BY_SIDE));
    (!shown.is_empty()).then(|| {
        html! {
            div.sheets { @for figure in shown { (figure) } }
            @if !folded.is_empty() {
                details { summary { "Further arms and samplers (" (folded.len()) " sheets)" } div.sheets { @for figure in folded { (figure) } } }
            }
        }
    })
}

fn image(alt: &str, picture: &Picture) -> Markup {
    html! {
        img alt=(alt) width=(picture.width) height=(picture.height)
            src={ "data:image/png;base64," (STANDARD.encode(&picture.png)) };
    }
}

/// Network evaluations for an image of an arm's student by a sampler.
fn evaluations(findings: &Findings, record: &Record, sampler: &str) -> Option<usize> {
    let of_arm = &findings.experiment(&record.group)?.evaluation.student;
    of_arm.iter().find(|config| config.name() == *sampler).map(StudentSamplerConfig::evaluations)
}

/// The last sheet of an arm and sampler.
fn sheet(findings: &Findings, record: &Record, pictures: &Pictures, picture: &Picture) -> Markup {
    let Record { group, seed, .. } = record;
    let sampler = &pictures.sampler;
    let nfe = evaluations(findings, record, sampler);
    // A teacher's sheets are named as it is.
    let by = if group.starts_with(sampler.as_str()) { String::new() } else { format!(", {sampler}") };
    html! {
        figure.sheet {
            h3 { (group) (by) }
            (image(&format!("Samples of {group} by {sampler} at the last checkpoint"), picture))
            figcaption {
                @match nfe { Some(1) => "1 evaluation for an image, ", Some(nfe) => { (nfe) " evaluations for an image, " } None => "" }
                "step " (picture.step) " of seed " (seed) "."
            }
        }
    }
}

fn strip(record: &Record, Pictures { sampler, shown, found }: &Pictures) -> Markup {
    let Record { group, seed, .. } = record;
    let copies = sampler.strip_prefix(COPIES);
    html! {
        figure.samples {
            h3 { (group) ", seed " (seed) ": " @match copies { Some(sampler) => { "most like training images, " (sampler) } None => (sampler) } }
            ol {
                @for picture in shown {
                    li {
                        (image(&format!("Samples of {group} by {sampler} after step {}", picture.step), picture))
                        span { "step " (picture.step) }
                    }
                }
            }
            figcaption {
                @if copies.is_some() {
                    "The samples nearest to a training image by the judge's features, each with that image to its right; the \
                     share `copied` says how many are nearer than that image's nearest neighbour in training."
                } @else {
                    "The same noise at every step."
                }
                @if *found > shown.len() { " " (shown.len()) " of " (found) " checkpoints." }
            }
        }
    }
}
