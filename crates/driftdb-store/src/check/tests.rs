use bytes::Bytes;
use driftdb_env::SimEnv;
use driftdb_types::{Column, ColumnId, CommitSeq, DataType, Lsn, TableSchema, Value, encode_row};

use super::*;
use crate::base::{Base, encode_key};
use crate::history::SegmentWriter;
use crate::{NoSchemas, TreeSchema, Version};

const DIR: &str = "/data";
const TREE: TreeId = TreeId(100);

fn stamp(seq: u64) -> Stamp {
    Stamp { seq: CommitSeq(seq), time_us: seq.cast_signed() }
}

fn version(key: &'static [u8], from: u64, to: u64, payload: Bytes) -> Version {
    Version { key: Bytes::from_static(key), from: stamp(from), to: Some(stamp(to)), deleted: false, payload }
}

/// A store with these rows in its base, and these versions in a file each.
fn store(rows: &[(&[u8], u64)], segments: Vec<Vec<Version>>, schema: Option<TreeSchema>) -> SimEnv {
    let sim = Env::sim(1);
    let (disk, dir) = (&sim.env.disk, Path::new(DIR));
    let history_dir = dir.join(HISTORY_DIR);
    disk.create_dir_all(&history_dir).unwrap();
    let mut metas = Vec::new();
    for (number, versions) in (1..).zip(segments) {
        let mut writer = SegmentWriter::create(disk, &history_dir, TREE, number, 0, schema.clone()).unwrap();
        for version in versions {
            writer.push(version).unwrap();
        }
        metas.push(writer.finish().unwrap());
    }
    let base = Base::open(Arc::clone(disk), dir, 1 << 20).unwrap();
    let write = base.begin_write().unwrap();
    for (key, from) in rows {
        write.rows().unwrap().replace(&encode_key(TREE, key), Some((stamp(*from), b"now"))).unwrap();
    }
    write.set_checkpoint(&Checkpoint { stamp: stamp(100), lsn: Lsn(100) }).unwrap();
    write.edit_manifest(&[], &metas, 100).unwrap();
    write.commit().unwrap();
    base.close();
    sim
}

fn found(sim: &SimEnv) -> Vec<(String, String)> {
    let findings = check(&sim.env, Path::new(DIR), Arc::new(NoSchemas));
    let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    findings.into_iter().map(|finding| (name(finding.path), finding.what)).collect()
}

#[test]
fn versions_that_overlap_are_found_wherever_they_are() {
    let old = |key, from, to| version(key, from, to, Bytes::from_static(b"then"));
    let fine = vec![vec![old(b"a", 1, 3), old(b"a", 5, 9), old(b"b", 1, 2)], vec![old(b"a", 3, 5), old(b"c", 1, 9)]];
    assert_eq!(found(&store(&[(b"a", 9), (b"b", 4), (b"d", 1)], fine.clone(), None)), []);

    let mut overlapping = fine.clone();
    overlapping[1][0].to = Some(stamp(6));
    let findings = found(&store(&[(b"a", 9)], overlapping, None));
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].0 == "history" && findings[0].1.contains("key [61]"), "{findings:?}");

    let findings = found(&store(&[(b"a", 9), (b"c", 8)], fine.clone(), None));
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].0 == "base.redb" && findings[0].1.contains("key [63]"), "{findings:?}");

    let findings = found(&store(&[(b"a", 4)], fine, None));
    assert!(findings.iter().any(|(file, _)| file == "base.redb"), "{findings:?}");
}

/// The store knows no definitions, but the file has its own.
#[test]
fn a_row_of_history_that_does_not_decode_is_found() {
    let column = |id, data_type| {
        let name = format!("c{id}");
        Column { id: ColumnId(id), name, data_type, not_null: false, default: None, missing: None, dropped: false }
    };
    let table = TableSchema {
        id: TREE,
        name: "t".to_owned(),
        version: 1,
        columns: vec![column(0, DataType::Int4), column(1, DataType::Text)],
        primary_key: None,
        indexes: Vec::new(),
        options: Vec::new(),
        retention: None,
    };
    let row = Bytes::from(encode_row(&table, &[Value::Int4(7), Value::Text("x".to_owned())]).unwrap());
    let schema = Some(TreeSchema::Rows(Arc::new(table)));
    let fine = store(&[], vec![vec![version(b"a", 1, 2, row.clone())]], schema.clone());
    assert_eq!(found(&fine), []);
    let broken = vec![version(b"a", 1, 2, row), version(b"b", 1, 2, Bytes::from_static(b"no row"))];
    let findings = found(&store(&[], vec![broken], schema));
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].0 == "100-1.parquet" && findings[0].1.contains("key [62]"), "{findings:?}");
}
