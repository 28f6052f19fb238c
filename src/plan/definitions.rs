//! The features and settings that there are. Each backend caches them until one of them changes.

use std::cell::RefCell;
use std::rc::Rc;

use pgrx::JsonB;
use tenancy_core::plan::{Definition, Definitions};

use crate::error::Error;
use crate::pg::sources::{Reading, Sources};
use crate::pg::spi::{self, NotNull};

/// What a name is that of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// What a caller above the tenant grants.
    Feature,
    /// What scopes choose for themselves.
    Setting,
}

impl Of {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Feature, Self::Setting];

    /// Returns its stored name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Feature => "feature",
            Self::Setting => "setting",
        }
    }

    /// Returns the one of a stored name.
    pub fn named(name: &str) -> Result<Self, Error> {
        let mut all = Self::ALL.into_iter();
        all.find(|of| of.as_str() == name)
            .ok_or(Error::Internal("neither feature nor setting"))
    }

    /// Returns the error for a name that is not defined.
    pub fn not_found(self, name: &str) -> Error {
        let name = name.chars().take(80).collect();
        match self {
            Self::Feature => Error::NoSuchFeature(name),
            Self::Setting => Error::NoSuchSetting(name),
        }
    }
}

/// All definitions.
pub struct Known {
    features: Definitions,
    settings: Definitions,
    sources: Sources,
}

impl Known {
    /// Returns the definitions of features or settings.
    pub fn of(&self, of: Of) -> &Definitions {
        match of {
            Of::Feature => &self.features,
            Of::Setting => &self.settings,
        }
    }

    /// Returns whether none has changed.
    pub fn hold(&self) -> bool {
        self.sources.hold()
    }
}

thread_local! {
    static KNOWN: RefCell<Option<Rc<Known>>> = const { RefCell::new(None) };
}

/// Returns all definitions.
pub fn all() -> Result<Rc<Known>, Error> {
    let known = KNOWN.with_borrow(Clone::clone);
    if let Some(known) = known.filter(|known| known.hold()) {
        return Ok(known);
    }
    let read = Rc::new(read()?);
    KNOWN.set(Some(read.clone()));
    Ok(read)
}

fn read() -> Result<Known, Error> {
    // A change of one makes backends drop everything.
    let reading = Reading::begin();
    let (mut features, mut settings) = (Definitions::new(), Definitions::new());
    spi::read(
        "SELECT kind, name, type, default_value, minimum::float8, maximum::float8, choices FROM tenancy_internal.option_definitions",
        &[],
        |rows| {
            for row in rows {
                let kind: String = row.not_null(3)?;
                let definition = Definition {
                    kind: kind
                        .parse()
                        .map_err(|()| Error::Internal("a value of no known type"))?,
                    default: row.get::<JsonB>(4)?.map(|json| json.0).unwrap_or_default(),
                    minimum: row.get(5)?,
                    maximum: row.get(6)?,
                    choices: row.get(7)?.unwrap_or_default(),
                };
                let all = match Of::named(&row.not_null::<String>(1)?)? {
                    Of::Feature => &mut features,
                    Of::Setting => &mut settings,
                };
                all.insert(row.not_null(2)?, definition);
            }
            Ok(())
        },
    )?;
    Ok(Known {
        features,
        settings,
        sources: reading.done(),
    })
}
