//! What an answer says of a share, in all the shapes that servers give it.

use stratum_uring::wire::{Kind, Message, Raw};

/// What became of a share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accepted,
    /// The reason: code and text.
    Rejected(String),
}

/// Reads an answer. An error may be an array, an object, a string, `true`, or only a `reject-reason`.
pub(crate) fn verdict(message: &Message<'_>) -> Verdict {
    let error = message
        .error
        .filter(|error| !error.is_null() && error.as_bool() != Some(false));
    let refused = message
        .result
        .is_none_or(|result| result.is_null() || result.as_bool() == Some(false));
    let reason = match (error, refused) {
        (None, false) => return Verdict::Accepted,
        (None, true) => message
            .reject_reason
            .and_then(Raw::as_text)
            .map_or_else(|| "no reason given".to_owned(), Into::into),
        (Some(error), _) => reason(error),
    };
    Verdict::Rejected(reason.chars().take(REASON_CHARS_MAX).collect())
}

/// Longer texts are cut in the report.
const REASON_CHARS_MAX: usize = 80;

fn reason(error: Raw<'_>) -> String {
    let mut words = Vec::new();
    let mut say = |value: Raw<'_>| match value.kind() {
        Kind::Number => words.push(String::from_utf8_lossy(value.bytes()).into_owned()),
        Kind::String => words.extend(value.as_text().map(String::from)),
        _ => {}
    };
    match error.kind() {
        Kind::Array => error.elements().take(2).for_each(&mut say),
        Kind::Object => error
            .members()
            .filter(|(key, _)| matches!(key.as_str(), Some(b"code" | b"message")))
            .for_each(|(_, value)| say(value)),
        _ => say(error),
    }
    if words.is_empty() {
        return "no reason given".to_owned();
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use stratum_uring::wire::Reader;

    use super::*;

    fn read(answer: &str) -> Verdict {
        let line = format!("{{\"id\":3,{answer}}}");
        verdict(&Reader::new().read(line.as_bytes()).unwrap())
    }

    #[test]
    fn a_reason_is_read_in_every_shape() {
        for (answer, expected) in [
            (
                r#""result":null,"error":[21,"Job not found",null]"#,
                "21 Job not found",
            ),
            (
                r#""result":false,"error":{"code":23,"message":"low"}"#,
                "23 low",
            ),
            (r#""result":false,"error":"stale""#, "stale"),
            (r#""result":false,"error":true"#, "no reason given"),
            (
                r#""result":false,"error":null,"reject-reason":"dup""#,
                "dup",
            ),
            (r#""result":null,"error":null"#, "no reason given"),
        ] {
            assert_eq!(
                read(answer),
                Verdict::Rejected(expected.to_owned()),
                "{answer}"
            );
        }
    }

    #[test]
    fn acceptance_is_any_result_without_an_error() {
        for answer in [
            r#""result":true,"error":null"#,
            r#""result":true"#,
            r#""result":true,"error":false"#,
        ] {
            assert_eq!(read(answer), Verdict::Accepted, "{answer}");
        }
    }

    #[test]
    fn a_novel_is_cut() {
        let answer = format!(r#""error":"{}""#, "é".repeat(1000));
        let Verdict::Rejected(reason) = read(&answer) else {
            panic!("accepted");
        };
        assert_eq!(reason.chars().count(), REASON_CHARS_MAX);
    }
}
