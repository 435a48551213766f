//! The ways in which a fake region can misbehave.

use std::str::FromStr;
use std::time::Duration;

/// One way to misbehave.
///
/// Faults of requests leave `/contract` alone, so that the region stays green while it fails;
/// faults of the contract leave all other paths alone. [`Fault::Refuse`] and [`Fault::Hang`]
/// concern both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nobody listens: connections are refused, and the open ones are closed.
    Refuse,
    /// Accepts everything and answers nothing, on every path.
    Hang,
    /// Answers its contract, and never anything else.
    HangRequests,
    /// Carries the request out, then closes the connection without a byte of an answer.
    DieAfterExecuting,
    /// The same, but only for the second and later requests of a connection.
    DieAfterExecutingReused,
    /// Closes the connection when the headers have arrived; nothing is carried out.
    DieBeforeExecuting,
    /// The same, but only for the second and later requests of a connection.
    DieBeforeExecutingReused,
    /// Closes the connection when the whole request has arrived, and carries it out after that.
    DieWhileExecuting,
    /// The same, but only for the second and later requests of a connection.
    DieWhileExecutingReused,
    /// Carries the request out, and never answers.
    HangAfterExecuting,
    /// Sends the headers and half of the body, then resets the connection.
    DieMidBody,
    /// Sends the body one byte per interval.
    Drip(Duration),
    /// Carries the request out and answers this status.
    Status(u16),
    /// Carries the request out and waits this long before the first byte of the answer.
    SlowFirstByte(Duration),
    /// The contract reports other values, while everything else works.
    WrongContract,
    /// The contract is an HTML page with status 200.
    NotJson,
    /// The contract is valid and larger than 64 KiB.
    HugeContract,
    /// The contract never comes, while everything else works.
    HangContract,
    /// The contract is answered with this status, while everything else works.
    ContractStatus(u16),
}

impl Fault {
    pub(crate) fn hangs_contract(self) -> bool {
        matches!(self, Self::Hang | Self::HangContract)
    }
}

/// Reads `die-mid-body`, `status=503`, `drip=20` (milliseconds) and so on.
impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let ms = || value.parse().map(Duration::from_millis).map_err(|e| format!("{text}: {e}"));
        let status = || match value.parse() {
            Ok(status @ 200..=999) => Ok(status),
            Ok(_) | Err(_) => Err(format!("{text}: wanted a status between 200 and 999")),
        };
        Ok(match name {
            "refuse" => Self::Refuse,
            "hang" => Self::Hang,
            "hang-requests" => Self::HangRequests,
            "die-after-executing" => Self::DieAfterExecuting,
            "die-after-executing-reused" => Self::DieAfterExecutingReused,
            "die-before-executing" => Self::DieBeforeExecuting,
            "die-before-executing-reused" => Self::DieBeforeExecutingReused,
            "die-while-executing" => Self::DieWhileExecuting,
            "die-while-executing-reused" => Self::DieWhileExecutingReused,
            "hang-after-executing" => Self::HangAfterExecuting,
            "die-mid-body" => Self::DieMidBody,
            "drip" => Self::Drip(ms()?),
            "status" => Self::Status(status()?),
            "slow-first-byte" => Self::SlowFirstByte(ms()?),
            "wrong-contract" => Self::WrongContract,
            "not-json" => Self::NotJson,
            "huge-contract" => Self::HugeContract,
            "hang-contract" => Self::HangContract,
            "contract-status" => Self::ContractStatus(status()?),
            _ => return Err(format!("{text}: no such fault")),
        })
    }
}
