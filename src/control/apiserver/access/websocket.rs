//! Tokens of browsers: a WebSocket of theirs cannot carry an `Authorization` header, so the
//! token is one of the protocols it offers, as upstream has it since 1.7 (kubernetes#47740).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cadet_api::status::Status;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue, SEC_WEBSOCKET_PROTOCOL, UPGRADE};

/// What such a protocol begins with; the token follows in base64url.
const PREFIX: &str = "base64url.bearer.authorization.k8s.io.";

/// Moves a token among the protocols into the header that others use, so that nobody further
/// on sees it as a protocol.
///
/// # Errors
/// 401 if there are several, if one is no text, or if it is the only protocol: the answer must
/// choose one, and never that.
pub fn move_token(headers: &mut HeaderMap) -> Result<(), Status> {
    let upgrades = headers
        .get(UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if !upgrades || headers.contains_key(AUTHORIZATION) {
        return Ok(());
    }
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let offered: Vec<&str> = offered
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    let (tokens, rest): (Vec<&str>, Vec<&str>) = offered
        .into_iter()
        .partition(|protocol| protocol.starts_with(PREFIX));
    let token = match tokens.as_slice() {
        [] => return Ok(()),
        [one] if !rest.is_empty() => one.strip_prefix(PREFIX).unwrap_or_default(),
        _ => return Err(Status::unauthorized()),
    };
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let shown = text
        .filter(|text| !text.is_empty())
        .and_then(|text| HeaderValue::try_from(format!("Bearer {text}")).ok());
    let kept = HeaderValue::try_from(rest.join(", ")).ok();
    let (Some(mut shown), Some(kept)) = (shown, kept) else {
        return Err(Status::unauthorized());
    };
    shown.set_sensitive(true);
    headers.insert(SEC_WEBSOCKET_PROTOCOL, kept);
    headers.insert(AUTHORIZATION, shown);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(protocols: &[&str], upgrade: &'static str) -> Result<(Option<String>, String), u16> {
        let mut headers = HeaderMap::new();
        headers.insert(UPGRADE, HeaderValue::from_static(upgrade));
        for protocol in protocols {
            let value = HeaderValue::try_from(*protocol).expect("a value");
            headers.append(SEC_WEBSOCKET_PROTOCOL, value);
        }
        move_token(&mut headers).map_err(|status| status.code)?;
        let text = |value: &HeaderValue| value.to_str().expect("text").to_owned();
        let all = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().map(text);
        let shown = headers.get(AUTHORIZATION).map(text);
        Ok((shown, all.collect::<Vec<_>>().join("|")))
    }

    #[test]
    fn a_token_is_taken_out_of_the_protocols() {
        let token = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode("a.b-c_d"));
        let wanted = Ok((
            Some("Bearer a.b-c_d".to_owned()),
            "v5.channel.k8s.io".to_owned(),
        ));
        let one = format!("v5.channel.k8s.io, {token}");
        assert_eq!(moved(&[one.as_str()], "websocket"), wanted);
        assert_eq!(
            moved(&[token.as_str(), "v5.channel.k8s.io"], "WebSocket"),
            wanted
        );
    }

    #[test]
    fn what_holds_no_token_stays_as_it_is() {
        let untouched = |text: &str| Ok((None, text.to_owned()));
        assert_eq!(moved(&["a, b", "c"], "websocket"), untouched("a, b|c"));
        assert_eq!(moved(&[], "websocket"), untouched(""));
        let token = format!("a, {PREFIX}Zm9v");
        assert_eq!(moved(&[token.as_str()], "SPDY/3.1"), untouched(&token));
    }

    #[test]
    fn tokens_that_cannot_be_meant_are_refused() {
        let (good, bad) = (format!("{PREFIX}Zm9v"), format!("{PREFIX}%%"));
        let (lines, none) = (format!("a, {PREFIX}YQpi"), format!("a, {PREFIX}"));
        for protocols in [
            vec![good.as_str()],
            vec!["a", good.as_str(), good.as_str()],
            vec!["a", bad.as_str()],
            vec![lines.as_str()],
            vec![none.as_str()],
        ] {
            assert_eq!(moved(&protocols, "websocket"), Err(401), "{protocols:?}");
        }
    }
}
