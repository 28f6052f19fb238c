//! Tokens that were made up, changed, or meant for something else.

use super::forge::*;
use super::*;
use proptest::prelude::*;
use serde_json::json;

#[test]
fn a_public_key_is_no_secret() {
    // The classic attack: sign with HS256 under the public part of the RSA or EC key.
    let provider = all_kinds();
    let mut known: Vec<Vec<u8>> = Vec::new();
    for (signer, kid) in [
        (Signer::rsa(), "rsa"),
        (Signer::ec(), "ec"),
        (Signer::ed(1), "ed"),
    ] {
        let jwk = signer.jwk(kid);
        known.push(jwk.to_string().into_bytes());
        for part in ["n", "x", "y"] {
            let Some(text) = jwk.get(part).and_then(Value::as_str) else {
                continue;
            };
            known.push(text.as_bytes().to_vec());
            known.push(URL_SAFE_NO_PAD.decode(text).unwrap());
        }
        for secret in &known {
            let header = json!({"alg": "HS256", "kid": kid});
            let token = Signer::hs(secret).sign(&header, &claims());
            assert_eq!(verify(&token, &provider), Err(Refused));
            // and with the header that the key asks for
            let header = json!({"alg": signer.name(), "kid": kid});
            let token = Signer::hs(secret).sign(&header, &claims());
            assert_eq!(verify(&token, &provider), Err(Refused));
        }
    }
}

#[test]
fn the_header_does_not_choose_the_algorithm() {
    let provider = all_kinds();
    for (signer, kid) in [
        (Signer::rsa(), "rsa"),
        (Signer::ec(), "ec"),
        (Signer::ed(1), "ed"),
    ] {
        for alg in [
            "none", "None", "NONE", "nOnE", "", "HS256", "HS512", "RS256", "RS384", "RS512",
            "PS256", "ES256", "ES384", "EdDSA", "eddsa", "rs256", "Ed448",
        ] {
            let token = signer.sign(&json!({"alg": alg, "kid": kid}), &claims());
            assert_eq!(
                verify(&token, &provider).is_ok(),
                alg == signer.name(),
                "{alg} {kid}"
            );
        }
        for alg in [json!(null), json!(256), json!([signer.name()])] {
            let token = signer.sign(&json!({"alg": alg, "kid": kid}), &claims());
            assert!(verify(&token, &provider).is_err());
        }
    }
    let token = Signer::ed(1).sign(&json!({"alg": "Ed25519", "kid": "ed"}), &claims());
    assert!(verify(&token, &provider).is_ok(), "its name in RFC 9864");
}

#[test]
fn a_token_without_a_signature_is_none() {
    let provider = all_kinds();
    for alg in ["none", "None", "NONE", "nOnE", "EdDSA"] {
        let header = json!({"alg": alg, "kid": "ed"}).to_string();
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims().to_string())
        );
        for token in [
            signed.clone(),
            format!("{signed}."),
            format!("{signed}.AA"),
            format!("{signed}.{}", "A".repeat(86)),
            format!("{signed}.{}", "A".repeat(342)),
        ] {
            assert_eq!(verify(&token, &provider), Err(Refused));
        }
    }
}

#[test]
fn keys_are_found_by_name_only() {
    let provider = all_kinds();
    let signer = Signer::ed(1);
    for kid in [
        json!("other"),
        json!(""),
        json!("ED"),
        json!("ec"),
        json!("../ed"),
        json!(7),
        json!(null),
        json!(["ed"]),
    ] {
        let token = signer.sign(&json!({"alg": "EdDSA", "kid": kid}), &claims());
        assert_eq!(verify(&token, &provider), Err(Refused), "{kid}");
    }
    for signer in [Signer::rsa(), Signer::ec(), Signer::ed(1)] {
        let nameless = signer.sign(&json!({"alg": signer.name()}), &claims());
        assert_eq!(verify(&nameless, &provider), Err(Refused));
    }
    let nameless = signer.sign(&json!({"alg": "EdDSA"}), &claims());
    let only = forge::provider(set(&[signer.jwk("ed")]));
    assert!(verify(&nameless, &only).is_ok(), "one key can only be it");
    let wrong = signer.token("other", &claims());
    assert_eq!(verify(&wrong, &only), Err(Refused));
    let foreign = Signer::ed(2).token("ed", &claims());
    assert_eq!(verify(&foreign, &only), Err(Refused));
}

#[test]
fn keys_in_the_header_are_not_looked_at() {
    let provider = all_kinds();
    let attacker = Signer::ed(9);
    for header in [
        json!({"alg": "EdDSA", "kid": "mine", "jwk": attacker.jwk("mine")}),
        json!({"alg": "EdDSA", "kid": "ed", "jwk": attacker.jwk("ed")}),
        json!({"alg": "EdDSA", "jwk": attacker.jwk("ed")}),
        json!({"alg": "EdDSA", "kid": "ed", "jku": "https://attacker.example/jwks"}),
        json!({"alg": "EdDSA", "kid": "ed", "x5u": "https://attacker.example/cert"}),
        json!({"alg": "EdDSA", "kid": "ed", "x5c": ["MIIB"]}),
    ] {
        assert_eq!(
            verify(&attacker.sign(&header, &claims()), &provider),
            Err(Refused)
        );
    }
    // A provider that points to its own keys is believed for the key we know, not for the pointer.
    let header = json!({"alg": "EdDSA", "kid": "ed", "jku": "https://login.example.com/jwks"});
    assert!(verify(&Signer::ed(1).sign(&header, &claims()), &provider).is_ok());
}

#[test]
fn what_must_be_understood_and_is_not_is_refused() {
    let provider = all_kinds();
    for extra in [
        json!({"crit": ["exp"]}),
        json!({"crit": []}),
        json!({"crit": null}),
        json!({"b64": false}),
        json!({"zip": "DEF"}),
        json!({"enc": "A256GCM"}),
        json!({"typ": "logout+jwt"}),
        json!({"typ": "dpop+jwt"}),
        json!({"typ": 7}),
    ] {
        let mut header = json!({"alg": "EdDSA", "kid": "ed"});
        for (name, value) in extra.as_object().unwrap() {
            header[name] = value.clone();
        }
        let token = Signer::ed(1).sign(&header, &claims());
        assert_eq!(verify(&token, &provider), Err(Refused), "{extra}");
    }
    for typ in ["JWT", "jwt", "at+jwt", "application/at+jwt"] {
        let header = json!({"alg": "EdDSA", "kid": "ed", "typ": typ});
        assert!(verify(&Signer::ed(1).sign(&header, &claims()), &provider).is_ok());
    }
}

#[test]
fn json_has_one_reading() {
    let provider = all_kinds();
    let signer = Signer::ed(1);
    let header = r#"{"alg":"EdDSA","kid":"ed"}"#;
    let good = claims().to_string();
    let body = good.trim_end_matches('}');
    assert!(verify(&signer.sign_text(header, &good), &provider).is_ok());
    for (header, claims) in [
        (header, format!(r#"{body},"sub":"admin"}}"#)),
        (header, format!(r#"{body},"s\u0075b":"admin"}}"#)),
        (header, format!(r#"{body},"x":{{"y":1,"y":2}}}}"#)),
        (header, format!(r#"{body},"x":[{{"y":1,"y":2}}]}}"#)),
        (header, format!("{good} {{}}")),
        (header, format!("{good}x")),
        (header, format!("\u{feff}{good}")),
        (header, format!("[{good}]")),
        (header, "null".to_owned()),
        (header, String::new()),
        (header, "[".repeat(6000)),
        (r#"{"alg":"none","kid":"ed","alg":"EdDSA"}"#, good.clone()),
        (r#"{"alg":"EdDSA","kid":"ed","kid":"ed"}"#, good.clone()),
        (r#"["EdDSA"]"#, good.clone()),
        (r#"{"alg":"EdDSA","kid":"ed",}"#, good.clone()),
    ] {
        let token = signer.sign_text(header, &claims);
        assert_eq!(verify(&token, &provider), Err(Refused), "{header} {claims}");
    }
    let not_utf8 = [br#"{"alg":"EdDSA","kid":"ed","x":""#.as_slice(), b"\xff\"}"].concat();
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(not_utf8),
        URL_SAFE_NO_PAD.encode(&good)
    );
    let signature =
        jsonwebtoken::crypto::sign(signed.as_bytes(), &signer.key, signer.algorithm).unwrap();
    assert!(verify(&format!("{signed}.{signature}"), &provider).is_err());
}

#[test]
fn a_token_has_one_spelling() {
    let provider = all_kinds();
    for (signer, kid) in [
        (Signer::rsa(), "rsa"),
        (Signer::ec(), "ec"),
        (Signer::ed(1), "ed"),
    ] {
        let good = signer.token(kid, &claims());
        for text in [
            format!("{good}="),
            format!("{good}=="),
            format!(" {good}"),
            format!("{good}\n"),
            format!("{good}."),
            format!(".{good}"),
            format!("{good}.e30"),
            good.replace('.', ".."),
            good.replacen('.', "=.", 1),
            good.replace('_', "/").replace('-', "+") + "+",
            good.to_uppercase(),
        ] {
            assert_eq!(verify(&text, &provider), Err(Refused), "{text}");
        }
    }
    // The loose bits of the last character.
    let good = Signer::ed(1).token("ed", &claims());
    let (head, last) = good.split_at(good.len() - 1);
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let at = alphabet.find(last).unwrap();
    for other in 0..64 {
        let text = format!("{head}{}", &alphabet[other..=other]);
        assert_eq!(verify(&text, &provider).is_ok(), other == at);
    }
}

#[test]
fn huge_tokens_are_not_read() {
    let provider = all_kinds();
    let signer = Signer::ed(1);
    let padded = |bytes: usize| signer.token("ed", &claims_with(json!({"x": "y".repeat(bytes)})));
    assert!(verify(&padded(10_000), &provider).is_ok());
    let huge = padded(20_000);
    assert!(huge.len() > MOST_BYTES);
    assert_eq!(verify(&huge, &provider), Err(Refused));
    assert_eq!(verify(&"a.".repeat(1_000_000), &provider), Err(Refused));
}

#[test]
fn parts_of_two_tokens_do_not_make_a_third() {
    let provider = all_kinds();
    let signer = Signer::ed(1);
    let (alice, bob) = (
        signer.token("ed", &claims()),
        signer.token("ed", &claims_with(json!({"sub": "bob"}))),
    );
    let part = |token: &str, n: usize| token.split('.').nth(n).unwrap().to_owned();
    for from in 0..8u8 {
        let of = |n: u8| if from >> n & 1 == 0 { &alice } else { &bob };
        let spliced = format!("{}.{}.{}", part(of(0), 0), part(of(1), 1), part(of(2), 2));
        let whole = spliced == alice || spliced == bob;
        assert_eq!(verify(&spliced, &provider).is_ok(), whole);
    }
}

#[test]
fn any_bit_of_a_signature_counts() {
    let provider = all_kinds();
    for (signer, kid) in [
        (Signer::rsa(), "rsa"),
        (Signer::ec(), "ec"),
        (Signer::ed(1), "ed"),
    ] {
        let good = signer.token(kid, &claims());
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        for bit in (0..bytes.len() * 8).step_by(29) {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let text = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(changed));
            assert_eq!(verify(&text, &provider), Err(Refused), "{kid} {bit}");
        }
        for length in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            let text = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(&bytes[..length]));
            assert_eq!(verify(&text, &provider), Err(Refused));
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        let text = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(longer));
        assert_eq!(verify(&text, &provider), Err(Refused));
    }
}

fn goods() -> &'static (Provider, Vec<String>) {
    static GOODS: std::sync::OnceLock<(Provider, Vec<String>)> = std::sync::OnceLock::new();
    GOODS.get_or_init(|| {
        let goods = [
            Signer::ec().token("ec", &claims()),
            Signer::ed(1).token("ed", &claims()),
        ];
        (all_kinds(), goods.to_vec())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_changed_byte_is_refused(which in 0usize..2, at: prop::sample::Index, to in 0u8..128) {
        let (provider, goods) = goods();
        let good = &goods[which];
        let mut bytes = good.clone().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = to;
        let text = String::from_utf8(bytes).unwrap();
        prop_assert_eq!(verify(&text, provider).is_ok(), &text == good);
    }

    #[test]
    fn any_changed_bit_of_what_is_signed_by_a_secret_is_refused(bit: prop::sample::Index) {
        let provider = provider(KeySet::from_secret(SECRET).unwrap());
        let good = Signer::hs(SECRET).token("any", &claims());
        let mut bytes = good.clone().into_bytes();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(text) = String::from_utf8(bytes) {
            prop_assert_eq!(verify(&text, &provider), Err(Refused));
        }
    }

    #[test]
    fn reading_never_panics(text in "\\PC{0,100}|[A-Za-z0-9_=.-]{0,200}|(eyJ[A-Za-z0-9_-]{0,60}\\.){2}[A-Za-z0-9_-]{0,90}") {
        prop_assert_eq!(verify(&text, &goods().0), Err(Refused));
    }
}
