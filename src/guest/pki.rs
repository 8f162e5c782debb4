//! The cluster's certificates: made at first start, renewed when they age or their names change.
//!
//! ```text
//! ca ─┬─ apiserver               server   node's addresses, kubernetes.default.svc …
//!     ├─ kubelet                 server   node's name and address
//!     ├─ admin                   client   O=system:masters
//!     ├─ node                    client   CN=system:node:NAME, O=system:nodes
//!     ├─ proxy                   client   CN=system:kube-proxy
//!     └─ apiserver-kubelet       client   O=system:masters, shown to kubelets
//! sa.key                     signs tokens of service accounts
//! nodes/NAME/                kubelet, node and proxy of a further node
//! ```
//! Keys are files of mode 0600 in a folder of mode 0700 and never leave the machine, but for
//! the administrator's and those of further nodes, which the host asks for over SSH.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use cadet_api::install::NodeConfig;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
};
use time::{Duration, OffsetDateTime};
use x509_parser::extensions::{GeneralName, ParsedExtension, X509Extension};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Life of the authority. Ten years, as upstream's kubeadm: a laptop cluster should not die of age.
const AUTHORITY_LIFE: Duration = Duration::days(3650);
/// Life of a certificate; a year, as upstream's kubeadm.
const LIFE: Duration = Duration::days(365);
/// Renewed at a start when less is left.
const RENEW: Duration = Duration::days(30);
/// Clocks of a resumed machine may be behind.
const BACKDATE: Duration = Duration::days(1);
/// The authority is made once, perhaps under a clock that is years ahead, and never replaced.
const AUTHORITY_BACKDATE: Duration = Duration::days(3650);

/// Why certificates could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file of the folder could not be used.
    #[error("cannot {act} {path}")]
    File {
        act: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    /// Making or signing failed.
    #[error("cannot make the certificate {name}")]
    Make {
        name: &'static str,
        source: rcgen::Error,
    },
    /// The authority is there but cannot be used; clients trust it, so it is never replaced.
    #[error("the certificate authority in {path} cannot be used")]
    Authority { path: PathBuf, source: rcgen::Error },
}

/// The folder of certificates.
#[derive(Debug, Clone)]
pub struct Pki {
    dir: PathBuf,
    /// Each file is on the disk before the next is made. Otherwise all are put there together,
    /// before anybody can see them.
    one_by_one: bool,
}

/// Certificate and key of one holder, PEM.
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its private key, PKCS#8.
    pub key: String,
}

/// What a certificate is for.
struct Wanted {
    name: &'static str,
    common_name: String,
    organization: Option<&'static str>,
    usage: ExtendedKeyUsagePurpose,
    hosts: Vec<String>,
}

/// Contents of PEM files by their names.
pub type Files = BTreeMap<String, String>;

impl Wanted {
    fn client(name: &'static str, common_name: String, organization: Option<&'static str>) -> Self {
        Self {
            name,
            common_name,
            organization,
            usage: ExtendedKeyUsagePurpose::ClientAuth,
            hosts: Vec::new(),
        }
    }

    fn server(name: &'static str, common_name: String, hosts: Vec<String>) -> Self {
        Self {
            name,
            common_name,
            organization: None,
            usage: ExtendedKeyUsagePurpose::ServerAuth,
            hosts,
        }
    }
}

impl Pki {
    /// The folder below `data`; nothing is read yet.
    pub fn at(data: &Path) -> Self {
        Self {
            dir: data.join("pki"),
            one_by_one: true,
        }
    }

    /// Makes what is missing and renews what is old, for a node reachable at `address`.
    ///
    /// # Errors
    /// [`PkiError`].
    pub fn ensure(&self, config: &NodeConfig, address: IpAddr) -> Result<(), PkiError> {
        if self.is_untouched() {
            return self.begin(config, address);
        }
        self.create_folder()?;
        let authority = self.authority(&config.cluster_name)?;
        self.make_all(&wanted(config, address), &authority)
    }

    /// True if nobody has put anything here.
    fn is_untouched(&self) -> bool {
        match fs::symlink_metadata(&self.dir) {
            Ok(found) if found.is_dir() => {
                fs::read_dir(&self.dir).is_ok_and(|mut files| files.next().is_none())
            }
            Ok(_) => false,
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        }
    }

    /// Makes everything of a new cluster beside the folder, and puts it in its place in one step:
    /// thirty waits for the disk, one after the other, take a second of a new machine's start.
    fn begin(&self, config: &NodeConfig, address: IpAddr) -> Result<(), PkiError> {
        let beside = Self {
            dir: self.dir.with_file_name("pki.new"),
            one_by_one: false,
        };
        match fs::remove_dir_all(&beside.dir) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(beside.file_error("remove", "", source));
            }
            _ => {}
        }
        beside.create_folder()?;
        let authority = beside.authority(&config.cluster_name)?;
        beside.make_all(&wanted(config, address), &authority)?;
        beside.token_key_pair()?;
        beside
            .settle()
            .map_err(|source| beside.file_error("write", "", source))?;
        // An empty folder gives way (rename(2)).
        fs::rename(&beside.dir, &self.dir)
            .and_then(|()| match self.dir.parent() {
                Some(parent) => fs::File::open(parent)?.sync_all(),
                None => Ok(()),
            })
            .map_err(|source| self.file_error("write", "", source))
    }

    /// Puts all files of the folder on the disk, side by side: the file system makes one journal
    /// entry of what is asked for at the same time.
    fn settle(&self) -> std::io::Result<()> {
        let files = fs::read_dir(&self.dir)?
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<Vec<PathBuf>>>()?;
        std::thread::scope(|scope| {
            let waits: Vec<_> = files
                .iter()
                .map(|file| scope.spawn(move || fs::File::open(file)?.sync_all()))
                .collect();
            waits.into_iter().try_for_each(|wait| {
                let panicked = |_| Err(std::io::Error::other("a thread that waited ended"));
                wait.join().unwrap_or_else(panicked)
            })
        })?;
        fs::File::open(&self.dir)?.sync_all()
    }

    /// Makes or renews what the agent of another node needs, reachable at `address`; all of
    /// it by file name, as it belongs into that node's folder.
    ///
    /// # Errors
    /// [`PkiError`]; [`PkiError::File`] before the first start of the server, whose authority
    /// this is.
    pub fn enroll(&self, node: &str, address: IpAddr) -> Result<Files, PkiError> {
        let ca = self.ca()?;
        // Reads it: an authority of the server's exists, and none is made here.
        self.read("ca.key")?;
        let authority = self.authority("")?;
        let theirs = Self {
            dir: self.dir.join("nodes").join(node),
            one_by_one: true,
        };
        theirs.create_folder()?;
        let wanted = wanted_by_agent(node, address);
        theirs.make_all(&wanted, &authority)?;
        let mut files = Files::from([("ca.crt".to_owned(), ca)]);
        for Wanted { name, .. } in wanted {
            let pair = theirs.pair(name)?;
            files.insert(format!("{name}.crt"), pair.certificate);
            files.insert(format!("{name}.key"), pair.key);
        }
        Ok(files)
    }

    fn create_folder(&self) -> Result<(), PkiError> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder
            .create(&self.dir)
            .map_err(|source| self.file_error("create", "", source))
    }

    /// Makes those that are not there or not good any more.
    fn make_all(&self, wanted: &[Wanted], authority: &Issuer<'_, KeyPair>) -> Result<(), PkiError> {
        for wanted in wanted {
            if !self.is_good(wanted, authority) {
                self.make(wanted, authority)?;
                tracing::info!(certificate = wanted.name, "certificate made");
            }
        }
        Ok(())
    }

    /// Certificate and key of `name`.
    ///
    /// # Errors
    /// [`PkiError::File`].
    pub fn pair(&self, name: &str) -> Result<Pair, PkiError> {
        Ok(Pair {
            certificate: self.read(&format!("{name}.crt"))?,
            key: self.read(&format!("{name}.key"))?,
        })
    }

    /// The authority's certificate.
    ///
    /// # Errors
    /// [`PkiError::File`].
    pub fn ca(&self) -> Result<String, PkiError> {
        self.read("ca.crt")
    }

    /// The key that signs tokens of service accounts, PKCS#8 in DER; made at first use and
    /// never again, because tokens in Secrets do not expire.
    ///
    /// # Errors
    /// [`PkiError`].
    pub fn token_key(&self) -> Result<Vec<u8>, PkiError> {
        self.token_key_pair().map(|key| key.serialize_der())
    }

    fn token_key_pair(&self) -> Result<KeyPair, PkiError> {
        let failed = |source| PkiError::Make {
            name: "sa.key",
            source,
        };
        if !self.dir.join("sa.key").exists() {
            let key = KeyPair::generate().map_err(failed)?;
            self.write("sa.key", key.serialize_pem().as_bytes())?;
        }
        KeyPair::from_pem(&self.read("sa.key")?).map_err(failed)
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.dir
    }

    /// Whether a file is there.
    pub fn has(&self, name: &str) -> bool {
        self.dir.join(name).exists()
    }

    /// What tells this authority from others: the SHA-256 of its certificate.
    ///
    /// # Errors
    /// [`PkiError`].
    pub fn authority_fingerprint(&self) -> Result<String, PkiError> {
        let pem = self.ca()?;
        let damaged = |_| self.file_error("read", "ca.crt", std::io::ErrorKind::InvalidData.into());
        let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).map_err(damaged)?;
        Ok(fingerprint(&pem.contents))
    }

    /// What tells the key for tokens from others: the SHA-256 of its public half.
    ///
    /// # Errors
    /// [`PkiError`].
    pub fn token_fingerprint(&self) -> Result<String, PkiError> {
        let key = self.token_key_pair()?;
        Ok(fingerprint(&key.subject_public_key_info()))
    }

    fn authority(&self, cluster: &str) -> Result<Issuer<'static, KeyPair>, PkiError> {
        let path = self.dir.join("ca.key");
        if path.exists() {
            let unusable = |source| PkiError::Authority {
                path: path.clone(),
                source,
            };
            let key = KeyPair::from_pem(&self.read("ca.key")?).map_err(unusable)?;
            return Issuer::from_ca_cert_pem(&self.ca()?, key).map_err(unusable);
        }
        let failed = |source| PkiError::Make { name: "ca", source };
        let mut params = CertificateParams::default();
        params.distinguished_name = name_of(&format!("cadet-{cluster}-ca"), None);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        (params.not_before, params.not_after) = life(AUTHORITY_BACKDATE, AUTHORITY_LIFE);
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.self_signed(&key).map_err(failed)?;
        // The key goes last: with it the authority counts as made.
        self.write("ca.crt", certificate.pem().as_bytes())?;
        self.write("ca.key", key.serialize_pem().as_bytes())?;
        Ok(Issuer::new(params, key))
    }

    fn make(&self, wanted: &Wanted, authority: &Issuer<'_, KeyPair>) -> Result<(), PkiError> {
        let failed = |source| PkiError::Make {
            name: wanted.name,
            source,
        };
        let mut params = CertificateParams::new(wanted.hosts.clone()).map_err(failed)?;
        params.distinguished_name = name_of(&wanted.common_name, wanted.organization);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![wanted.usage.clone()];
        // RFC 5280, 4.2.1.1; without it Python from 3.13 on trusts no server of the cluster.
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = life(BACKDATE, LIFE);
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, authority).map_err(failed)?;
        // Killed between the two, `is_good` sees a key that does not fit and makes both anew.
        self.write(
            &format!("{}.key", wanted.name),
            key.serialize_pem().as_bytes(),
        )?;
        self.write(
            &format!("{}.crt", wanted.name),
            certificate.pem().as_bytes(),
        )
    }

    /// True if certificate and key are there, fit each other, carry the wanted names, come
    /// from this authority, say so, and are young enough.
    fn is_good(&self, wanted: &Wanted, authority: &Issuer<'_, KeyPair>) -> bool {
        let Ok(pair) = self.pair(wanted.name) else {
            return false;
        };
        let Ok(key) = KeyPair::from_pem(&pair.key) else {
            return false;
        };
        let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(pair.certificate.as_bytes()) else {
            return false;
        };
        let Ok((_, certificate)) = X509Certificate::from_der(&pem.contents) else {
            return false;
        };
        let validity = certificate.validity();
        let times = (
            validity.not_before.timestamp(),
            validity.not_after.timestamp(),
        );
        let subject = certificate.subject();
        let common = subject.iter_common_name().find_map(|n| n.as_str().ok());
        let mut hosts = hosts_of(&certificate);
        let mut wanted_hosts = wanted.hosts.clone();
        hosts.sort();
        wanted_hosts.sort();
        is_in_time(times, OffsetDateTime::now_utc().unix_timestamp())
            && common == Some(wanted.common_name.as_str())
            && hosts == wanted_hosts
            && names_authority(&certificate)
            && certificate.public_key().raw == key.subject_public_key_info()
            && signed_by(&certificate, authority)
    }

    fn read(&self, name: &str) -> Result<String, PkiError> {
        fs::read_to_string(self.dir.join(name))
            .map_err(|source| self.file_error("read", name, source))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), PkiError> {
        let (path, beside) = (self.dir.join(name), self.dir.join(format!("{name}.new")));
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let write = |beside: &Path| -> std::io::Result<()> {
            let mut file = options.open(beside)?;
            file.write_all(bytes)?;
            if !self.one_by_one {
                return fs::rename(beside, &path);
            }
            file.sync_all()?;
            fs::rename(beside, &path)?;
            fs::File::open(&self.dir)?.sync_all()
        };
        write(&beside).map_err(|source| self.file_error("write", name, source))
    }

    fn file_error(&self, act: &'static str, name: &str, source: std::io::Error) -> PkiError {
        PkiError::File {
            act,
            path: self.dir.join(name),
            source,
        }
    }
}

/// As `openssl x509 -fingerprint -sha256` writes it, in small letters and without colons.
fn fingerprint(der: &[u8]) -> String {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(der);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The names and purposes of all certificates.
fn wanted(config: &NodeConfig, address: IpAddr) -> Vec<Wanted> {
    let mut api = vec![
        "127.0.0.1".to_string(),
        "localhost".into(),
        "kubernetes".into(),
        "kubernetes.default".into(),
        "kubernetes.default.svc".into(),
        "kubernetes.default.svc.cluster.local".into(),
        config.node_name.clone(),
        address.to_string(),
    ];
    api.extend(first_service_address(&config.service_cidr));
    api.extend(config.api_sans.iter().cloned());
    api.sort();
    api.dedup();
    let mut all = wanted_by_agent(&config.node_name, address);
    all.extend([
        Wanted::server("apiserver", "kube-apiserver".into(), api),
        Wanted::client("admin", "cadet-admin".into(), Some("system:masters")),
        Wanted::client(
            "apiserver-kubelet",
            "kube-apiserver-kubelet-client".into(),
            Some("system:masters"),
        ),
    ]);
    all
}

/// Those of a node's agent.
fn wanted_by_agent(node: &str, address: IpAddr) -> Vec<Wanted> {
    let user = format!("system:node:{node}");
    let hosts = vec![node.to_owned(), address.to_string()];
    vec![
        Wanted::server("kubelet", user.clone(), hosts),
        Wanted::client("node", user, Some("system:nodes")),
        Wanted::client("proxy", "system:kube-proxy".into(), None),
    ]
}

/// The `kubernetes` Service has the first address of the range (upstream's rule).
fn first_service_address(cidr: &str) -> Option<String> {
    let base: std::net::Ipv4Addr = cidr.split('/').next()?.parse().ok()?;
    Some(std::net::Ipv4Addr::from(u32::from(base).checked_add(1)?).to_string())
}

fn name_of(common_name: &str, organization: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, common_name);
    name
}

fn life(before: Duration, after: Duration) -> (OffsetDateTime, OffsetDateTime) {
    let now = OffsetDateTime::now_utc();
    (now - before, now + after)
}

/// Whether a certificate of these times is good for a while. One that was made while the clock was
/// ahead is not good yet once the clock is right.
fn is_in_time((from, to): (i64, i64), now: i64) -> bool {
    from <= now && to - now > RENEW.whole_seconds()
}

fn hosts_of(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    names
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_string()),
            GeneralName::IPAddress(bytes) => match *bytes {
                [a, b, c, d] => Some(IpAddr::from([*a, *b, *c, *d]).to_string()),
                bytes => <[u8; 16]>::try_from(bytes)
                    .ok()
                    .map(|b| IpAddr::from(b).to_string()),
            },
            _ => None,
        })
        .collect()
}

/// True if the certificate says which key signed it.
fn names_authority(certificate: &X509Certificate<'_>) -> bool {
    let says = |e: &X509Extension<'_>| {
        matches!(
            e.parsed_extension(),
            ParsedExtension::AuthorityKeyIdentifier(_)
        )
    };
    certificate.extensions().iter().any(says)
}

/// True if the authority's key signed the certificate.
fn signed_by(certificate: &X509Certificate<'_>, authority: &Issuer<'_, KeyPair>) -> bool {
    let spki = authority.key().subject_public_key_info();
    let Ok((_, key)) = x509_parser::x509::SubjectPublicKeyInfo::from_der(&spki) else {
        return false;
    };
    certificate.verify_signature(Some(&key)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn config() -> NodeConfig {
        serde_json::from_value(serde_json::json!({
            "nodeName": "cadet", "clusterName": "cadet", "clusterCidr": "10.244.0.0/16",
            "podCidr": "10.244.0.0/24", "serviceCidr": "10.96.0.0/12", "apiPort": 6443,
            "apiSans": ["127.0.0.1"],
        }))
        .unwrap()
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 2, 15));

    #[test]
    fn a_second_start_keeps_every_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::at(dir.path());
        pki.ensure(&config(), HERE).unwrap();
        let before: Vec<_> = ["apiserver", "kubelet", "admin", "node", "apiserver-kubelet"]
            .map(|n| pki.pair(n).unwrap().certificate)
            .to_vec();
        pki.ensure(&config(), HERE).unwrap();
        let after: Vec<_> = ["apiserver", "kubelet", "admin", "node", "apiserver-kubelet"]
            .map(|n| pki.pair(n).unwrap().certificate)
            .to_vec();
        assert_eq!(before, after);
    }

    #[test]
    fn a_new_cluster_gets_all_at_once_and_what_somebody_brought_stays() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::at(dir.path());
        // Half of an earlier attempt, and a folder that somebody made.
        for folder in ["pki", "pki.new"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        fs::write(dir.path().join("pki.new/ca.key"), "half").unwrap();
        pki.ensure(&config(), HERE).unwrap();
        assert!(!dir.path().join("pki.new").exists());
        for name in ["ca.key", "sa.key", "kubelet.key", "proxy.crt"] {
            assert!(pki.has(name), "{name}");
        }
        let other = tempfile::tempdir().unwrap();
        fs::create_dir(other.path().join("pki")).unwrap();
        let token = fs::read(dir.path().join("pki/sa.key")).unwrap();
        fs::write(other.path().join("pki/sa.key"), &token).unwrap();
        Pki::at(other.path()).ensure(&config(), HERE).unwrap();
        assert_eq!(
            fs::read(other.path().join("pki/sa.key")).unwrap(),
            token,
            "the cluster's key for tokens was replaced"
        );
    }

    #[test]
    fn only_what_changed_is_made_anew_and_the_authority_never() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::at(dir.path());
        pki.ensure(&config(), HERE).unwrap();
        let (ca, api, admin) = (
            pki.ca().unwrap(),
            pki.pair("apiserver").unwrap(),
            pki.pair("admin").unwrap(),
        );
        fs::write(dir.path().join("pki/node.key"), "garbage").unwrap();
        let mut moved = config();
        moved.api_sans.push("cadet.example".into());
        pki.ensure(&moved, HERE).unwrap();
        assert_eq!(pki.ca().unwrap(), ca);
        assert_ne!(pki.pair("apiserver").unwrap().certificate, api.certificate);
        assert_eq!(pki.pair("admin").unwrap().certificate, admin.certificate);
        KeyPair::from_pem(&pki.pair("node").unwrap().key).unwrap();
    }

    #[test]
    fn every_certificate_names_its_authority() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::at(dir.path());
        pki.ensure(&config(), HERE).unwrap();
        for name in ["apiserver", "kubelet", "admin", "node", "apiserver-kubelet"] {
            let pair = pki.pair(name).unwrap();
            let (_, pem) = x509_parser::pem::parse_x509_pem(pair.certificate.as_bytes()).unwrap();
            let (_, certificate) = X509Certificate::from_der(&pem.contents).unwrap();
            assert!(names_authority(&certificate), "{name}");
        }
    }

    #[test]
    fn a_clock_that_jumped_by_a_year_leaves_certificates_of_no_use_and_the_authority_good() {
        let day = Duration::days(1).whole_seconds();
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let times = (now - day, now + 365 * day);
        assert!(is_in_time(times, now));
        assert!(is_in_time(times, now + 300 * day));
        assert!(!is_in_time(times, now + 340 * day), "soon to end");
        assert!(!is_in_time(times, now + 366 * day), "over");
        assert!(!is_in_time(times, now - 365 * day), "not yet");
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::at(dir.path());
        pki.ensure(&config(), HERE).unwrap();
        let pem = pki.ca().unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
        let (_, authority) = X509Certificate::from_der(&pem.contents).unwrap();
        let validity = authority.validity();
        assert!(validity.not_before.timestamp() < now - 5 * 365 * day);
        assert!(validity.not_after.timestamp() > now + 5 * 365 * day);
    }

    #[test]
    fn keys_are_their_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        Pki::at(dir.path()).ensure(&config(), HERE).unwrap();
        for entry in fs::read_dir(dir.path().join("pki")).unwrap().flatten() {
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{:?}", entry.path());
        }
        let mode = fs::metadata(dir.path().join("pki"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777;
        assert_eq!(mode, 0o700);
    }

    #[test]
    fn a_further_node_gets_what_its_agent_needs_and_nothing_of_the_servers() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::at(dir.path());
        let there = IpAddr::V4(std::net::Ipv4Addr::new(10, 89, 0, 2));
        assert!(
            matches!(pki.enroll("cadet-2", there), Err(PkiError::File { .. })),
            "the server makes the authority"
        );
        pki.ensure(&config(), HERE).unwrap();
        let files = pki.enroll("cadet-2", there).unwrap();
        let names: Vec<_> = files.keys().map(String::as_str).collect();
        let all = "ca.crt kubelet.crt kubelet.key node.crt node.key proxy.crt proxy.key";
        assert_eq!(names, all.split(' ').collect::<Vec<_>>());
        assert_eq!(files["ca.crt"], pki.ca().unwrap());
        let (_, pem) = x509_parser::pem::parse_x509_pem(files["kubelet.crt"].as_bytes()).unwrap();
        let (_, kubelet) = X509Certificate::from_der(&pem.contents).unwrap();
        assert_eq!(hosts_of(&kubelet), ["cadet-2", "10.89.0.2"]);
        let authority = pki.authority("cadet").unwrap();
        assert!(signed_by(&kubelet, &authority));
        // Asked again it is the same; at another address another.
        assert_eq!(pki.enroll("cadet-2", there).unwrap(), files);
        let moved = pki.enroll("cadet-2", HERE).unwrap();
        assert_ne!(moved["kubelet.crt"], files["kubelet.crt"]);
        assert_eq!(moved["node.crt"], files["node.crt"]);
    }

    #[test]
    fn the_service_address_is_the_ranges_first() {
        assert_eq!(
            first_service_address("10.96.0.0/12").as_deref(),
            Some("10.96.0.1")
        );
    }
}
