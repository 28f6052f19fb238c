//! Random numbers that are the same in each run.

/// A stream of numbers that its seed determines.
pub struct Dice(pub u64);

impl Dice {
    /// The stream of one statement: it does not depend on the statements before it.
    pub fn new(seed: u64, number: u64) -> Self {
        let mut dice = Self(seed);
        let mixed = dice.next() ^ number.wrapping_mul(0xd6e8_feb8_6659_fd93);
        Self(mixed)
    }

    /// SplitMix64 (Steele, Lea, Flood 2014).
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: u64) -> u64 {
        (self.next() >> 33) % sides
    }

    /// The place of one of `many`.
    pub fn index(&mut self, many: usize) -> usize {
        self.roll(many as u64) as usize
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }

    /// One of several.
    pub fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.index(all.len())]
    }
}
