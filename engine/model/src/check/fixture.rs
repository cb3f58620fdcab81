//! A small catalog, a request that keeps every rule, and what its tests ask of a night.

#![allow(clippy::unwrap_used)]

use std::borrow::Cow;
use std::sync::Arc;

use chrono::NaiveDate;

use crate::catalog::Catalog;
use crate::dataset::Dataset;
use crate::outcome::Reason;
use crate::request::{Request, Withdrawal};

use super::{CarriedOver, CheckedLine, CheckedNight, CheckedRequest, Checker, IdGrade, check};

pub(super) const CHILD: &str = "120502-3000000";

pub(super) fn day(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

pub(super) fn on() -> NaiveDate {
    day("2026-05-01")
}

fn dataset(code: &str, more: &str, items: &[(&str, &str, &str)]) -> (String, Dataset) {
    let mut text = format!(
        "code = '{code}'\nname_ko = 'x'\nholder = 'h'\ncategory = '2'\nbasis = 'K'\nkey = {{ item = 'rrno', space = 'person' }}\n{more}\n"
    );
    for (item, sensitivity, more) in items {
        text += &format!("[items.'{item}']\nname_ko = 'x'\ntype = 'str'\nsensitivity = '{sensitivity}'\n{more}\n");
    }
    text += "[views]\nfew = ['a.10', 'ALIAS']\n";
    (code.to_owned(), toml::from_str(&text).unwrap())
}

pub(super) fn catalog(documents: &str) -> Catalog {
    let items = [("a.1", "G", "default = true"), ("a.10", "G", ""), ("b", "F", "std = 'ALIAS'"), ("t", "T", "")];
    let mut catalog = Catalog::default();
    catalog.datasets.extend([
        dataset("tax", "", &items),
        dataset("land", "", &items),
        dataset("trial", "transferable = false", &items),
        dataset("kin", "", &[("a.10", "T", "default = true"), ("b", "T", "std = 'ALIAS'")]),
    ]);
    catalog.recipient_types.insert("bank".to_owned(), toml::from_str("name_ko = 'x'\nname_en = 'x'").unwrap());
    for (code, kind) in [("bank_a", "bank"), ("bank_b", "bank"), ("casino", "gambling")] {
        let recipient = toml::from_str(&format!("name_ko = 'x'\nrecipient_type = '{kind}'")).unwrap();
        catalog.recipients.insert(code.to_owned(), recipient);
    }
    let service = format!(
        "code = 'loan'\nname_ko = 'x'\nrecipient = 'bank_a'\nbasis = 'L'\npurpose = 'a loan'\nlegal_basis = 'an act'\nretention_days = 30\n{documents}"
    );
    catalog.services.insert("loan".to_owned(), toml::from_str(&service).unwrap());
    catalog
}

/// A verified request of an adult for default items of `tax`, changed by `change`.
pub(super) fn request(request_id: &str, change: impl FnOnce(&mut Request)) -> Request {
    let get = |field: &str| {
        let text = match field {
            "request_id" => request_id,
            "subject_ids" => "rrno:9001011000000",
            "documents" => "tax",
            "recipient" => "bank_a",
            "requested_at" => "2026-04-30",
            "verified" => "Y",
            _ => return None,
        };
        Some(Cow::Borrowed(text))
    };
    let mut request = Request::from_fields(&get, 1).unwrap();
    change(&mut request);
    request
}

pub(super) fn ask(request: &mut Request, documents: &str) {
    let get = |field: &str| match field {
        "request_id" => Some("x".into()),
        "requested_at" => Some("20260101".into()),
        "documents" => Some(documents.into()),
        _ => None,
    };
    request.documents = Request::from_fields(&get, 1).unwrap().documents;
}

pub(super) fn use_service(request: &mut Request) {
    request.documents = Arc::default();
    request.service = Some("loan".into());
}

pub(super) fn grade(_: &str, value: &str) -> IdGrade {
    match value {
        "bad" => IdGrade::Error,
        "odd" => IdGrade::Warn,
        "hidden" => IdGrade::Protected,
        _ => IdGrade::Ok,
    }
}

pub(super) const TAX: &str = "[[documents]]\ndataset = 'tax'\n";

pub(super) fn night(requests: Vec<Request>, withdrawals: &[Withdrawal], carried: &[CarriedOver]) -> CheckedNight {
    check(&catalog(TAX), requests, withdrawals, carried, on(), &grade)
}

/// As [`night`], with so many requests at a time.
pub(super) fn night_in_blocks(
    requests: Vec<Request>,
    block: usize,
    withdrawals: &[Withdrawal],
    carried: &[CarriedOver],
) -> CheckedNight {
    let catalog = catalog(TAX);
    let mut checker = Checker::new(&catalog, withdrawals, carried, on(), &grade);
    for block in requests.chunks(block) {
        checker.add(block.to_vec());
    }
    checker.finish()
}

pub(super) fn one(change: impl FnOnce(&mut Request)) -> CheckedRequest {
    night(vec![request("r1", change)], &[], &[]).requests.remove(0)
}

pub(super) fn line_of(documents: &str, change: impl FnOnce(&mut Request)) -> CheckedLine {
    let request = request("r1", |r| {
        use_service(r);
        change(r);
    });
    check(&catalog(documents), vec![request], &[], &[], on(), &grade).requests[0].lines[0].clone()
}

pub(super) fn refusals(night: &CheckedNight) -> Vec<Option<Reason>> {
    night.requests.iter().map(|checked| checked.refusal.and_then(|(_, reason)| reason)).collect()
}

pub(super) fn withdrawal(at: &str, dataset: Option<&str>) -> Withdrawal {
    Withdrawal { request_id: "r1".to_owned(), withdrawn_at: day(at), dataset: dataset.map(str::to_owned), line: 2 }
}
