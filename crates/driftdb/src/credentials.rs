//! The password's verifier in the data directory, and a new password.
//!
//! The file `credentials` holds one line a user: the name, a blank, the SCRAM verifier in PostgreSQL's form; and a last
//! line with the checksum of those before it: a flipped bit of a verifier would otherwise be a password that is wrong from
//! then on. From it nobody can log in. It is replaced whole: written beside, synced, renamed; and not at all where it has
//! what is to be stored, so that a start with the same password needs no space.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use driftdb_env::{Env, OpenOptions, Rand};
use driftdb_types::{Error, SqlState};
use driftdb_wire::{Credentials, ScramVerifier};

/// The one user there is.
pub(crate) const USER: &str = "driftdb";

/// The file's name in the data directory.
pub(crate) const FILE: &str = "credentials";

const NEW_FILE: &str = "credentials.new";

/// What the last line begins with; the CRC-32C of all lines before it follows, in hexadecimal.
const CHECKSUM: &str = "checksum ";

/// Letters and digits that are not taken for one another when read aloud.
const ALPHABET: &[u8] = b"abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";

/// 24 characters of 57: 139 bits.
const PASSWORD_CHARS: usize = 24;

/// How a start came by the password.
pub(crate) enum Password {
    /// It was there already; only its verifier is known.
    Stored,
    /// From DRIFTDB_PASSWORD.
    Given,
    /// Made now: to be shown, this once.
    Generated(String),
}

/// Reads the stored verifiers; stores that of `given`, or else, when there is none yet, that of a new password.
pub(crate) fn settle(env: &Env, data: &Path, given: Option<&str>) -> Result<(Credentials, Password)> {
    let stored = read(env, data)?;
    let (password, how) = match (given, stored) {
        (None, Some(credentials)) => return Ok((credentials, Password::Stored)),
        (Some(""), _) => bail!("DRIFTDB_PASSWORD is empty"),
        (Some(given), Some(credentials)) if credentials.fits(USER, given) => return Ok((credentials, Password::Given)),
        (Some(given), _) => (given.to_owned(), Password::Given),
        (None, None) => {
            let password = generate(env.rand.as_ref());
            (password.clone(), Password::Generated(password))
        }
    };
    let verifier = ScramVerifier::from_password(&password, env.rand.as_ref());
    write(env, data, &format!("{USER} {verifier}\n")).with_context(|| format!("cannot write {FILE}"))?;
    Ok((Credentials::new().with_user(USER, verifier), how))
}

/// The stored verifiers; `None` when there is no such file.
pub(crate) fn read(env: &Env, data: &Path) -> Result<Option<Credentials>> {
    let path = data.join(FILE);
    if !env.disk.exists(&path)? {
        return Ok(None);
    }
    let text = crate::files::read_bytes(env, &path)?;
    let text = String::from_utf8(text).map_err(|_| damaged(&path, "it is not UTF-8"))?;
    let lines = without_checksum(&text).map_err(|what| damaged(&path, what))?;
    let mut credentials = Credentials::new();
    for (number, line) in lines.lines().enumerate() {
        let parsed = line.split_once(' ').and_then(|(user, verifier)| Some((user, verifier.parse().ok()?)));
        let Some((user, verifier)) = parsed else {
            return Err(damaged(&path, &format!("line {} is not a user and a SCRAM verifier", number + 1)));
        };
        credentials = credentials.with_user(user, verifier);
    }
    if lines.is_empty() {
        return Err(damaged(&path, "it is empty"));
    }
    Ok(Some(credentials))
}

/// Copies the stored verifiers, if there are any, to another data directory.
pub(crate) fn copy(env: &Env, data: &Path, to: &Path) -> Result<()> {
    if read(env, data)?.is_none() {
        return Ok(());
    }
    let text = crate::files::read_text(env, &data.join(FILE))?;
    let lines = without_checksum(&text).unwrap_or(&text);
    write(env, to, lines).with_context(|| format!("cannot write {FILE}"))
}

/// The lines before the checksum, which is theirs. A file of the first releases has none.
fn without_checksum(text: &str) -> Result<&str, &'static str> {
    let Some(at) = text.rfind(CHECKSUM).filter(|at| text.get(..*at).is_some_and(|lines| lines.ends_with('\n'))) else {
        return Ok(text);
    };
    let (lines, sum) = text.split_at(at);
    if sum == checksum_line(lines) { Ok(lines) } else { Err("its checksum is not that of its lines") }
}

fn checksum_line(lines: &str) -> String {
    format!("{CHECKSUM}{:08x}\n", crc32c::crc32c(lines.as_bytes()))
}

fn damaged(path: &Path, what: &str) -> anyhow::Error {
    let hint = "Remove the file and start with DRIFTDB_PASSWORD set: the password is all that it holds.";
    Error::new(SqlState::DATA_CORRUPTED, format!("{}: {what}", path.display())).hint(hint).into()
}

fn write(env: &Env, data: &Path, lines: &str) -> Result<()> {
    let text = format!("{lines}{}", checksum_line(lines));
    let (beside, path) = (data.join(NEW_FILE), data.join(FILE));
    let file = env.disk.open(&beside, OpenOptions::TRUNCATE)?;
    file.write_at(0, text.as_bytes())?;
    file.sync_all()?;
    env.disk.rename(&beside, &path)?;
    env.disk.sync_dir(data)?;
    Ok(())
}

fn generate(rand: &dyn Rand) -> String {
    let pick = || ALPHABET.get(rand.below(ALPHABET.len() as u64) as usize).copied().unwrap_or(b'x');
    (0..PASSWORD_CHARS).map(|_| char::from(pick())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data() -> &'static Path {
        Path::new("/data")
    }

    #[test]
    fn a_password_is_made_once_and_only_its_verifier_kept() {
        let sim = Env::sim(1);
        sim.env.disk.create_dir_all(data()).unwrap();
        let (_, how) = settle(&sim.env, data(), None).unwrap();
        let Password::Generated(password) = how else { panic!("not generated") };
        assert_eq!(password.len(), PASSWORD_CHARS);
        let text = crate::files::read_text(&sim.env, &data().join(FILE)).unwrap();
        assert!(text.starts_with("driftdb SCRAM-SHA-256$") && !text.contains(&password), "{text}");
        assert!(matches!(settle(&sim.env, data(), None).unwrap().1, Password::Stored));
        assert_eq!(crate::files::read_text(&sim.env, &data().join(FILE)).unwrap(), text);
    }

    #[test]
    fn a_given_password_replaces_the_stored_one() {
        let sim = Env::sim(2);
        sim.env.disk.create_dir_all(data()).unwrap();
        settle(&sim.env, data(), None).unwrap();
        let before = crate::files::read_text(&sim.env, &data().join(FILE)).unwrap();
        assert!(matches!(settle(&sim.env, data(), Some("secret")).unwrap().1, Password::Given));
        assert_ne!(crate::files::read_text(&sim.env, &data().join(FILE)).unwrap(), before);
        assert!(settle(&sim.env, data(), Some("")).is_err());
    }

    #[test]
    fn the_stored_password_is_not_written_again() {
        let sim = Env::sim(4);
        sim.env.disk.create_dir_all(data()).unwrap();
        settle(&sim.env, data(), Some("secret")).unwrap();
        let before = crate::files::read_text(&sim.env, &data().join(FILE)).unwrap();
        assert!(matches!(settle(&sim.env, data(), Some("secret")).unwrap().1, Password::Given));
        // Another verifier would have another salt.
        assert_eq!(crate::files::read_text(&sim.env, &data().join(FILE)).unwrap(), before);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let sim = Env::sim(5);
        sim.env.disk.create_dir_all(data()).unwrap();
        settle(&sim.env, data(), Some("secret")).unwrap();
        let path = data().join(FILE);
        let file = sim.env.disk.open(&path, OpenOptions::WRITE).unwrap();
        let sound = crate::files::read_bytes(&sim.env, &path).unwrap();
        for (at, byte) in sound.iter().enumerate() {
            for bit in 0..8 {
                file.write_at(at as u64, &[byte ^ (1 << bit)]).unwrap();
                let error = read(&sim.env, data()).err().map(|error| error.to_string());
                assert!(error.is_some_and(|error| error.contains(FILE)), "byte {at}, bit {bit}");
            }
            file.write_at(at as u64, &[*byte]).unwrap();
        }
        assert!(read(&sim.env, data()).unwrap().is_some());
    }

    #[test]
    fn a_file_without_a_checksum_is_read() {
        let sim = Env::sim(6);
        sim.env.disk.create_dir_all(data()).unwrap();
        let verifier = ScramVerifier::from_password("secret", sim.env.rand.as_ref());
        let file = sim.env.disk.open(&data().join(FILE), OpenOptions::CREATE).unwrap();
        file.write_at(0, format!("{USER} {verifier}\n").as_bytes()).unwrap();
        assert!(read(&sim.env, data()).unwrap().unwrap().fits(USER, "secret"));
    }

    #[test]
    fn a_damaged_file_is_an_error_and_no_new_password() {
        let sim = Env::sim(3);
        sim.env.disk.create_dir_all(data()).unwrap();
        write(&sim.env, data(), "driftdb SCRAM-SHA-256$4096:!!\n").unwrap();
        let error = settle(&sim.env, data(), None).err().unwrap().to_string();
        assert!(error.contains("line 1"), "{error}");
        write(&sim.env, data(), "").unwrap();
        assert!(settle(&sim.env, data(), None).is_err());
    }
}
