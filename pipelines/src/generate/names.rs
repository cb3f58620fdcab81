//! Korean names and places with plausible, skewed frequencies.

use super::people::Rng;

/// Surnames and their share in tenths of a per cent.
const SURNAMES: [(&str, u32); 34] = [
    ("김", 214),
    ("이", 147),
    ("박", 84),
    ("최", 47),
    ("정", 43),
    ("강", 24),
    ("조", 21),
    ("윤", 21),
    ("장", 20),
    ("임", 17),
    ("한", 15),
    ("오", 15),
    ("서", 15),
    ("신", 15),
    ("권", 14),
    ("황", 14),
    ("안", 14),
    ("송", 14),
    ("전", 11),
    ("홍", 11),
    ("유", 10),
    ("고", 9),
    ("문", 9),
    ("양", 9),
    ("손", 9),
    ("배", 8),
    ("백", 8),
    ("허", 7),
    ("남", 6),
    ("심", 6),
    ("노", 6),
    ("남궁", 2),
    ("황보", 1),
    ("선우", 1),
];

/// First given syllables, frequent ones first.
const FIRST: [&str; 30] = [
    "지", "서", "민", "현", "영", "성", "수", "정", "은", "준", "재", "동", "승", "미", "유", "하", "도", "경", "상",
    "태", "진", "혜", "윤", "소", "건", "예", "규", "채", "병", "샘",
];

/// Second given syllables, frequent ones first; the last ones are outside EUC-KR, but in CP949.
const SECOND: [&str; 30] = [
    "우", "준", "현", "민", "희", "수", "영", "진", "호", "은", "연", "아", "윤", "훈", "석", "철", "원", "경", "숙",
    "빈", "혁", "주", "환", "미", "규", "율", "솔", "봄", "슬", "믜",
];

/// Sido, a sigungu of it and the five digits of its legal code.
const PLACES: [(&str, &str, &str, &str); 20] = [
    ("서울특별시", "종로구", "11110", "종로"),
    ("서울특별시", "강남구", "11680", "테헤란로"),
    ("서울특별시", "송파구", "11710", "올림픽로"),
    ("서울특별시", "관악구", "11620", "관악로"),
    ("부산광역시", "해운대구", "26350", "센텀로"),
    ("부산광역시", "사하구", "26380", "낙동대로"),
    ("대구광역시", "수성구", "27260", "동대구로"),
    ("인천광역시", "부평구", "28237", "부평대로"),
    ("광주광역시", "북구", "29170", "무등로"),
    ("대전광역시", "유성구", "30200", "대학로"),
    ("경기도", "수원시 팔달구", "41115", "효원로"),
    ("경기도", "성남시 분당구", "41135", "판교로"),
    ("경기도", "고양시 일산동구", "41285", "중앙로"),
    ("경기도", "화성시", "41590", "남양로"),
    ("강원특별자치도", "춘천시", "51110", "중앙로"),
    ("충청북도", "청주시 흥덕구", "43113", "가로수로"),
    ("충청남도", "천안시 서북구", "44133", "번영로"),
    ("전북특별자치도", "전주시 덕진구", "52113", "백제대로"),
    ("경상남도", "창원시 의창구", "48121", "원이대로"),
    ("제주특별자치도", "제주시", "50110", "연북로"),
];

/// Families of firm names.
const FIRMS: [&str; 16] = [
    "한빛",
    "누리",
    "새봄",
    "가온",
    "미르",
    "다온",
    "해솔",
    "온새미",
    "푸른들",
    "참샘",
    "아라",
    "마루",
    "이든",
    "나래",
    "별하",
    "도담",
];

/// Trades behind a firm's name.
const TRADES: [&str; 12] =
    ["상사", "식품", "정보", "건설", "물산", "커피", "유통", "기계", "디자인", "서점", "농산", "로지스"];

/// A share of `of`, smaller indexes more often.
fn skewed(rng: &mut Rng, of: usize) -> usize {
    let (a, b) = (rng.below(of as u64), rng.below(of as u64));
    a.min(b) as usize
}

/// A Korean name of two to four syllables.
pub fn person(rng: &mut Rng) -> String {
    let total: u32 = SURNAMES.iter().map(|(_, share)| share).sum();
    let mut point = rng.below(u64::from(total)) as u32;
    let mut name = String::with_capacity(12);
    for (surname, share) in SURNAMES {
        if point < share {
            name.push_str(surname);
            break;
        }
        point -= share;
    }
    name.push_str(FIRST[skewed(rng, FIRST.len())]);
    if rng.below(100) >= 4 {
        name.push_str(SECOND[skewed(rng, SECOND.len())]);
    }
    name
}

/// A road address.
pub fn address(rng: &mut Rng) -> String {
    let (sido, sigungu, _, road) = PLACES[skewed(rng, PLACES.len())];
    let number = 1 + rng.below(480);
    if rng.below(3) == 0 {
        format!("{sido} {sigungu} {road} {number}")
    } else {
        format!("{sido} {sigungu} {road} {number}, {}동 {}호", 101 + rng.below(12), 101 + 100 * rng.below(19))
    }
}

/// A sigungu and its sido.
pub fn region(rng: &mut Rng) -> String {
    let (sido, sigungu, _, _) = PLACES[skewed(rng, PLACES.len())];
    format!("{sido} {sigungu}")
}

/// Five digits of a sigungu's legal code.
pub fn region_code(rng: &mut Rng) -> &'static str {
    PLACES[skewed(rng, PLACES.len())].2
}

/// A firm's name.
pub fn firm(rng: &mut Rng, corporation: bool) -> String {
    let name = FIRMS[rng.below(FIRMS.len() as u64) as usize];
    let trade = TRADES[rng.below(TRADES.len() as u64) as usize];
    if corporation { format!("주식회사 {name}{trade}") } else { format!("{name}{trade}") }
}
