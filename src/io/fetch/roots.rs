//! The certificates this system trusts: read when the first https request needs them, never
//! frozen into the program.

use std::fs;
use std::path::Path;

use ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};

/// Where systems keep their bundle: Debian, Alpine and Arch; Fedora and RHEL; openSUSE; OpenWrt
/// and the BSDs.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What `SSL_CERT_FILE` names, or else the first bundle there is.
///
/// # Errors
/// One line: which file cannot be used, or that there is none.
pub(super) fn load() -> Result<RootCerts, String> {
    match std::env::var_os("SSL_CERT_FILE").filter(|name| !name.is_empty()) {
        Some(named) => read(Path::new(&named)),
        None => {
            let found = BUNDLES.iter().map(Path::new).find(|path| path.exists());
            read(found.ok_or(
                "no certificates found on this system (install ca-certificates, or name a file \
                 by SSL_CERT_FILE)",
            )?)
        }
    }
}

fn read(path: &Path) -> Result<RootCerts, String> {
    let name = path.display();
    let pem =
        fs::read(path).map_err(|e| format!("cannot read '{name}': {}", crate::io::reason(&e)))?;
    // One entry that cannot be read must not cost us the others.
    let certificates: Vec<Certificate<'static>> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(format!("no certificates in '{name}'"));
    }
    Ok(RootCerts::from(certificates))
}
