//! Synthetic people, each a pure function of the seed and a serial: nothing is stored, any order gives the same person.
//!
//! Nobody living can be met: birth years are 2090 to 2099 with digit 7 = 3 or 4 (7 or 8 for foreigners), and businesses
//! and corporations have offices that do not exist.

use chrono::{Days, NaiveDate};
use ieum_privacy::normalize;

use super::names;

/// Days from 2090-01-01 to 2099-12-31.
const BIRTH_DAYS: u64 = 3652;
/// Serials (digits 8 to 12) a day has.
const SERIALS: u64 = 100_000;
/// Most people that have numbers of their own; former numbers take the serials of a day from its other end.
pub const PEOPLE_MAX: u64 = BIRTH_DAYS * SERIALS / 2;
/// One resident of 64, 1.5 % of all people, has had another number before.
const RENUMBERED: u64 = 64;
/// Both steps have no factor in common with what they are reduced by, so every serial gets its own number.
const BIRTH_STEP: u64 = 1009;
const SERIAL_STEP: u64 = 7919;
const BRNO_STEP: u64 = 611_953;

/// Sizes of twelve households of 25 people; five of twelve (42 %) are single.
const HOUSEHOLDS: [u64; 12] = [1, 2, 1, 3, 1, 4, 2, 1, 3, 2, 1, 4];
const BLOCK_PEOPLE: u64 = 25;
/// Three of twenty people own a business.
const OWNER_BLOCK: u64 = 20;
const OWNER_PLACES: [u64; 3] = [3, 9, 14];

/// Counter-based SplitMix64.
#[derive(Debug, Clone)]
pub struct Rng(u64);

/// The finalizer of SplitMix64.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Rng {
    /// The stream that belongs to `parts`, whatever was drawn before.
    pub fn of(parts: &[u64]) -> Self {
        Self(parts.iter().fold(0x9e37_79b9_7f4a_7c15, |state, part| {
            mix(state.wrapping_mul(0x2545_f491_4f6c_dd1d).wrapping_add(part.wrapping_add(0x9e37_79b9_7f4a_7c15)))
        }))
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// True in `per_mille` of 1000 draws.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }
}

/// A stable number for a text, to separate streams.
pub fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

/// A business of a person.
#[derive(Debug, Clone)]
pub struct Business {
    /// 사업자등록번호.
    pub brno: String,
    /// 법인등록번호, if it is a corporation.
    pub crno: Option<String>,
    /// Name of the business.
    pub name: String,
    /// Address of the business.
    pub address: String,
    /// Day it was founded.
    pub founded: NaiveDate,
}

/// A synthetic person.
#[derive(Debug, Clone)]
pub struct Person {
    /// Serial.
    pub serial: u64,
    /// 주민등록번호, or 외국인등록번호 of a foreigner.
    pub rrno: String,
    /// 주민등록번호 before its change, if it was changed.
    pub former: Option<String>,
    /// Name.
    pub name: String,
    /// Day of birth.
    pub birth: NaiveDate,
    /// Whether the person is a woman.
    pub female: bool,
    /// Whether the person is a foreigner.
    pub foreigner: bool,
    /// Address of the household.
    pub address: String,
    /// First serial of the household.
    pub household: u64,
    /// Business, if the person owns one.
    pub business: Option<Business>,
}

/// The people of a seed.
#[derive(Debug, Clone, Copy)]
pub struct Population {
    /// Number of people.
    pub people: u64,
    /// Seed.
    pub seed: u64,
    /// The day the exports speak of.
    pub as_of: NaiveDate,
    /// Whether some numbers were changed: only where the catalog has a register that leads to the new ones.
    pub renumbered: bool,
}

impl Population {
    fn rng(&self, topic: &str, serial: u64) -> Rng {
        Rng::of(&[self.seed, hash(topic), serial])
    }

    /// The person with this serial.
    pub fn person(&self, serial: u64) -> Person {
        let mut rng = self.rng("person", serial);
        let (household, _) = self.household(serial);
        Person {
            serial,
            rrno: self.rrno(serial),
            former: self.former(serial),
            name: names::person(&mut rng),
            birth: self.birth(serial),
            female: self.female(serial),
            foreigner: self.foreigner(serial),
            address: names::address(&mut self.rng("household", household)),
            household,
            business: self.business(serial),
        }
    }

    /// Name of the person with this serial.
    pub fn name(&self, serial: u64) -> String {
        names::person(&mut self.rng("person", serial))
    }

    /// Day of birth.
    pub fn birth(&self, serial: u64) -> NaiveDate {
        let first = NaiveDate::from_ymd_opt(2090, 1, 1).unwrap_or_default();
        let day = (serial % BIRTH_DAYS * BIRTH_STEP + self.seed % BIRTH_DAYS) % BIRTH_DAYS;
        first.checked_add_days(Days::new(day)).unwrap_or(first)
    }

    fn female(&self, serial: u64) -> bool {
        self.rng("sex", serial).chance(500)
    }

    fn foreigner(&self, serial: u64) -> bool {
        self.rng("foreigner", serial).chance(40)
    }

    /// All but the last digit of the `nth` number of the person's day of birth.
    fn body(&self, serial: u64, nth: u64) -> String {
        let digit = u64::from(self.female(serial)) + if self.foreigner(serial) { 7 } else { 3 };
        let number = (nth * SERIAL_STEP + mix(self.seed) % SERIALS) % SERIALS;
        format!("{}{digit}{number:05}", self.birth(serial).format("%y%m%d"))
    }

    /// The resident number, or the foreigner's: unique by its birth date and serial.
    pub fn rrno(&self, serial: u64) -> String {
        let body = self.body(serial, serial / BIRTH_DAYS % SERIALS);
        let before: [u8; 12] = body.as_bytes().try_into().unwrap_or([b'0'; 12]);
        let check = if self.foreigner(serial) {
            normalize::frno::check_digit(&before)
        } else {
            normalize::rrno::check_digit(&before)
        };
        // A quarter was issued after 2020-10 and has no check digit.
        let mut rng = self.rng("issued", serial);
        let last = if rng.chance(250) { (u64::from(check) + 1 + rng.below(9)) % 10 } else { u64::from(check) };
        format!("{body}{last}")
    }

    /// The resident number before its change: same birth and sex, a serial that nobody has now.
    pub fn former(&self, serial: u64) -> Option<String> {
        if !self.renumbered || self.foreigner(serial) || self.rng("renumbered", serial).below(RENUMBERED) > 0 {
            return None;
        }
        let body = self.body(serial, SERIALS - 1 - serial / BIRTH_DAYS % SERIALS);
        let before: [u8; 12] = body.as_bytes().try_into().unwrap_or([b'0'; 12]);
        Some(format!("{body}{}", normalize::rrno::check_digit(&before)))
    }

    /// The number of a person in an export that still carries the former ones, or in one that does not.
    pub fn carried(&self, serial: u64, former: bool) -> String {
        former.then(|| self.former(serial)).flatten().unwrap_or_else(|| self.rrno(serial))
    }

    /// First serial and size of the household of a person.
    pub fn household(&self, serial: u64) -> (u64, u64) {
        let mut first = serial / BLOCK_PEOPLE * BLOCK_PEOPLE;
        for size in HOUSEHOLDS {
            if serial < first + size {
                return (first, size.min(self.people.saturating_sub(first)).max(1));
            }
            first += size;
        }
        (serial, 1)
    }

    /// Which business a person owns, counted from 0.
    fn business_number(serial: u64) -> Option<u64> {
        let place = OWNER_PLACES.iter().position(|place| *place == serial % OWNER_BLOCK)?;
        Some(serial / OWNER_BLOCK * 3 + place as u64)
    }

    /// The owner of a business drawn at random; `None` in a population too small to have one.
    pub fn any_owner(&self, rng: &mut Rng) -> Option<u64> {
        let owner = rng.below(self.people.div_ceil(OWNER_BLOCK)) * OWNER_BLOCK + OWNER_PLACES[rng.below(3) as usize];
        if owner < self.people { Some(owner) } else { (self.people > OWNER_PLACES[0]).then_some(OWNER_PLACES[0]) }
    }

    /// The business number of an owner. Office 999 holds a million numbers, office 998 the next, and so on.
    pub fn brno(&self, serial: u64) -> Option<String> {
        let number = Self::business_number(serial)?;
        let inside = (number % 1_000_000 * BRNO_STEP + self.seed % 1_000_000) % 1_000_000;
        let body = format!("{:03}{inside:06}", 999 - number / 1_000_000 % 900);
        let before: [u8; 9] = body.as_bytes().try_into().unwrap_or([b'0'; 9]);
        Some(format!("{body}{}", normalize::brno::check_digit(&before)))
    }

    /// The business of a person. One in five is a corporation; one in eight corporations is so new that its number has
    /// no check digit.
    fn business(&self, serial: u64) -> Option<Business> {
        let number = Self::business_number(serial)?;
        let brno = self.brno(serial)?;
        let mut rng = self.rng("business", serial);
        let corporation = number % 5 == 2;
        let new_rule = NaiveDate::from_ymd_opt(2025, 1, 31).unwrap_or_default();
        let recent = corporation && rng.chance(125) && self.as_of > new_rule;
        let founded = if recent {
            let span = self.as_of.signed_duration_since(new_rule).num_days().unsigned_abs();
            new_rule + Days::new(rng.below(span))
        } else {
            new_rule.min(self.as_of) - Days::new(1 + rng.below(7000))
        };
        let crno = corporation.then(|| {
            let body = format!("999911{:06}", number / 5 % 1_000_000);
            let before: [u8; 12] = body.as_bytes().try_into().unwrap_or([b'0'; 12]);
            let check = u64::from(normalize::crno::check_digit(&before));
            let last = if recent { (check + 1 + rng.below(9)) % 10 } else { check };
            format!("{body}{last}")
        });
        Some(Business {
            brno,
            crno,
            name: names::firm(&mut rng, corporation),
            address: names::address(&mut rng),
            founded,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn population(people: u64) -> Population {
        Population { people, seed: 7, as_of: NaiveDate::from_ymd_opt(2026, 11, 22).unwrap(), renumbered: true }
    }

    #[test]
    fn a_hundred_thousand_people_have_numbers_of_their_own() {
        let all = population(100_000);
        let numbers: HashSet<String> = (0..100_000).map(|serial| all.rrno(serial)).collect();
        assert_eq!(numbers.len(), 100_000);
        assert!(numbers.iter().all(|n| n.len() == 13 && n.starts_with('9') && "3478".contains(&n[6..7])));
        let firms: Vec<String> = (0..100_000).filter_map(|serial| all.brno(serial)).collect();
        assert_eq!(firms.len(), 15_000);
        assert_eq!(firms.iter().collect::<HashSet<_>>().len(), 15_000);
    }

    #[test]
    fn former_numbers_are_nobodys_now() {
        // The second range has many people of each birth day; the third ends where numbers do.
        let most = PEOPLE_MAX;
        for range in [0..50_000, BIRTH_DAYS * 24..BIRTH_DAYS * 34, most - 50_000..most] {
            let all = population(most);
            let people = range.end - range.start;
            let mut numbers: HashSet<String> = range.clone().map(|serial| all.rrno(serial)).collect();
            let former: Vec<String> = range.filter_map(|serial| all.former(serial)).collect();
            assert!((12..=18).contains(&(former.len() as u64 * 1000 / people)), "{} of {people}", former.len());
            let fresh = former.into_iter().all(|number| number.len() == 13 && numbers.insert(number));
            assert!(fresh);
        }
        let none = Population { renumbered: false, ..population(1000) };
        assert!((0..1000).all(|serial| none.former(serial).is_none()));
    }

    #[test]
    fn a_day_has_serials_for_present_and_former_numbers() {
        let numbers: HashSet<u64> = (0..SERIALS).map(|nth| nth * SERIAL_STEP % SERIALS).collect();
        assert_eq!(numbers.len() as u64, SERIALS);
        let last = (PEOPLE_MAX - 1) / BIRTH_DAYS;
        assert!(last < SERIALS - 1 - last, "the two ends never meet");
    }

    #[test]
    fn names_have_two_to_four_syllables() {
        let all = population(5000);
        assert!((0..5000).all(|serial| (2..=4).contains(&all.name(serial).chars().count())));
    }

    #[test]
    fn the_members_of_a_household_agree_on_it() {
        let all = population(1000);
        let single = (0..1000).filter(|serial| all.household(*serial) == (*serial, 1)).count();
        let heads = (0..1000).filter(|serial| all.household(*serial).0 == *serial).count();
        assert_eq!((single, heads), (200, 480));
        for serial in 0..1000 {
            let (first, size) = all.household(serial);
            assert!((first..first + size).all(|member| all.household(member) == (first, size)));
        }
    }
}
