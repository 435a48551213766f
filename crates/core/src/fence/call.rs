//! gRPC calls: their status in the words of HTTP, in which everything else is decided, and back.

/// The code that says that a call was carried out.
pub const OK: u16 = 0;
/// The code of whoever asks for a write that was carried out, and cannot be shown its answer.
pub const ALREADY_EXISTS: u16 = 6;
/// The code of what must not be tried again before somebody has looked.
pub const FAILED_PRECONDITION: u16 = 9;
/// The code of what is worth another try.
pub const UNAVAILABLE: u16 = 14;

/// The status by which HTTP would say the same as this `grpc-status`.
///
/// It differs from the mapping that gateways use in one place: a call that was cancelled may have
/// been carried out, and HTTP says that by 408.
pub fn status_of(code: u16) -> u16 {
    match code {
        OK => 200,
        // Cancelled.
        1 => 408,
        // An argument, a precondition, a range.
        3 | FAILED_PRECONDITION | 11 => 400,
        // The deadline has passed.
        4 => 504,
        5 => 404,
        // It exists already, or somebody else was faster.
        ALREADY_EXISTS | 10 => 409,
        7 => 403,
        // A quota is used up.
        8 => 429,
        12 => 501,
        UNAVAILABLE => 503,
        16 => 401,
        // Unknown, internal, lost data, and what nobody has defined yet.
        _ => 500,
    }
}

/// The `grpc-status` by which a client is told what HTTP says by this status.
pub fn code_of(status: u16) -> u16 {
    match status {
        200..=299 => OK,
        // The deadline has passed.
        408 | 504 => 4,
        404 => 5,
        403 => 7,
        // Too much, or too large.
        413 | 429 => 8,
        409 => FAILED_PRECONDITION,
        502 | 503 => UNAVAILABLE,
        401 => 16,
        // The argument is wrong.
        400..=499 => 3,
        // Internal.
        _ => 13,
    }
}

#[cfg(test)]
mod tests {
    use super::super::meaning::{self, Depth, Judging, Meaning};
    use super::*;

    #[test]
    fn codes_mean_what_their_statuses_mean() {
        let judging = Judging { is_authenticated: true, ..Judging::default() };
        let check = |codes: &[u16], expected: &str| {
            for code in codes {
                let word = match meaning::of(status_of(*code), judging) {
                    Meaning::Keep(Depth::Answer) => "keep",
                    Meaning::Keep(Depth::Status) => "status",
                    Meaning::Release(_) => "release",
                    Meaning::Doubt(_) => "doubt",
                };
                assert_eq!(word, expected, "{code}");
            }
        };
        check(&[OK, 2, 3, 5, 9, 11, 12, 13, 15, 17, 99], "keep");
        check(&[6, 7, 8, 10, 16], "release");
        check(&[1, 4, 14], "doubt");
    }

    #[test]
    fn clients_are_told_whether_to_try_again() {
        for (status, code) in [
            (200, OK),
            (400, 3),
            (401, 16),
            (409, FAILED_PRECONDITION),
            (413, 8),
            (422, 3),
            (429, 8),
            (500, 13),
            (502, UNAVAILABLE),
            (503, UNAVAILABLE),
            (504, 4),
        ] {
            assert_eq!(code_of(status), code, "{status}");
        }
    }
}
