//! Where one frame of HTTP/2 ends and the next begins, and whether the head of a request is on its
//! way: between requests a client may send anything at any time, but a head has to end.

/// Bytes before the first frame.
const PREFACE_BYTES: usize = 24;
/// Bytes before the payload of a frame.
const FRAME_HEAD_BYTES: usize = 9;
/// The frame that begins a head.
const HEADERS: u8 = 1;
/// The frame that goes on with it.
const CONTINUATION: u8 = 9;
/// The flag of the frame that ends it.
const END_HEADERS: u8 = 4;

/// The place in a stream of frames.
#[derive(Clone, Debug)]
pub(super) struct Frames {
    /// Bytes of the preface or of a payload that are still to come.
    left: usize,
    /// What is there of the next frame's head.
    head: [u8; FRAME_HEAD_BYTES],
    there: usize,
    /// Whether the frame at hand is a part of a request's head.
    is_head: bool,
    /// Whether that head goes on after it.
    goes_on: bool,
}

impl Default for Frames {
    /// Before the first byte of a connection.
    fn default() -> Self {
        let head = [0; FRAME_HEAD_BYTES];
        Self { left: PREFACE_BYTES, head, there: 0, is_head: false, goes_on: false }
    }
}

impl Frames {
    /// These bytes come next.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if 0 < self.left {
                let passed = self.left.min(bytes.len());
                self.left -= passed;
                bytes = bytes.get(passed..).unwrap_or_default();
                continue;
            }
            let taken = (FRAME_HEAD_BYTES - self.there).min(bytes.len());
            let (from, rest) = bytes.split_at(taken);
            if let Some(to) = self.head.get_mut(self.there..self.there + taken) {
                to.copy_from_slice(from);
            }
            self.there += taken;
            bytes = rest;
            if self.there == FRAME_HEAD_BYTES {
                self.begin();
            }
        }
    }

    /// Whether a head has begun and not ended.
    pub(super) fn is_in_head(&self) -> bool {
        self.goes_on || (self.is_head && 0 < self.left)
    }

    /// The head of a frame is whole.
    fn begin(&mut self) {
        let [a, b, c, kind, flags, ..] = self.head;
        self.there = 0;
        self.left = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.is_head = matches!(kind, HEADERS | CONTINUATION);
        if self.is_head {
            self.goes_on = flags & END_HEADERS == 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let [.., a, b, c] = payload.to_be_bytes();
        let mut frame = vec![a, b, c, kind, flags, 0, 0, 0, 1];
        frame.extend(std::iter::repeat_n(0xAA, payload));
        frame
    }

    fn preface() -> Vec<u8> {
        vec![0; PREFACE_BYTES]
    }

    #[test]
    fn a_head_lasts_from_its_frame_to_the_end_of_its_last() {
        let mut frames = Frames::default();
        frames.feed(&preface());
        frames.feed(&frame(4, 0, 36));
        assert!(!frames.is_in_head(), "settings are no head");
        let headers = frame(HEADERS, 0, 20);
        frames.feed(&headers[..9]);
        assert!(frames.is_in_head());
        frames.feed(&headers[9..]);
        assert!(frames.is_in_head(), "it goes on");
        frames.feed(&frame(CONTINUATION, END_HEADERS, 3)[..11]);
        assert!(frames.is_in_head());
        frames.feed(&[0xAA]);
        assert!(!frames.is_in_head());
        frames.feed(&frame(HEADERS, END_HEADERS, 0));
        assert!(!frames.is_in_head());
    }

    proptest! {
        #[test]
        fn it_is_all_the_same_in_which_pieces_bytes_come(
            kinds in prop::collection::vec((0u8..12, 0u8..8, 0usize..300), 0..8),
            cuts in prop::collection::vec(1usize..40, 1..200),
        ) {
            let mut bytes = preface();
            bytes.extend(kinds.iter().flat_map(|(kind, flags, len)| frame(*kind, *flags, *len)));
            let (mut whole, mut pieces) = (Frames::default(), Frames::default());
            whole.feed(&bytes);
            let (mut rest, mut cuts) = (bytes.as_slice(), cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, left) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                pieces.feed(piece);
                rest = left;
            }
            prop_assert_eq!(whole.is_in_head(), pieces.is_in_head());
            prop_assert_eq!(whole.left, pieces.left);
        }

        #[test]
        fn no_bytes_are_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            Frames::default().feed(&bytes);
        }
    }
}
