//! SQLite on its own thread. The async side sends batches and awaits the rows; batches that wait at the same time are written
//! with one commit.

use std::{
    io::ErrorKind,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, TransactionBehavior, types::ValueRef};
use tokio::sync::oneshot;

use crate::platform::{DatabaseError, Row, Statement, Value};

/// Names and SQL of the migrations, in order.
pub type Migrations = &'static [(&'static str, &'static str)];

/// How long a statement waits for the lock of another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// How many batches one commit may have. It bounds how long the first of them waits for the last.
const MAX_GROUP: usize = 64;
/// How long a group of several batches waits for more of them before its commit. A single batch waits for nothing.
const COMMIT_DELAY: Duration = Duration::from_micros(500);
/// Statements that stay prepared.
const PREPARED: usize = 64;

type Answers = Vec<Vec<Row>>;

/// A batch, and where its rows go.
struct Batch {
    statements: Vec<Statement>,
    answer: oneshot::Sender<Result<Answers, DatabaseError>>,
}

enum Job {
    Run(Batch),
    Scrub(oneshot::Sender<Result<(), DatabaseError>>),
    Close(oneshot::Sender<()>),
}

/// A handle to the database thread, or the reason why it does not run.
#[derive(Clone)]
pub(super) struct Database {
    thread: Result<mpsc::Sender<Job>, DatabaseError>,
    /// Why the database is in memory instead of its file.
    warning: Option<String>,
}

impl Database {
    /// Opens or creates the file and its folder, and applies the missing migrations.
    ///
    /// Never fails, because a chat must work without a store. If this process may not write to the file (in a volume with
    /// another owner, say), the database is in memory. Any other error is returned by each later call.
    pub(super) fn open(path: &Path, migrations: Migrations) -> Self {
        let mut warning = None;
        let connection = match open(path, migrations) {
            Err(Unusable { error, is_forbidden: true }) => {
                warning = Some(format!(
                    "{error}. The database is kept in memory and lost at the end: let this process write there, or set DATABASE_PATH"
                ));
                in_memory(migrations)
            }
            opened => opened.map_err(|unusable| unusable.error),
        };
        let start = |connection| {
            let (sender, jobs) = mpsc::channel();
            let thread = thread::Builder::new().name("sqlite".to_owned());
            let started = thread.spawn(move || serve(connection, &jobs));
            started.map(|_| sender).map_err(|error| DatabaseError(error.to_string()))
        };
        Self { thread: connection.and_then(start), warning }
    }

    pub(super) fn problem(&self) -> Option<&DatabaseError> {
        self.thread.as_ref().err()
    }

    pub(super) fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    pub(super) async fn run(&self, batch: Vec<Statement>) -> Result<Answers, DatabaseError> {
        self.call(|answer| Job::Run(Batch { statements: batch, answer })).await?
    }

    /// Removes overwritten and deleted rows from the database file and its side files.
    pub(super) async fn scrub(&self) -> Result<(), DatabaseError> {
        self.call(Job::Scrub).await?
    }

    /// Moves everything into the database file and ends the thread. Later calls fail.
    pub(super) async fn close(&self) {
        // An error means that the thread has ended already.
        let _ = self.call(Job::Close).await;
    }

    async fn call<T>(&self, job: impl FnOnce(oneshot::Sender<T>) -> Job) -> Result<T, DatabaseError> {
        let (answer, reply) = oneshot::channel();
        let closed = || DatabaseError("the database is closed".to_owned());
        self.thread.as_ref().map_err(Clone::clone)?.send(job(answer)).map_err(|_| closed())?;
        reply.await.map_err(|_| closed())
    }
}

fn serve(mut connection: Connection, jobs: &mpsc::Receiver<Job>) {
    let mut next = jobs.recv().ok();
    // A job runs even if its client has left and nobody receives the reply.
    while let Some(job) = next.take() {
        match job {
            Job::Run(batch) => next = run_group(&mut connection, jobs, batch),
            Job::Scrub(answer) => drop(answer.send(checkpoint(&connection).map_err(database_error).and_then(|done| {
                done.then_some(()).ok_or_else(|| DatabaseError("the write-ahead log is in use".to_owned()))
            }))),
            Job::Close(answer) => {
                if let Err(error) = checkpoint(&connection) {
                    tracing::warn!(%error, "the write-ahead log stays beside the database");
                }
                // SQLite deletes the side files when the last connection closes.
                drop(connection);
                let _ = answer.send(());
                return;
            }
        }
        next = next.or_else(|| jobs.recv().ok());
    }
}

/// Runs a batch and those that wait behind it: the reads at once, the writes with one commit. Returns the next job that is no
/// batch.
fn run_group(connection: &mut Connection, jobs: &mpsc::Receiver<Job>, first: Batch) -> Option<Job> {
    let (mut reads, mut writes, mut next, mut waiting_since) = (Vec::new(), Vec::new(), Some(Job::Run(first)), None);
    loop {
        while let Some(Job::Run(batch)) = next {
            let group = if batch.statements.iter().all(is_read) { &mut reads } else { &mut writes };
            group.push(batch);
            next = if group.len() < MAX_GROUP { jobs.try_recv().ok() } else { None };
        }
        read(connection, &mut reads);
        if next.is_some() || !(2..MAX_GROUP).contains(&writes.len()) {
            break;
        }
        let waited = waiting_since.get_or_insert_with(Instant::now).elapsed();
        next = COMMIT_DELAY.checked_sub(waited).and_then(|left| jobs.recv_timeout(left).ok());
        if next.is_none() {
            break;
        }
    }
    write(connection, writes);
    next
}

/// Whether a statement only reads. What is not certain to do so counts as a write.
fn is_read(statement: &Statement) -> bool {
    statement.sql.starts_with("SELECT ")
}

/// Runs batches that only read, with one look for locks.
fn read(connection: &Connection, group: &mut Vec<Batch>) {
    // A batch sees one state of the database. A transaction that has only read has nothing to commit.
    let statements = group.iter().map(|batch| batch.statements.len()).sum::<usize>();
    let _transaction = if statements > 1 { connection.unchecked_transaction().ok() } else { None };
    for batch in group.drain(..) {
        let _ = batch.answer.send(query_all(connection, &batch.statements).map_err(database_error));
    }
}

/// Runs batches in one transaction. If one of them fails, or the commit, each runs in a transaction of its own.
fn write(connection: &mut Connection, group: Vec<Batch>) {
    let together = if group.len() > 1 { run_together(connection, &group).ok() } else { None };
    let mut together = together.map(Vec::into_iter);
    for batch in group {
        let done = match together.as_mut().and_then(Iterator::next) {
            Some(answers) => Ok(answers),
            None => run(connection, &batch.statements).map_err(database_error),
        };
        let _ = batch.answer.send(done);
    }
}

fn run_together(connection: &mut Connection, group: &[Batch]) -> rusqlite::Result<Vec<Answers>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let all = group.iter().map(|batch| query_all(&transaction, &batch.statements)).collect::<Result<_, _>>()?;
    transaction.commit()?;
    Ok(all)
}

fn database_error(error: rusqlite::Error) -> DatabaseError {
    DatabaseError(error.to_string())
}

/// Moves the write-ahead log into the database and truncates it, because it holds older versions of rows. Returns false if
/// another connection was in the way.
fn checkpoint(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0)).map(|busy| busy == 0)
}

/// Endings of the database file and of the files that SQLite keeps beside it.
const SIDE_FILES: [&str; 4] = ["", "-wal", "-shm", "-journal"];

/// Sets an existing database and its side files to mode 0600. SQLite creates new side files with the mode of the database.
fn make_private(path: &Path) {
    for ending in SIDE_FILES {
        let mut file = path.as_os_str().to_owned();
        file.push(ending);
        let file = Path::new(&file);
        let Some(open_to) = others_may(file) else { continue };
        let private = std::fs::Permissions::from_mode(0o600);
        if let Err(error) = std::fs::set_permissions(file, private) {
            let file = file.display();
            tracing::warn!(%error, "{file} holds secrets, and others may use it (mode {open_to:o}): chmod 600 {file}");
        }
    }
}

/// Returns the mode of a file that users other than its owner may access, or `None`.
#[must_use]
pub fn others_may(file: &Path) -> Option<u32> {
    let found = std::fs::metadata(file).ok().filter(std::fs::Metadata::is_file)?;
    let mode = found.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then_some(mode)
}

/// Why a file cannot hold the database.
#[derive(Debug)]
struct Unusable {
    error: DatabaseError,
    /// Whether the process lacks permission.
    is_forbidden: bool,
}

fn open(path: &Path, migrations: Migrations) -> Result<Connection, Unusable> {
    let problem = |what: &str, error: &dyn std::fmt::Display, is_forbidden| Unusable {
        error: DatabaseError(format!("{what} {}: {error}", path.display())),
        is_forbidden,
    };
    let is_forbidden =
        |error: &std::io::Error| matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem);
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)
            .map_err(|error| problem("cannot create the folder of", &error, is_forbidden(&error)))?;
    }
    // The database may hold the session, so only its owner may read it. SQLite gives its side files the same mode.
    let made = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    made.map_err(|error| problem("cannot open", &error, is_forbidden(&error)))?;
    make_private(path);
    let opened =
        Connection::open(path).and_then(|mut connection| prepare(&mut connection, migrations).map(|()| connection));
    opened.map_err(|error| {
        // The file may be writable and its folder not.
        let codes =
            [rusqlite::ErrorCode::ReadOnly, rusqlite::ErrorCode::CannotOpen, rusqlite::ErrorCode::PermissionDenied];
        problem("cannot use", &error, error.sqlite_error_code().is_some_and(|code| codes.contains(&code)))
    })
}

pub(in crate::platform) fn in_memory(migrations: Migrations) -> Result<Connection, DatabaseError> {
    let opened = Connection::open_in_memory()
        .and_then(|mut connection| prepare(&mut connection, migrations).map(|()| connection));
    opened.map_err(|error| DatabaseError(format!("cannot prepare a database in memory: {error}")))
}

fn prepare(connection: &mut Connection, migrations: Migrations) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(PREPARED);
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // In WAL mode NORMAL loses at most the last commits on a power cut and never corrupts.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    // SQLite fills deleted and overwritten content with zeros.
    connection.pragma_update(None, "secure_delete", "ON")?;
    // The same table as `wrangler d1 migrations apply` keeps for the Worker.
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS d1_migrations (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT UNIQUE,
            applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL
        )",
    )?;
    for (name, sql) in migrations {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let applied: bool =
            transaction
                .query_row("SELECT EXISTS (SELECT 1 FROM d1_migrations WHERE name = ?1)", [name], |row| row.get(0))?;
        if !applied {
            transaction.execute_batch(sql)?;
            transaction.execute("INSERT INTO d1_migrations (name) VALUES (?1)", [name])?;
        }
        transaction.commit()?;
    }
    Ok(())
}

/// Runs a batch: all of its statements, or none.
pub(in crate::platform) fn run(connection: &mut Connection, batch: &[Statement]) -> rusqlite::Result<Answers> {
    let transaction = connection.transaction()?;
    let answers = query_all(&transaction, batch)?;
    transaction.commit()?;
    Ok(answers)
}

fn query_all(connection: &Connection, batch: &[Statement]) -> rusqlite::Result<Answers> {
    batch.iter().map(|statement| query(connection, statement)).collect()
}

fn query(connection: &Connection, statement: &Statement) -> rusqlite::Result<Vec<Row>> {
    let mut prepared = connection.prepare_cached(statement.sql)?;
    let columns = prepared.column_count();
    let mut rows = prepared.query(rusqlite::params_from_iter(&statement.parameters))?;
    let mut answer = Vec::new();
    while let Some(row) = rows.next()? {
        answer.push((0..columns).map(|column| row.get(column)).collect::<rusqlite::Result<Row>>()?);
    }
    Ok(answer)
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => rusqlite::types::Null.into(),
            Self::Integer(number) => (*number).into(),
            Self::Text(text) => text.as_str().into(),
        })
    }
}

impl rusqlite::types::FromSql for Value {
    fn column_result(value: ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
        match value {
            ValueRef::Null => Ok(Self::Null),
            ValueRef::Integer(number) => Ok(Self::Integer(number)),
            ValueRef::Text(_) => value.as_str().map(|text| Self::Text(text.to_owned())),
            ValueRef::Real(_) | ValueRef::Blob(_) => Err(rusqlite::types::FromSqlError::InvalidType),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIGRATIONS: Migrations =
        &[("1.sql", "CREATE TABLE cache (key TEXT PRIMARY KEY, value TEXT NOT NULL, updated_at INTEGER NOT NULL)")];

    fn statement(sql: &'static str, parameters: Vec<Value>) -> Statement {
        Statement { sql, parameters }
    }

    const PUT: &str = "INSERT INTO cache (key, value, updated_at) VALUES (?1, ?2, ?3)";

    #[tokio::test]
    async fn a_new_file_has_the_tables_and_an_existing_one_keeps_its_rows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/test.db");
        let put =
            statement(PUT, vec![Value::Text("k".into()), Value::Text("v".into()), Value::Integer(1_790_000_000_000)]);
        Database::open(&path, MIGRATIONS).run(vec![put]).await.unwrap();
        let rows = Database::open(&path, MIGRATIONS)
            .run(vec![statement("SELECT value, updated_at FROM cache", vec![])])
            .await
            .unwrap();
        assert_eq!(rows, [[[Value::Text("v".into()), Value::Integer(1_790_000_000_000)]]]);
    }

    #[test]
    fn only_the_owner_may_read_the_files() {
        let folder = tempfile::tempdir().unwrap();
        drop(open(&folder.path().join("test.db"), MIGRATIONS).unwrap());
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o077, 0);
        }
    }

    #[tokio::test]
    async fn a_failing_statement_rolls_the_batch_back() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("test.db"), MIGRATIONS);
        let put = statement(PUT, vec![Value::Text("k".into()), Value::Text("v".into()), Value::Integer(1)]);
        assert!(database.run(vec![put.clone(), put]).await.is_err());
        assert_eq!(database.run(vec![statement("SELECT key FROM cache", vec![])]).await.unwrap(), [Vec::<Row>::new()]);
    }

    /// A batch that puts these keys, and whether it has to fail because a key occurs twice.
    fn puts(keys: &[usize]) -> (Vec<Statement>, bool) {
        let put = |key: &usize| {
            statement(PUT, vec![Value::Text(key.to_string()), Value::Text("v".into()), Value::Integer(1)])
        };
        let distinct: std::collections::HashSet<_> = keys.iter().collect();
        (keys.iter().map(put).collect(), distinct.len() < keys.len())
    }

    #[tokio::test]
    async fn batches_at_the_same_time_fail_alone() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("test.db"), MIGRATIONS);
        let batches: Vec<_> = (0..300).map(|n| if n % 7 == 3 { puts(&[n, 1000, 1000]) } else { puts(&[n]) }).collect();
        let done = futures::future::join_all(batches.iter().map(|(batch, _)| database.run(batch.clone()))).await;
        for ((_, must_fail), done) in batches.iter().zip(&done) {
            assert_eq!(done.is_err(), *must_fail, "{done:?}");
        }
        let count = statement("SELECT count(*) FROM cache", vec![]);
        let kept = done.iter().filter(|done| done.is_ok()).count();
        assert_eq!(database.run(vec![count]).await.unwrap(), [[[Value::Integer(kept as i64)]]]);
    }

    #[tokio::test]
    async fn what_is_answered_is_committed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.db");
        let (database, other) = (Database::open(&path, MIGRATIONS), Database::open(&path, MIGRATIONS));
        let seen_by_another = async |key: usize| {
            database.run(puts(&[key]).0).await.unwrap();
            let read = statement("SELECT value FROM cache WHERE key = ?1", vec![Value::Text(key.to_string())]);
            other.run(vec![read]).await.unwrap() == [[[Value::Text("v".into())]]]
        };
        let seen = futures::future::join_all((0..200).map(seen_by_another)).await;
        assert!(seen.iter().all(|seen| *seen));
    }

    #[tokio::test]
    async fn batches_run_before_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.db");
        let database = Database::open(&path, MIGRATIONS);
        let writes = futures::future::join_all((0..100).map(|key| database.run(puts(&[key]).0)));
        let (done, ()) = futures::future::join(writes, database.close()).await;
        assert!(done.iter().all(Result::is_ok));
        let rows = Database::open(&path, MIGRATIONS).run(vec![statement("SELECT count(*) FROM cache", vec![])]).await;
        assert_eq!(rows.unwrap(), [[[Value::Integer(100)]]]);
    }

    #[tokio::test]
    async fn a_path_that_cannot_be_opened_fails_each_call() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path(), MIGRATIONS);
        assert!(database.problem().is_some());
        assert!(database.run(vec![]).await.is_err());
    }
}
