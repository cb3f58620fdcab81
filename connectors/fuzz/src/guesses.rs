//! What is guessed of a file of a new holder, and what a copybook declares.

use ieum_connectors::{detect, discover as discovery};
use ieum_model::dataset::Encoding;

use super::place;
use super::reading::is_of_the_file;
use super::tables::quietly;

/// Guesses of format, encoding and table: whatever they are, the catalog file that they make can be read.
pub fn discover(bytes: &[u8]) {
    const NAMES: [&str; 8] = ["a.csv", "a.txt", "a.json", "a.xml", "a.xlsx", "a.parquet", "a.dat", "a.csv.gz"];
    let [choice, file @ ..] = bytes else { return };
    quietly();
    let name = NAMES[usize::from(*choice) % NAMES.len()];
    let proposal = place::with_file(name, file, |root| {
        discovery::discover(&root.join(name), &|_, value| {
            value.len() == 13 && value.bytes().all(|b| b.is_ascii_digit())
        })
    });
    match proposal {
        Ok(proposal) => {
            let text = proposal.catalog_file("d");
            toml::from_str::<toml::Table>(&text).expect("a catalog file that can be edited");
        }
        Err(error) => is_of_the_file(&error),
    }
    let (shown, guessed) = (discovery::shown(file), detect::name(detect::encoding(file)));
    assert!(shown.len() <= 4 * file.len() + 4 && !guessed.is_empty());
    assert!(detect::delimiter(file).is_none_or(|delimiter| file.contains(&delimiter)));
}

/// Copybooks: what is laid out lies within the record.
pub fn copybook(bytes: &[u8]) {
    let [choice, text @ ..] = bytes else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let encoding = [Encoding::Cp037, Encoding::Cp933, Encoding::Cp949][usize::from(*choice) % 3];
    let Ok(proposal) = discovery::of_copybook(text, encoding) else { return };
    let record = proposal.record_bytes.expect("a record has bytes");
    let mut codes = std::collections::BTreeSet::new();
    for column in &proposal.columns {
        let field = column.layout.as_ref().expect("a field has a place");
        let at = field.at.expect("a field has a place");
        assert!(at >= 1 && field.bytes >= 1 && at - 1 + field.bytes <= record, "a field lies within the record");
        assert!(codes.insert(&column.code), "no two fields have one name");
    }
    let text = proposal.catalog_file("d");
    let read = toml::from_str::<toml::Table>(&text).expect("a catalog file that can be edited");
    let layout = read["export"]["layout"].as_array().expect("the layout is told");
    assert_eq!(layout.len(), proposal.columns.len());
}
