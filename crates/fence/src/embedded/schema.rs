//! The file: how it is made, and that it is ours.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::lives::Lives;
use super::rows::Rows;
use super::turns::Turns;
use super::{OpenError, Settings};

/// "tide": what `file` shows of it.
const APPLICATION: i64 = 0x7469_6465;
/// Version of the tables below.
const VERSION: i64 = 1;
/// The first version without the race between a write and a checkpoint of two processes, which is
/// just what there is during an upgrade.
const SQLITE_MIN: i32 = 3_051_003;
/// How long one process waits for the other's commit.
const BUSY: Duration = Duration::from_millis(200);
const PAGE_BYTES: u64 = 4096;

/// `state`, `lease` and `expires` repeat what searches need; the record itself says everything but
/// its two times.
const TABLES: &str = "
    CREATE TABLE record (
        key BLOB PRIMARY KEY,
        state INTEGER NOT NULL,
        lease INTEGER NOT NULL,
        expires INTEGER NOT NULL,
        record BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX record_open ON record (state, lease) WHERE state IN (1, 3);
    CREATE INDEX record_expires ON record (expires);
    CREATE TABLE family (
        key BLOB PRIMARY KEY,
        first BLOB NOT NULL,
        expires INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX family_expires ON family (expires);
    CREATE TABLE audit (
        at INTEGER NOT NULL,
        key BLOB NOT NULL,
        owner BLOB NOT NULL,
        executed INTEGER NOT NULL,
        who TEXT NOT NULL,
        reason TEXT NOT NULL
    );
    CREATE TABLE born (at INTEGER NOT NULL);
";

/// Opens the file, and makes its tables if it has none.
pub(super) fn open(
    settings: &Settings,
    lives: &Lives,
    turns: &Turns,
) -> Result<Connection, OpenError> {
    if rusqlite::version_number() < SQLITE_MIN {
        return Err(OpenError::OldSqlite { found: rusqlite::version() });
    }
    let path = settings.path.as_path();
    let says = |source| OpenError::Database { path: path.to_owned(), source };
    let mut connection = connect(path).map_err(says)?;
    set(&connection, settings.bytes_max).map_err(says)?;
    // Without a turn this waits as long as SQLite does.
    let _turn = turns.wait();
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(says)?;
    prepare(&transaction, settings)?;
    super::owning::make(&transaction).map_err(says)?;
    // Inside the transaction, so no process can have begun to live since with claims that are seen
    // here.
    let rows = Rows::new(&transaction, (settings.clock)(), true);
    while 0 < rows.doubt_the_dead(lives, &settings.retention).map_err(says)? {}
    transaction.commit().map_err(says)?;
    Ok(connection)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags)
}

fn set(connection: &Connection, bytes_max: u64) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(32);
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A claim is on the disk before anybody hears of it.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", 1000)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // The limit belongs to the connection. Zero would ask for it and not set it.
    let pages = i64::try_from(bytes_max / PAGE_BYTES).unwrap_or(i64::MAX);
    if 0 < pages {
        connection.pragma_update(None, "max_page_count", pages.min(4_294_967_294))?;
    }
    Ok(())
}

fn prepare(transaction: &Transaction<'_>, settings: &Settings) -> Result<(), OpenError> {
    let path = &settings.path;
    let says = |source| OpenError::Database { path: path.clone(), source };
    let number = |name| -> Result<i64, OpenError> {
        transaction.pragma_query_value(None, name, |row| row.get(0)).map_err(says)
    };
    let tables = "SELECT count(*) FROM sqlite_schema";
    let is_empty =
        transaction.query_row(tables, [], |row| row.get::<_, i64>(0)).map_err(says)? == 0;
    if is_empty {
        return make(transaction, settings).map_err(says);
    }
    if number("application_id")? != APPLICATION {
        return Err(OpenError::Foreign { path: path.clone() });
    }
    let found = number("user_version")?;
    if VERSION < found {
        return Err(OpenError::Newer { path: path.clone(), found, known: VERSION });
    }
    Ok(())
}

fn make(transaction: &Transaction<'_>, settings: &Settings) -> rusqlite::Result<()> {
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    let born = super::rows::stored((settings.clock)());
    transaction.execute("INSERT INTO born VALUES (?)", [born]).map(drop)
}
