//! The night's requests and withdrawals, some of them with planted faults.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use chrono::{Days, NaiveDate};
use ieum_model::catalog::Catalog;
use ieum_model::error::Result;

use super::people::{Population, Rng, hash};
use super::plan::{Plan, SERVICES};
use super::write::unwritable;

/// Columns of `requests.csv`.
const HEADER: &str = "request_id,regime,subject_ids,applicant,service,documents,recipient,recipient_type,purpose,\
                      periodic,cycle,until,retention_days,requested_at,valid_from,valid_until,consented_documents,\
                      agent,agent_confirmed,auth_method,verified,third_person_reason,format";
/// Services whose subject owns a business.
const OF_BUSINESSES: [&str; 3] = ["small_merchant_fund", "credit_guarantee", "startup_support"];
/// Shares of the services in tenths of a per cent, in the order of [`SERVICES`].
const SHARES: [u64; 12] = [260, 150, 140, 90, 80, 80, 60, 50, 30, 25, 20, 15];
/// Requests for somebody whose number was changed, in 1000, beside those by chance.
const RENUMBERED_PER_MILLE: u64 = 30;
/// Of the requests for somebody whose number was changed, how many in 1000 still name the former one.
const FORMER_PER_MILLE: u64 = 250;
/// People to look through for one whose number was changed.
const SEARCHED: u64 = 2000;
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
}

/// A fault of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
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

/// The fields of one row.
#[derive(Default)]
struct Fields {
    regime: &'static str,
    subject: String,
    applicant: &'static str,
    service: String,
    documents: String,
    recipient: String,
    recipient_type: String,
    purpose: String,
    cycle: Option<&'static str>,
    requested_at: NaiveDate,
    valid_until: NaiveDate,
    consented: String,
    agent: String,
    auth_method: &'static str,
    verified: bool,
    retention_days: u32,
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

impl Fields {
    fn line(&self, request_id: &str) -> String {
        let periodic = self.cycle.is_some();
        let until = if periodic { self.valid_until.to_string() } else { String::new() };
        let day = |date: NaiveDate| date.to_string();
        [
            request_id.to_owned(),
            self.regime.to_owned(),
            self.subject.clone(),
            self.applicant.to_owned(),
            self.service.clone(),
            self.documents.clone(),
            self.recipient.clone(),
            self.recipient_type.clone(),
            self.purpose.clone(),
            periodic.to_string(),
            self.cycle.unwrap_or_default().to_owned(),
            until,
            self.retention_days.to_string(),
            day(self.requested_at),
            day(self.requested_at),
            day(self.valid_until),
            self.consented.clone(),
            self.agent.clone(),
            (!self.agent.is_empty()).to_string(),
            self.auth_method.to_owned(),
            self.verified.to_string(),
            String::new(),
            "json".to_owned(),
        ]
        .iter()
        .map(|field| quoted(field))
        .collect::<Vec<_>>()
        .join(",")
    }
}

impl Night<'_> {
    fn fault(&self, nth: u64) -> Option<Fault> {
        // A short file has one of each, from the third request on.
        let place = (nth % FAULT_EVERY).checked_sub(2)? as usize;
        (self.faults && self.requests >= 10).then(|| FAULTS.get(place).copied()).flatten()
    }

    /// Takes the service of the draw, or the nearest before it that the catalog has.
    fn service(&self, rng: &mut Rng) -> Option<&'static str> {
        let mut point = rng.below(SHARES.iter().sum());
        let mut at = 0;
        while point >= SHARES[at] {
            point -= SHARES[at];
            at += 1;
        }
        (0..=at).rev().map(|at| SERVICES[at]).find(|service| self.catalog.services.contains_key(*service))
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

    fn draw(&self, nth: u64) -> Fields {
        let mut rng = Rng::of(&[self.population.seed, hash("request"), nth]);
        let as_of = self.population.as_of;
        let mut fields = Fields {
            regime: ["egov_43_2", "petition_10_2", "pipa_35_2"][rng.below(3).min(rng.below(3)) as usize],
            applicant: "person",
            requested_at: as_of - Days::new(rng.below(10)),
            valid_until: as_of + Days::new(20 + rng.below(300)),
            auth_method: ["esign", "simple_auth", "id_card"][rng.below(3) as usize],
            verified: true,
            retention_days: 30,
            ..Fields::default()
        };
        if rng.chance(80) {
            // Due on the day: a daily one always is.
            fields.cycle = Some("daily");
        }
        if rng.chance(30) {
            fields.agent = "법정대리인".to_owned();
        }
        let mut changes = Rng::of(&[self.population.seed, hash("changed number"), nth]);
        let mut subject = rng.below(self.population.people);
        if changes.chance(RENUMBERED_PER_MILLE) {
            subject = self.renumbered(subject);
        }
        let service = if rng.chance(120) { None } else { self.service(&mut rng) };
        if let Some(service) = service.and_then(|code| self.catalog.services.get(code)) {
            fields.service = service.code.clone();
            fields.recipient = service.recipient.clone();
            fields.purpose = service.purpose.clone();
            fields.retention_days = service.retention_days;
            if OF_BUSINESSES.contains(&service.code.as_str()) {
                subject = self.population.any_owner(&mut rng).unwrap_or(subject);
                let business = self.population.person(subject).business;
                if business.is_some_and(|business| business.crno.is_some()) {
                    fields.applicant = "corporation";
                }
            }
            if !rng.chance(200) {
                let consented: Vec<&str> = service
                    .documents
                    .iter()
                    .filter(|line| line.consent == ieum_model::service::ConsentScope::PerDocument)
                    .map(|line| line.dataset.as_str())
                    .collect();
                fields.consented = consented.join(";");
            }
        } else {
            fields.documents =
                ["income_amt,tax_year", "tax_year,income_amt,income_type"][rng.below(2) as usize].to_owned();
            fields.documents = format!("income_amount_cert({})", fields.documents);
            fields.recipient = ["kcis", "lh", "kosaf"][rng.below(3) as usize].to_owned();
            fields.purpose = "소득 확인".to_owned();
        }
        let former = changes.chance(FORMER_PER_MILLE);
        fields.subject = format!("rrno:{}", self.population.carried(subject, former));
        fields.recipient_type = self.recipient_type(&fields.recipient);
        fields
    }

    fn unreachable_dataset(&self) -> Option<&str> {
        let away = ["person", "business", "corporation"];
        let unreachable = |code: &str| {
            self.catalog
                .datasets
                .get(code)
                .is_some_and(|dataset| dataset.keys().all(|key| !away.contains(&key.space.as_str())))
        };
        self.plans.iter().map(|plan| plan.code.as_str()).find(|code| unreachable(code))
    }

    fn request(&self, nth: u64) -> Fields {
        let fault = self.fault(nth);
        // A duplicate asks again for what the request before the withdrawn one asked for.
        let mut fields = self.draw(match fault {
            Some(Fault::Duplicate) => nth / FAULT_EVERY * FAULT_EVERY + 1,
            _ => nth,
        });
        let single = |fields: &mut Fields, documents: String| {
            fields.service.clear();
            fields.consented.clear();
            fields.documents = documents;
            fields.applicant = "person";
        };
        match fault {
            Some(Fault::Expired) => {
                fields.requested_at = self.population.as_of - Days::new(200);
                fields.valid_until = self.population.as_of - Days::new(10);
                fields.cycle = None;
            }
            Some(Fault::Unverified) => fields.verified = false,
            Some(Fault::RecipientType) => fields.recipient_type = "advertising_agency".to_owned(),
            Some(Fault::Unreachable) => {
                if let Some(code) = self.unreachable_dataset() {
                    single(&mut fields, code.to_owned());
                }
            }
            Some(Fault::UnknownItem) => {
                single(&mut fields, "income_amount_cert(income_amt,no_such_item)".to_owned());
            }
            Some(Fault::Withdrawn | Fault::Duplicate) | None => {}
        }
        fields
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
        for nth in 0..self.requests {
            let id = format!("R{}-{nth:08}", self.population.as_of.format("%Y%m%d"));
            let fields = self.request(nth);
            writeln!(requests, "{}", fields.line(&id)).map_err(|error| unwritable(&asked, error))?;
            if self.fault(nth) == Some(Fault::Withdrawn) {
                writeln!(withdrawals, "{id},{},", self.population.as_of)
                    .map_err(|error| unwritable(&taken_back, error))?;
            }
        }
        requests.flush().map_err(|error| unwritable(&asked, error))?;
        withdrawals.flush().map_err(|error| unwritable(&taken_back, error))
    }
}
