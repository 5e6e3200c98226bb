//! Scans as DataFusion runs them: rows of a tree, decoded straight into Arrow columns, a batch at a time.
//!
//! A batch is made when it is asked for, and nothing is read ahead. It ends at a number of rows or of bytes, whichever comes
//! first: who reads wide rows holds no more memory than others. The cancel flag is looked at for each batch and every
//! thousand rows in between.

use std::fmt;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result as DfResult;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column as ColumnExpr;
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions};
use driftdb_engine::{RowVersion, TxnReader, TxnScan};
use driftdb_store::{Period, ReadPoint, Scan, StoreView};
use driftdb_types::{ColumnId, CommitSeq, DataType, KeyRange, Result, RowDecoder, Stamp, TableSchema, TreeId, Value};

use super::errors::into_datafusion;
use super::keys::Access;
use super::pace::Pace;
use super::provider::{Mode, Source};
use super::rewrite::ReadAt;
use super::types::ColumnBuilder;
use crate::read::QueryContext;

/// For so many rows a scan's first batch has room; it grows with what comes.
const FIRST_ROWS: usize = 256;
/// After how many rows the cancel flag is looked at.
const CANCEL_ROWS: usize = 1024;
/// After how many rows, which take well below a millisecond, a long query lets others have its core.
const YIELD_ROWS: usize = 128;

/// The context of one execution, in DataFusion's session configuration.
pub(super) struct Execution {
    pub(super) context: QueryContext,
    /// `None`: it stays on the thread it is run from.
    pub(super) pace: Option<Arc<Pace>>,
}

impl Execution {
    /// Fails when the query is to end.
    fn check(&self) -> Result<()> {
        self.context.cancel.check()?;
        self.pace.as_ref().map_or(Ok(()), |pace| pace.check())
    }

    fn yield_core(&self) {
        if self.pace.as_ref().is_some_and(|pace| pace.is_in_background()) {
            self.context.read.engine.env().spawner.yield_core();
        }
    }
}

pub(super) fn execution(context: &TaskContext) -> DfResult<Arc<Execution>> {
    context
        .session_config()
        .get_extension::<Execution>()
        .ok_or_else(|| into_datafusion(driftdb_types::Error::internal("a scan runs outside of an execution")))
}

/// One row version on its way into a batch.
struct Row {
    key: Bytes,
    payload: Bytes,
    from: Option<Stamp>,
    to: Option<Stamp>,
    op: &'static str,
}

type Rows = Box<dyn Iterator<Item = Result<Row>> + Send>;

/// A scan of a user's table.
#[derive(Debug)]
pub(super) struct StoreExec {
    table: Arc<TableSchema>,
    mode: Mode,
    access: Access,
    sources: Vec<Source>,
    schema: SchemaRef,
    limit: Option<usize>,
    properties: Arc<PlanProperties>,
}

impl StoreExec {
    pub(super) fn new(
        table: Arc<TableSchema>,
        mode: Mode,
        access: Access,
        sources: Vec<Source>,
        schema: SchemaRef,
        limit: Option<usize>,
    ) -> StoreExec {
        let ordering = match (&access, mode) {
            (Access::Rows(_), Mode::Read(ReadAt::Now | ReadAt::AsOf(_))) => key_order(&table, &sources),
            _ => Vec::new(),
        };
        let equivalence = EquivalenceProperties::new_with_orderings(Arc::clone(&schema), [ordering]);
        let properties = plan_properties(equivalence);
        StoreExec { table, mode, access, sources, schema, limit, properties }
    }
}

fn plan_properties(equivalence: EquivalenceProperties) -> Arc<PlanProperties> {
    let properties = PlanProperties::new(
        equivalence,
        Partitioning::UnknownPartitioning(1),
        EmissionType::Incremental,
        Boundedness::Bounded,
    );
    // The scans look at the cancel flag themselves.
    Arc::new(properties.with_scheduling_type(SchedulingType::Cooperative))
}

/// The order that rows kept by their primary key come in, as far as the scan gives the key's columns.
fn key_order(table: &TableSchema, sources: &[Source]) -> Vec<PhysicalSortExpr> {
    let Some(key) = table.primary_key.as_ref().filter(|_| table.is_clustered()) else { return Vec::new() };
    let mut order = Vec::new();
    for id in &key.columns {
        let position = sources.iter().position(|source| matches!(source, Source::Stored(column, _) if column == id));
        let (Some(position), Some(column)) = (position, table.column_by_id(*id)) else { break };
        // Arrow orders these as the keys do.
        let same_order = column.data_type.is_integer()
            || column.data_type.is_text()
            || matches!(
                column.data_type,
                DataType::Date | DataType::Timestamp | DataType::TimestampTz | DataType::Uuid
            );
        if !same_order {
            break;
        }
        let expr: Arc<dyn PhysicalExpr> = Arc::new(ColumnExpr::new(&column.name, position));
        order.push(PhysicalSortExpr::new(expr, SortOptions { descending: false, nulls_first: false }));
    }
    order
}

impl DisplayAs for StoreExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.table.name;
        match &self.access {
            Access::Rows(range) if *range == KeyRange::all() => write!(f, "Seq Scan on {name}")?,
            Access::Rows(_) => write!(f, "Key Range Scan on {name}")?,
            Access::Index(index, _) => write!(f, "Index Scan using {} on {name}", index.name)?,
        }
        match self.mode {
            Mode::Read(ReadAt::AsOf(seq)) => write!(f, " as of commit {seq}")?,
            Mode::Read(ReadAt::Versions(_)) => write!(f, " versions")?,
            Mode::History => write!(f, " history")?,
            Mode::Read(ReadAt::Now | ReadAt::Later) => {}
        }
        if let Some(limit) = self.limit {
            write!(f, ", limit={limit}")?;
        }
        Ok(())
    }
}

macro_rules! leaf {
    () => {
        fn properties(&self) -> &Arc<PlanProperties> {
            &self.properties
        }

        fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
            Vec::new()
        }

        fn apply_expressions(
            &self,
            _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
        ) -> DfResult<TreeNodeRecursion> {
            Ok(TreeNodeRecursion::Continue)
        }

        fn replace_children(
            self: Arc<Self>,
            _children: Vec<Arc<dyn ExecutionPlan>>,
            _options: ReplaceChildrenOptions,
        ) -> DfResult<Arc<dyn ExecutionPlan>> {
            Ok(self)
        }

        fn with_new_children(
            self: Arc<Self>,
            _children: Vec<Arc<dyn ExecutionPlan>>,
        ) -> DfResult<Arc<dyn ExecutionPlan>> {
            Ok(self)
        }
    };
}

impl ExecutionPlan for StoreExec {
    fn name(&self) -> &'static str {
        "StoreScan"
    }

    leaf!();

    fn execute(&self, _partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let execution = execution(&context)?;
        let pace = execution.pace.clone();
        let rows = open(&execution.context, &self.table, self.mode, &self.access).map_err(into_datafusion)?;
        let batches =
            Batches::new(execution, &self.table, rows, self.sources.clone(), Arc::clone(&self.schema), self.limit)
                .map_err(into_datafusion)?;
        let mut batches = batches.map(|batch| batch.map_err(into_datafusion));
        let stream = futures::stream::poll_fn(move |context| {
            if pace.as_ref().is_some_and(|pace| pace.pauses()) {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(batches.next())
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream)))
    }
}

/// Opens the rows to read.
fn open(ctx: &QueryContext, table: &TableSchema, mode: Mode, access: &Access) -> Result<Rows> {
    let view = &ctx.read.view;
    match (mode, access) {
        (Mode::Read(ReadAt::Now | ReadAt::Later), Access::Rows(range)) => {
            Ok(Box::new(Now(ctx.read.reader.scan(table.id, range, false)?)))
        }
        (Mode::Read(ReadAt::Now | ReadAt::Later), Access::Index(index, range)) => {
            let entries = ctx.read.reader.scan(index.id, range, false)?;
            Ok(Box::new(NowByIndex { entries, reader: ctx.read.reader.clone(), table: table.id }))
        }
        (Mode::Read(ReadAt::AsOf(seq)), Access::Rows(range)) => {
            let view = ctx.read.engine.view_as_of(view, seq);
            ctx.read.engine.check_horizon(&view, table, seq)?;
            Ok(Box::new(Past(view.scan(table.id, range, ReadPoint::AsOf(seq), false)?)))
        }
        (Mode::Read(ReadAt::AsOf(seq)), Access::Index(index, range)) => {
            let view = ctx.read.engine.view_as_of(view, seq);
            ctx.read.engine.check_horizon(&view, table, seq)?;
            let entries = view.scan(index.id, range, ReadPoint::AsOf(seq), false)?;
            Ok(Box::new(PastByIndex { entries, view, table: table.id, seq }))
        }
        (Mode::Read(ReadAt::Versions(period)), access) => {
            ctx.read.reader.note_range(table.id, &rows_range(access))?;
            if let Period::Overlaps { start, .. } | Period::ContainedIn { start, .. } = period {
                ctx.read.engine.check_horizon(view, table, start)?;
            }
            Ok(Box::new(Past(view.versions(table.id, &rows_range(access), period)?)))
        }
        (Mode::History, access) => {
            ctx.read.reader.note_range(table.id, &rows_range(access))?;
            let versions = view.versions(table.id, &rows_range(access), Period::All)?;
            Ok(Box::new(History { versions, last: None, deletion: None }))
        }
    }
}

fn rows_range(access: &Access) -> KeyRange {
    match access {
        Access::Rows(range) => range.clone(),
        Access::Index(..) => KeyRange::all(),
    }
}

struct Now(TxnScan);

fn current(version: RowVersion) -> Row {
    Row { key: version.key, payload: version.payload, from: version.from, to: None, op: "" }
}

impl Iterator for Now {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Result<Row>> {
        Some(self.0.next()?.map(current))
    }
}

struct NowByIndex {
    entries: TxnScan,
    reader: TxnReader,
    table: TreeId,
}

impl Iterator for NowByIndex {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Result<Row>> {
        loop {
            let found = self.entries.next()?.and_then(|entry| self.reader.get(self.table, &entry.payload));
            match found {
                Ok(Some(version)) => return Some(Ok(current(version))),
                Ok(None) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

struct Past(Scan);

fn past(version: driftdb_store::Version) -> Row {
    Row { key: version.key, payload: version.payload, from: Some(version.from), to: version.to, op: "" }
}

impl Iterator for Past {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Result<Row>> {
        Some(self.0.next()?.map(past).map_err(Into::into))
    }
}

struct PastByIndex {
    entries: Scan,
    view: Arc<StoreView>,
    table: TreeId,
    seq: CommitSeq,
}

impl Iterator for PastByIndex {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Result<Row>> {
        loop {
            let found = self
                .entries
                .next()?
                .and_then(|entry| self.view.get(self.table, &entry.payload, ReadPoint::AsOf(self.seq)));
            match found {
                Ok(Some(version)) => return Some(Ok(past(version))),
                Ok(None) => {}
                Err(error) => return Some(Err(error.into())),
            }
        }
    }
}

/// Versions with what made each: the first of a key, and one that follows a deletion, is an insert. A deletion is a row of
/// its own, with the last values and a period of no length.
struct History {
    versions: Scan,
    /// The key of the version before, and when it ended.
    last: Option<(Bytes, Option<Stamp>)>,
    deletion: Option<Row>,
}

impl Iterator for History {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Result<Row>> {
        if let Some(deletion) = self.deletion.take() {
            return Some(Ok(deletion));
        }
        let version = match self.versions.next()? {
            Ok(version) => version,
            Err(error) => return Some(Err(error.into())),
        };
        // A version that begins where the one before ended took its place.
        let follows =
            self.last.as_ref().is_some_and(|(key, ended)| *key == version.key && *ended == Some(version.from));
        self.last = Some((version.key.clone(), version.to.filter(|_| !version.deleted)));
        if let (true, Some(at)) = (version.deleted, version.to) {
            let (key, payload) = (version.key.clone(), version.payload.clone());
            self.deletion = Some(Row { key, payload, from: Some(at), to: Some(at), op: "delete" });
        }
        let op = if follows { "update" } else { "insert" };
        Some(Ok(Row { key: version.key, payload: version.payload, from: Some(version.from), to: version.to, op }))
    }
}

/// Makes batches of rows.
struct Batches {
    execution: Arc<Execution>,
    rows: Rows,
    decoder: RowDecoder,
    /// For each output column, its place among the decoded ones, or what else it is.
    sources: Vec<Source>,
    schema: SchemaRef,
    left: usize,
    /// For how many rows the next batch is given room: as many as the last one had.
    expected_rows: usize,
    done: bool,
    commit: Option<(CommitSeq, driftdb_engine::CommitMeta)>,
}

impl Batches {
    fn new(
        execution: Arc<Execution>,
        table: &TableSchema,
        rows: Rows,
        sources: Vec<Source>,
        schema: SchemaRef,
        limit: Option<usize>,
    ) -> Result<Batches> {
        let columns: Vec<ColumnId> = sources
            .iter()
            .filter_map(|source| match source {
                Source::Stored(column, _) => Some(*column),
                _ => None,
            })
            .collect();
        let decoder = RowDecoder::new(table, &columns)?;
        Ok(Batches {
            execution,
            rows,
            decoder,
            sources,
            schema,
            left: limit.unwrap_or(usize::MAX),
            expected_rows: FIRST_ROWS,
            done: false,
            commit: None,
        })
    }

    fn batch(&mut self) -> Result<Option<RecordBatch>> {
        self.execution.check()?;
        let bounds = self.execution.context.runtime.batch;
        let target = bounds.rows.min(self.left);
        let expected = self.expected_rows.min(target);
        let mut builders: Vec<ColumnBuilder> =
            self.sources.iter().map(|source| ColumnBuilder::new(source.data_type(), expected)).collect();
        let mut decoded = Vec::with_capacity(self.sources.len());
        let (mut count, mut bytes) = (0, 0);
        while count < target && bytes < bounds.bytes {
            let Some(row) = self.rows.next() else {
                self.done = true;
                break;
            };
            let row = row?;
            decoded.clear();
            self.decoder.decode_into(&row.payload, &mut decoded)?;
            let mut stored = decoded.iter();
            for position in 0..self.sources.len() {
                let (Some(source), Some(builder)) = (self.sources.get(position).copied(), builders.get_mut(position))
                else {
                    continue;
                };
                match source {
                    Source::Stored(..) => builder.append(stored.next().unwrap_or(&Value::Null))?,
                    other => {
                        let value = self.hidden(other, &row)?;
                        builder.append(&value)?;
                    }
                }
            }
            count += 1;
            bytes += row.payload.len();
            if count % YIELD_ROWS == 0 {
                self.execution.yield_core();
            }
            if count % CANCEL_ROWS == 0 {
                self.execution.check()?;
            }
        }
        self.expected_rows = count;
        self.left -= count;
        self.done |= self.left == 0;
        if count == 0 {
            return Ok(None);
        }
        let columns = builders.iter_mut().map(ColumnBuilder::finish).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map(Some)
            .map_err(|error| driftdb_types::Error::internal(format!("a scan's batch does not fit its schema: {error}")))
    }

    fn hidden(&mut self, source: Source, row: &Row) -> Result<Value> {
        let time = |stamp: Option<Stamp>| stamp.map_or(Value::Null, |stamp| Value::TimestampTz(stamp.time_us));
        let seq = |stamp: Option<Stamp>| {
            stamp.map_or(Value::Null, |stamp| Value::Int8(i64::try_from(stamp.seq.0).unwrap_or(i64::MAX)))
        };
        let text = |text: &str| Value::Text(text.to_owned());
        Ok(match source {
            Source::Stored(..) => Value::Null,
            Source::SystemFrom => time(row.from),
            Source::SystemTo => time(row.to),
            Source::FromSeq => seq(row.from),
            Source::ToSeq => seq(row.to),
            Source::RowKey => Value::Bytea(row.key.to_vec()),
            Source::Op => text(row.op),
            Source::TxUser => self.commit_of(row)?.map_or(Value::Null, |meta| text(&meta.user)),
            Source::TxApp => self.commit_of(row)?.map_or(Value::Null, |meta| text(&meta.application)),
            Source::TxComment => {
                self.commit_of(row)?.and_then(|meta| meta.comment.as_deref()).map_or(Value::Null, text)
            }
        })
    }

    /// Who made the row's version. Rows of one commit often come together, so the last one asked is kept.
    fn commit_of(&mut self, row: &Row) -> Result<Option<&driftdb_engine::CommitMeta>> {
        let Some(stamp) = row.from else { return Ok(None) };
        if self.commit.as_ref().is_none_or(|(seq, _)| *seq != stamp.seq) {
            let read = &self.execution.context.read;
            let record = read.engine.commit_record(&read.view, stamp.seq)?;
            self.commit = record.map(|record| (stamp.seq, record.meta));
        }
        Ok(self.commit.as_ref().map(|(_, meta)| meta))
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        if self.done {
            return None;
        }
        let batch = self.batch();
        if batch.is_err() {
            self.done = true;
        }
        batch.transpose()
    }
}

/// Rows of values, as system tables and functions give them.
pub(super) type ValueRows = Box<dyn Iterator<Item = Result<Vec<Value>>> + Send>;
type OpenRows = dyn Fn(&QueryContext) -> Result<ValueRows> + Send + Sync;

/// A scan of rows that are computed.
pub(super) struct RowsExec {
    name: String,
    open: Arc<OpenRows>,
    positions: Vec<usize>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl RowsExec {
    /// A plan that gives the projected columns of the rows that `open` gives.
    pub(super) fn plan(
        schema: &SchemaRef,
        projection: Option<&Vec<usize>>,
        name: String,
        open: impl Fn(&QueryContext) -> Result<ValueRows> + Send + Sync + 'static,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let positions: Vec<usize> = match projection {
            Some(positions) => positions.clone(),
            None => (0..schema.fields().len()).collect(),
        };
        let schema = Arc::new(schema.project(&positions)?);
        let properties = plan_properties(EquivalenceProperties::new(Arc::clone(&schema)));
        Ok(Arc::new(RowsExec { name, open: Arc::new(open), positions, schema, properties }))
    }
}

impl fmt::Debug for RowsExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowsExec").field("name", &self.name).finish_non_exhaustive()
    }
}

impl DisplayAs for RowsExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scan on {}", self.name)
    }
}

impl ExecutionPlan for RowsExec {
    fn name(&self) -> &'static str {
        "RowsScan"
    }

    leaf!();

    fn execute(&self, _partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let execution = execution(&context)?;
        let rows = (self.open)(&execution.context).map_err(into_datafusion)?;
        let batches =
            ValueBatches { execution, rows, positions: self.positions.clone(), schema: Arc::clone(&self.schema) };
        let stream = futures::stream::iter(batches.map(|batch| batch.map_err(into_datafusion)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream)))
    }
}

/// How many bytes a value of no fixed length has.
fn long_bytes(value: &Value) -> usize {
    match value {
        Value::Text(text) | Value::Json(text) | Value::Jsonb(text) => text.len(),
        Value::Bytea(bytes) => bytes.len(),
        _ => 0,
    }
}

struct ValueBatches {
    execution: Arc<Execution>,
    rows: ValueRows,
    positions: Vec<usize>,
    schema: SchemaRef,
}

impl ValueBatches {
    fn batch(&mut self) -> Result<Option<RecordBatch>> {
        self.execution.check()?;
        let fields = self.schema.fields();
        let mut builders: Vec<ColumnBuilder> =
            fields.iter().map(|field| ColumnBuilder::for_arrow(field.data_type(), 64)).collect();
        let bounds = self.execution.context.runtime.batch;
        let (mut count, mut bytes) = (0, 0);
        for row in self.rows.by_ref().take(bounds.rows) {
            let row = row?;
            for (position, builder) in self.positions.iter().zip(&mut builders) {
                let value = row.get(*position).unwrap_or(&Value::Null);
                bytes += long_bytes(value);
                builder.append(value)?;
            }
            count += 1;
            if bytes >= bounds.bytes {
                break;
            }
        }
        if count == 0 {
            return Ok(None);
        }
        let columns = builders.iter_mut().map(ColumnBuilder::finish).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map(Some)
            .map_err(|error| driftdb_types::Error::internal(format!("computed rows do not fit their schema: {error}")))
    }
}

impl Iterator for ValueBatches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Result<RecordBatch>> {
        self.batch().transpose()
    }
}
