//! Places of the format: a path as people write it, and the way to it through the types.

use crate::diagnostics::closest;
use crate::synonym::synonym;
use cm_format::{Field, Holds, Type, Variant, root};
use std::fmt;

/// A path that leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the format of studies has no `{path}`{nearest}\n  allowed: {allowed}")]
pub struct UnknownPlace {
    path: String,
    nearest: String,
    allowed: String,
}

/// The way to a place of the format.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    steps: Vec<Step>,
}

/// One step of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Step {
    Field(&'static Field),
    Variant(&'static Variant),
}

impl Place {
    /// The whole file.
    pub(crate) fn root() -> Self {
        Self { steps: Vec::new() }
    }

    /// Where these steps lead.
    pub(crate) fn of(steps: &[Step]) -> Self {
        Self { steps: steps.to_vec() }
    }

    /// The place of a path: fields and variants with dots between them. `base.` at the beginning, and variants on the way
    /// to a field that only they have, may be left out; a single name leads wherever it is the only one of its kind.
    pub(crate) fn find(path: &str) -> Result<Self, UnknownPlace> {
        let plain: Vec<&str> = path.split('.').map(|part| part.split('[').next().unwrap_or(part)).collect();
        let plain: Vec<&str> = plain.into_iter().filter(|part| !part.is_empty()).collect();
        let from_base = || [&["base"], &plain[..]].concat();
        if let Ok(place) = Self::root().follow(&plain).or_else(|_| Self::root().follow(&from_base())) {
            return Ok(place);
        }
        let last = plain.last().copied().unwrap_or_default();
        let everywhere = Self::everywhere();
        let ends = |place: &Self, name: &str| {
            place.name() == name
                && (plain.len() < 2 || name != last || place.contains(&plain[..plain.len() - 1]))
        };
        let named: Vec<&Self> = everywhere.iter().filter(|place| ends(place, last)).collect();
        if let [only] = named[..] {
            return Ok(only.clone());
        }
        let names: Vec<&str> = everywhere.iter().map(Self::name).collect();
        let (found, nearest) = match (named.is_empty(), synonym(last).or_else(|| closest(last, &names))) {
            (false, _) => (named, String::new()),
            (true, Some(near)) => (
                everywhere.iter().filter(|place| place.name() == near).collect(),
                format!(": did you mean `{near}`?"),
            ),
            (true, None) => (Vec::new(), String::new()),
        };
        let allowed = match found.is_empty() {
            true => "what `cm explain` lists".to_owned(),
            false => found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        };
        Err(UnknownPlace { path: path.to_owned(), nearest, allowed })
    }

    /// Onward by names; `Err` is the part that leads nowhere.
    pub(crate) fn follow<'a>(mut self, parts: &[&'a str]) -> Result<Self, &'a str> {
        for part in parts {
            self = self.child(part).ok_or(*part)?;
        }
        Ok(self)
    }

    /// The field or variant of this name here, or in what the variants here hold.
    pub(crate) fn child(&self, name: &str) -> Option<Self> {
        let of = match self.steps.is_empty() {
            true => root(),
            false => self.holds()?.named()?,
        };
        let field = of.fields().iter().find(|field| field.name == name).map(Step::Field);
        let variant = of.variants().iter().find(|variant| variant.name == name).map(Step::Variant);
        field.or(variant).map(|step| self.then(step)).or_else(|| {
            of.variants().iter().find_map(|variant| self.then(Step::Variant(variant)).child(name))
        })
    }

    fn then(&self, step: Step) -> Self {
        Self { steps: [&self.steps[..], &[step]].concat() }
    }

    /// A field of the struct here.
    pub(crate) fn then_field(&self, field: &'static Field) -> Self {
        self.then(Step::Field(field))
    }

    /// A variant of the enum here.
    pub(crate) fn then_variant(&self, variant: &'static Variant) -> Self {
        self.then(Step::Variant(variant))
    }

    /// Every place that is reached by fields and variants, those of one type once.
    pub(crate) fn everywhere() -> Vec<Self> {
        let mut found = Vec::new();
        let mut visited: Vec<&str> = Vec::new();
        let mut open = vec![Self::root()];
        while let Some(place) = open.pop() {
            let of = match place.steps.is_empty() {
                true => Some(root()),
                false => place.holds().and_then(|holds| holds.named()),
            };
            let Some(of) = of.filter(|of| !visited.contains(&of.name) || place.is_in_base()) else {
                continue;
            };
            // A type within itself would be endless.
            if place.steps.len() > 12 {
                continue;
            }
            visited.push(of.name);
            let fields = of.fields().iter().map(Step::Field);
            let steps = fields.chain(of.variants().iter().map(Step::Variant));
            let next: Vec<Self> = steps.map(|step| place.then(step)).collect();
            found.extend(next.iter().cloned());
            open.extend(next.into_iter().rev());
        }
        found
    }

    /// Whether it lies in the base, and not in an arm, where the same types stand again.
    pub(crate) fn is_in_base(&self) -> bool {
        matches!(self.steps.first(), Some(Step::Field(field)) if field.name == "base")
    }

    /// Whether these names stand on the way, in this order.
    fn contains(&self, names: &[&str]) -> bool {
        let mut wanted = names.iter();
        let mut next = wanted.next();
        for step in &self.steps {
            if next.is_some_and(|name| *name == step.name()) {
                next = wanted.next();
            }
        }
        next.is_none()
    }

    /// The steps to it.
    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }

    fn name(&self) -> &'static str {
        self.steps.last().map_or("", |step| step.name())
    }

    /// What may stand there; nothing in a variant without brackets.
    pub(crate) fn holds(&self) -> Option<Holds> {
        match self.steps.last() {
            None => Some(Holds::Named(root().name)),
            Some(Step::Field(field)) => Some(field.holds),
            Some(Step::Variant(variant)) => variant.holds,
        }
    }

    /// The type of what stands there, inside of lists and of what may be left out.
    pub(crate) fn of_type(&self) -> Option<&'static Type> {
        self.holds().and_then(|holds| holds.named())
    }

    /// Its words.
    pub(crate) fn doc(&self) -> &'static str {
        match self.steps.last() {
            None => root().doc,
            Some(Step::Field(field)) => field.doc,
            Some(Step::Variant(variant)) => variant.doc,
        }
    }

    /// The field, if it is one.
    pub(crate) fn field(&self) -> Option<&'static Field> {
        match self.steps.last() {
            Some(Step::Field(field)) => Some(field),
            Some(Step::Variant(_)) | None => None,
        }
    }

    /// A study with `value` at this place, and nothing else; without one only the way there.
    pub(crate) fn study(&self, value: Option<&str>) -> String {
        within(&self.steps, value)
    }
}

impl Step {
    fn name(&self) -> &'static str {
        match self {
            Self::Field(field) => field.name,
            Self::Variant(variant) => variant.name,
        }
    }
}

/// `value` inside of all these steps, in RON.
fn within(steps: &[Step], value: Option<&str>) -> String {
    let Some((step, rest)) = steps.split_first() else { return value.unwrap_or("()").to_owned() };
    match step {
        Step::Field(field) => {
            let inner = match (rest.is_empty(), value) {
                (true, Some(value)) => value.to_owned(),
                (true, None) => "()".to_owned(),
                (false, _) => in_list(field.holds, within(rest, value)),
            };
            format!("({}: {inner})", field.name)
        }
        Step::Variant(variant) => match (variant.holds, rest.is_empty(), value) {
            (None, _, _) => variant.name.to_owned(),
            (Some(_), true, Some(value)) => value.to_owned(),
            (Some(holds), _, _) => {
                let inner = in_list(holds, within(rest, value));
                // The brackets of settings are those of their variant.
                match inner.strip_prefix('(') {
                    Some(settings) if !matches!(holds, Holds::List(_)) => {
                        format!("{}({settings}", variant.name)
                    }
                    _ => format!("{}({inner})", variant.name),
                }
            }
        },
    }
}

fn in_list(holds: Holds, inner: String) -> String {
    match holds {
        Holds::List(each) => format!("[{}]", in_list(*each, inner)),
        _ => inner,
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.steps.iter().map(Step::name).collect();
        f.write_str(if names.is_empty() { "a study" } else { "" })?;
        f.write_str(&names.join("."))
    }
}
