//! What is wrong with the input, where, and what would cure it: collected as a value, rendered once.
//!
//! Every check of this module's siblings answers with a [`Complaint`]; only [`Complaint::into_error`] knows
//! the text and draws the excerpt, so that all errors of input look alike.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::source::{Source, Span};
use super::tree::{self, Node};
use crate::error::{Error, Kind};

/// The result of reading and checking input.
pub(super) type Checked<T> = Result<T, Box<Complaint>>;

/// One thing that is wrong with the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Complaint {
    message: String,
    at: Option<Span>,
    /// Whether the place stands for the mapping that begins there, not for its first key.
    whole: bool,
    /// What stands at the place, where that is no field of the YAML.
    path: Option<String>,
    others: Vec<(Span, String)>,
    hint: Option<String>,
    kind: Kind,
}

impl Complaint {
    /// Something wrong at a place.
    pub(super) fn at(span: Span, message: impl Into<String>) -> Box<Complaint> {
        Box::new(Complaint { at: Some(span), ..*Complaint::anywhere(message) })
    }

    /// Something wrong with a mapping as a whole, at the place of its first key.
    pub(super) fn at_whole(span: Span, message: impl Into<String>) -> Box<Complaint> {
        Box::new(Complaint { whole: true, ..*Complaint::at(span, message) })
    }

    /// Something wrong that has no place: a document that is missing.
    pub(super) fn anywhere(message: impl Into<String>) -> Box<Complaint> {
        let message = message.into();
        Box::new(Complaint {
            message,
            at: None,
            whole: false,
            path: None,
            others: Vec::new(),
            hint: None,
            kind: Kind::Topology,
        })
    }

    /// Something wrong with an argument of the command line.
    pub(super) fn usage(message: impl Into<String>) -> Box<Complaint> {
        Box::new(Complaint { kind: Kind::Usage, ..*Complaint::anywhere(message) })
    }

    /// Something wrong at a place if there is one, else with an argument of the command line.
    pub(super) fn at_or_usage(span: Option<Span>, message: impl Into<String>) -> Box<Complaint> {
        match span {
            Some(span) => Complaint::at(span, message),
            None => Complaint::usage(message),
        }
    }

    /// Adds the cure.
    pub(super) fn hint(mut self: Box<Self>, hint: impl Into<String>) -> Box<Complaint> {
        self.hint = Some(hint.into());
        self
    }

    /// Says what stands at the place, where the YAML's own field would say too little.
    pub(super) fn path(mut self: Box<Self>, path: String) -> Box<Complaint> {
        self.path = Some(path);
        self
    }

    /// The same of a text that stands inside of another one: `name` is what it is called, and `place` says where its parts
    /// are in the whole.
    pub(super) fn embedded(mut self: Box<Self>, name: &str, place: impl Fn(Span) -> Span) -> Box<Complaint> {
        let words = self.message.strip_prefix("this is not YAML: ").unwrap_or(&self.message);
        self.message = format!("{name} cannot be read: {words}");
        self.at = self.at.map(&place);
        self.others.iter_mut().for_each(|(span, _)| *span = place(*span));
        self.path(name.to_owned())
    }

    /// Adds another place that belongs to it, with a word on what is there.
    pub(super) fn and(mut self: Box<Self>, span: Option<Span>, label: impl Into<String>) -> Box<Complaint> {
        self.others.extend(span.map(|span| (span, label.into())));
        self
    }

    /// The error for a word of the command line, which has no place in a file.
    pub(super) fn into_usage(self) -> Error {
        Complaint { at: None, kind: Kind::Usage, ..self }.into_error(&[], &[])
    }

    /// The error for the user: message, excerpt with file, line, column and field path, hint.
    pub(super) fn into_error(self, sources: &[Source], documents: &[(u32, Node)]) -> Error {
        let excerpt = self.excerpt(sources, documents);
        let mut error = Error::new(self.kind, self.message);
        if let Some(excerpt) = excerpt {
            error = error.excerpt(excerpt);
        }
        match self.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    fn excerpt(&self, sources: &[Source], documents: &[(u32, Node)]) -> Option<String> {
        let at = self.at?;
        let own = || tree::path_to(documents, at, self.whole).unwrap_or_default();
        let path = self.path.clone().unwrap_or_else(own);
        let mut group = Group::with_level(Level::ERROR);
        let own = self.others.iter().filter(|(span, _)| span.source == at.source);
        let snippet = snippet_of(sources.get(at.source as usize)?)
            .annotation(AnnotationKind::Primary.span(range(sources, at)).label(path))
            .annotations(own.map(|(span, label)| AnnotationKind::Context.span(range(sources, *span)).label(label)));
        group = group.element(snippet);
        for (span, label) in self.others.iter().filter(|(span, _)| span.source != at.source) {
            let mark = AnnotationKind::Context.span(range(sources, *span)).label(label);
            group = group.element(snippet_of(sources.get(span.source as usize)?).annotation(mark));
        }
        Some(Renderer::plain().term_width(120).render(&[group]))
    }
}

fn snippet_of<'a, T: Clone>(source: &'a Source) -> Snippet<'a, T> {
    Snippet::source(source.text.as_str()).path(source.name.as_str())
}

/// The span as a range that lies in its text, on character boundaries, not empty unless at a line's end.
fn range(sources: &[Source], span: Span) -> std::ops::Range<usize> {
    let text = sources.get(span.source as usize).map(|source| source.text.as_str()).unwrap_or_default();
    let start = boundary_before(text, span.start as usize);
    let line_end = text[start..].find('\n').map_or(text.len(), |n| start + n);
    let end = boundary_before(text, span.end as usize).clamp(start, line_end);
    start..end
}

/// The last character boundary at or before a byte.
pub(super) fn boundary_before(text: &str, byte: usize) -> usize {
    let byte = byte.min(text.len());
    (0..=byte).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// A value of the input as errors quote it: escaped, and cut if it is long.
pub(super) fn quote(value: &str) -> String {
    const LONGEST: usize = 80;
    let escaped = |c: char| match c {
        '\'' | '"' => c.to_string(),
        _ => c.escape_debug().to_string(),
    };
    let mut shown: String = value.chars().take(LONGEST).map(escaped).collect();
    if value.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// The candidate that a mistyped word most likely meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Levenshtein on a word of megabytes is quadratic; nothing of that length has a neighbour.
    if word.len() > 64 {
        return None;
    }
    let lower = word.to_lowercase();
    let (distance, best) = candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .min()?;
    (distance <= 1 + word.len() / 4).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_near() {
        let names = ["image", "imagePullPolicy", "name"];
        assert_eq!(nearest("imagee", names), Some("image"));
        assert_eq!(nearest("Image", names), Some("image"));
        assert_eq!(nearest("imagepullpolcy", names), Some("imagePullPolicy"));
        assert_eq!(nearest("replicas", names), None);
        assert_eq!(nearest(&"a".repeat(1_000_000), names), None);
    }

    #[test]
    fn long_values_are_cut_and_escaped() {
        assert_eq!(quote("a\nb\u{1b}"), "`a\\nb\\u{1b}`");
        assert!(quote(&"x".repeat(1000)).chars().count() < 90);
    }
}
