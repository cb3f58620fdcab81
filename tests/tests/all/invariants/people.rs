//! Who a request is about.

use ieum_core::verify;
use ieum_model::request::Request;
use ieum_tests::small_night::{self, FIRST, Making, SECOND};

use super::ran::{Ran, person, run_on};

/// The night of these requests; the register of changed numbers is in the catalog if `declared`, and delivered if it has rows.
fn night_with_register(asked: Vec<Request>, register: Option<&str>, declared: bool) -> Ran {
    let mut exports = small_night::exports();
    if let Some(rows) = register {
        exports.insert("renamed/2026.csv", format!("old_rrno,new_rrno,changed_on\n{rows}"));
    }
    let sources = if declared { small_night::catalog_sources_with_register() } else { small_night::catalog_sources() };
    let ran = run_on(&sources, &exports, asked, &[], Making::default());
    verify::verify(&ran.out()).unwrap();
    ran
}

/// A request for the income of somebody and the VAT of their businesses.
fn asks(id: &str, subjects: &str) -> Request {
    let fields = [("request_id", id), ("subject_ids", subjects), ("documents", "income(amount,year);vat")];
    small_night::request(&fields).unwrap()
}

#[test]
fn a_person_is_found_by_the_number_before_and_after_its_change() {
    let asked = vec![asks("before", &person("980101-3000015")), asks("after", &person(SECOND))];
    let ran = night_with_register(asked, Some("9801013000015,9902284123452,2025-01-01\n"), true);
    let (before, after) = (ran.bundle("before"), ran.bundle("after"));
    assert_eq!(before["subject"], after["subject"], "one subject, one pseudonym");
    assert_eq!(before["documents"], after["documents"]);
    let amounts: Vec<i64> = after["documents"]["income"]["records"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| record["amount"].as_i64().unwrap())
        .collect();
    assert_eq!(amounts, [100, 200, 999], "records under either number");
    assert_eq!(after["documents"]["vat"]["records"].as_array().unwrap().len(), 3);
}

#[test]
fn two_people_in_one_request_are_told_apart() {
    let subjects = format!("rrno:{FIRST};rrno:{SECOND};rrno:9912313000002");
    let night =
        |register: Option<&str>, declared: bool| night_with_register(vec![asks("r1", &subjects)], register, declared);
    let outcomes = |ran: &Ran| {
        let bundle = ran.bundle("r1");
        let outcome = |code: &str| bundle["documents"][code]["outcome"].as_str().unwrap().to_owned();
        (outcome("income"), outcome("vat"), bundle["subject"].is_string())
    };
    let all = |outcome: &str, named: bool| (outcome.to_owned(), outcome.to_owned(), named);
    for (register, declared) in [(None, false), (Some("9801013000015,9902284123452,2025-01-01\n"), true)] {
        let ran = night(register, declared);
        assert_eq!(outcomes(&ran), all("ambiguous", false), "no record of either, and no pseudonym");
        assert_eq!(ran.bundle("r1")["documents"]["income"]["reason"], "E_AMBIGUOUS");
        assert_eq!(ran.summary.rows_read, 2 * u64::from(declared), "nothing is read but the register, both ways");
    }
    let joined = night(Some("9912313000002,9902284123452,2025-01-01\n"), true);
    assert_eq!(outcomes(&joined), all("provided", true));
    let amounts = joined.bundle("r1")["documents"]["income"]["records"].as_array().unwrap().len();
    assert_eq!(amounts, 3, "records under either number");
    assert_eq!(outcomes(&night(None, true)), all("delayed", false), "the register may still come");
}

#[test]
fn nothing_is_told_not_found_while_the_register_of_changed_numbers_is_missing() {
    let night = |register: Option<&str>| {
        let bundle = night_with_register(vec![asks("r1", &person("9801013000099"))], register, true).bundle("r1");
        ["income", "vat"].map(|code| bundle["documents"][code]["outcome"].as_str().unwrap().to_owned())
    };
    assert_eq!(night(Some("9912313000002,9902284123452,2025-01-01\n")), ["not_found", "not_reachable"]);
    assert_eq!(night(None), ["delayed", "delayed"], "somebody may know the person by another number");
}
