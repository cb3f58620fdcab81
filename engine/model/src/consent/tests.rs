//! Records as the guide of the vocabulary writes them, and what they say of requests.

#![allow(clippy::unwrap_used)]

use super::*;

const ON: &str = "2026-05-01";

fn catalog() -> Catalog {
    let mut catalog = Catalog::default();
    let item =
        |code: &str, std: &str| format!("[items.'{code}']\nname_ko = 'x'\ntype = 'str'\nsensitivity = 'G'\n{std}\n");
    for code in ["tax", "land"] {
        let text = format!(
            "code = '{code}'\nname_ko = 'x'\nholder = 'h'\ncategory = '2'\nbasis = 'K'\nkey = {{ item = 'rrno', space = 'person' }}\n{}{}",
            item("amount", "std = 'AMT'"),
            item("year", "")
        );
        catalog.datasets.insert(code.to_owned(), toml::from_str(&text).unwrap());
    }
    let mut level: crate::catalog::Level = toml::from_str("name_ko = '기본'").unwrap();
    level.covers.insert("land".to_owned(), vec!["year".to_owned()]);
    catalog.levels.insert("basic".to_owned(), level);
    catalog
}

/// A record with this status and these processes.
fn record(status: &str, processes: &str) -> String {
    format!(
        r#"{{"@context": "https://w3id.org/dpv", "@id": "https://example.com/c1", "@type": "dpv:ConsentRecord",
            "dct:identifier": "c1", "dct:conformsTo": "https://w3id.org/dpv/schema/dpv-27560#record",
            "dpv:hasDataSubject": {{"@id": "0760c9ba"}}, {processes}, "dpv:hasConsentStatus": {status}}}"#
    )
}

const GIVEN: &str = r#"{"@type": ["dpv:ConsentGiven", "dpv:ExpressedConsent"], "dpv:isIndicatedAtTime": "2026-04-01"}"#;
const LOAN: &str = r#""dpv:hasProcess": {"@type": "dpv:Process", "dpv:hasRecipient": ["ex:bank_a", "ex:Beta"],
    "dpv:hasPurpose": "a loan", "dpv:hasPersonalData": ["ieum:tax"]}"#;

fn read(text: &str) -> Consents {
    let mut consents = Consents::default();
    consents.add(&catalog(), "consents.jsonld", text).unwrap();
    consents
}

#[track_caller]
fn says(text: &str) -> Consented {
    let consents = read(text);
    assert_eq!(consents.unusable, []);
    let of = |id: &str| consents.of(id, "bank_a", ["a loan", "loan"], ON.parse().unwrap());
    assert_eq!(of("c1"), of("https://example.com/c1"));
    of("c1")
}

fn covers(consented: &Consented) -> Vec<&str> {
    match consented {
        Consented::To(covered) => covered.names().collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_latest_state_on_the_date_decides() {
    let event = |state: &str, at: &str| format!(r#"{{"@type": "dpv:{state}", "dpv:isIndicatedAtTime": "{at}"}}"#);
    let states = |states: &[(&str, &str)]| {
        let events: Vec<String> = states.iter().map(|(state, at)| event(state, at)).collect();
        says(&record(&format!("[{}]", events.join(",")), LOAN))
    };
    assert_eq!(covers(&states(&[("ConsentGiven", "2026-04-01")])), ["tax"]);
    assert_eq!(
        states(&[("ConsentGiven", "2026-04-01"), ("ConsentWithdrawn", "2026-05-01T09:00:00")]),
        Consented::Withdrawn
    );
    assert_eq!(states(&[("ConsentWithdrawn", "2026-04-02"), ("ConsentGiven", "2026-04-01")]), Consented::Withdrawn);
    assert_eq!(states(&[("ConsentWithdrawn", "2026-04-01"), ("ConsentGiven", "2026-04-01")]), Consented::Withdrawn);
    // By the clock of Korea it is withdrawn on the first of May already.
    let late = [("ConsentGiven", "2026-04-01"), ("ConsentRevoked", "2026-04-30T15:00:00Z")];
    assert_eq!(states(&late), Consented::Withdrawn);
    let later = [("ConsentGiven", "2026-04-01"), ("ConsentWithdrawn", "2026-05-02")];
    assert_eq!(covers(&states(&later)), ["tax"]);
    let again = [("ConsentWithdrawn", "2026-04-01"), ("RenewedConsentGiven", "2026-04-02")];
    assert_eq!(covers(&states(&again)), ["tax"]);
    assert_eq!(states(&[("ConsentGiven", "2026-05-02")]), Consented::Expired);
    assert_eq!(states(&[("ConsentRefused", "2026-04-01")]), Consented::NotGiven);
    assert_eq!(states(&[("ConsentRequested", "2026-05-09")]), Consented::NotGiven);
    assert_eq!(states(&[("ConsentGiven", "2026-01-01"), ("ConsentExpired", "2026-03-01")]), Consented::Expired);
}

#[test]
fn a_consent_ends_with_its_duration() {
    let lasting = |duration: &str| {
        let status = format!(
            r#"{{"@type": "dpv:ConsentGiven", "dpv:isIndicatedAtTime": "2026-04-01T10:00:00", "dpv:hasDuration": {duration}}}"#
        );
        says(&record(&status, LOAN))
    };
    let temporal = |value: &str| lasting(&format!(r#"{{"@type": "dpv:TemporalDuration", "rdf:value": "{value}"}}"#));
    let until = |value: &str| lasting(&format!(r#"{{"@type": "dpv:UntilTimeDuration", "rdf:value": "{value}"}}"#));
    for valid in
        [temporal("P1M"), temporal("P30D"), temporal("P1Y"), until("2026-05-01"), lasting("\"dpv:EndlessDuration\"")]
    {
        assert_eq!(covers(&valid), ["tax"]);
    }
    for over in [temporal("P4W"), temporal("P29D"), until("2026-04-30T23:59:59")] {
        assert_eq!(over, Consented::Expired);
    }
}

#[test]
fn recipient_purpose_and_data_belong_together() {
    let process = |recipient: &str, purpose: &str, data: &str| {
        format!(r#""dpv:hasProcess": {{"dpv:hasRecipient": {recipient}, {purpose}, "dpv:hasPersonalData": {data}}}"#)
    };
    let said = |processes: &[String]| says(&record(GIVEN, &processes.join(",")));
    let to = |data: &str| process("\"ex:bank_a\"", "\"dpv:hasPurpose\": \"a loan\"", data);
    let other = process("\"ex:bank_b\"", "\"dpv:hasPurpose\": \"a loan\"", "\"ieum:land\"");
    assert_eq!(covers(&said(&[to("\"https://agency.example/data/tax/AMT\""), other.clone()])), ["tax/amount"]);
    // The guide's own example states the property twice.
    assert_eq!(covers(&said(&[to("\"ieum:tax\""), to("{\"@id\": \"level:basic\"}")])), ["land/year", "tax"]);
    assert_eq!(said(&[other]), Consented::OtherUse);
    let purpose = |purpose: &str| said(&[process("\"bank_a\"", purpose, "\"ieum:tax\"")]);
    assert_eq!(covers(&purpose("\"dpv:hasService\": {\"@type\": \"dpv:Service\", \"@id\": \"ex:loan\"}")), ["tax"]);
    assert_eq!(purpose("\"dpv:hasPurpose\": \"dpv:Marketing\""), Consented::OtherUse);
    // Segment by segment: neither a longer nor a shorter name is the same.
    for recipient in ["\"ex:bank_ab\"", "\"ex:bank\"", "\"ex:bank_a/branch\""] {
        let said = said(&[process(recipient, "\"dpv:hasPurpose\": \"a loan\"", "\"ieum:tax\"")]);
        assert_eq!(said, Consented::OtherUse, "{recipient}");
    }
}

#[test]
fn what_cannot_be_read_is_told_and_never_taken_for_a_consent() {
    let unusable = |text: &str| {
        let consents = read(text);
        assert_eq!(consents.of("c1", "bank_a", ["a loan", ""], ON.parse().unwrap()), Consented::Unknown, "{text}");
        consents.unusable.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let told = |what: &str| vec![format!("consents.jsonld, record 1: {what}")];
    let sound = record(GIVEN, LOAN);
    let without = |term: &str| sound.replacen(term, "ex:other", 1);
    assert_eq!(unusable(&without("dpv:ConsentRecord")), told("not a `dpv:ConsentRecord`"));
    assert_eq!(unusable(&without("dpv:hasConsentStatus")), told("it has no `dpv:hasConsentStatus`"));
    assert_eq!(unusable(&without("dpv:hasProcess")), told("it has no `dpv:hasProcess`"));
    assert_eq!(unusable(&without("dpv:hasRecipient")), told("a `dpv:hasProcess` has no `dpv:hasRecipient`"));
    assert_eq!(unusable(&without("dpv:hasPersonalData")), told("a `dpv:hasProcess` has no `dpv:hasPersonalData`"));
    assert_eq!(unusable(&without("dpv:ConsentGiven")), told("a `dpv:hasConsentStatus` has no state that is known"));
    let time = "a `dpv:hasConsentStatus` has no `dpv:isIndicatedAtTime` that is a date or time";
    assert_eq!(unusable(&sound.replace("2026-04-01", "in April")), told(time));
    let event = r#"{"@type": "dpv:ConsentGiven", "dpv:isIndicatedAtTime": "2026-04-01",
        "dpv:hasDuration": {"@type": "dpv:UntilEventDuration", "rdf:value": "Account Closure"}}"#;
    assert_eq!(
        unusable(&record(event, LOAN)),
        told("a `dpv:hasDuration` ends with an event that nobody can check here")
    );
    assert_eq!(unusable(""), Vec::<String>::new());
    // Two records of one name: nobody knows which counts. It is told for both of its names.
    assert_eq!(unusable(&format!("[{sound}, {sound}]")).len(), 2);
    let error = Consents::default().add(&catalog(), "f", "{\"a\": 9001011234567,").unwrap_err();
    assert!(error.contains("not JSON") && !error.contains("9001011234567"));
    // The same records, a line each and in a graph beside other nodes.
    let second = sound.replace("c1", "c2");
    let (first, line) = (sound.replace('\n', " "), second.replace('\n', " "));
    let graph = format!(r#"{{"@graph": [{sound}, {second}, {{"@type": "dpv:Organisation", "@id": "ex:bank_a"}}]}}"#);
    for text in [format!("{first}\n{line}\n"), format!("[{sound},{second}]"), graph] {
        let consents = read(&text);
        assert_eq!((consents.records.len(), consents.unusable.len()), (2, 0));
    }
    let vague = read(&sound.replace("ieum:tax", "pd:Income"));
    assert_eq!(vague.unknown_data.as_ref().map(|(count, _)| *count), Some(1));
    assert_eq!(covers(&vague.of("c1", "bank_a", ["a loan", ""], ON.parse().unwrap())), Vec::<&str>::new());
}
