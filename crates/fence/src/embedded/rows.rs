//! The rows of the file, inside one transaction.

use rusqlite::{OptionalExtension as _, Row, Transaction, params};
use tidegate_core::Moment;
use tidegate_core::fence::family::{Family, FamilyKey};
use tidegate_core::fence::key::FenceKey;
use tidegate_core::fence::record::{Incarnation, Owner, Record};
use tidegate_core::fence::retention::Retention;
use tidegate_core::fence::rules::{self, Change, Claimed, Knows, Resolution, Terms};

use super::lives::Lives;
use crate::record;
use crate::store::{Audit, AuditLine, Filter, Gauges};

const INSERT: &str = "INSERT INTO record (key, state, lease, expires, record)
    VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING";
const PUT: &str = "INSERT INTO record (key, state, lease, expires, record) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET state = excluded.state, lease = excluded.lease,
    expires = excluded.expires, record = excluded.record";
const GET: &str = "SELECT lease, expires, record FROM record WHERE key = ?";
const REMOVE: &str = "DELETE FROM record WHERE key = ?";
/// In words that the planner knows from the index.
const OPEN: &str = "SELECT lease, expires, record, key FROM record
    WHERE state IN (1, 3) AND state = ? ORDER BY lease LIMIT ?";
const COMPLETED: &str = "SELECT lease, expires, record, key FROM record WHERE state = 2 LIMIT ?";
const OVER: &str = "SELECT lease, expires, record, key FROM record
    WHERE expires <= ? ORDER BY expires LIMIT ?";
/// Most claims of processes that have ended which are doubted at once.
const DOUBTED_AT_ONCE: u32 = 4096;

/// What one batch reads and writes.
pub(super) struct Rows<'t> {
    transaction: &'t Transaction<'t>,
    now: Moment,
    is_window_open: bool,
}

/// How much room there is.
pub(super) struct Room {
    pub(super) bytes: u64,
    pub(super) bytes_max: u64,
}

impl<'t> Rows<'t> {
    pub(super) fn new(transaction: &'t Transaction<'t>, now: Moment, is_window_open: bool) -> Self {
        Self { transaction, now, is_window_open }
    }

    pub(super) fn now(&self) -> Moment {
        self.now
    }

    pub(super) fn transaction(&self) -> &Transaction<'t> {
        self.transaction
    }

    pub(super) fn is_window_open(&self) -> bool {
        self.is_window_open
    }

    pub(super) fn set_window_open(&mut self, is_open: bool) {
        self.is_window_open = is_open;
    }

    /// Claims a key. Most keys are new, so that is tried first.
    pub(super) fn claim(&mut self, key: FenceKey, terms: &Terms) -> rusqlite::Result<Claimed> {
        let (claimed, change) = rules::claim(None, terms, self.now);
        if let Change::Put(record) = change
            && self.write(INSERT, key, &record)? == 1
        {
            return Ok(claimed);
        }
        self.change(key, |held, now| rules::claim(held, terms, now))
    }

    /// Runs one rule on one record.
    pub(super) fn change<T>(
        &mut self,
        key: FenceKey,
        rule: impl FnOnce(Option<&Record>, Moment) -> (T, Change),
    ) -> rusqlite::Result<T> {
        let held = self.get(key)?;
        let (told, change) = rule(held.as_ref(), self.now);
        match change {
            Change::Keep => {}
            Change::Put(record) => self.put(key, &record)?,
            Change::Remove => self.remove(key)?,
        }
        Ok(told)
    }

    /// The record of a key; one whose time is over is absent, unless a failover window is open.
    pub(super) fn get(&self, key: FenceKey) -> rusqlite::Result<Option<Record>> {
        let mut statement = self.transaction.prepare_cached(GET)?;
        let record = statement.query_row([key.0], read).optional()?;
        Ok(record.filter(|it| self.is_window_open || !it.is_over(self.now)))
    }

    fn put(&self, key: FenceKey, record: &Record) -> rusqlite::Result<()> {
        self.write(PUT, key, record).map(drop)
    }

    fn write(&self, statement: &str, key: FenceKey, record: &Record) -> rusqlite::Result<usize> {
        let state = record::state_number(&record.state);
        let (lease, expires) = (stored(record.lease_until), stored(record.expires));
        let bytes = record::encode(record);
        let mut statement = self.transaction.prepare_cached(statement)?;
        statement.execute(params![key.0, state, lease, expires, bytes])
    }

    fn remove(&self, key: FenceKey) -> rusqlite::Result<()> {
        self.transaction.prepare_cached(REMOVE)?.execute([key.0]).map(drop)
    }

    pub(super) fn get_family(&self, family: FamilyKey) -> rusqlite::Result<Option<Family>> {
        let mut statement =
            self.transaction.prepare_cached("SELECT first, expires FROM family WHERE key = ?")?;
        let read = |row: &Row<'_>| {
            Ok(Family { first: FenceKey(row.get(0)?), expires: moment(row.get(1)?) })
        };
        let family = statement.query_row([family.0.0], read).optional()?;
        Ok(family.filter(|it| self.is_window_open || self.now < it.expires))
    }

    pub(super) fn put_family(&self, key: FamilyKey, family: &Family) -> rusqlite::Result<()> {
        let sql = "INSERT INTO family VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE
            SET first = excluded.first, expires = excluded.expires";
        let mut statement = self.transaction.prepare_cached(sql)?;
        statement.execute(params![key.0.0, family.first.0, stored(family.expires)]).map(drop)
    }

    pub(super) fn write_audit(
        &self,
        key: FenceKey,
        resolution: &Resolution,
        audit: &Audit,
    ) -> rusqlite::Result<()> {
        let owner = resolution.owner.to_bytes();
        let executed = resolution.knows == Knows::Executed;
        let sql = "INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?)";
        let mut statement = self.transaction.prepare_cached(sql)?;
        let at = stored(self.now);
        statement.execute(params![at, key.0, owner, executed, audit.who, audit.reason]).map(drop)
    }

    pub(super) fn read_audit(&self, limit: u32) -> rusqlite::Result<Vec<AuditLine>> {
        let sql = "SELECT at, key, owner, executed, who, reason FROM audit
            ORDER BY rowid DESC LIMIT ?";
        let mut statement = self.transaction.prepare_cached(sql)?;
        let read = |row: &Row<'_>| {
            Ok(AuditLine {
                at: moment(row.get(0)?),
                key: FenceKey(row.get(1)?),
                owner: Owner::from_bytes(row.get(2)?),
                executed: row.get(3)?,
                audit: Audit { who: row.get(4)?, reason: row.get(5)? },
            })
        };
        statement.query_map([limit], read)?.collect()
    }

    pub(super) fn list(
        &self,
        filter: Filter,
        limit: u32,
    ) -> rusqlite::Result<Vec<(FenceKey, Record)>> {
        let mut found = self.open(IN_DOUBT, if filter == Filter::InDoubt { limit } else { 0 })?;
        // Some are written as in flight, and their leases are over.
        let in_flight = self.open(IN_FLIGHT, u32::MAX)?;
        let is_over = |record: &Record| record.lease_until <= self.now;
        let wanted = |(_, record): &(_, Record)| is_over(record) == (filter == Filter::InDoubt);
        found.extend(in_flight.into_iter().filter(wanted));
        found.sort_by_key(|(_, record)| record.lease_until);
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(found)
    }

    pub(super) fn completed(&self, limit: u32) -> rusqlite::Result<Vec<(FenceKey, Record)>> {
        let mut statement = self.transaction.prepare_cached(COMPLETED)?;
        let read = |row: &Row<'_>| Ok((FenceKey(row.get(3)?), read(row)?));
        statement.query_map([limit], read)?.collect()
    }

    fn open(&self, state: u8, limit: u32) -> rusqlite::Result<Vec<(FenceKey, Record)>> {
        let mut statement = self.transaction.prepare_cached(OPEN)?;
        let read = |row: &Row<'_>| Ok((FenceKey(row.get(3)?), read(row)?));
        statement.query_map(params![state, limit], read)?.collect()
    }

    pub(super) fn gauges(&self) -> rusqlite::Result<Gauges> {
        let count = |condition: &str| -> rusqlite::Result<u64> {
            let sql = format!("SELECT count(*) FROM record WHERE state IN (1, 3) AND {condition}");
            let mut statement = self.transaction.prepare_cached(&sql)?;
            statement.query_row([stored(self.now)], |row| row.get::<_, i64>(0)).map(unsigned)
        };
        let oldest = self.open(IN_FLIGHT, u32::MAX)?.into_iter().map(|(_, it)| it.created).min();
        let born = "SELECT at FROM born";
        let born = self.transaction.prepare_cached(born)?.query_row([], |row| row.get(0))?;
        let room = self.room()?;
        Ok(Gauges {
            in_flight: count("state = 1 AND ? < lease")?,
            in_doubt: count("(state = 3 OR lease <= ?)")?,
            oldest_open: oldest,
            bytes: room.bytes,
            bytes_max: room.bytes_max,
            born: moment(born),
        })
    }

    /// Bytes that are taken, without pages that are free again.
    pub(super) fn room(&self) -> rusqlite::Result<Room> {
        let number = |name| -> rusqlite::Result<u64> {
            let number =
                self.transaction.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
            number.map(unsigned)
        };
        let page = number("page_size")?;
        let used = number("page_count")?.saturating_sub(number("freelist_count")?);
        Ok(Room { bytes: used * page, bytes_max: number("max_page_count")?.saturating_mul(page) })
    }

    /// Forgets records whose time is over, and counts those of them whose writes nobody knows the
    /// outcome of.
    pub(super) fn forget(&self, limit: u32) -> rusqlite::Result<(u64, u64)> {
        let now = stored(self.now);
        let over: Vec<(FenceKey, Record)> = {
            let mut statement = self.transaction.prepare_cached(OVER)?;
            let read = |row: &Row<'_>| Ok((FenceKey(row.get(3)?), read(row)?));
            statement.query_map(params![now, limit], read)?.collect::<Result<_, _>>()?
        };
        let (mut forgotten, mut unsafely) = (0, 0);
        for (key, record) in over {
            self.remove(key)?;
            forgotten += 1;
            unsafely += u64::from(record.is_unsafe_to_forget(self.now));
        }
        let families = "DELETE FROM family WHERE key IN
            (SELECT key FROM family WHERE expires <= ? ORDER BY expires LIMIT ?)";
        self.transaction.prepare_cached(families)?.execute(params![now, limit])?;
        Ok((forgotten, unsafely))
    }

    /// Doubts the claims of processes that have ended, and forgets those processes.
    pub(super) fn doubt_the_dead(
        &self,
        lives: &Lives,
        retention: &Retention,
    ) -> rusqlite::Result<u64> {
        let mut doubted = 0;
        let in_flight = self.open(IN_FLIGHT, DOUBTED_AT_ONCE)?;
        let is_whole = in_flight.len() < usize::try_from(DOUBTED_AT_ONCE).unwrap_or(usize::MAX);
        let mut judged: Option<(Incarnation, bool)> = None;
        for (key, record) in in_flight {
            let who = record.owner.incarnation;
            // Claims of one process stand together more often than not.
            let is_dead = match judged {
                Some((last, is_dead)) if last == who => is_dead,
                _ => lives.is_dead(who),
            };
            judged = Some((who, is_dead));
            if is_dead
                && let Change::Put(record) = rules::owner_died(&record, who, retention, self.now)
            {
                self.put(key, &record)?;
                doubted += 1;
            }
        }
        if is_whole && doubted == 0 {
            lives.bury();
        }
        Ok(doubted)
    }
}

const IN_FLIGHT: u8 = 1;
const IN_DOUBT: u8 = 3;

fn read(row: &Row<'_>) -> rusqlite::Result<Record> {
    let bytes = row.get_ref(2)?;
    // Bytes of another kind than were written cannot be read either.
    let bytes = bytes.as_blob().unwrap_or_default();
    Ok(record::decode(bytes, moment(row.get(0)?), moment(row.get(1)?)))
}

/// A moment as SQLite keeps it: numbers have a sign there.
pub(super) fn stored(moment: Moment) -> i64 {
    i64::try_from(moment.0).unwrap_or(i64::MAX)
}

fn moment(stored: i64) -> Moment {
    Moment(unsigned(stored))
}

pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
