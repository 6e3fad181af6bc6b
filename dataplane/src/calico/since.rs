//! Fields that not every Calico version has: which of them an object states, and whether a version knows them.

use super::Profile;
use crate::fields::{FieldRef, Fields, Refusal};

/// A field that an object states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Since {
    field: FieldRef,
    /// The minor version of Calico v3 that brought it.
    minor: u8,
}

/// Those of a table of fields, each with the minor version that brought it, that are stated.
pub(super) fn stated(fields: &mut Fields<'_>, table: &[(&'static str, u8)]) -> Vec<Since> {
    let stated = table.iter().filter(|(key, _)| fields.value(key).is_some());
    let stated: Vec<_> = stated.copied().collect();
    let since = |(key, minor)| Since {
        field: fields.field(key),
        minor,
    };
    stated.into_iter().map(since).collect()
}

/// Refuses those that a version does not know.
pub(super) fn check(stated: &[Since], profile: Profile, refusals: &mut Vec<Refusal>) {
    for Since { field, minor } in stated.iter().filter(|since| since.minor > profile.minor()) {
        let known = Profile::ALL.into_iter().find(|profile| profile.minor() >= *minor);
        let known = known.map(|profile| format!(", as {profile}")).unwrap_or_default();
        refusals.push(
            Refusal::new(
                "K-VERSION",
                field.clone(),
                format!("{profile} has no field `{field}`", field = field.path),
            )
            .at_key()
            .why(format!("Calico has it from v3.{minor}"))
            .help(format!("remove it, or choose a profile from v3.{minor} on{known}")),
        );
    }
}
