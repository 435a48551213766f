//! The routing table as data: a line of world, a line of request, a line of answer.
