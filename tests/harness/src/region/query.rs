//! The query of a request, as far as a fake region needs it.

/// Reads numbers out of `a=1&b=2`. Nothing is percent-decoded: tests send plain numbers.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    text: String,
}

impl Query {
    pub(crate) fn of(uri: &http::Uri) -> Self {
        Self { text: uri.query().unwrap_or_default().to_owned() }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        let value = |pair: &str| match pair.split_once('=') {
            Some((name, value)) if name == key => value.parse().ok(),
            Some(_) | None => None,
        };
        self.text.split('&').find_map(value)
    }
}
