//! Temporary directories of a test.

use std::{env, fs};

use crate::program::hand_over;
use crate::world::unique;

/// A directory that the drop deletes.
pub struct Scratch(pub std::path::PathBuf);

impl Scratch {
    /// Makes one that the user who runs servers may write in.
    pub fn new(label: &str) -> Self {
        // The test cluster's directory is removed with it, however the tests end.
        let base = env::var_os("TENANCY_TEST_DIR").map_or_else(env::temp_dir, Into::into);
        let path = base.join(unique(label));
        fs::create_dir(&path).unwrap();
        hand_over(&path);
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
