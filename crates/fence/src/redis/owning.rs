//! Ownership in Redis: one hash with the table, its epoch, and what each balancer acts on until
//! when. Renewals and changes go with the claims, so that a master without copies grants nothing.

use tidegate_core::fence::record::Incarnation;
use tidegate_core::id::Epoch;
use tidegate_core::ownership::{Asked, Seen, Swapped, Table, held_for};

use super::calls::{Told, Way};
use super::layout::span;
use super::scripts::Script;
use super::{Redis, Shared, scripts};
use crate::store::{Check, Failure};
use crate::table;

/// All of ownership is in one bucket.
const BUCKET: u16 = 0;

impl Redis {
    pub(crate) async fn hold(&self, who: Incarnation, asked: Asked) -> Result<Seen, Failure> {
        let (id, epoch) = (who.to_string(), asked.epoch.0.to_string());
        let hold = span(held_for(asked.lease)).to_string();
        let args = [id.as_bytes(), epoch.as_bytes(), hold.as_bytes()];
        let told = self.shared.own(&scripts::HOLD, args).await?;
        let content = told.bytes(4);
        let read = || table::decode(content).ok_or(Failure::Unfit(Check::Version));
        let table = (!content.is_empty()).then(read).transpose()?;
        let balancers = u32::try_from(told.number(3)).unwrap_or(u32::MAX);
        let (epoch, oldest) = (Epoch(told.number(1)), Epoch(told.number(2)));
        Ok(Seen { epoch, table, oldest, balancers })
    }

    pub(crate) async fn swap(&self, expected: Epoch, table: &Table) -> Result<Swapped, Failure> {
        let (expected, epoch) = (expected.0.to_string(), table.epoch.0.to_string());
        let args = [expected.as_bytes(), epoch.as_bytes(), &table::encode(table)];
        let told = self.shared.own(&scripts::SWAP, args).await?;
        match &*told.word {
            b"YES" => Ok(Swapped::Stored),
            b"NO" => Ok(Swapped::Other(Epoch(told.number(1)))),
            _ => Err(Failure::Unreachable),
        }
    }
}

impl Shared {
    /// Calls a script about ownership, which counts if as many replicas have heard of it as of a
    /// claim.
    async fn own(&self, script: &'static Script, args: [&[u8]; 3]) -> Result<Told, Failure> {
        let generation = self.generation().await?;
        let known = (generation, self.seen(BUCKET));
        let mut command = self.begin_with(script, self.names.shared("own"), BUCKET, known);
        for arg in args {
            command = command.bytes(arg);
        }
        let told = self.call(BUCKET, Way::Claims, command.end()).await?;
        self.note(BUCKET, told.number(0));
        let wanted = self.rules.wait.map_or(0, |wait| u64::from(wait.replicas));
        if told.copies.unwrap_or_default() < wanted {
            self.tally.uncopied.add_one();
            return Err(Failure::Uncopied);
        }
        Ok(told)
    }
}
