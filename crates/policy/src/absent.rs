//! Words that are not part of this version: features that are known, and words that are misspelt.

/// Features that are known by name and not built into this version, each with advice.
const FEATURES: [(&str, &str); 21] = [
    ("acme", "obtain certificates outside, for instance with certbot"),
    ("cache", "tidegate does not cache; put a cache in front of it"),
    ("caching", "tidegate does not cache; put a cache in front of it"),
    ("client_geo", "use `strategy: nearest` or `strategy: measured`"),
    ("client_ca", "remove it"),
    ("dns", "list the addresses, or keep them in a file: `{ file: eu.endpoints }`"),
    ("gated", "use `manual: true` or `after: 10m`"),
    ("geo", "use `distance` or `strategy: measured`"),
    ("http3", "remove it"),
    ("kubernetes", "write the endpoints to a file: `{ file: eu.endpoints }`"),
    ("ladder", "change the weights of `split` and reload"),
    ("limits", "remove it"),
    ("owner", "give the route a `partition`: its writes go to their owner"),
    ("primary", "write `ownership: { mode: active_passive, primary: us-east-1 }`"),
    ("proxy_protocol", "remove it"),
    ("quic", "remove it"),
    ("rate_limit", "remove it"),
    ("tls", "terminate TLS in front of tidegate for now"),
    ("traces", "remove it"),
    ("upstream_tls", "remove it"),
    ("waf", "tidegate does not inspect bodies; put a filter in front of it"),
];

/// Longest word that is compared with others.
const WORD_BYTES_MAX: usize = 64;

/// What to say about a word that names a feature which is not there.
pub(crate) fn feature(word: &str) -> Option<(String, String)> {
    if word == "<<" {
        let help = "repeat the keys; an alias can stand for a whole value";
        return Some(("merge keys are not read".to_owned(), help.to_owned()));
    }
    let (_, help) = FEATURES.iter().find(|(name, _)| *name == word)?;
    Some((format!("`{word}` is not built into this version"), (*help).to_owned()))
}

/// The one of the known words that was probably meant.
pub(crate) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    let allowed = (word.len() / 3).max(1);
    let lower = word.to_ascii_lowercase().replace('-', "_");
    let distance = |it: &&str| strsim::damerau_levenshtein(&lower, &it.to_ascii_lowercase());
    let candidates = known.iter().filter(|it| !it.starts_with('$')).copied();
    candidates.filter(|it| distance(it) <= allowed).min_by_key(distance)
}

/// Whether a word that is not known was probably written for the one that is missing.
pub(crate) fn means(word: &str, missing: &str, known: &[&str]) -> bool {
    (word, missing) == ("dns", "file") || nearest(word, known) == Some(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_word_is_recognised_and_another_word_is_not() {
        let known = ["endpoints", "distance", "timeouts"];
        assert_eq!(nearest("endpoint", &known), Some("endpoints"));
        assert_eq!(nearest("Timeout", &known), Some("timeouts"));
        assert_eq!(nearest("weight", &known), None);
        assert_eq!(nearest("", &known), None);
    }

    #[test]
    fn a_known_feature_is_told_apart_from_an_unknown_word() {
        assert!(feature("cache").is_some() && feature("cachet").is_none());
    }
}
