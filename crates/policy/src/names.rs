//! Names and other short texts that must have a certain form.

/// Longest name of a region, a route or a contract key, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 64;

/// Whether this can name a region: lower-case letters, digits and hyphens.
pub(crate) fn is_region(name: &str) -> bool {
    let allowed = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit();
    name.len() <= NAME_BYTES_MAX
        && name.starts_with(allowed)
        && name.chars().all(|it| allowed(it) || it == '-')
}

/// Whether this can name a route, a residency rule or a contract key.
pub(crate) fn is_label(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
        && name.starts_with(|it: char| it.is_ascii_alphanumeric())
        && name.chars().all(|it| it.is_ascii_alphanumeric() || matches!(it, '_' | '.' | '-'))
}

/// Whether this is a token of RFC 9110: what header names and methods are made of.
pub(crate) fn is_token(text: &str) -> bool {
    let allowed = |it: char| it.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(it);
    !text.is_empty() && text.len() <= 256 && text.chars().all(allowed)
}

/// Whether this can be the value of a header that names a release.
pub(crate) fn is_release(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 256
        && text.chars().all(|it| it.is_ascii_graphic() && !matches!(it, ',' | ';' | '"'))
}

/// Whether this is the path of a request, without query and fragment.
pub(crate) fn is_path(text: &str) -> bool {
    is_target(text) && !text.contains('?')
}

/// Whether this is the target of a request, perhaps with a query.
pub(crate) fn is_target(text: &str) -> bool {
    text.starts_with('/')
        && text.len() <= 4096
        && text.chars().all(|it| it.is_ascii_graphic() && it != '#')
}

/// Whether this is a host name, or an IP address in the form of a URL, without port.
pub(crate) fn is_host(text: &str) -> bool {
    let is_address = |it: &str| it.parse::<std::net::Ipv6Addr>().is_ok();
    if let Some(inner) = text.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
        return is_address(inner);
    }
    let is_part = |part: &str| {
        !part.is_empty()
            && part.len() <= 63
            && part.chars().all(|it| it.is_ascii_alphanumeric() || matches!(it, '-' | '_'))
    };
    text.len() <= 253 && text.split('.').all(is_part)
}

/// Whether this is a host name or address, perhaps with a port.
pub(crate) fn is_authority(text: &str) -> bool {
    match text.rsplit_once(':') {
        Some((host, port)) if !text.ends_with(']') => {
            is_host(host) && port.parse::<u16>().is_ok_and(|it| it > 0)
        }
        _ => is_host(text),
    }
}

/// What is wrong with a JSON pointer (RFC 6901), if anything is.
pub(crate) fn pointer_flaw(pointer: &str) -> Option<&'static str> {
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return Some("a JSON pointer begins with `/`");
    }
    let mut rest = pointer;
    while let Some((_, after)) = rest.split_once('~') {
        if !after.starts_with(['0', '1']) {
            return Some("in a JSON pointer `~` is written `~0`, and `/` within a name `~1`");
        }
        rest = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions() {
        assert!(is_region("us-east-1") && is_region("1"));
        assert!(!is_region("") && !is_region("-a") && !is_region("US") && !is_region("a_b"));
        assert!(is_region(&"a".repeat(64)) && !is_region(&"a".repeat(65)));
    }

    #[test]
    fn hosts() {
        assert!(is_host("api.example.com") && is_host("10.0.0.1") && is_host("[::1]"));
        assert!(!is_host("api.example.com:80") && !is_host("*.example.com") && !is_host("a..b"));
        assert!(is_authority("api:80") && is_authority("[::1]:80") && is_authority("[::1]"));
        assert!(!is_authority("api:") && !is_authority("api:0") && !is_authority("a b"));
    }

    #[test]
    fn pointers() {
        assert_eq!(pointer_flaw("/versions/a~1b~0"), None);
        assert_eq!(pointer_flaw(""), None);
        assert!(pointer_flaw("versions").is_some() && pointer_flaw("/a~2").is_some());
        assert!(pointer_flaw("/a~").is_some());
    }

    #[test]
    fn tokens_and_targets() {
        assert!(is_token("X-Schema-Rev") && !is_token("X Schema") && !is_token(""));
        assert!(is_path("/v1/search") && !is_path("v1") && !is_path("/a b") && !is_path("/a?b"));
        assert!(is_target("/contract?full=1") && !is_target("/a#b"));
    }
}
