//! The page: what was asked and found first, then what it rests on.

use crate::figure::Figure;
use crate::figures::{self, LevelMap};
use crate::findings::{Findings, HeaderLine};
use crate::found;
use crate::pictures::Sheets;
use crate::pieces::{plain_table, sample_of_line};
use crate::reference::Reference;
use cm_experiment::table::{mean_and_spread, number};
use cm_host::Provenance;
use cm_study::{ArmCost, TrainingCost};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// The page as text.
pub(super) fn html(findings: &Findings, reference: Option<&Reference>) -> String {
    let Sheets { drawn, by_checkpoint } = Sheets::of(findings);
    let sections: Vec<(&str, &str, Markup)> = [
        ("asked", "What was asked", asked(findings)),
        ("drawn", "What was drawn", drawn),
        ("found", "What was found", Some(found::section(findings))),
        ("cost", "What it cost", cost(findings)),
        ("curves", "Curves over training", curves(findings, reference)),
        ("levels", "By noise level", levels(findings, reference)),
        ("samples", "Samples by checkpoint", by_checkpoint),
        ("plan", "The plan", Some(plan(findings))),
        ("provenance", "Where the numbers come from", provenance(findings)),
    ]
    .into_iter()
    .filter_map(|(id, title, content)| Some((id, title, content?)))
    .collect();
    let total = findings.plan.seeds.len() * findings.plan.arms.len();
    let done = total - findings.missing.len();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                // The page can ask no one for anything.
                meta http-equiv="Content-Security-Policy"
                    content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (findings.title) " (" (findings.subject) ")" }
                style { (PreEscaped(include_str!("page.css"))) }
            }
            body {
                header {
                    h1.question[!findings.plan.question.is_empty()] { (findings.title) }
                    p.subject { (findings.subject) ", " (done) " of " (total) " runs finished" }
                }
                nav aria-label="Sections" {
                    ul { @for (id, title, _) in &sections { li { a href={ "#" (id) } { (title) } } } }
                }
                main {
                    @for (id, title, content) in &sections {
                        section id=(id) aria-labelledby={ (id) "-heading" } {
                            h2 id={ (id) "-heading" } { (title) }
                            (content)
                        }
                    }
                }
                script { (PreEscaped(include_str!("page.js"))) }
            }
        }
    };
    page.into_string()
}

fn asked(findings: &Findings) -> Option<Markup> {
    let part = |HeaderLine { label, text }: &HeaderLine| match label {
        Some(label) => html! { div { dt { (label) } dd { (text) } } },
        None => html! { p { (text) } },
    };
    let (labelled, plain): (Vec<_>, Vec<_>) = findings.header.iter().partition(|line| line.label.is_some());
    (!findings.header.is_empty()).then(|| {
        html! {
            @for line in plain { (part(line)) }
            @if !labelled.is_empty() { dl { @for line in labelled { (part(line)) } } }
        }
    })
}

fn cost(findings: &Findings) -> Option<Markup> {
    let measured = |group: &str| -> String {
        let of_group = findings.runs.iter().chain(&findings.teachers).filter(|record| record.group == group);
        let seconds: Vec<f64> = of_group.filter_map(|record| record.seconds).collect();
        match seconds.is_empty() {
            true => "-".to_owned(),
            false => {
                let (mean, _) = mean_and_spread(&seconds);
                number(mean, mean)
            }
        }
    };
    let mut rows = vec![
        ["trained", "parameters", "images", "steps", "operations", "measured seconds"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let mut add = |name: &str, group: &str, parameters: usize, cost: &TrainingCost| {
        let TrainingCost { images, steps, flops } = cost;
        let planned = [parameters.to_string(), images.to_string(), steps.to_string(), format!("{flops:.2e}")];
        rows.push([name.to_owned()].into_iter().chain(planned).chain([measured(group)]).collect());
    };
    for ArmCost { arm, parameters, student, .. } in &findings.costs {
        add(arm, arm, *parameters, student);
    }
    // Arms that share a teacher name it once.
    let only_teacher =
        findings.teachers.iter().filter(|record| record.group.starts_with("teacher")).count() == 1;
    if let Some((cost, teacher)) =
        findings.costs.iter().find_map(|cost| Some((cost, cost.teacher.as_ref()?))).filter(|_| only_teacher)
    {
        add("teacher", "teacher", cost.parameters, teacher);
    }
    let mean = if findings.plan.seeds.len() > 1 { ", the mean over seeds" } else { "" };
    let caption = format!(
        "For one seed: images, steps and floating-point operations as planned; seconds of training as recorded{mean}. \
         Pictures and scores take time besides."
    );
    (rows.len() > 1).then(|| {
        html! {
            div.scroll tabindex="0" role="region" aria-label="Cost" { (plain_table(&caption, &rows, 1)) }
        }
    })
}

fn curves(findings: &Findings, reference: Option<&Reference>) -> Option<Markup> {
    let figures::Curves { first, more } = figures::curves(findings, reference);
    let draw = |figures: &[Figure]| figures.iter().filter_map(Figure::markup).collect::<Vec<_>>();
    let (first, more) = (draw(&first), draw(&more));
    let recorded = |group: &&str| {
        let mut records = findings.runs.iter().chain(&findings.teachers);
        records.any(|record| record.group == **group && !record.curves.is_empty())
    };
    let groups: Vec<&str> = findings.groups();
    (first.len() + more.len() > 0).then(|| {
        html! {
            fieldset.legend {
                legend { "Lines" }
                @for (place, group) in groups.iter().enumerate().filter(|(_, group)| recorded(group)) {
                    label { input type="checkbox" checked data-group=(place); (sample_of_line(place)) (group) }
                }
            }
            p.help {
                "Drag over a figure to zoom, double-click to see all again. With the keyboard: the arrow keys read values off, "
                kbd { "+" } " and " kbd { "-" } " zoom, " kbd { "0" } " shows all."
            }
            @if let Some(reference) = reference {
                p.help { "Dotted: " (reference.described(findings)) "." }
            }
            div.figures { @for figure in first { (figure) } }
            @if !more.is_empty() {
                details { summary { "Rates, norms and schedules (" (more.len()) " figures)" } div.figures { @for figure in more { (figure) } } }
            }
        }
    })
}

fn levels(findings: &Findings, reference: Option<&Reference>) -> Option<Markup> {
    let figures::Levels { figures, maps } = figures::levels(findings, reference);
    let figures: Vec<Markup> = figures.iter().filter_map(Figure::markup).collect();
    let maps: Vec<Markup> =
        maps.iter().enumerate().filter_map(|(place, map)| level_map(map, place)).collect();
    (!figures.is_empty()).then(|| {
        html! {
            div.figures { @for figure in figures { (figure) } }
            @if !maps.is_empty() {
                details {
                    summary { "Over training (" (maps.len()) " figures, the first seed of each)" }
                    div.figures { @for map in maps { (map) } }
                }
            }
        }
    })
}

/// A cell for each range of noise levels and each record, darker where the value is higher.
fn level_map(map: &LevelMap, place: usize) -> Option<Markup> {
    let (low, high) = map.extent()?;
    let share = |value: f64| if high > low { (value / low).ln() / (high / low).ln() } else { 1.0 };
    let (width, height) = (640.0 / map.images.len() as f64, 12.0);
    let bins = map.levels.len();
    let cells = map.values.iter().enumerate().flat_map(|(bin, values)| {
        values.iter().enumerate().filter_map(move |(column, value)| Some((bin, column, (*value)?)))
    });
    let id = format!("map-{place}");
    let scale = number(low, low) + " to " + &number(high, high);
    Some(html! {
        figure id=(id) {
            h3 id={ (id) "-title" } { (map.title) }
            svg.map viewBox={ "0 0 640 " (height * bins as f64) } preserveAspectRatio="none" role="img" aria-labelledby={ (id) "-title" }
                aria-describedby={ (id) "-caption" } {
                @for (bin, column, value) in cells.filter(|(.., value)| *value > 0.0) {
                    rect x={ (format!("{:.2}", column as f64 * width)) } y=(height * (bins - 1 - bin) as f64)
                        width={ (format!("{:.2}", width + 0.3)) } height=(height)
                        fill-opacity={ (format!("{:.3}", 0.06 + 0.94 * share(value))) } { title { (map.cell(bin, column, value)) } }
                }
            }
            figcaption id={ (id) "-caption" } {
                "From left to right training, from below to above rising noise levels; the darker the larger, by logarithms from "
                (scale) "."
            }
        }
    })
}

fn plan(findings: &Findings) -> Markup {
    html! {
        @if !findings.study.is_empty() {
            details { summary { "The study as written" } pre tabindex="0" { (findings.study) } }
        }
        details.long { summary { "The plan it stands for, every value written out" } pre tabindex="0" { (findings.plan_text) } }
    }
}

fn provenance(findings: &Findings) -> Option<Markup> {
    let head = [
        "run",
        "version",
        "commit",
        "profile",
        "platform",
        "processor",
        "instructions",
        "threads",
        "networks on",
        "begun (UTC)",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let mut crates: Vec<&str> = Vec::new();
    for record in findings.runs.iter().chain(&findings.teachers) {
        let Some(Provenance {
            version,
            commit,
            dirty,
            profile,
            platform,
            cpu,
            instruction_set,
            threads,
            device,
            created,
            crates: of_run,
            ..
        }) = &record.provenance
        else {
            continue;
        };
        let changed = match dirty {
            Some(true) => " with changes",
            Some(false) => "",
            None => ", changes unknown",
        };
        let begun =
            i64::try_from(*created).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
        let mut row = vec![format!("{}, seed {}", record.group, record.seed), version.clone()];
        row.push(format!("{}{changed}", commit.get(..12).unwrap_or(commit)));
        row.extend([profile, platform, cpu, instruction_set].map(String::clone));
        row.extend([threads.to_string(), device.clone()]);
        row.push(begun.map_or("-".to_owned(), |begun| begun.to_string()));
        rows.push(row);
        crates.extend(of_run.iter().map(String::as_str));
    }
    crates.sort_unstable();
    crates.dedup();
    let caption = "What made each result. The seed decides its numbers, and so may another version, commit or library. \
                   Another instruction set (but for AVX2 and AVX-512, which agree), platform or device rounds differently: single \
                   evaluations then differ in their last digits, and trained models by more, since training amplifies them. \
                   Threads change nothing.";
    (rows.len() > 1).then(|| {
        html! {
            div.scroll tabindex="0" role="region" aria-label="Provenance" { (plain_table(caption, &rows, 10)) }
            p { "Libraries that decide numbers: " (crates.join(", ")) "." }
        }
    })
}
