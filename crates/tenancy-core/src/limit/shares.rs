//! How much of a table of a fixed size each tenant, partner and database may take.
//!
//! One gets another place while it has fewer than are free, times a factor: dynamic thresholds (Choudhury and Hahne 1998). So
//! one tenant takes half of a table at most, a second one half of what is left, and there is always room for others.

/// The counters of tenants, partners and databases. Some share one; the caller's keys decide, at random.
const TENANTS: usize = 2048;
const PARTNERS: usize = 128;
const DATABASES: usize = 32;

/// Whose places are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The tenant's number, at random.
    pub tenant: u32,
    /// The partner's.
    pub partner: u32,
    /// The database's.
    pub database: u32,
}

/// How many places are taken, and by whom.
#[derive(Clone, Copy, Debug)]
pub struct Shares {
    taken: u32,
    tenants: [u32; TENANTS],
    partners: [u32; PARTNERS],
    databases: [u32; DATABASES],
}

impl Shares {
    /// No place is taken.
    pub const NONE: Self = Self {
        taken: 0,
        tenants: [0; TENANTS],
        partners: [0; PARTNERS],
        databases: [0; DATABASES],
    };

    /// Returns how many places are taken.
    #[must_use]
    pub fn taken(&self) -> u32 {
        self.taken
    }

    /// Returns whether an owner may have another of `size` places. Those below count as well: the tenants of a partner share
    /// what the partner may have, and partners what the database may.
    pub fn has_room(&mut self, owner: &Owner, size: usize) -> bool {
        let free = (size as u64).saturating_sub(self.taken.into());
        let [tenant, partner, database] = self.counts(owner).map(|count| u64::from(*count));
        tenant < free && tenant + partner < 4 * free && partner + database < 16 * free
    }

    /// Counts a place.
    pub fn add(&mut self, owner: &Owner) {
        self.taken += 1;
        for count in self.counts(owner) {
            *count += 1;
        }
    }

    /// Counts a place no longer.
    pub fn remove(&mut self, owner: &Owner) {
        self.taken = self.taken.saturating_sub(1);
        for count in self.counts(owner) {
            *count = count.saturating_sub(1);
        }
    }

    /// Returns the sums of the counters of each level.
    #[must_use]
    pub fn sums(&self) -> [u32; 3] {
        [
            self.tenants.iter().sum(),
            self.partners.iter().sum(),
            self.databases.iter().sum(),
        ]
    }

    fn counts(&mut self, owner: &Owner) -> [&mut u32; 3] {
        [
            place(&mut self.tenants, owner.tenant),
            place(&mut self.partners, owner.partner),
            place(&mut self.databases, owner.database),
        ]
    }
}

fn place<const N: usize>(counts: &mut [u32; N], number: u32) -> &mut u32 {
    &mut counts[number as usize % N]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_of_a_crowded_partner_share_what_it_may_have() {
        let (mut shares, size) = (Shares::NONE, 1000);
        let mut taken = [0; 8];
        for (tenant, taken) in taken.iter_mut().enumerate() {
            let owner = Owner {
                tenant: tenant as u32,
                partner: 1,
                database: 1,
            };
            while shares.has_room(&owner, size) {
                shares.add(&owner);
                *taken += 1;
            }
        }
        assert_eq!(taken, [500, 250, 42, 7, 1, 0, 0, 0]);
        // Another partner's still have room, and a second database's.
        for (partner, database) in [(2, 1), (3, 2)] {
            let owner = Owner {
                tenant: 100,
                partner,
                database,
            };
            assert!(shares.has_room(&owner, size));
        }
    }
}
