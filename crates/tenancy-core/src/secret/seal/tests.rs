#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Key, KeyName, Place};
use crate::secret::keyring::{self, KeyFileError};
use crate::secret::master::{MasterError, Masters};
use crate::secret::name::{SecretError, check_name, check_value};

const NAME: KeyName = KeyName {
    scope: Uuid::from_u128(1),
    id: Uuid::from_u128(2),
};

fn key(byte: u8) -> Key {
    let mut bytes = [byte; 32];
    bytes[0] = 0;
    Key::new(Zeroizing::new(bytes))
}

fn masters(keys: &[u8]) -> Masters {
    let line = |byte: &u8| format!("00{}\n", format!("{byte:02x}").repeat(31));
    Masters::parse(&keys.iter().map(line).collect::<String>()).unwrap()
}

#[test]
fn a_row_opens_only_in_its_place() {
    let place = Place {
        scope: Uuid::from_u128(3),
        name: "smtp",
        version: 4,
        inherit: false,
        key: NAME,
    };
    let sealed = key(7).seal([9; 24], &place.bound(), b"hunter2").unwrap();
    assert_eq!(&**key(7).open(&sealed, &place.bound()).unwrap(), b"hunter2");
    let other_key = KeyName {
        id: Uuid::from_u128(5),
        ..NAME
    };
    let others = [
        Place {
            scope: Uuid::from_u128(4),
            ..place
        },
        Place {
            name: "smtp2",
            ..place
        },
        Place {
            version: 5,
            ..place
        },
        Place {
            inherit: true,
            ..place
        },
        Place {
            key: other_key,
            ..place
        },
    ];
    for other in others {
        assert!(key(7).open(&sealed, &other.bound()).is_none(), "{other:?}");
    }
    assert!(key(8).open(&sealed, &place.bound()).is_none());
}

#[test]
fn nothing_that_was_changed_opens() {
    let sealed = key(7).seal([9; 24], b"x", b"hunter2").unwrap();
    for n in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[n] ^= 1;
        assert!(key(7).open(&changed, b"x").is_none(), "byte {n}");
        assert!(key(7).open(&sealed[..n], b"x").is_none(), "{n} bytes");
    }
}

#[test]
fn a_key_file_opens_with_its_master_as_its_key_alone() {
    let (old, both, new) = (masters(&[1]), masters(&[2, 1]), masters(&[2]));
    let content = keyring::write(NAME, &key(7), old.current().unwrap(), [9; 24]).unwrap();
    assert_eq!(
        keyring::read(NAME, &content, &old).unwrap().bytes(),
        key(7).bytes()
    );
    assert!(keyring::read(NAME, &content, &both).is_ok());
    assert_eq!(
        keyring::master_of(&content).unwrap(),
        old.current().unwrap().id
    );
    assert_eq!(
        keyring::read(NAME, &content, &new).unwrap_err(),
        KeyFileError::OtherMaster
    );
    let other = KeyName {
        scope: Uuid::from_u128(8),
        ..NAME
    };
    assert_eq!(
        keyring::read(other, &content, &old).unwrap_err(),
        KeyFileError::Damaged
    );
    for bad in [
        "",
        "tenancy-key-1",
        "tenancy-key-2 00 00",
        &content[..content.len() - 5],
        &format!("{content} x"),
    ] {
        assert_eq!(
            keyring::read(NAME, bad, &old).unwrap_err(),
            KeyFileError::Damaged,
            "{bad}"
        );
    }
}

#[test]
fn file_names_name_keys() {
    let file = keyring::file_name(NAME);
    assert_eq!(keyring::parse_file_name(&file), Some(NAME));
    for other in [
        ".lock",
        "x.key",
        "a_b.key",
        &file.to_uppercase(),
        &format!("{file}.tmp"),
        &format!("../{file}"),
    ] {
        assert_eq!(keyring::parse_file_name(other), None, "{other}");
    }
}

#[test]
fn master_keys_are_lines_of_digits() {
    let line = "00".to_owned() + &"ab".repeat(31);
    let both =
        Masters::parse(&format!("# today's\n{line}\n\n  00{}  \n", "CD".repeat(31))).unwrap();
    assert_ne!(
        both.current().unwrap().id,
        masters(&[0xcd]).current().unwrap().id
    );
    assert!(both.find(&masters(&[0xcd]).current().unwrap().id).is_some());
    let faults = [
        ("", MasterError::None),
        ("# none", MasterError::None),
        ("secret", MasterError::Malformed(1)),
        (&format!("{line}\n{line}0"), MasterError::Malformed(2)),
        (&"é".repeat(32), MasterError::Malformed(1)),
        (&"0".repeat(64), MasterError::Weak(1)),
        (&format!("{line}\n").repeat(17), MasterError::Many),
    ];
    for (text, fault) in faults {
        assert_eq!(Masters::parse(text).unwrap_err(), fault, "{text}");
    }
}

#[test]
fn keys_are_not_printed() {
    let printed = format!("{:?} {:?}", key(7), masters(&[0xab]));
    assert!(
        !printed.contains("abab") && !printed.contains("7, 7"),
        "{printed}"
    );
}

#[test]
fn names_and_values_are_bounded() {
    for good in ["a", "stripe/api-key_2.test", &"x".repeat(100)] {
        assert_eq!(check_name(good), Ok(()), "{good}");
    }
    for bad in ["", "-a", "a b", "é", "a\n", "a'b", &"x".repeat(101)] {
        assert_eq!(check_name(bad), Err(SecretError::Name), "{bad}");
    }
    assert_eq!(check_value(""), Err(SecretError::Value));
    assert_eq!(check_value(&"x".repeat(64 * 1024)), Ok(()));
    assert_eq!(
        check_value(&"x".repeat(64 * 1024 + 1)),
        Err(SecretError::Value)
    );
}

proptest! {
    #[test]
    fn what_is_sealed_opens(value in any::<Vec<u8>>(), bound in any::<Vec<u8>>(), nonce in any::<[u8; 24]>()) {
        let sealed = key(7).seal(nonce, &bound, &value).unwrap();
        prop_assert_eq!(&**key(7).open(&sealed, &bound).unwrap(), &value[..]);
        prop_assert!(value.len() < 8 || !sealed.windows(value.len()).any(|part| part == &value[..]));
    }

    #[test]
    fn no_text_makes_a_key(text in "\\PC{0,200}") {
        prop_assert!(Masters::parse(&text).is_err());
        prop_assert!(keyring::read(NAME, &text, &masters(&[1])).is_err());
    }
}
