//! Where values stand in a text.

use overlab_dataplane::fields::Segment;

/// A stretch of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::scenario) struct Span {
    /// Its first byte.
    pub(in crate::scenario) start: u32,
    /// The byte after its last one.
    pub(in crate::scenario) end: u32,
}

/// Where a value and everything in it stand. For an alias that is where the value is defined.
#[derive(Clone, Debug)]
pub(in crate::scenario) struct Positions {
    /// The value's place. Of a collection, only the beginning is known.
    pub(in crate::scenario) span: Span,
    /// The places of what is in it.
    pub(in crate::scenario) children: Children,
}

/// The places of what is in a value.
#[derive(Clone, Debug)]
pub(in crate::scenario) enum Children {
    /// It holds nothing.
    None,
    /// The items of a list.
    Seq(Vec<Positions>),
    /// The entries of a mapping, each with the place of its key.
    Map(Vec<(String, Span, Positions)>),
}

impl Positions {
    /// One place for a value and all that is in it.
    pub(in crate::scenario) fn at(span: Span) -> Positions {
        Positions {
            span,
            children: Children::None,
        }
    }

    /// The place of a key of this mapping, and those of its value.
    pub(in crate::scenario) fn entry(&self, name: &str) -> Option<(Span, &Positions)> {
        match &self.children {
            Children::Map(entries) => entries
                .iter()
                .find(|(key, ..)| key == name)
                .map(|(_, key, value)| (*key, value)),
            Children::None | Children::Seq(_) => None,
        }
    }

    /// The places of the value at the end of a path.
    pub(in crate::scenario) fn get(&self, path: &[Segment]) -> Option<&Positions> {
        path.iter().try_fold(self, |here, segment| match (&here.children, segment) {
            (Children::Map(_), Segment::Key(name)) => Some(here.entry(name)?.1),
            (Children::Seq(items), Segment::Index(index)) => items.get(*index),
            (Children::None | Children::Seq(_) | Children::Map(_), _) => None,
        })
    }

    /// Forgets an item of a list.
    pub(in crate::scenario) fn remove_item(&mut self, item: usize) {
        if let Children::Seq(items) = &mut self.children
            && item < items.len()
        {
            items.remove(item);
        }
    }

    /// As [`Positions::get`], to change them.
    pub(in crate::scenario) fn get_mut(&mut self, path: &[Segment]) -> Option<&mut Positions> {
        path.iter()
            .try_fold(self, |here, segment| match (&mut here.children, segment) {
                (Children::Map(entries), Segment::Key(name)) => {
                    entries.iter_mut().find(|(key, ..)| key == name).map(|(.., value)| value)
                }
                (Children::Seq(items), Segment::Index(index)) => items.get_mut(*index),
                (Children::None | Children::Seq(_) | Children::Map(_), _) => None,
            })
    }

    /// The place of the field at the end of a path. `at_key` asks for its key. Where the path leads nowhere, the last step that
    /// exists is taken; a collection that has a key is shown by its key, since its text may be long.
    pub(in crate::scenario) fn locate(&self, path: &[Segment], at_key: bool) -> Span {
        let mut here = self;
        let mut key = None;
        for segment in path {
            let next = match (&here.children, segment) {
                (Children::Map(entries), Segment::Key(name)) => entries
                    .iter()
                    .find(|(key, ..)| key == name)
                    .map(|(_, key, value)| (Some(*key), value)),
                (Children::Seq(items), Segment::Index(index)) => items.get(*index).map(|item| (None, item)),
                (Children::None | Children::Seq(_) | Children::Map(_), _) => None,
            };
            let Some((next_key, next)) = next else { break };
            (key, here) = (next_key, next);
        }
        match (&here.children, key) {
            (Children::Seq(_) | Children::Map(_), Some(key)) => key,
            (Children::None, Some(key)) if at_key || here.span.start == here.span.end => key,
            _ => here.span,
        }
    }
}
