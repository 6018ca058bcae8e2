//! Compiled Programs by what they were compiled for.

use super::Program;
use crate::Result;

/// A bounded number of Programs, or of what is made of several, by key. The one that was not used for longest makes room.
#[derive(Debug)]
pub struct Programs<K, P = Program> {
    /// The one used last stands last.
    entries: Vec<(K, P)>,
}

impl<K, P> Default for Programs<K, P> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<K: PartialEq, P> Programs<K, P> {
    /// Programs kept at a time. Texts of many lengths take a dozen or two.
    pub const MOST: usize = 32;

    /// The Program for `key`, compiled now unless it is there.
    ///
    /// # Errors
    /// The error of `compile`; the others then stay, but for the one that has made room.
    pub fn get_or_compile(&mut self, key: K, compile: impl FnOnce(&K) -> Result<P>) -> Result<&mut P> {
        let entry = match self.entries.iter().position(|(known, _)| *known == key) {
            Some(index) => self.entries.remove(index),
            None => {
                // Before the new one is made, which may need the memory.
                if self.entries.len() == Self::MOST {
                    self.entries.remove(0);
                }
                let program = compile(&key)?;
                (key, program)
            }
        };
        self.entries.push(entry);
        let last = self.entries.len() - 1;
        Ok(&mut self.entries[last].1)
    }

    /// The Program for `key`, if it is there.
    pub fn get(&self, key: &K) -> Option<&P> {
        self.entries.iter().find(|(known, _)| known == key).map(|(_, program)| program)
    }

    /// The Program for `key`, if it is there, to be changed or run.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut P> {
        self.entries.iter_mut().find(|(known, _)| known == key).map(|(_, program)| program)
    }

    /// The number of Programs kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn the_one_not_used_for_longest_makes_room() {
        let mut programs = Programs::<usize, usize>::default();
        let mut compiled = 0;
        let mut ask = |programs: &mut Programs<usize, usize>, key: usize| {
            let got = programs.get_or_compile(key, |key| {
                compiled += 1;
                Ok(10 * key)
            });
            (*got.unwrap(), compiled)
        };
        let most = Programs::<usize, usize>::MOST;
        (0..most).for_each(|key| assert_eq!(ask(&mut programs, key), (10 * key, key + 1)));
        // Used again, the first is not the oldest any more.
        assert_eq!(ask(&mut programs, 0), (0, most));
        assert_eq!(ask(&mut programs, most), (10 * most, most + 1));
        assert_eq!((programs.len(), programs.get(&0), programs.get(&1)), (most, Some(&0), None));
        assert!(programs.get_or_compile(1, |_| Err(Error::data("test", "fails"))).is_err());
        assert_eq!((programs.len(), programs.get(&2), programs.get(&3)), (most - 1, None, Some(&30)));
    }
}
