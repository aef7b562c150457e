//! `hookline-ingest sign`: the headers of a request that a source accepts, for tests by hand.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hookline_schemas::ids::Source;
use hookline_schemas::provider::{SIGNATURE_HEADER, TIMESTAMP_HEADER};
use hookline_schemas::signature::{HexSignature, NamedKey};
use hookline_sources::{SourceKeys, Sources};

/// The headers of a signed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHeaders {
    /// The source whose key signed.
    pub source: Source,
    timestamp: String,
    signature: HexSignature,
}

impl SignedHeaders {
    /// Signs `body` with the named key of the named source. A name may be left out where there is only one.
    pub fn new(
        sources: &Sources,
        source: Option<&str>,
        key: Option<&str>,
        timestamp: i64,
        body: &[u8],
    ) -> anyhow::Result<Self> {
        let source = one("source", "--source", sources.iter(), |source| source.name.as_str(), source)?;
        let SourceKeys { name, keys } = source;
        let key: &NamedKey = one("key", "--key", keys, |key| key.name.as_str(), key)?;
        let timestamp = timestamp.to_string();
        let signature = key.key.sign(&timestamp, body).to_hex();
        Ok(Self { source: name.clone(), timestamp, signature })
    }

    /// A header on each line, as `curl -H @FILE` reads them.
    pub fn lines(&self) -> String {
        self.headers().map(|header| format!("{header}\n")).concat()
    }

    /// The command that posts the body in `file` to `url`.
    pub fn curl(&self, file: &str, url: &str) -> String {
        let [timestamp, signature] = self.headers().map(|header| quoted(&header));
        format!(
            "curl -i -H 'content-type: application/json' -H {timestamp} -H {signature} --data-binary {} {}",
            quoted(&format!("@{file}")),
            quoted(url)
        )
    }

    fn headers(&self) -> [String; 2] {
        let Self { timestamp, signature, .. } = self;
        [format!("{TIMESTAMP_HEADER}: {timestamp}"), format!("{SIGNATURE_HEADER}: {signature}")]
    }
}

/// The item of this name, or the only one.
fn one<'a, T>(
    what: &str,
    option: &str,
    items: impl IntoIterator<Item = &'a T>,
    name_of: impl Fn(&'a T) -> &'a str,
    name: Option<&str>,
) -> anyhow::Result<&'a T> {
    let mut items: Vec<_> = items.into_iter().collect();
    items.sort_by_key(|item| name_of(item));
    let names = || items.iter().map(|item| name_of(item)).collect::<Vec<_>>().join(", ");
    match (name, &*items) {
        (Some(name), _) => items
            .iter()
            .find(|item| name_of(item) == name)
            .copied()
            .ok_or_else(|| anyhow::anyhow!("no {what} is called {name:?}: there are {}", names())),
        (None, [only]) => Ok(only),
        (None, _) => anyhow::bail!("several {what}s can sign, so choose one by {option}: {}", names()),
    }
}

/// Where a client of this machine reaches the source, if the port is known.
pub fn url(listen: SocketAddr, source: &Source) -> Option<String> {
    let ip = if listen.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { listen.ip() };
    (listen.port() != 0).then(|| format!("http://{}/webhooks/{source}", SocketAddr::new(ip, listen.port())))
}

/// One word for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hookline_sources::{KeyConfig, SourceConfig, signature_headers};

    use super::*;

    fn sources(names: &[(&str, &[&str])]) -> Sources {
        let key = |name: &&str| ((*name).to_owned(), KeyConfig { env: Some((*name).to_owned()), file: None });
        let source = |keys: &[&str]| SourceConfig { keys: keys.iter().map(key).collect() };
        let configured: BTreeMap<_, _> = names.iter().map(|(name, keys)| ((*name).to_owned(), source(keys))).collect();
        Sources::read(&configured, |name| Some(format!("{name}-0123456789abcdef"))).unwrap()
    }

    #[test]
    fn a_source_accepts_what_is_signed() {
        let sources = sources(&[("prod", &["new", "old"]), ("test", &["one"])]);
        let sign = |source, key| SignedHeaders::new(&sources, source, key, 7, b"body");
        let signed = sign(Some("prod"), Some("old")).unwrap();
        let headers = signature_headers([signed.timestamp.as_bytes()], [signed.signature.as_str().as_bytes()]).unwrap();
        let verified = sources.get("prod").unwrap().verify(headers, b"body");
        assert_eq!(verified.unwrap().key().as_str(), "old");
        assert!(sign(Some("test"), None).is_ok());
        for (source, key, part) in [
            (None, None, "choose one by --source: prod, test"),
            (Some("prod"), None, "choose one by --key: new, old"),
            (Some("prod"), Some("older"), "no key is called \"older\": there are new, old"),
            (Some("staging"), None, "no source is called \"staging\": there are prod, test"),
        ] {
            let error = sign(source, key).unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains("0123456789"), "{error}");
        }
    }

    #[test]
    fn a_command_is_safe_in_a_shell() {
        let signed = SignedHeaders::new(&sources(&[("test", &["one"])]), None, None, 7, b"body").unwrap();
        let command = signed.curl("it's $HOME.json", "http://h/?a&b");
        assert!(command.ends_with(r"--data-binary '@it'\''s $HOME.json' 'http://h/?a&b'"), "{command}");
        assert!(command.contains("-H 'magic-hour-event-timestamp: 7' -H 'magic-hour-event-signature: "), "{command}");
    }

    #[test]
    fn the_url_is_one_that_can_be_reached() {
        let source = Source::new("prod").unwrap();
        let url = |listen: &str| url(listen.parse().unwrap(), &source);
        assert_eq!(url("0.0.0.0:8080").as_deref(), Some("http://127.0.0.1:8080/webhooks/prod"));
        assert_eq!(url("[::1]:8080").as_deref(), Some("http://[::1]:8080/webhooks/prod"));
        assert_eq!(url("127.0.0.1:0"), None);
    }
}
