//! Pages to read: no script, nothing loaded from elsewhere, plots inside, light and dark, on a phone and on paper.
//!
//! [`crate::bench::report`] and [`crate::report`] are made of these parts.

pub mod plot;
pub mod quantity;

/// A page of a language, titled, with its own style after the common one.
pub fn html(language: &str, title: &str, style: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"{language}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>\n{}{style}</style>\n</head>\n<body>\n{body}</body>\n</html>\n",
        escape(title),
        include_str!("page.css"),
    )
}

/// A table under its head; of each row the class and the cells.
pub fn table<'a>(class: &str, head: &[&str], rows: impl Iterator<Item = (&'a str, Vec<String>)>) -> String {
    let head: String = head.iter().map(|name| format!("<th scope=\"col\">{}</th>", escape(name))).collect();
    let rows: String = rows.map(|(class, cells)| row(class, &cells)).collect();
    format!(
        "<div class=\"wide\"><table class=\"{class}\"><thead><tr>{head}</tr></thead><tbody>\n\
         {rows}</tbody></table></div>\n"
    )
}

/// A table whose cells are HTML; on a phone, every row becomes a card on which a cell stands after the name of its column.
pub fn cards(class: &str, head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let card = |cells: Vec<String>| {
        let cell = |(name, cell): (&&str, &String)| {
            let zero = if cell == "0" { " class=\"zero\"" } else { "" };
            format!("<td{zero} data-name=\"{}\">{cell}</td>", escape(name))
        };
        format!("<tr>{}</tr>\n", head.iter().zip(&cells).map(cell).collect::<String>())
    };
    let rows: String = rows.map(card).collect();
    let head: String = head.iter().map(|name| format!("<th scope=\"col\">{}</th>", escape(name))).collect();
    format!(
        "<div class=\"wide\"><table class=\"cards {class}\"><thead><tr>{head}</tr></thead><tbody>\n\
         {rows}</tbody></table></div>\n"
    )
}

/// A row of a table.
pub fn row(class: &str, cells: &[String]) -> String {
    let cells: String = cells.iter().map(|cell| format!("<td>{}</td>", escape(cell))).collect();
    format!("<tr class=\"{class}\">{cells}</tr>\n")
}

/// Text as HTML and SVG take it, between tags and in attributes.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// Panics unless every tag of the page is closed in its turn.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) fn assert_closed(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    for tag in page.split('<').skip(1).map(|rest| rest.split('>').next().unwrap()) {
        let name = tag.split([' ', '\n']).next().unwrap();
        match name.strip_prefix('/') {
            Some(closed) => assert_eq!(open.pop(), Some(closed), "`{tag}`"),
            None if tag.ends_with('/') || ["!doctype", "meta", "input"].contains(&name) => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        assert_eq!(escape("<b a=\"1\" c='2'>&amp;"), "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;amp;");
    }
}
