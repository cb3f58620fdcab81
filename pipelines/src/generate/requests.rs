//! The night's requests and withdrawals, some of them with planted faults.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use chrono::{Days, NaiveDate};
use ieum_model::catalog::Catalog;
use ieum_model::dataset::{Dataset, Key};
use ieum_model::error::Result;
use ieum_model::service::{Applicant, ConsentScope, DocumentLine, Service};

use rayon::prelude::*;

use super::people::{Population, Rng, hash};
use super::plan::{DEFAULT_DATASETS, Plan, SERVICES};
use super::values::{Cell, Row, columns};
use super::write::unwritable;

/// Columns of `requests.csv`.
const HEADER: &str = "request_id,regime,subject_ids,applicant,service,documents,recipient,recipient_type,purpose,\
                      periodic,cycle,until,retention_days,requested_at,valid_from,valid_until,consented_documents,\
                      agent,agent_confirmed,auth_method,verified,third_person_reason,format";
/// Services whose subject owns a business.
const OF_BUSINESSES: [&str; 3] = ["small_merchant_fund", "credit_guarantee", "startup_support"];
/// Shares of the services in tenths of a per cent, in the order of [`SERVICES`].
const SHARES: [u64; 12] = [260, 150, 140, 90, 80, 80, 60, 50, 30, 25, 20, 15];
/// Share of every other service, where a night is large enough to have them.
const OTHER_SHARE: u64 = 15;
/// Key spaces that a resident number leads to: all others have to be named.
const LED_TO: [&str; 3] = ["person", "business", "corporation"];
/// Requests for somebody whose number was changed, in 1000, beside those by chance.
const RENUMBERED_PER_MILLE: u64 = 30;
/// Of the requests for somebody whose number was changed, how many in 1000 still name the former one.
const FORMER_PER_MILLE: u64 = 250;
/// People to look through for one whose number was changed.
const SEARCHED: u64 = 2000;
/// Recipients of requests that name their documents themselves.
const RECIPIENTS: [&str; 3] = ["kcis", "lh", "kosaf"];
/// Requests between two planted faults of a kind, once the file is long.
const FAULT_EVERY: u64 = 500;

/// What the requests are drawn from.
pub struct Night<'a> {
    /// Services and recipients.
    pub catalog: &'a Catalog,
    /// Generated datasets.
    pub plans: &'a [Plan],
    /// People.
    pub population: Population,
    /// Number of requests.
    pub requests: u64,
    /// Whether faults are planted.
    pub faults: bool,
    /// Whether the first request asks every dataset.
    pub all_asked: bool,
    /// Services with their shares, the frequent ones first.
    services: Vec<(&'a Service, u64)>,
}

/// A fault of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Fault {
    Withdrawn,
    Expired,
    Unverified,
    Duplicate,
    RecipientType,
    Unreachable,
    UnknownItem,
}

/// Every kind of fault, in the order they are planted.
const FAULTS: [Fault; 7] = [
    Fault::Withdrawn,
    Fault::Expired,
    Fault::Unverified,
    Fault::Duplicate,
    Fault::RecipientType,
    Fault::Unreachable,
    Fault::UnknownItem,
];

/// A document that a request names itself: dataset and items; no items is the default minimum.
pub type Named<'a> = (&'a str, &'static [&'static str]);

/// What one request asks, and everything else that stands in its row.
#[derive(Clone)]
pub struct Asked<'a> {
    /// Serial of the data subject.
    pub subject: u64,
    /// Key spaces named beside the subject's own number, and the identifier in each.
    pub named: Vec<(&'a str, String)>,
    /// Who applies.
    pub applicant: Applicant,
    /// Service; without one, `documents`.
    pub service: Option<&'a Service>,
    /// Documents asked for one by one.
    pub documents: Vec<Named<'a>>,
    /// Documents consented to one by one, if not to all at once.
    pub consented: Option<Vec<&'a str>>,
    /// Whether it is asked again and again.
    pub periodic: bool,
    /// When it was made.
    pub requested_at: NaiveDate,
    /// What is wrong with it.
    pub fault: Option<Fault>,
    regime: &'static str,
    number: String,
    recipient: String,
    recipient_type: String,
    purpose: String,
    valid_until: NaiveDate,
    agent: &'static str,
    auth_method: &'static str,
    retention_days: u32,
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

/// The kind under which a request names an identifier of a key space.
fn kind_of(space: &str) -> &str {
    match space {
        "parcel" => "pnu",
        "vehicle" => "vhrno",
        "passport" => "pno",
        other => other,
    }
}

impl Asked<'_> {
    /// The subject's identifiers as written.
    fn subject_ids(&self) -> String {
        // Digit 7 says of whom the number is: 5 to 8 are foreigners' (출입국관리법 시행령 40조의2).
        let kind = if matches!(self.number.as_bytes().get(6), Some(b'5'..=b'8')) { "frno" } else { "rrno" };
        let mut ids = format!("{kind}:{}", self.number);
        for (space, key) in &self.named {
            ids.push_str(&format!(";{}:{key}", kind_of(space)));
        }
        ids
    }

    fn documents(&self) -> String {
        let one = |(dataset, items): &Named<'_>| match items {
            [] => (*dataset).to_owned(),
            items => format!("{dataset}({})", items.join(",")),
        };
        self.documents.iter().map(one).collect::<Vec<_>>().join(";")
    }

    fn service_code(&self) -> &str {
        self.service.map_or("", |service| service.code.as_str())
    }

    fn applicant_word(&self) -> &'static str {
        match self.applicant {
            Applicant::Person => "person",
            Applicant::Corporation => "corporation",
        }
    }

    fn consented_list(&self) -> String {
        self.consented.as_ref().map(|documents| documents.join(";")).unwrap_or_default()
    }

    /// Two requests with the same words ask the same question.
    pub fn question(&self) -> u64 {
        let words = [
            &self.subject_ids(),
            self.service_code(),
            &self.documents(),
            &self.recipient,
            self.applicant_word(),
            &self.consented_list(),
        ];
        Rng::of(&words.map(hash)).next()
    }

    fn line(&self, request_id: &str) -> String {
        let until = if self.periodic { self.valid_until.to_string() } else { String::new() };
        let day = |date: NaiveDate| date.to_string();
        [
            request_id.to_owned(),
            self.regime.to_owned(),
            self.subject_ids(),
            self.applicant_word().to_owned(),
            self.service_code().to_owned(),
            self.documents(),
            self.recipient.clone(),
            self.recipient_type.clone(),
            self.purpose.clone(),
            self.periodic.to_string(),
            if self.periodic { "daily" } else { "" }.to_owned(),
            until,
            self.retention_days.to_string(),
            day(self.requested_at),
            day(self.requested_at),
            day(self.valid_until),
            self.consented_list(),
            self.agent.to_owned(),
            (!self.agent.is_empty()).to_string(),
            self.auth_method.to_owned(),
            (self.fault != Some(Fault::Unverified)).to_string(),
            String::new(),
            "json".to_owned(),
        ]
        .iter()
        .map(|field| quoted(field))
        .collect::<Vec<_>>()
        .join(",")
    }
}

/// The services that requests are drawn from. The usual ones always; in a night of more datasets than the usual ones need,
/// every other one whose documents are all there.
fn services<'a>(catalog: &'a Catalog, plans: &[Plan]) -> Vec<(&'a Service, u64)> {
    let usual = SERVICES.iter().zip(SHARES);
    let mut found: Vec<(&Service, u64)> =
        usual.filter_map(|(code, share)| catalog.services.get(*code).map(|service| (service, share))).collect();
    if plans.len() > DEFAULT_DATASETS + 1 {
        let planned = |line: &DocumentLine| plans.iter().any(|plan| plan.code == line.dataset);
        let others = catalog.services.values().filter(|service| !SERVICES.contains(&service.code.as_str()));
        found.extend(others.filter(|s| s.documents.iter().all(planned)).map(|service| (service, OTHER_SHARE)));
    }
    found
}

/// The key by which a request has to find a dataset that no resident number leads to.
pub fn named_key(dataset: &Dataset) -> Option<&Key> {
    if dataset.keys().any(|key| LED_TO.contains(&key.space.as_str())) {
        return None;
    }
    // Of a telephone number there are too few to tell people apart.
    dataset.keys().find(|key| key.space == "ci").or_else(|| dataset.keys().next())
}

impl<'a> Night<'a> {
    /// The night of these datasets and people.
    pub fn new(catalog: &'a Catalog, plans: &'a [Plan], population: Population, requests: u64, faults: bool) -> Self {
        Self { catalog, plans, population, requests, faults, all_asked: false, services: services(catalog, plans) }
    }

    /// Name of the `nth` request.
    pub fn request_id(&self, nth: u64) -> String {
        format!("R{}-{nth:08}", self.population.as_of.format("%Y%m%d"))
    }

    fn fault(&self, nth: u64) -> Option<Fault> {
        // A short file has one of each, from the third request on.
        let place = (nth % FAULT_EVERY).checked_sub(2)? as usize;
        (self.faults && self.requests >= 10).then(|| FAULTS.get(place).copied()).flatten()
    }

    fn service(&self, rng: &mut Rng) -> Option<&'a Service> {
        let mut point = rng.below(self.services.iter().map(|(_, share)| share).sum::<u64>().max(1));
        for (service, share) in &self.services {
            match point.checked_sub(*share) {
                Some(rest) => point = rest,
                None => return Some(service),
            }
        }
        None
    }

    fn recipient_type(&self, recipient: &str) -> String {
        self.catalog.recipients.get(recipient).map(|found| found.recipient_type.clone()).unwrap_or_default()
    }

    /// The first person from this one on whose number was changed; this one if there is none near.
    fn renumbered(&self, subject: u64) -> u64 {
        (subject..subject + SEARCHED)
            .map(|serial| serial % self.population.people)
            .find(|serial| self.population.former(*serial).is_some())
            .unwrap_or(subject)
    }

    /// Whether the service is one for those who own a business.
    fn is_of_businesses(&self, service: &Service) -> bool {
        let of_a_business = |line: &DocumentLine| {
            self.catalog.datasets.get(&line.dataset).is_some_and(|dataset| {
                let of = |space: &str| dataset.keys().any(|key| key.space == space);
                !of("person") && (of("business") || of("corporation"))
            })
        };
        match SERVICES.contains(&service.code.as_str()) {
            true => OF_BUSINESSES.contains(&service.code.as_str()),
            false => service.documents.iter().any(of_a_business),
        }
    }

    /// The identifiers that have to be named to find documents, of the subject's first record each.
    fn named(&self, documents: impl Iterator<Item = &'a str>, subject: u64) -> Vec<(&'a str, String)> {
        let mut named: Vec<(&str, String)> = Vec::new();
        for dataset in documents.filter_map(|code| self.catalog.datasets.get(code)) {
            let Some(key) = named_key(dataset) else { continue };
            if named.iter().any(|(space, _)| *space == key.space) {
                continue;
            }
            if let Cell::Text(value) = self.key_cell(dataset, &key.item, subject, 0) {
                named.push((key.space.as_str(), value.into_owned()));
            }
        }
        named
    }

    /// The key of the subject's `nth` record in a dataset.
    pub fn key_cell(&self, dataset: &Dataset, item: &str, subject: u64, nth: u64) -> Cell {
        let person = self.population.person(subject);
        let plan = self.plans.iter().find(|plan| plan.code == dataset.code);
        let row =
            Row { person: &person, nth, stream: hash(&dataset.code), former: plan.is_some_and(|plan| plan.former) };
        let columns = match plan {
            Some(plan) => &plan.columns,
            None => &columns(dataset),
        };
        let column = columns.iter().find(|column| column.code == item);
        column.map_or(Cell::Null, |column| self.population.cell(column, &row))
    }

    fn draw(&self, nth: u64) -> Asked<'a> {
        let mut rng = Rng::of(&[self.population.seed, hash("request"), nth]);
        let as_of = self.population.as_of;
        let mut asked = Asked {
            subject: 0,
            named: Vec::new(),
            applicant: Applicant::Person,
            service: None,
            documents: Vec::new(),
            consented: None,
            periodic: false,
            fault: None,
            number: String::new(),
            recipient: String::new(),
            recipient_type: String::new(),
            purpose: String::new(),
            agent: "",
            regime: ["egov_43_2", "petition_10_2", "pipa_35_2"][rng.below(3).min(rng.below(3)) as usize],
            requested_at: as_of - Days::new(rng.below(10)),
            valid_until: as_of + Days::new(20 + rng.below(300)),
            auth_method: ["esign", "simple_auth", "id_card"][rng.below(3) as usize],
            retention_days: 30,
        };
        // Due on the day: a daily one always is.
        asked.periodic = rng.chance(80);
        if rng.chance(30) {
            asked.agent = "법정대리인";
        }
        let mut changes = Rng::of(&[self.population.seed, hash("changed number"), nth]);
        asked.subject = rng.below(self.population.people);
        if changes.chance(RENUMBERED_PER_MILLE) {
            asked.subject = self.renumbered(asked.subject);
        }
        let service = if rng.chance(120) { None } else { self.service(&mut rng) };
        if let Some(service) = service {
            self.ask_service(&mut asked, service, &mut rng);
        } else {
            let items: [&[&str]; 2] = [&["income_amt", "tax_year"], &["tax_year", "income_amt", "income_type"]];
            asked.documents = vec![("income_amount_cert", items[rng.below(2) as usize])];
            asked.recipient = RECIPIENTS[rng.below(3) as usize].to_owned();
            asked.purpose = "소득 확인".to_owned();
        }
        let former = changes.chance(FORMER_PER_MILLE);
        asked.number = self.population.carried(asked.subject, former);
        asked.recipient_type = self.recipient_type(&asked.recipient);
        asked
    }

    fn ask_service(&self, asked: &mut Asked<'a>, service: &'a Service, rng: &mut Rng) {
        asked.service = Some(service);
        asked.recipient = service.recipient.clone();
        asked.purpose = service.purpose.clone();
        asked.retention_days = service.retention_days;
        if self.is_of_businesses(service) {
            asked.subject = self.population.any_owner(rng).unwrap_or(asked.subject);
            let business = self.population.person(asked.subject).business;
            if business.is_some_and(|business| business.crno.is_some()) {
                asked.applicant = Applicant::Corporation;
            }
        }
        let single = |line: &DocumentLine| line.consent == ConsentScope::PerDocument;
        // Most tick every box where there are boxes.
        if !rng.chance(200) && service.documents.iter().any(single) {
            asked.consented = Some(service.documents.iter().map(|line| line.dataset.as_str()).collect());
        }
        asked.named = self.named(service.documents.iter().map(|line| line.dataset.as_str()), asked.subject);
    }

    fn unreachable_dataset(&self) -> Option<&'a str> {
        let unreachable = |code: &&str| self.catalog.datasets.get(*code).is_some_and(|d| named_key(d).is_some());
        self.plans.iter().map(|plan| plan.code.as_str()).find(unreachable)
    }

    /// Somebody who owns a corporation and asks every dataset.
    fn of_everything(&self) -> Asked<'a> {
        let mut asked = self.draw(0);
        let business = |serial: &u64| self.population.person(*serial).business;
        let owns = |serial: &u64| business(serial).is_some_and(|business| business.crno.is_some());
        asked.subject = (0..self.population.people.min(SEARCHED)).find(owns).unwrap_or(asked.subject);
        asked.number = self.population.rrno(asked.subject);
        asked.applicant = Applicant::Person;
        asked.service = None;
        asked.consented = None;
        asked.documents = self.plans.iter().map(|plan| (plan.code.as_str(), [].as_slice())).collect();
        asked.named = self.named(self.plans.iter().map(|plan| plan.code.as_str()), asked.subject);
        asked.recipient = RECIPIENTS[0].to_owned();
        asked.recipient_type = self.recipient_type(&asked.recipient);
        asked.purpose = "전체 자료 확인".to_owned();
        asked
    }

    /// The `nth` request.
    pub fn request(&self, nth: u64) -> Asked<'a> {
        if self.all_asked && nth == 0 {
            return self.of_everything();
        }
        let fault = self.fault(nth);
        // A duplicate asks again for what the request before the withdrawn one asked for.
        let mut asked = self.draw(match fault {
            Some(Fault::Duplicate) => nth / FAULT_EVERY * FAULT_EVERY + 1,
            _ => nth,
        });
        asked.fault = fault;
        let single = |asked: &mut Asked<'a>, document: Named<'a>| {
            asked.service = None;
            asked.consented = None;
            asked.named.clear();
            asked.documents = vec![document];
            asked.applicant = Applicant::Person;
        };
        match fault {
            Some(Fault::Expired) => {
                asked.requested_at = self.population.as_of - Days::new(200);
                asked.valid_until = self.population.as_of - Days::new(10);
                asked.periodic = false;
            }
            Some(Fault::RecipientType) => asked.recipient_type = "advertising_agency".to_owned(),
            Some(Fault::Unreachable) => {
                if let Some(code) = self.unreachable_dataset() {
                    single(&mut asked, (code, &[]));
                }
            }
            Some(Fault::UnknownItem) => single(&mut asked, ("income_amount_cert", &["income_amt", "no_such_item"])),
            Some(Fault::Withdrawn | Fault::Unverified | Fault::Duplicate) | None => {}
        }
        asked
    }

    /// Writes `requests.csv` and `withdrawals.csv` into `folder`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let (asked, taken_back) = (folder.join("requests.csv"), folder.join("withdrawals.csv"));
        std::fs::create_dir_all(folder).map_err(|error| unwritable(folder, error))?;
        let open = |path: &Path| File::create(path).map(BufWriter::new).map_err(|error| unwritable(path, error));
        let (mut requests, mut withdrawals) = (open(&asked)?, open(&taken_back)?);
        writeln!(requests, "{HEADER}").map_err(|error| unwritable(&asked, error))?;
        writeln!(withdrawals, "request_id,withdrawn_at,dataset").map_err(|error| unwritable(&taken_back, error))?;
        for block in blocks(self.requests) {
            let lines: Vec<(String, bool)> = block
                .into_par_iter()
                .map(|nth| {
                    let request = self.request(nth);
                    (request.line(&self.request_id(nth)), request.fault == Some(Fault::Withdrawn))
                })
                .collect();
            for (line, withdrawn) in lines {
                writeln!(requests, "{line}").map_err(|error| unwritable(&asked, error))?;
                if withdrawn {
                    let id = line.split(',').next().unwrap_or_default();
                    writeln!(withdrawals, "{id},{},", self.population.as_of)
                        .map_err(|error| unwritable(&taken_back, error))?;
                }
            }
        }
        requests.flush().map_err(|error| unwritable(&asked, error))?;
        withdrawals.flush().map_err(|error| unwritable(&taken_back, error))
    }
}

/// The numbers of the requests, in blocks that are made in parallel and written in order.
pub fn blocks(requests: u64) -> impl Iterator<Item = std::ops::Range<u64>> {
    const BLOCK: u64 = 8192;
    (0..requests.div_ceil(BLOCK)).map(move |block| block * BLOCK..((block + 1) * BLOCK).min(requests))
}
