//! Ownership in the file: the table, and which process acts on which change of it until when.

use rusqlite::{OptionalExtension as _, Transaction, params};
use tidegate_core::fence::record::Incarnation;
use tidegate_core::id::Epoch;
use tidegate_core::ownership::{Asked, Seen, Swapped, Table, held_for};

use super::Embedded;
use super::rows::{Rows, stored, unsigned};
use crate::store::{Check, Failure};
use crate::table;

/// Files of before there was ownership get the tables when they are opened; older programs do not
/// look at them.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS ownership (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        epoch INTEGER NOT NULL,
        content BLOB NOT NULL
    );
    CREATE TABLE IF NOT EXISTS holder (
        id INTEGER PRIMARY KEY,
        epoch INTEGER NOT NULL,
        expires INTEGER NOT NULL
    );
";

pub(super) fn make(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(TABLES)
}

/// What is told, with the table not read yet.
struct Told {
    epoch: Epoch,
    content: Option<Vec<u8>>,
    oldest: Epoch,
    balancers: u32,
}

impl Embedded {
    pub(crate) async fn hold(&self, who: Incarnation, asked: Asked) -> Result<Seen, Failure> {
        let told = self.ask(move |rows| rows.hold(who, asked)).await?;
        let Told { epoch, content, oldest, balancers } = told;
        let read = |content: Vec<u8>| table::decode(&content).ok_or(Failure::Unfit(Check::Version));
        let table = content.map(read).transpose()?;
        Ok(Seen { epoch, table, oldest, balancers })
    }

    pub(crate) async fn swap(&self, expected: Epoch, table: &Table) -> Result<Swapped, Failure> {
        let (epoch, content) = (table.epoch, table::encode(table));
        self.ask(move |rows| rows.swap(expected, epoch, &content)).await
    }
}

impl Rows<'_> {
    fn hold(&self, who: Incarnation, asked: Asked) -> rusqlite::Result<Told> {
        let (transaction, now) = (self.transaction(), stored(self.now()));
        transaction.prepare_cached("DELETE FROM holder WHERE expires <= ?")?.execute([now])?;
        let held = self.ownership()?;
        let epoch = held.as_ref().map_or(Epoch(0), |(epoch, _)| *epoch);
        if asked.epoch == epoch && epoch != Epoch(0) {
            let sql = "INSERT INTO holder VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE
                SET epoch = excluded.epoch, expires = excluded.expires";
            let expires = stored(self.now().plus(held_for(asked.lease)));
            let row = params![signed(who.0), signed(epoch.0), expires];
            transaction.prepare_cached(sql)?.execute(row)?;
        }
        let sql = "SELECT min(epoch), count(*) FROM holder";
        let (oldest, balancers) = transaction
            .prepare_cached(sql)?
            .query_row([], |row| Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, i64>(1)?)))?;
        Ok(Told {
            epoch,
            content: held.map(|(_, it)| it).filter(|_| asked.epoch != epoch),
            oldest: oldest.map_or(epoch, |it| Epoch(unsigned(it))),
            balancers: u32::try_from(balancers).unwrap_or(u32::MAX),
        })
    }

    fn swap(&self, expected: Epoch, epoch: Epoch, content: &[u8]) -> rusqlite::Result<Swapped> {
        let held = self.ownership()?;
        let last = held.as_ref().map_or(Epoch(0), |(epoch, _)| *epoch);
        if held.is_some_and(|(_, it)| last == epoch && it == content) {
            // It has arrived twice.
            return Ok(Swapped::Stored);
        }
        if last != expected || epoch <= last {
            return Ok(Swapped::Other(last));
        }
        let sql = "INSERT INTO ownership VALUES (1, ?, ?) ON CONFLICT (one) DO UPDATE
            SET epoch = excluded.epoch, content = excluded.content";
        let row = params![signed(epoch.0), content];
        self.transaction().prepare_cached(sql)?.execute(row)?;
        Ok(Swapped::Stored)
    }

    fn ownership(&self) -> rusqlite::Result<Option<(Epoch, Vec<u8>)>> {
        let sql = "SELECT epoch, content FROM ownership";
        let mut statement = self.transaction().prepare_cached(sql)?;
        let read = |row: &rusqlite::Row<'_>| Ok((Epoch(unsigned(row.get(0)?)), row.get(1)?));
        statement.query_row([], read).optional()
    }
}

/// All bits of a number, as SQLite keeps them.
fn signed(number: u64) -> i64 {
    i64::from_ne_bytes(number.to_ne_bytes())
}
