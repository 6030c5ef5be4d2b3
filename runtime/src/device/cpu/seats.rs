//! Who may compute: as many callers at once as a pool has threads, and the others in the order in which they came.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The seats of a pool.
pub(super) struct Seats {
    state: Mutex<State>,
    freed: Condvar,
    /// Seats that are taken, for who does not want the lock.
    taken: AtomicUsize,
    /// No seat from this one on is taken.
    end: AtomicUsize,
}

struct State {
    taken: Vec<bool>,
    /// Who waits, by number.
    queue: VecDeque<u64>,
    next: u64,
}

impl Seats {
    pub fn new(count: usize) -> Self {
        let state = State { taken: vec![false; count], queue: VecDeque::new(), next: 0 };
        Seats { state: Mutex::new(state), freed: Condvar::new(), taken: AtomicUsize::new(0), end: AtomicUsize::new(0) }
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.taken.load(SeqCst)
    }

    /// The seats before this one are those that may be taken.
    pub fn end(&self) -> usize {
        self.end.load(SeqCst)
    }

    /// Takes a seat, after all that came before.
    pub fn take(&self) -> usize {
        let mut state = self.lock();
        if state.queue.is_empty()
            && let Some(seat) = self.sit(&mut state)
        {
            return seat;
        }
        let number = state.next;
        state.next += 1;
        state.queue.push_back(number);
        loop {
            if state.queue.front() == Some(&number)
                && let Some(seat) = self.sit(&mut state)
            {
                state.queue.pop_front();
                // The next one may find a seat too.
                self.freed.notify_all();
                return seat;
            }
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes a seat if one is free and nobody waits for it.
    pub fn try_take(&self) -> Option<usize> {
        let mut state = self.lock();
        if state.queue.is_empty() { self.sit(&mut state) } else { None }
    }

    /// Gives a seat back.
    pub fn give_back(&self, seat: usize) {
        let mut state = self.lock();
        state.taken[seat] = false;
        self.publish(&state);
        if !state.queue.is_empty() {
            self.freed.notify_all();
        }
    }

    /// The lowest seat that is free, so that who looks at all that are taken looks at few.
    fn sit(&self, state: &mut State) -> Option<usize> {
        let seat = state.taken.iter().position(|taken| !taken)?;
        state.taken[seat] = true;
        self.publish(state);
        Some(seat)
    }

    fn publish(&self, state: &State) {
        self.taken.store(state.taken.iter().filter(|taken| **taken).count(), SeqCst);
        self.end.store(state.taken.iter().rposition(|taken| *taken).map_or(0, |last| last + 1), SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn who_came_first_sits_first() {
        let seats = Seats::new(2);
        assert_eq!((seats.take(), seats.take(), seats.try_take()), (0, 1, None));
        let (sat, order) = mpsc::channel();
        std::thread::scope(|scope| {
            for caller in 0..4 {
                let sat = sat.clone();
                let seats = &seats;
                scope.spawn(move || {
                    let seat = seats.take();
                    sat.send((caller, seat)).unwrap();
                });
                // In the queue before the next one comes.
                while seats.lock().queue.len() <= caller {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            for caller in 0..4 {
                assert_eq!(seats.try_take(), None, "who does not wait does not pass those who do");
                seats.give_back(caller % 2);
                assert_eq!(order.recv().unwrap(), (caller, caller % 2));
            }
        });
        seats.give_back(1);
        assert_eq!((seats.taken(), seats.end()), (1, 1));
        seats.give_back(0);
        assert_eq!((seats.taken(), seats.end()), (0, 0));
    }
}
