//! A support bundle: everything that whoever helps would ask for, in one file.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

/// Packs files into a tar, below one directory.
///
/// # Errors
/// When a name is too long.
pub fn pack(directory: &str, files: &[(&str, Vec<u8>)]) -> io::Result<Vec<u8>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(now);
        archive.append_data(&mut header, format!("{directory}/{name}"), content.as_slice())?;
    }
    archive.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn what_goes_in_comes_out() {
        let bytes =
            pack("bundle", &[("a.json", b"{}".to_vec()), ("log.txt", vec![b'x'; 2000])]).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            found.push((entry.path().unwrap().display().to_string(), content.len()));
        }
        assert_eq!(found, [("bundle/a.json".into(), 2), ("bundle/log.txt".into(), 2000)]);
    }
}
