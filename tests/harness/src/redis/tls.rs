//! Certificates for one test, made by `openssl` in the test's folder.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::RedisCertificates;

/// Makes an authority, and certificates for a server and a client.
#[track_caller]
pub(super) fn make_certificates(directory: &Path) -> RedisCertificates {
    let path = |name: &str| directory.join(name);
    let (ca, ca_key) = (path("ca.crt"), path("ca.key"));
    let authority = ["-subj", "/CN=test authority", "-addext", "basicConstraints=critical,CA:TRUE"];
    openssl(&request(&ca_key, &ca, &authority, &[]));
    let sign = |name: &str| {
        let (certificate, key) = (path(&format!("{name}.crt")), path(&format!("{name}.key")));
        let subject = format!("/CN={name}");
        let extensions = [
            "-subj",
            &subject,
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ];
        openssl(&request(&key, &certificate, &extensions, &[("-CA", &ca), ("-CAkey", &ca_key)]));
        (certificate, key)
    };
    let (server, server_key) = sign("server");
    let (client, client_key) = sign("client");
    RedisCertificates { ca, server, server_key, client, client_key }
}

/// The words for a certificate that is valid for two days.
fn request(
    key: &Path,
    certificate: &Path,
    about: &[&str],
    files: &[(&str, &PathBuf)],
) -> Vec<String> {
    let kind = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
    let mut words: Vec<String> = kind.split(' ').map(ToOwned::to_owned).collect();
    words.extend(about.iter().map(|it| (*it).to_owned()));
    for (name, path) in files
        .iter()
        .copied()
        .chain([("-keyout", &key.to_path_buf()), ("-out", &certificate.to_path_buf())])
    {
        words.extend([name.to_owned(), path.display().to_string()]);
    }
    words
}

#[track_caller]
fn openssl(words: &[String]) {
    let output = Command::new("openssl").args(words).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("start openssl: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {words:?}: {said}");
}
