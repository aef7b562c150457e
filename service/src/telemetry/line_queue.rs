use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::IntCounter;

/// The most bytes of lines that wait to be written.
const CAPACITY_BYTES: usize = 256 << 10;

/// Lines that a thread writes to an output, which may take any time for them. Those that find the queue full, and those that
/// the output refuses, are lost and counted.
pub(super) struct LineQueue {
    shared: Arc<Shared>,
    lost: IntCounter,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    is_writing: bool,
}

impl LineQueue {
    pub fn to(mut output: impl Write + Send + 'static, lost: IntCounter) -> Self {
        let shared = Arc::new(Shared::default());
        let thread = std::thread::Builder::new().name("log".into());
        let (queue, refused) = (Arc::clone(&shared), lost.clone());
        // Where no thread can be made, the queue fills and the lines are counted as lost.
        let _ = thread.spawn(move || {
            loop {
                let line = queue.next();
                if output.write_all(&line).and_then(|()| output.flush()).is_err() {
                    refused.inc();
                }
                queue.state().is_writing = false;
                queue.changed.notify_all();
            }
        });
        Self { shared, lost }
    }

    /// Never waits for the output.
    pub fn push(&self, line: Vec<u8>) {
        let mut state = self.shared.state();
        if state.bytes + line.len() > CAPACITY_BYTES {
            self.lost.inc();
            return;
        }
        state.bytes += line.len();
        state.lines.push_back(line);
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Waits until every line is written or lost, for at most `timeout`.
    pub fn flush(&self, timeout: Duration) {
        let is_busy = |state: &mut State| state.is_writing || !state.lines.is_empty();
        drop(self.shared.changed.wait_timeout_while(self.shared.state(), timeout, is_busy));
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Vec<u8> {
        let mut state = self.state();
        loop {
            if let Some(line) = state.lines.pop_front() {
                state.bytes -= line.len();
                state.is_writing = true;
                return line;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The subscriber formats an event as a whole and writes it at once.
impl Write for &LineQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _, pipe};
    use std::time::Instant;

    use super::*;

    const SOON: Duration = Duration::from_secs(60);

    fn lost() -> IntCounter {
        IntCounter::new("lost", "lost").unwrap()
    }

    #[test]
    fn lines_come_in_order_and_a_flush_waits_for_them() {
        let (reader, writer) = pipe().unwrap();
        let queue = LineQueue::to(writer, lost());
        for number in 0..100 {
            queue.push(format!("{number}\n").into_bytes());
        }
        queue.flush(SOON);
        let lines: Vec<_> = BufReader::new(reader).lines().take(100).map(Result::unwrap).collect();
        assert_eq!(lines, (0..100).map(|number: u32| number.to_string()).collect::<Vec<_>>());
        assert_eq!(queue.lost.get(), 0);
    }

    #[test]
    fn a_closed_output_loses_lines_and_nothing_else() {
        let (reader, writer) = pipe().unwrap();
        let queue = LineQueue::to(writer, lost());
        drop(reader);
        for _ in 0..10 {
            queue.push(b"a\n".to_vec());
        }
        queue.flush(SOON);
        assert_eq!(queue.lost.get(), 10);
    }

    #[test]
    fn a_full_output_loses_what_does_not_fit_and_holds_nobody_up() {
        let (mut reader, writer) = pipe().unwrap();
        let queue = LineQueue::to(writer, lost());
        let line = vec![b'a'; 1 << 10];
        let lines = 4 * CAPACITY_BYTES / line.len();
        for _ in 0..lines {
            queue.push(line.clone());
        }
        let lost = queue.lost.get();
        assert!(lost > 0);
        let began = Instant::now();
        queue.flush(Duration::from_millis(10));
        assert!(began.elapsed() < SOON);

        // The control: read at last, the pipe gets every line that was not counted as lost.
        let kept = (lines - usize::try_from(lost).unwrap()) * line.len();
        reader.read_exact(&mut vec![0; kept]).unwrap();
        queue.flush(SOON);
        queue.push(b"end".to_vec());
        let mut end = [0; 3];
        reader.read_exact(&mut end).unwrap();
        assert_eq!(&end, b"end");
    }
}
