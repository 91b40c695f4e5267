//! Inputs in a fixed sequence: known ones with changes, and bytes at random.

/// The source of all inputs of a sequence.
#[derive(Clone, Debug)]
pub struct Mutator {
    state: u64,
    seeds: Vec<Vec<u8>>,
}

/// Longest input at random, in bytes.
const RANDOM_MAX: usize = 600;

impl Mutator {
    /// A sequence that `seed` and `seeds` determine.
    #[must_use]
    pub fn new(seed: u64, seeds: Vec<Vec<u8>>) -> Self {
        // The generator stands still at 0.
        Self { state: seed | 1, seeds }
    }

    /// The next input.
    pub fn input(&mut self) -> Vec<u8> {
        let choice = self.below(self.seeds.len() * 8 + 1);
        let mut bytes = match self.seeds.get(choice / 8) {
            Some(seed) => seed.clone(),
            None => {
                let length = self.below(RANDOM_MAX);
                return (0..length).map(|_| self.number() as u8).collect();
            }
        };
        // Mostly few: a decoder refuses at the first thing that is wrong.
        let most = self.below(6);
        for _ in 0..1 + self.below(most) {
            self.change(&mut bytes);
        }
        bytes
    }

    /// xorshift64*.
    fn number(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// A number below `limit`; 0 for a limit of 0.
    fn below(&mut self, limit: usize) -> usize {
        (self.number() % (limit as u64).max(1)) as usize
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let place = self.below(bytes.len());
        match self.below(8) {
            0 => bytes.truncate(place),
            1 => bytes.insert(place, self.number() as u8),
            2 => {
                let end = (place + 1 + self.below(32)).min(bytes.len());
                bytes.drain(place.min(end)..end);
            }
            3 => {
                let end = (place + 1 + self.below(64)).min(bytes.len());
                let copy = bytes[place.min(end)..end].to_vec();
                let to = self.below(bytes.len());
                bytes.splice(to..to, copy);
            }
            4 => {
                let interesting = [0, 1, 0x7f, 0x80, 0xff];
                let value = interesting[self.below(interesting.len())];
                let end = (place + 1 + self.below(8)).min(bytes.len());
                bytes[place.min(end)..end].fill(value);
            }
            5 => {
                // A whole field.
                let width = [2, 4, 8][self.below(3)];
                let value = self.number() >> self.below(48);
                let start = place - place % width;
                for (byte, new) in bytes.iter_mut().skip(start).zip(&value.to_le_bytes()[..width]) {
                    *byte = *new;
                }
            }
            6 => {
                if let Some(byte) = bytes.get_mut(place) {
                    *byte ^= 1 << self.below(8);
                }
            }
            _ => {
                if let Some(byte) = bytes.get_mut(place) {
                    *byte = byte.wrapping_add(if self.below(2) == 0 { 1 } else { 255 });
                }
            }
        }
    }
}
