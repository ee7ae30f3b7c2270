//! Compiles `catalogue/<noun>/<question>.sql` in: writes the list of all files, which `src/catalogue.rs` includes.

use std::{env, fmt::Write as _, fs, io, path::Path};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=catalogue");
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?).join("catalogue");
    let mut list = String::from("&[\n");
    for noun in sorted(&root)? {
        for file in sorted(&root.join(&noun))? {
            let id = format!("{noun}/{file}");
            // Relative to the package, not absolute: several checkouts may share one target directory.
            let path = format!(r#"concat!(env!("CARGO_MANIFEST_DIR"), "/catalogue/{id}")"#);
            let _ = writeln!(list, "    ({id:?}, include_str!({path})),"); // writing to a String cannot fail
        }
    }
    list.push_str("]\n");
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    fs::write(Path::new(&out).join("catalogue.rs"), list)
}

fn sorted(folder: &Path) -> io::Result<Vec<String>> {
    let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = entries.collect::<io::Result<Vec<String>>>()?;
    names.sort();
    Ok(names)
}
