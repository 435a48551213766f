//! Endpoints that no request can tell apart, so that a region of a hundred need not be asked a
//! hundred times.

use std::sync::Arc;

use super::Endpoint;
use crate::ask::Demand;

/// Kinds that are told apart in one region. One with more, as if each endpoint ran another
/// release, has every endpoint looked at.
const KINDS_MAX: usize = 16;

/// Where in a region the first endpoint of each kind stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kinds(Vec<usize>);

impl Kinds {
    pub(super) fn of(endpoints: &[Endpoint]) -> Self {
        let mut firsts: Vec<(usize, &Endpoint)> = Vec::new();
        for (place, endpoint) in endpoints.iter().enumerate() {
            if firsts.iter().any(|(_, it)| is_alike(it, endpoint)) {
                continue;
            }
            if firsts.len() == KINDS_MAX {
                return Self((0..endpoints.len()).collect());
            }
            firsts.push((place, endpoint));
        }
        Self(firsts.into_iter().map(|(place, _)| place).collect())
    }

    pub(super) fn places(&self) -> &[usize] {
        &self.0
    }
}

/// Whether two endpoints are the same to [`crate::route::admits`], whatever it is asked.
fn is_alike(one: &Endpoint, other: &Endpoint) -> bool {
    let state = |it: &Endpoint| (it.verdict, it.ejected, it.drained, it.vetoes);
    let says_alike = match (&one.report, &other.report) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other) || Demand::sees_alike(one, other),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    state(one) == state(other) && says_alike
}
