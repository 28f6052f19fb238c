//! Which keys a provider may have.

use super::forge::*;
use super::*;
use serde_json::json;

fn fault(keys: Value) -> KeyFault {
    KeySet::from_jwks(&json!({ "keys": keys })).unwrap_err()
}

fn with(mut jwk: Value, name: &str, value: Value) -> Value {
    jwk[name] = value;
    jwk
}

#[test]
fn invalid_key_sets_are_refused() {
    for set in [
        json!(null),
        json!([]),
        json!({}),
        json!({"keys": {}}),
        json!({"keys": [7]}),
        Signer::ed(1).jwk("a"),
    ] {
        assert_eq!(KeySet::from_jwks(&set).unwrap_err(), KeyFault::NotASet);
    }
    assert_eq!(fault(json!([])), KeyFault::NoKey);
    let many: Vec<_> = (0..65).map(|n| Signer::ed(n).jwk(&n.to_string())).collect();
    assert_eq!(fault(json!(many)), KeyFault::TooMany);
}

#[test]
fn keys_for_something_else_verify_nothing() {
    let ed = Signer::ed(1).jwk("ed");
    let others = [
        with(ed.clone(), "use", json!("enc")),
        with(ed.clone(), "use", json!(null)),
        with(ed.clone(), "alg", json!("RS256")),
        with(ed.clone(), "key_ops", json!(["sign"])),
        with(ed.clone(), "crv", json!("Ed448")),
        with(ed.clone(), "crv", json!("X25519")),
        with(ed.clone(), "kty", json!("EC")),
        with(ed.clone(), "kty", json!("AKP")),
        with(Signer::rsa().jwk("rsa"), "alg", json!("RS512")),
        with(Signer::rsa().jwk("rsa"), "alg", json!("RSA-OAEP")),
        with(Signer::ec().jwk("ec"), "crv", json!("P-384")),
        with(Signer::ec().jwk("ec"), "alg", json!("ES256K")),
    ];
    for other in others {
        assert_eq!(fault(json!([other])), KeyFault::NoKey, "{other}");
        // Beside a good key they are left out, and may even have its name.
        let provider = provider(set(&[other.clone(), Signer::ed(7).jwk("ed")]));
        let token = Signer::ed(7).token("ed", &claims());
        assert!(verify(&token, &provider).is_ok());
        let token = Signer::ed(1).token("ed", &claims());
        assert_eq!(verify(&token, &provider), Err(Refused));
    }
    set(&[with(ed.clone(), "key_ops", json!(["verify"]))]);
    set(&[with(ed, "alg", json!("EdDSA"))]);
}

#[test]
fn only_public_keys_are_taken() {
    let secret = json!({"kty": "oct", "kid": "s", "k": URL_SAFE_NO_PAD.encode(SECRET)});
    assert_eq!(fault(json!([secret])), KeyFault::Private("\"s\"".into()));
    let private = with(Signer::ed(1).jwk("p"), "d", json!("AAAA"));
    assert_eq!(
        fault(json!([Signer::ec().jwk("ec"), private])),
        KeyFault::Private("\"p\"".into())
    );
}

#[test]
fn several_keys_have_names_of_their_own() {
    let mut nameless = Signer::ed(1).jwk("x");
    nameless.as_object_mut().unwrap().remove("kid");
    set(std::slice::from_ref(&nameless));
    assert_eq!(
        fault(json!([nameless, Signer::ec().jwk("ec")])),
        KeyFault::Nameless
    );
    assert_eq!(fault(json!([nameless, nameless])), KeyFault::Nameless);
    assert_eq!(
        fault(json!([Signer::ed(1).jwk("a"), Signer::ed(2).jwk("a")])),
        KeyFault::Twice("a".into())
    );
    assert_eq!(
        fault(json!([with(nameless, "kid", json!(7))])),
        KeyFault::NotASet
    );
}

#[test]
fn weak_and_broken_keys_are_refused() {
    assert!(matches!(
        fault(json!([Signer::weak_rsa().jwk("w")])),
        KeyFault::Weak { bits: 1024, .. }
    ));
    let rsa = Signer::rsa().jwk("r");
    let n = URL_SAFE_NO_PAD.decode(rsa["n"].as_str().unwrap()).unwrap();
    // Zeros in front do not make it longer.
    let padded = [vec![0; 200], n[128..].to_vec()].concat();
    let padded = with(rsa.clone(), "n", json!(URL_SAFE_NO_PAD.encode(padded)));
    assert!(matches!(fault(json!([padded])), KeyFault::Weak { .. }));
    let huge = [vec![1; 1024], n.clone()].concat();
    let huge = with(rsa.clone(), "n", json!(URL_SAFE_NO_PAD.encode(huge)));
    assert!(matches!(fault(json!([huge])), KeyFault::Weak { .. }));
    let even = [n[..n.len() - 1].to_vec(), vec![2]].concat();
    let malformed = |jwk: Value| matches!(fault(json!([jwk])), KeyFault::Malformed(_));
    assert!(malformed(with(
        rsa.clone(),
        "n",
        json!(URL_SAFE_NO_PAD.encode(even))
    )));
    for e in [
        vec![],
        vec![1],
        vec![0, 1],
        vec![0],
        vec![2],
        vec![1, 0, 0, 0, 1],
    ] {
        let e = json!(URL_SAFE_NO_PAD.encode(e));
        assert!(malformed(with(rsa.clone(), "e", e)));
    }
    for (name, value) in [("n", json!(7)), ("n", json!("=")), ("e", json!(null))] {
        assert!(malformed(with(rsa.clone(), name, value)));
    }
    let ec = Signer::ec().jwk("e");
    let off_curve = json!(URL_SAFE_NO_PAD.encode([1; 32]));
    assert!(malformed(with(ec.clone(), "x", off_curve)));
    assert!(malformed(with(ec, "y", json!("AAAA"))));
    let ed = Signer::ed(1).jwk("d");
    assert!(malformed(with(ed.clone(), "x", json!("AAAA"))));
    let longer = json!(URL_SAFE_NO_PAD.encode([1; 33]));
    assert!(malformed(with(ed, "x", longer)));
}

#[test]
fn beside_a_good_key_weak_and_broken_ones_are_named_and_verify_nothing() {
    let broken = with(Signer::ec().jwk("e"), "y", json!("AAAA"));
    let set = json!({"keys": [Signer::weak_rsa().jwk("w"), Signer::ed(1).jwk("ed"), broken]});
    let keys = KeySet::from_jwks(&set).unwrap();
    let named: Vec<String> = keys.skipped().iter().map(ToString::to_string).collect();
    assert_eq!(
        named,
        [
            "the RSA key \"w\" has 1024 bits; 2048 to 4096 are allowed",
            "the key \"e\" is malformed"
        ]
    );
    assert_eq!(keys.fingerprints().count(), 1);
    let provider = provider(keys);
    assert!(verify(&Signer::ed(1).token("ed", &claims()), &provider).is_ok());
    let weak = Signer::weak_rsa().token("w", &claims());
    assert_eq!(why(&weak, &provider), Err(Refusal::NoKey));
    // What nobody should have published, and an ambiguous set, stay errors.
    let private = with(Signer::ed(2).jwk("p"), "d", json!("AAAA"));
    let fault = |keys: Value| KeySet::from_jwks(&json!({ "keys": keys })).unwrap_err();
    assert_eq!(
        fault(json!([Signer::ed(1).jwk("ed"), private])),
        KeyFault::Private("\"p\"".into())
    );
}

#[test]
fn a_secret_has_at_least_256_bits() {
    assert_eq!(
        KeySet::from_secret(&[7; 31]).unwrap_err(),
        KeyFault::ShortSecret(31)
    );
    assert!(KeySet::from_secret(&[]).is_err());
    let provider = provider(KeySet::from_secret(&[7; 32]).unwrap());
    let token = |secret: &[u8]| Signer::hs(secret).sign(&json!({"alg": "HS256"}), &claims());
    assert!(verify(&token(&[7; 32]), &provider).is_ok());
    assert!(verify(&token(&[7; 33]), &provider).is_err());
    assert!(verify(&token(&[0; 32]), &provider).is_err());
    assert!(verify(&token(&[]), &provider).is_err());
    // A secret verifies HS256 and nothing else.
    let token = Signer::ed(1).sign(&json!({"alg": "EdDSA"}), &claims());
    assert!(verify(&token, &provider).is_err());
}

#[test]
fn faults_and_keys_print_no_key() {
    let keys = set(&[Signer::ed(1).jwk("ed")]);
    let x = Signer::ed(1).jwk("ed")["x"].as_str().unwrap().to_owned();
    assert!(!format!("{keys:?}").contains(&x));
    let secret = KeySet::from_secret(SECRET).unwrap();
    assert_eq!(
        format!("{secret:?}"),
        "KeySet { keys: [VerifyingKey { kid: None, algorithm: HS256, .. }], skipped: [] }"
    );
}

#[test]
fn keys_that_verify_the_same_have_one_fingerprint() {
    let prints = |jwk: Value| -> Vec<[u8; 32]> { set(&[jwk]).fingerprints().collect() };
    let padded = |jwk: &Value, name: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
        json!(URL_SAFE_NO_PAD.encode([&[0, 0], bytes.as_slice()].concat()))
    };
    let all = [
        Signer::rsa().jwk("k"),
        Signer::ec().jwk("k"),
        Signer::ed(1).jwk("k"),
        Signer::ed(2).jwk("k"),
    ];
    for (n, jwk) in all.iter().enumerate() {
        // Its name and what it says of itself change nothing.
        let mut other = with(jwk.clone(), "kid", json!("other"));
        other.as_object_mut().unwrap().remove("alg");
        assert_eq!(prints(jwk.clone()), prints(other));
        for another in &all[n + 1..] {
            assert_ne!(prints(jwk.clone()), prints(another.clone()));
        }
    }
    let rsa = &all[0];
    for name in ["n", "e"] {
        let longer = with(rsa.clone(), name, padded(rsa, name));
        let provider = provider(set(std::slice::from_ref(&longer)));
        assert!(verify(&Signer::rsa().token("k", &claims()), &provider).is_ok());
        assert_eq!(prints(longer), prints(rsa.clone()));
    }
    let secret = KeySet::from_secret(SECRET).unwrap();
    assert_eq!(secret.fingerprints().count(), 1);
}
