//! What a gateway in front of ClickHouse says when it answers instead of the server. The crate gives the text of an answer
//! and not its status, so the status is read where gateways write it.

/// No page needs more to say its status.
const HEAD_CHARACTERS: usize = 1_000;

/// Answers that are a phrase without a number, as Envoy and Traefik send them.
const PHRASES: [(&str, u16); 6] = [
    ("request entity too large", 413),
    ("payload too large", 413),
    ("content too large", 413),
    ("gateway timeout", 504),
    ("gateway time-out", 504),
    ("upstream request timeout", 504),
];

/// Reads the HTTP status from a gateway's answer: at the beginning of the text, of its title or of its first heading.
pub fn status(answer: &str) -> Option<u16> {
    let head: String = answer.trim_start().chars().take(HEAD_CHARACTERS).collect::<String>().to_ascii_lowercase();
    let number = |text: &str| {
        let digits = text.trim_start().split(|character: char| !character.is_ascii_digit()).next()?;
        digits.parse().ok().filter(|status| (400..600).contains(status))
    };
    let after = |tag: &str| head.split_once(tag).and_then(|(_, rest)| number(rest));
    let phrase = || PHRASES.iter().find(|(phrase, _)| head.starts_with(phrase)).map(|(_, status)| *status);
    number(&head).or_else(|| after("<title>")).or_else(|| after("<h1>")).or_else(phrase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_found_where_gateways_write_it() {
        let nginx = "<html>\r\n<head><title>413 Request Entity Too Large</title></head>\r\n<body>…";
        assert_eq!(status(nginx), Some(413));
        assert_eq!(status("<html><body><h1>504 Gateway Time-out</h1>\nThe server didn't respond in time."), Some(504));
        assert_eq!(status("502 Bad Gateway"), Some(502));
        assert_eq!(status("upstream request timeout"), Some(504));
        assert_eq!(status("Payload Too Large"), Some(413));
    }

    #[test]
    fn other_numbers_are_no_status() {
        assert_eq!(status("Error Code: 502"), None, "a number within a text");
        assert_eq!(status("12 things went wrong"), None);
        assert_eq!(status("41300"), None);
        assert_eq!(status(""), None);
    }
}
