//! Compresses the pages in `web/` for the native server, and records the commit for `--version`.

use std::{
    env, fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    record_commit();
    // The Worker has them as static assets.
    if env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("wasm32") {
        return Ok(());
    }
    println!("cargo:rerun-if-changed=web");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let mut files = Vec::new();
    list(Path::new("web"), &mut files)?;
    files.sort();
    let mut table = String::from("&[\n");
    for (number, file) in files.iter().enumerate() {
        let content = fs::read(file)?;
        let mut hash = DefaultHasher::new();
        content.hash(&mut hash);
        let packed = out.join(format!("{number}.gz"));
        let mut gzip = flate2::write::GzEncoder::new(fs::File::create(&packed)?, flate2::Compression::best());
        gzip.write_all(&content)?;
        gzip.finish()?;
        let name = file.strip_prefix("web").unwrap_or(file).display();
        table += &format!(
            "    Page {{ path: \"/{name}\", etag: \"\\\"{:016x}\\\"\", gzip: include_bytes!({packed:?}) }},\n",
            hash.finish()
        );
    }
    fs::write(out.join("web.rs"), table + "]\n")
}

/// Lists the files in a folder. Names that begin with `_` are instructions for Cloudflare.
fn list(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else if path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with(['_', '.'])) {
            files.push(path);
        }
    }
    Ok(())
}

/// Uses `COMMIT` of the environment if it is set (in a container's build, without the repository), else asks git.
fn record_commit() {
    println!("cargo:rerun-if-env-changed=COMMIT");
    for file in [".git/HEAD", ".git/logs/HEAD"] {
        if Path::new(file).exists() {
            println!("cargo:rerun-if-changed={file}");
        }
    }
    let git = || {
        let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = env::var("COMMIT").ok().filter(|commit| !commit.is_empty()).or_else(git);
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let long = commit.map_or_else(|| version.clone(), |commit| format!("{version} ({commit})"));
    println!("cargo:rustc-env=QWEN_EDGE_VERSION={long}");
}
