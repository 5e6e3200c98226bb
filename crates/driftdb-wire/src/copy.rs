//! COPY over the connection (PostgreSQL manual, chapter 55.2.6 "COPY Operations").

use std::time::Duration;

use bytes::Bytes;
use driftdb_sql::{CopyIn, CopyOut};
use driftdb_types::{Error, SqlState};
use pgwire::messages::copy::{CopyData, CopyDone, CopyInResponse, CopyOutResponse};

use crate::connection::{Connection, Stop};
use crate::frontend::{Message, decode};
use crate::input::ReadError;

/// How often a COPY that waits for data looks whether it was cancelled.
const CANCEL_CHECK: Duration = Duration::from_millis(50);

impl Connection {
    /// Takes the client's data until it says that was all, or that it failed.
    pub(crate) fn copy_in(&mut self, mut copy: CopyIn) -> Result<(), Stop> {
        let formats = vec![0; copy.columns()];
        let columns = i16::try_from(formats.len()).unwrap_or(i16::MAX);
        self.send_notices()?;
        self.output.send(&CopyInResponse::new(0, columns, formats))?;
        self.output.flush()?;
        self.input.set_timeout(Some(CANCEL_CHECK))?;
        let received = self.receive(&mut copy);
        self.input.set_timeout(None)?;
        match received {
            Ok(None) => {
                let tag = copy.finish(&mut self.session)?;
                self.complete(tag)
            }
            Ok(Some(message)) => Err(copy.fail(&mut self.session, &message).into()),
            Err(stop) => Err(stop),
        }
    }

    /// Feeds `copy`; gives what the client says went wrong on its side.
    fn receive(&mut self, copy: &mut CopyIn) -> Result<Option<String>, Stop> {
        loop {
            let mut frame = match self.input.frame() {
                Ok(frame) => frame,
                Err(ReadError::TimedOut) => {
                    self.cancel.check()?;
                    continue;
                }
                Err(ReadError::Gone) => return Err(Stop::Gone),
                Err(ReadError::Malformed(error)) => return Err(Stop::Fatal(error)),
            };
            let tag = frame.tag;
            let _charge = frame.charge.take();
            match decode(frame)? {
                Message::CopyData(data) => copy.write(&mut self.session, &data)?,
                Message::CopyDone => return Ok(None),
                Message::CopyFail(message) => return Ok(Some(message)),
                // Some clients send these without waiting for the answer to Execute.
                Message::Flush | Message::Sync => {}
                Message::Terminate => return Err(Stop::Gone),
                _ => {
                    let message = format!("unexpected message type {tag:#04x} during COPY from stdin");
                    return Err(Error::new(SqlState::PROTOCOL_VIOLATION, message).into());
                }
            }
        }
    }

    /// Sends the data of a COPY.
    pub(crate) fn copy_out(&mut self, mut copy: CopyOut) -> Result<(), Stop> {
        let formats = vec![0; copy.columns()];
        let columns = i16::try_from(formats.len()).unwrap_or(i16::MAX);
        self.send_notices()?;
        self.output.send(&CopyOutResponse::new(0, columns, formats))?;
        while let Some((chunk, ends)) = copy.next_lines()? {
            let mut rest = Bytes::from(chunk);
            let mut start = 0;
            for end in ends {
                // One message a row: some clients take a message for a row.
                self.output.send(&CopyData::new(rest.split_to(end.saturating_sub(start).min(rest.len()))))?;
                start = end;
            }
        }
        self.output.send(&CopyDone::new())?;
        self.complete(copy.tag())
    }
}
