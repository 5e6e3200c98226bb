//! The extended protocol: prepared statements, portals, and what Parse, Bind, Describe, Execute, Close and Sync do
//! with them (PostgreSQL manual, chapter 55.2.3 "Extended Query").

use std::collections::VecDeque;
use std::sync::Arc;

use driftdb_engine::Charge;
use driftdb_sql::{Outcome, Prepared, ResultColumn, RowStream};
use driftdb_types::{DataType, Error, Result, SqlState, Value};
use pgwire::messages::data::{NoData, ParameterDescription};
use pgwire::messages::extendedquery::{BindComplete, CloseComplete, ParseComplete, PortalSuspended};

use crate::connection::{Connection, Stop};
use crate::frontend::{Bind, Target};
use crate::rows::{Formats, decode_params, row_description};

/// The oid of `unknown`: a parameter whose type the statement shall tell.
const UNKNOWN_OID: u32 = 705;
/// Most portals of a connection: a client that forgets to close them gets an error, not the server's memory.
const PORTALS_MAX: usize = 10_000;

/// A statement that Parse has made; `None` is the empty one.
#[derive(Clone)]
pub(crate) struct PreparedStatement(Option<Prepared>);

impl PreparedStatement {
    fn params(&self) -> &[DataType] {
        self.0.as_ref().map_or(&[], Prepared::params)
    }

    fn columns(&self) -> Option<Arc<[ResultColumn]>> {
        self.0.as_ref().and_then(Prepared::columns)
    }
}

/// A statement with its parameters, being executed.
pub(crate) struct Portal {
    prepared: PreparedStatement,
    formats: Formats,
    state: PortalState,
    /// For its parameters.
    _charge: Option<Charge>,
}

enum PortalState {
    /// Not executed yet: the parameters.
    Bound(Vec<Value>),
    /// A row limit was reached: the rest.
    Suspended(Suspended),
    /// All rows are sent.
    Exhausted(RowStream),
    /// It was a statement without rows, or it failed: it cannot run again.
    Done,
}

struct Suspended {
    rows: RowStream,
    /// Rows of a batch that the limit cut.
    pending: VecDeque<Vec<Value>>,
}

impl Suspended {
    fn next(&mut self) -> Result<Option<Vec<Value>>> {
        if self.pending.is_empty() {
            self.pending.extend(self.rows.next_batch()?.into_iter().flatten());
        }
        Ok(self.pending.pop_front())
    }
}

impl Connection {
    pub(crate) fn parse(&mut self, name: String, sql: &str, param_oids: &[u32]) -> Result<(), Stop> {
        if name.is_empty() {
            self.unnamed = None;
        } else if self.empty.contains(&name) {
            let message = format!("prepared statement \"{name}\" already exists");
            return Err(Error::new(SqlState::DUPLICATE_PREPARED_STATEMENT, message).into());
        }
        let types = param_oids.iter().map(|&oid| param_type(oid)).collect::<Result<Vec<_>>>()?;
        let prepared = match self.session.parse_one(sql)? {
            Some(statement) => Some(self.session.prepare(&statement, &types)?),
            None => None,
        };
        match prepared {
            prepared if name.is_empty() => self.unnamed = Some(PreparedStatement(prepared)),
            Some(prepared) => self.session.keep_prepared(&name, prepared)?,
            None if self.empty.len() >= PORTALS_MAX => return Err(too_many("prepared statements").into()),
            None => drop(self.empty.insert(name)),
        }
        Ok(self.output.send(&ParseComplete::new())?)
    }

    pub(crate) fn bind(&mut self, bind: Bind) -> Result<(), Stop> {
        let prepared = self.statement(&bind.statement)?;
        if bind.portal.is_empty() {
            self.portals.remove("");
        } else if self.portals.contains_key(&bind.portal) {
            let message = format!("portal \"{}\" already exists", bind.portal);
            return Err(Error::new(SqlState::DUPLICATE_CURSOR, message).into());
        } else if self.portals.len() >= PORTALS_MAX {
            return Err(too_many("portals").into());
        }
        let types = prepared.params();
        if bind.params.len() != types.len() {
            let (given, wanted, name) = (bind.params.len(), types.len(), &bind.statement);
            let message = format!(
                "bind message supplies {given} parameters, but prepared statement \"{name}\" requires {wanted}"
            );
            return Err(Error::new(SqlState::PROTOCOL_VIOLATION, message).into());
        }
        let param_formats = Formats::from_codes(&bind.param_formats, types.len(), "parameter")?;
        let params = decode_params(&bind.params, types, &param_formats, self.session.time_zone())?;
        let formats = match prepared.columns() {
            Some(columns) => Formats::from_codes(&bind.result_formats, columns.len(), "result column")?,
            None => Formats::TEXT,
        };
        let portal = Portal { prepared, formats, state: PortalState::Bound(params), _charge: self.charge.take() };
        self.portals.insert(bind.portal, portal);
        Ok(self.output.send(&BindComplete::new())?)
    }

    pub(crate) fn describe(&mut self, target: &Target) -> Result<(), Stop> {
        match target {
            Target::Statement(name) => {
                let prepared = self.statement(name)?;
                let types = prepared.params().iter().map(DataType::oid).collect();
                self.output.send(&ParameterDescription::new(types))?;
                self.describe_columns(prepared.columns().as_deref(), &Formats::TEXT)
            }
            Target::Portal(name) => {
                let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
                let (prepared, formats) = (portal.prepared.clone(), portal.formats.clone());
                self.describe_columns(prepared.columns().as_deref(), &formats)
            }
        }
    }

    fn describe_columns(&mut self, columns: Option<&[ResultColumn]>, formats: &Formats) -> Result<(), Stop> {
        match columns {
            Some(columns) => self.output.send(&row_description(columns, formats))?,
            None => self.output.send(&NoData::new())?,
        }
        Ok(())
    }

    pub(crate) fn close(&mut self, target: &Target) -> Result<(), Stop> {
        // Closing what does not exist is not an error.
        match target {
            Target::Statement(name) if name.is_empty() => self.unnamed = None,
            Target::Statement(name) => {
                self.empty.remove(name);
                self.session.drop_prepared(name);
            }
            Target::Portal(name) => drop(self.portals.remove(name)),
        }
        Ok(self.output.send(&CloseComplete::new())?)
    }

    pub(crate) fn sync(&mut self) -> Result<(), Stop> {
        self.session.sync()?;
        Ok(())
    }

    /// Runs a portal, or goes on with one that a row limit suspended.
    pub(crate) fn execute(&mut self, name: &str, rows_max: i32) -> Result<(), Stop> {
        let rows_max = u64::try_from(rows_max).ok().filter(|&max| max > 0);
        let portal = self.portals.get_mut(name).ok_or_else(|| no_portal(name))?;
        let (prepared, formats) = (portal.prepared.clone(), portal.formats.clone());
        let state = match std::mem::replace(&mut portal.state, PortalState::Done) {
            PortalState::Bound(params) => {
                let outcome = match &prepared.0 {
                    Some(prepared) => self.session.execute(prepared, params)?,
                    None => Outcome::Empty,
                };
                match outcome {
                    Outcome::Rows(rows) => self.send_rows(rows, VecDeque::new(), &formats, rows_max)?,
                    other => {
                        self.answer_outcome(other, &formats, false)?;
                        PortalState::Done
                    }
                }
            }
            PortalState::Suspended(Suspended { rows, pending }) => self.send_rows(rows, pending, &formats, rows_max)?,
            PortalState::Exhausted(rows) => {
                self.complete(rows.tag(0))?;
                PortalState::Exhausted(rows)
            }
            PortalState::Done => {
                let message = format!("portal \"{name}\" cannot be run");
                return Err(Error::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message).into());
            }
        };
        // The statement may have ended the transaction, and its portals with it.
        if let Some(portal) = self.portals.get_mut(name) {
            portal.state = state;
        }
        Ok(())
    }

    /// Sends rows up to the limit. As in PostgreSQL a portal that gives exactly as many as were asked for counts as
    /// suspended: whether there is more is only known by looking.
    fn send_rows(
        &mut self,
        rows: RowStream,
        pending: VecDeque<Vec<Value>>,
        formats: &Formats,
        rows_max: Option<u64>,
    ) -> Result<PortalState, Stop> {
        let columns = Arc::clone(rows.columns());
        let mut rest = Suspended { rows, pending };
        let mut count = 0;
        while rows_max.is_none_or(|max| count < max) {
            let Some(row) = rest.next()? else {
                self.complete(rest.rows.tag(count))?;
                return Ok(PortalState::Exhausted(rest.rows));
            };
            self.send_row(&columns, formats, &row)?;
            count += 1;
        }
        self.send_notices()?;
        self.output.send(&PortalSuspended::new())?;
        Ok(PortalState::Suspended(rest))
    }

    fn statement(&self, name: &str) -> Result<PreparedStatement> {
        if name.is_empty() {
            let message = "unnamed prepared statement does not exist";
            let missing = || Error::new(SqlState::UNDEFINED_PREPARED_STATEMENT, message);
            return self.unnamed.clone().ok_or_else(missing);
        }
        if self.empty.contains(name) {
            return Ok(PreparedStatement(None));
        }
        Ok(PreparedStatement(Some(self.session.kept_prepared(name)?)))
    }
}

fn param_type(oid: u32) -> Result<Option<DataType>> {
    match oid {
        0 | UNKNOWN_OID => Ok(None),
        oid => match DataType::from_oid(oid) {
            Some(data_type) => Ok(Some(data_type)),
            None => Err(Error::unsupported(format_args!("a parameter of the type with OID {oid}"))),
        },
    }
}

fn no_portal(name: &str) -> Error {
    Error::new(SqlState::INVALID_CURSOR_NAME, format!("portal \"{name}\" does not exist"))
}

fn too_many(what: &str) -> Error {
    Error::new(SqlState::PROGRAM_LIMIT_EXCEEDED, format!("too many {what}: at most {PORTALS_MAX} are kept"))
        .hint("Close those that are not used any more.")
}
